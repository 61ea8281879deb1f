"""The media door: every kind of cell, to the same arrays."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image, ImageFile
from tests.made_media import encoded, sound

from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.media_paths import shown_name
from omnifuse.errors import MediaError

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (5, 7, 3), dtype=np.uint8)
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.float32)


def test_limits_survive_json():
    limits = MediaLimits(max_pixels=10, max_audio_s=1.5)
    assert MediaLimits(**json.loads(json.dumps(asdict(limits)))) == limits


def test_picture_is_the_same_from_every_kind_of_cell(tmp_path, monkeypatch):
    data = encoded(Image.fromarray(PIXELS))
    (tmp_path / "a.png").write_bytes(data)
    door = MediaDoor(root=tmp_path)
    picture = Image.fromarray(PIXELS)
    for cell in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        "a.png",
        Path("a.png"),
        data,
        bytearray(data),
        picture,
        PIXELS,
    ):
        np.testing.assert_array_equal(door.image(cell), PIXELS)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(MediaDoor().image("a.png"), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG"])
def test_every_format_of_the_list_is_read(kind):
    flat = Image.new("RGB", (9, 4), (10, 120, 250))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    got = MediaDoor().image(encoded(flat, kind, **options)).astype(int)
    assert got.shape == (4, 9, 3)
    assert np.abs(got - [10, 120, 250]).max() <= 2


def test_float_and_grey_arrays():
    door = MediaDoor()
    grey = np.linspace(0, 1, 12).reshape(3, 4)
    expected = np.floor(grey * 255 + 0.5).astype(np.uint8)
    for array in (grey, grey[:, :, None], grey.astype(np.float32)):
        np.testing.assert_array_equal(door.image(array), np.stack([expected] * 3, axis=2))
    np.testing.assert_array_equal(door.image(np.eye(2, dtype=bool))[:, :, 1], [[255, 0], [0, 255]])
    np.testing.assert_array_equal(door.image(np.array([[0, 257, 65535]], np.uint16))[0, :, 0], [0, 1, 255])
    np.testing.assert_array_equal(door.image(np.array([[0, 7, 255]]))[0, :, 2], [0, 7, 255])


def test_alpha_of_arrays_lies_on_white():
    array = np.zeros((1, 2, 4), np.uint8)
    array[0, 1, 3] = 255
    np.testing.assert_array_equal(MediaDoor().image(array)[0], [[255, 255, 255], [0, 0, 0]])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 20, 20), np.uint8), r"shape \(3, 20, 20\).*np\.moveaxis"),
        (np.zeros(4, np.uint8), r"shape \(4,\), expected \(height, width\)"),
        (np.full((2, 2), 200.0), "from 200 to 200, expected 0 to 1"),
        (np.full((2, 2), np.nan), "from nan to nan"),
        (np.full((2, 2), 300), "expected 0 to 255"),
        (np.full((2, 2), "x"), "array of <U1"),
    ],
)
def test_array_that_is_no_picture(array, words):
    with pytest.raises(MediaError, match=words):
        MediaDoor().image(array)


def test_pil_image_keeps_its_limits_and_is_not_changed():
    picture = Image.new("P", (4, 4), 3)
    picture.putpalette([0, 0, 0] * 3 + [9, 8, 7])
    np.testing.assert_array_equal(MediaDoor().image(picture)[0, 0], [9, 8, 7])
    assert picture.mode == "P"
    with pytest.raises(MediaError, match="4 x 4 pixels, at most 0 million are read"):
        MediaDoor(limits=MediaLimits(max_pixels=15)).image(picture)


def test_pil_image_whose_file_is_broken():
    data = encoded(Image.fromarray(DRAW.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    with Image.open(io.BytesIO(data[:5000])) as picture, pytest.raises(MediaError, match="ends before its last pixel"):
        MediaDoor().image(picture)


def test_large_jpeg_may_be_decoded_smaller():
    smooth = np.asarray(Image.fromarray(PIXELS).resize((400, 640), Image.Resampling.BICUBIC))
    data = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    door = MediaDoor()
    assert door.image(data).shape == (640, 400, 3)
    small = door.image(data, min_side=90)
    assert small.shape == (160, 100, 3)
    reference = np.asarray(Image.fromarray(smooth).resize((100, 160), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - reference).mean() < 2
    assert door.image(data, min_side=300).shape == (640, 400, 3)


def test_truncated_pictures_stay_refused_where_another_package_allowed_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(Image.fromarray(DRAW.integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises(MediaError, match="The JPEG picture ends before its last pixel"):
        MediaDoor().image(data[: len(data) // 2])


def test_sound_is_the_same_from_every_kind_of_cell(tmp_path):
    data = sound(TONE, subtype="FLOAT")
    (tmp_path / "a.wav").write_bytes(data)
    door = MediaDoor(root=tmp_path)
    for cell in ("a.wav", tmp_path / "a.wav", data, bytearray(data), TONE, (TONE, 8000), (TONE, np.int64(8000))):
        got = door.audio(cell, 8000)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, TONE)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"),
     ("MP3", None), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16")],
)  # fmt: skip
def test_every_sound_format_of_the_list_equals_one_whole_read(kind, subtype):
    rate = 48_000 if subtype == "OPUS" else 44_100
    # Longer than a block: what is read block by block must join without a seam
    times = np.arange(7 * rate) / rate
    stereo = np.stack([0.4 * np.sin(2 * np.pi * 330 * times), 0.2 * np.sin(2 * np.pi * 500 * times)], axis=1)
    data = sound(stereo, rate, kind, subtype)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    got = MediaDoor().audio(data, rate)
    assert got.shape == (len(whole),)
    np.testing.assert_allclose(got, whole.mean(axis=1), atol=1e-6)
    assert MediaDoor().audio_rate(data) == rate


def test_resampling_by_blocks_equals_resampling_at_once():
    noise = DRAW.normal(0, 0.1, 300_000).astype(np.float32)
    for rate, rate_hz in ((44_100, 16_000), (8000, 16_000), (22_050, 8000)):
        got = MediaDoor().audio((noise, rate), rate_hz)
        assert len(got) == round(len(noise) * rate_hz / rate)
        np.testing.assert_allclose(got, soxr.resample(noise, rate, rate_hz), atol=1e-6)


def test_resampled_tone_keeps_its_pitch(tmp_path):
    (tmp_path / "a.wav").write_bytes(sound(TONE, 8000, subtype="FLOAT"))
    got = MediaDoor(root=tmp_path).audio("a.wav", 16_000)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(got[200:-200] - expected[200:-200]).max() < 1e-3


def test_channels_are_averaged_and_integers_have_their_full_scale():
    door = MediaDoor()
    stereo = np.array([[0.5, -0.5], [1.0, 0.5]], np.float64)
    np.testing.assert_allclose(door.audio(stereo, 8000), [0.0, 0.75])
    np.testing.assert_allclose(door.audio(np.array([-32768, 0, 16384], np.int16), 8000), [-1, 0, 0.5])
    np.testing.assert_allclose(door.audio(np.array([0, 128, 192], np.uint8), 8000), [-1, 0, 0.5])


def test_sound_is_not_decoded_further_than_asked():
    assert len(MediaDoor().audio(sound(np.zeros(80_000)), 8000, max_s=1.5)) == 12_000
    assert len(MediaDoor().audio(np.zeros(80_000), 8000, max_s=1.5)) == 12_000
    assert len(MediaDoor(limits=MediaLimits(max_audio_s=2)).audio(np.zeros(80_000), 8000, max_s=5)) == 16_000


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (np.zeros((2, 2, 2)), r"array of float64 \(2, 2, 2\), expected numbers"),
        (np.array(["a"]), "array of <U1"),
        (np.zeros((2, 9000)), "at most 64 channels.*array.T"),
        (np.zeros((9, 0)), "at most 64 channels"),
        (np.zeros(0), "has no samples"),
        ((np.zeros(9), 0), "samples a second"),
        ((np.zeros(9), "fast"), "samples a second"),
        ((np.zeros(9), 5_000_000), "rate of the sound is 5000000"),
        (3.5, "cell of type float"),
        (None, "cell of type NoneType"),
    ],
)
def test_cell_that_is_no_sound(cell, words):
    with pytest.raises(MediaError, match=words):
        MediaDoor().audio(cell, 8000)


def test_rate_is_read_from_the_header(tmp_path):
    (tmp_path / "a.wav").write_bytes(sound(TONE, 11_025))
    door = MediaDoor(root=tmp_path)
    assert door.audio_rate("a.wav") == 11_025
    assert door.audio_rate((TONE, 9000)) == 9000
    assert door.audio_rate(TONE) == 0
    with pytest.raises(MediaError, match="not WAV, FLAC"):
        door.audio_rate(b"nothing of the kind")
    with pytest.raises(MediaError, match="cell of type dict"):
        door.audio_rate({})


def test_rates_and_channels_beyond_reason_are_refused():
    quick = bytearray(sound(TONE))
    quick[24:28] = (2_000_000).to_bytes(4, "little")
    with pytest.raises(MediaError, match="declares 2000000 samples a second"):
        MediaDoor().audio(quick, 8000)
    with pytest.raises(MediaError, match="100 channels, at most 64"):
        MediaDoor().audio(sound(np.zeros((9, 100))), 8000)


def test_content_key_is_the_content(tmp_path):
    data = encoded(Image.fromarray(PIXELS))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(data)
    door = MediaDoor(root=tmp_path)
    expected = hashlib.sha256(data).hexdigest()
    assert {door.content_key(cell) for cell in ("a.png", "b.png", tmp_path / "a.png", data, bytearray(data))} == {
        expected
    }


def test_content_key_of_arrays_covers_shape_type_and_rate():
    door = MediaDoor()
    row = np.arange(6, dtype=np.int16)
    cells = [
        row,
        row.reshape(2, 3),
        row.reshape(3, 2),
        row.view(np.uint16),
        row.view(np.uint8),
        (row, 8000),
        (row, 16_000),
    ]
    keys = [door.content_key(cell) for cell in cells]
    assert len(set(keys)) == len(keys)
    assert door.content_key(row.reshape(2, 3).T) == door.content_key(np.ascontiguousarray(row.reshape(2, 3).T))
    assert len(door.content_key(np.zeros((0, 3)))) == 64


def test_content_key_of_pil_images_is_what_they_show():
    door = MediaDoor()
    one, other = Image.new("P", (2, 2), 0), Image.new("P", (2, 2), 0)
    one.putpalette([1, 2, 3])
    other.putpalette([4, 5, 6])
    assert door.content_key(one) != door.content_key(other)
    assert door.content_key(one) == door.content_key(one.copy()) == door.content_key(one.convert("RGB"))


@pytest.mark.parametrize("cell", [None, 5, [1, 2], {"bytes": b""}, np.array([None])])
def test_content_key_of_what_is_no_medium(cell):
    with pytest.raises(MediaError, match="medium cannot be read from"):
        MediaDoor().content_key(cell)


def test_names_are_shown_on_one_short_line():
    assert shown_name("a/b.png") == "a/b.png"
    assert shown_name("h\u00e4user/\u72d7.png") == "h\u00e4user/\u72d7.png"
    assert shown_name("a\nb\x1b[31m\udcff") == "a?b?[31m?"
    assert len(shown_name("x" * 10_000)) == 200


def test_files_are_read_in_one_piece_up_to_their_limit(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(PIXELS)) + bytes(3 * 2**20))
    np.testing.assert_array_equal(MediaDoor(root=tmp_path).image("a.png"), PIXELS)
    door = MediaDoor(root=tmp_path, limits=MediaLimits(max_file_bytes=2**20))
    for attempt in (door.image, door.content_key, door.audio_rate, lambda cell: door.audio(cell, 8000)):
        for cell in ("a.png", (tmp_path / "a.png").read_bytes()):
            with pytest.raises(MediaError, match="3 MB, at most 1 MB are read"):
                attempt(cell)
