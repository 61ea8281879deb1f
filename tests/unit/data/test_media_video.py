from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image
from tests.made_video import ramp, video

from omnifuse.data import media_video
from omnifuse.data.media import MediaDoor, NoSoundError
from omnifuse.data.media_container import is_playlist, video_format
from omnifuse.errors import MediaError

DOOR = MediaDoor()
# Container to codec of the frames, codec of the sound
KINDS = {
    "mp4": ("libx264", "aac"),
    "mov": ("mpeg4", "aac"),
    "webm": ("libvpx-vp9", "libopus"),
    "matroska": ("libx264", "libopus"),
    "avi": ("mpeg4", "mp2"),
    "mpegts": ("libx264", "aac"),
    "mpeg": ("mpeg2video", "mp2"),
}


def brightness(clip) -> np.ndarray:
    return clip.pixels.mean(axis=(1, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_by_bytes_and_by_path(kind, tmp_path):
    codec, sound = KINDS[kind]
    data = video(ramp(50), kind=kind, codec=codec, sound=sound)
    (tmp_path / "clip").write_bytes(data)
    for cell in (data, bytearray(data), tmp_path / "clip", DOOR.loaded(tmp_path / "clip")):
        clip = DOOR.video(cell)
        assert clip.pixels.shape == (8, 32, 48, 3)
        np.testing.assert_allclose(clip.time_s, [0.12, 0.36, 0.6, 0.84, 1.12, 1.36, 1.6, 1.84], atol=0.041)
        # The brightness tells the frame: 50 of them from 0 to 255
        np.testing.assert_allclose(brightness(clip), clip.time_s * 25 * 255 / 49, atol=6)
        assert not clip.is_cut
    info = DOOR.video_info(data)
    assert (info.height, info.width, info.has_sound) == (32, 48, True)
    # A program stream declares none: it is guessed by the rate of its bytes
    assert info.duration_s == pytest.approx(2.0, abs=1.2 if kind == "mpeg" else 0.3)
    assert DOOR.content_key(data) == DOOR.content_key(tmp_path / "clip")
    samples = DOOR.audio(tmp_path / "clip", 8000)
    assert len(samples) == pytest.approx(16_000, rel=0.1)
    middle = samples[4000:12_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert DOOR.audio_rate(data) == (48_000 if "opus" in sound else 16_000)
    assert len(DOOR.audio(data, 8000, max_s=0.5)) == pytest.approx(4000, abs=2)


def test_every_frame_where_as_many_are_asked_for():
    clip = DOOR.video(video(ramp(10)), num_frames=10)
    np.testing.assert_allclose(clip.time_s, np.arange(10) / 25, atol=1e-4)
    few = DOOR.video(video(ramp(3)), num_frames=8)
    np.testing.assert_allclose(few.time_s, [0, 0.04, 0.08], atol=1e-4)
    one = DOOR.video(video(ramp(11)), num_frames=1)
    np.testing.assert_allclose(one.time_s, [0.2], atol=1e-4)


@pytest.mark.parametrize("bidirectional", ["0", "3"])
def test_seeking_gives_what_decoding_all_gives(bidirectional, monkeypatch):
    data = video(ramp(300), every=30, options={"bf": bidirectional})
    decoded = []
    small = media_video._Reader._decoded

    def counted(self):
        for frame in small(self):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(media_video._Reader, "_decoded", counted)
    clip, num_decoded = DOOR.video(data, num_frames=4), len(decoded)
    decoded.clear()
    monkeypatch.setattr(media_video, "_SEEK_FRAMES", 10**9)
    whole = DOOR.video(data, num_frames=4)
    assert num_decoded < 140 < len(decoded)
    np.testing.assert_array_equal(clip.time_s, whole.time_s)
    np.testing.assert_array_equal(clip.pixels, whole.pixels)


def test_frames_are_scaled_down_while_decoding():
    data = video(np.repeat(ramp(4, 96, 160), 1, axis=0))
    assert DOOR.video(data, min_side=24).pixels.shape == (4, 24, 40, 3)
    assert DOOR.video(data, min_side=200).pixels.shape == (4, 96, 160, 3)
    wide = video(ramp(2, 16, 400))
    assert DOOR.video(wide, min_side=8).pixels.shape == (2, 3, 64, 3)


def test_frames_that_are_not_square_and_frames_that_are_turned():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        file.mux(stream.encode(av.VideoFrame.from_ndarray(ramp(2, 64, 64)[1], format="rgb24")))
        file.mux(stream.encode())
    assert DOOR.video(buffer.getvalue()).pixels.shape == (1, 32, 64, 3)
    # The matrix of a telephone that was held upright: a quarter turn
    pixels = np.zeros((3, 32, 64, 3), np.uint8)
    pixels[:, :, :32] = 250
    data = bytearray(video(pixels))
    place = data.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    data[place : place + 36] = np.array(turned, ">i4").tobytes()
    clip = DOOR.video(bytes(data))
    assert clip.pixels.shape == (3, 64, 32, 3)
    # Turned clockwise, the bright left half is at the top
    assert clip.pixels[0, :24].mean() > 200 > 50 > clip.pixels[0, 40:].mean()


def test_animated_gif_with_its_transparent_parts_on_white():
    frames = []
    for level in (0, 120, 240):
        pixels = np.zeros((20, 30, 4), np.uint8)
        pixels[:, :15] = (level, 0, 0, 255)
        frames.append(Image.fromarray(pixels, "RGBA"))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=200, disposal=2)
    clip = DOOR.video(buffer.getvalue())
    assert clip.pixels.shape == (3, 20, 30, 3)
    np.testing.assert_allclose(clip.time_s, [0, 0.2, 0.4], atol=0.02)
    np.testing.assert_allclose(clip.pixels[:, 10, 5, 0], [0, 120, 240], atol=3)
    assert (clip.pixels[:, 10, 25] >= 254).all()
    assert not DOOR.video_info(buffer.getvalue()).has_sound


def test_arrays_with_and_without_a_rate():
    frames = ramp(50)
    clip = DOOR.video(frames)
    np.testing.assert_allclose(clip.time_s, np.array([3, 9, 15, 21, 28, 34, 40, 46]) / 25)
    np.testing.assert_array_equal(clip.pixels, frames[[3, 9, 15, 21, 28, 34, 40, 46]])
    slow = DOOR.video((frames, 5.0), num_frames=2, max_s=4)
    np.testing.assert_allclose(slow.time_s, [1.0, 3.0])
    assert slow.is_cut
    assert DOOR.video_info((frames, 5.0)).duration_s == 10
    keys = {DOOR.content_key(cell) for cell in (frames, (frames, 5.0), (frames, 5.5))}
    assert len(keys) == 3
    with pytest.raises(NoSoundError):
        DOOR.audio(frames, 8000)
    for cell, words in (
        (frames.astype(float), "array of float64"),
        (frames[..., :1], r"expected uint8 \(frames, height, width, 3\)"),
        (frames[:0], "expected uint8"),
        ((frames, 0.0), "rate of the video is 0"),
        ((frames, float("nan")), "rate of the video is nan"),
        ((frames, "fast"), r"is \(array, frames a second\)"),
        (3, "cannot be read from a cell of type int"),
        (b"", "is empty"),
    ):
        with pytest.raises(MediaError, match=words):
            DOOR.video(cell)


def test_video_without_sound_says_so():
    data = video(ramp(5))
    with pytest.raises(NoSoundError, match="The video has no sound track"):
        DOOR.audio(data, 8000)
    assert DOOR.audio_rate(data) == 0
    assert not DOOR.video_info(data).has_sound


def test_first_bytes_decide():
    assert video_format(video(ramp(1))[:1024]) == "mov"
    assert video_format(b"RIFF\0\0\0\0AVI LIST") == "avi"
    assert video_format(b"RIFF\0\0\0\0WAVEfmt ") is None
    assert video_format(b"G" + bytes(400)) is None
    assert video_format((b"G" + bytes(187)) * 4) == "mpegts"
    assert video_format((bytes(4) + b"G" + bytes(187)) * 4) == "mpegts"
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"fLaC", b"ID3", b"#EXTM3U", b"\0" * 64):
        assert video_format(start) is None
    assert is_playlist(b"#EXTM3U\n")
    assert not is_playlist(b"plain words")
    with pytest.raises(MediaError, match="The content is not MP4, MOV, MKV"):
        DOOR.video(b"\x89PNG\r\n\x1a\n" + bytes(100))
