"""T06, T09 to T13: sounds that are long, forged, cut, foreign, or hold no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from tests.made_media import little_memory, sound

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.workers import decode_cell
from omnifuse.errors import MediaError

DRAW = np.random.default_rng(0)
DOOR = MediaDoor()


@pytest.mark.parametrize("data", [b"MThd" + bytes(40), b"#!AMR\n" + bytes(40), b"RIFF\0\0\0\0RMIDdata", b"\0" * 64])
def test_t06_foreign_sounds_never_meet_a_decoder(data, monkeypatch):
    monkeypatch.setattr(
        "omnifuse.data.media_audio._Decoder", lambda *given, **options: pytest.fail("a decoder was started")
    )
    with pytest.raises(MediaError, match="The content is not WAV, FLAC, OGG"):
        DOOR.audio(data, 8000)


def test_t06_sound_of_a_listed_start_and_another_inside():
    for data in (b"ID3" + bytes(60), b"\xff\xfb" + bytes(60), b"OggS" + bytes(60), b"fLaC" + bytes(60)):
        with pytest.raises(MediaError, match=r"damaged or of a rare kind|not WAV|no samples|middle"):
            DOOR.audio(data, 8000)


@pytest.fixture(scope="module")
def long_sound(tmp_path_factory):
    """Ogg Opus of 620 s, silent throughout."""
    path = tmp_path_factory.mktemp("long") / "long.opus"
    with soundfile.SoundFile(path, "w", 8000, 1, format="OGG", subtype="OPUS") as file:
        for _ in range(62):
            file.write(np.zeros(80_000, np.float32))
    return path


@pytest.mark.parametrize("route", ["path", "bytes", "decode_cell"])
def test_t09_long_opus_stops_while_decoding(route, long_sound, monkeypatch):
    decoded = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, **given: decoded.append(len(given["out"])) or read(self, **given)
    )
    if route == "decode_cell":
        preprocessor = AudioPreprocessor(rate_hz=8000, max_seconds=3)
        assert decode_cell(long_sound, preprocessor, DOOR)["log_mel"].shape[0] == 299
        assert sum(decoded) <= 8000 * 3.2
        return
    cell = long_sound if route == "path" else long_sound.read_bytes()
    assert len(DOOR.audio(cell, 8000)) == 600 * 8000
    assert sum(decoded) == 600 * 8000


def test_t09_long_arrays_are_cut_too():
    door = MediaDoor(limits=MediaLimits(max_audio_s=2))
    assert len(door.audio((np.zeros((90_000, 2), np.int16), 8000), 4000)) == 8000


@pytest.mark.parametrize("route", ["path", "bytes"])
def test_t10_flac_with_forged_rate_and_8_channels_hits_the_byte_cap(route, tmp_path):
    data = bytearray(sound(np.zeros((2_000_000, 8), np.int16), 96_000, "FLAC"))
    assert len(data) < 200_000
    assert data[4] & 0x7F == 0
    packed = int.from_bytes(data[18:26], "big")
    data[18:26] = ((packed & ~(0xFFFFF << 44)) | (655_350 << 44)).to_bytes(8, "big")
    door = MediaDoor(limits=MediaLimits(max_audio_bytes=32 * 2**20))
    cell = bytes(data)
    if route == "path":
        cell = tmp_path / "a.flac"
        cell.write_bytes(data)
    with little_memory():
        assert door.audio_rate(cell) == 655_350
        with pytest.raises(MediaError, match="more than 32 MB of samples"):
            door.audio(cell, 16_000)


def test_t11_wav_that_claims_4_gb_gives_what_it_has(tmp_path):
    data = bytearray(sound(np.full(1000, 0.25), subtype="PCM_16"))
    data[4:8] = data[40:44] = b"\xf0\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    with little_memory():
        for cell in (bytes(data), tmp_path / "a.wav"):
            np.testing.assert_allclose(DOOR.audio(cell, 8000), 0.25, atol=1e-3)


def test_t11_sounds_that_end_early_or_have_no_samples():
    with pytest.raises(MediaError, match="The sound has no samples"):
        DOOR.audio(sound(np.zeros(0)), 8000)
    noise = DRAW.normal(0, 0.1, 40_000)
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        data = sound(noise, 8000, kind)
        whole = DOOR.audio(data, 8000)
        num_read = 0
        for tenth in range(10):
            try:
                got = DOOR.audio(data[: len(data) * tenth // 10], 8000)
            except MediaError:
                continue
            # Never more than there is: a shorter sound, no padding with silence
            assert len(got) <= len(whole) * (tenth + 1) / 10 + 4096
            assert np.isfinite(got).all()
            num_read += 1
        # A FLAC that is cut anywhere is refused
        assert num_read or kind == "FLAC", kind


BAD_SAMPLES = {
    "nan": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "denormal": 1e-42,
    "huge": 3e38,
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_t12_samples_that_are_not_finite_become_finite(name, rate_hz):
    samples = DRAW.normal(0, 0.1, (4000, 2)).astype(np.float32)
    samples[10:20, 0] = BAD_SAMPLES[name]
    for cell in (sound(samples, subtype="FLOAT"), (samples, 8000), (samples.astype(np.float64), 8000)):
        got = DOOR.audio(cell, rate_hz)
        assert len(got) == 4000 * rate_hz // 8000
        assert np.isfinite(got).all()
        assert np.isfinite(AudioPreprocessor(rate_hz=rate_hz)(got)["log_mel"]).all()


def test_t12_one_bad_sample_costs_one_sample():
    samples = DRAW.normal(0, 0.1, 4000).astype(np.float32)
    samples[10] = np.nan
    got = DOOR.audio(sound(samples, subtype="FLOAT"), 8000)
    assert got[10] == 0
    np.testing.assert_array_equal(np.delete(got, 10), np.delete(samples, 10))


def test_t12_sound_without_one_finite_sample_is_rejected():
    for cell in (sound(np.full(100, np.nan), subtype="FLOAT"), np.full(100, np.inf)):
        with pytest.raises(MediaError, match="Not one sample of the sound is a finite number"):
            DOOR.audio(cell, 8000)


@pytest.mark.parametrize("level", ["rms", "peak", "none"])
@pytest.mark.parametrize(
    "samples",
    [np.zeros(8000), np.full(8000, 0.7), np.sign(np.sin(np.arange(8000))), np.zeros(1), np.full(3, -1.0)],
    ids=["silence", "constant", "clipped", "one sample", "three samples"],
)
def test_t13_silence_constants_and_clipped_sounds_have_finite_features(samples, level):
    for subtype in ("PCM_16", "FLOAT"):
        preprocessor = AudioPreprocessor(rate_hz=8000, level=level)
        features = decode_cell(sound(samples, subtype=subtype), preprocessor, DOOR)["log_mel"]
        assert features.shape[1] == preprocessor.num_columns
        assert np.isfinite(features).all()


def test_sounds_with_flipped_bits_give_samples_or_a_clean_error():
    noise = DRAW.normal(0, 0.1, 4000)
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64"):
        data = sound(noise, 8000, kind)
        num_read = 0
        for _ in range(40):
            broken = bytearray(data)
            for at in DRAW.integers(0, min(len(data), 200), 3):
                broken[at] ^= 1 << int(DRAW.integers(0, 8))
            try:
                got = MediaDoor(limits=MediaLimits(max_audio_s=5)).audio(broken, 8000)
                assert np.isfinite(got).all()
                assert len(got) <= 40_001
                num_read += 1
            except MediaError:
                continue
        # A page of Ogg carries a checksum
        assert num_read or kind == "OGG", kind
