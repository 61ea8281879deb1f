"""T14, T15: videos that lie about themselves, and playlists that name other files."""

from __future__ import annotations

import socket
import struct
import time

import av
import numpy as np
import pytest
from tests.made_media import little_memory
from tests.made_video import ramp, video

from omnifuse.data import media_container
from omnifuse.data.decoded import CUT
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.media_container import Deadline
from omnifuse.data.video import VideoPreprocessor
from omnifuse.data.workers import decode_cell
from omnifuse.errors import MediaError

DOOR = MediaDoor()


@pytest.fixture(scope="module")
def plain():
    """50 frames, 2 s, with sound."""
    return video(ramp(50), sound="aac")


def forged(data: bytes, box: bytes, place: int, *numbers: int) -> bytes:
    """The first box of a name with other 32-bit numbers at a place of its content."""
    changed = bytearray(data)
    start = changed.index(box) + 4 + place
    changed[start : start + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    return bytes(changed)


def bomb(data: bytes, count: int) -> bytes:
    """Every table says that there are so many frames of one byte."""
    one_size = forged(data, b"stsz", 4, 1, count)
    return forged(forged(one_size, b"stts", 4, 1, count, 512), b"stsc", 12, count)


@pytest.mark.parametrize("count", [3_000_000, 60_000_000, 0xFFFFFFF0])
def test_t14_absurd_declared_frame_counts_are_refused_before_a_decoder_starts(count, plain, monkeypatch, tmp_path):
    monkeypatch.setattr(av, "open", lambda *given, **options: pytest.fail("a decoder was started"))
    (tmp_path / "a.mp4").write_bytes(bomb(plain, count))
    with little_memory():
        for cell in (bomb(plain, count), tmp_path / "a.mp4"):
            with pytest.raises(MediaError, match=rf"declares {count} frames, which cannot be"):
                DOOR.video(cell)
            with pytest.raises(MediaError, match=rf"declares {count} frames, which cannot be"):
                DOOR.audio(cell, 8000)


def test_t14_each_table_that_stands_for_too_many_frames_is_refused():
    data = video(ramp(20), options={"bf": "2"})
    for box, place, numbers in ((b"stts", 8, (0xFFFFFFFF,)), (b"ctts", 8, (0x0FFFFFFF,)), (b"stsz", 8, (0xFFFFFFFF,))):
        with pytest.raises(MediaError, match="frames, which cannot be"):
            DOOR.video(forged(data, box, place, *numbers))
    pieces = video(ramp(20), file_options={"movflags": "frag_keyframe+empty_moov"})
    assert len(DOOR.video(pieces).pixels) == 8
    with pytest.raises(MediaError, match="frames, which cannot be"):
        DOOR.video(forged(pieces, b"trun", 4, 0x7FFFFFFF))


@pytest.mark.parametrize("declared", [0, 1, 0xFFFFFFFF])
@pytest.mark.parametrize("box", [b"mvhd", b"mdhd", b"tkhd"])
def test_t14_declared_durations_are_not_believed(box, declared, plain):
    place = 20 if box == b"tkhd" else 16
    clip = DOOR.video(forged(plain, box, place, declared))
    np.testing.assert_allclose(clip.time_s, [0.12, 0.36, 0.6, 0.84, 1.12, 1.36, 1.6, 1.84], atol=1e-4)
    assert not clip.is_cut


def test_t14_index_at_the_end_or_at_the_start_is_the_same(tmp_path):
    last = video(ramp(30))
    first = video(ramp(30), file_options={"movflags": "faststart"}, path=tmp_path / "first.mp4")
    assert last.index(b"moov") > last.index(b"mdat")
    assert first.index(b"moov") < first.index(b"mdat")
    (tmp_path / "a.mp4").write_bytes(last)
    clips = [DOOR.video(cell) for cell in (last, first, tmp_path / "a.mp4")]
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip.pixels, clips[0].pixels)
        np.testing.assert_array_equal(clip.time_s, clips[0].time_s)
    (tmp_path / "a.mp4").write_bytes(last[: last.index(b"moov")])
    with pytest.raises(MediaError, match=r"The video is damaged or of a rare kind\. Read from '.*a\.mp4'"):
        DOOR.video(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_t14_frames_that_are_held_for_unequal_times_are_shown_when_they_are_shown(kind):
    # Ten frames within 100 ms, then one that stays for a second, then one more
    times = [*range(0, 100, 10), 1100, 1200]
    clip = DOOR.video(video(ramp(12), kind=kind, times_ms=times), num_frames=6)
    # The middle of each sixth of about 1.2 s: the tenth frame is the one shown in all of them but the last
    assert clip.time_s[0] == pytest.approx(0.09, abs=2e-3)
    assert len(clip.time_s) == 2
    assert clip.pixels.mean(axis=(1, 2, 3))[0] == pytest.approx(9 * 255 // 11, abs=4)


def test_t14_one_frame_and_frames_without_any_time():
    clip = DOOR.video(video(ramp(1)))
    assert clip.pixels.shape[0] == 1
    assert clip.time_s.tolist() == [0.0]
    data = video(ramp(5))
    stopped = forged(data, b"stts", 4, 1, 5, 0)
    found = DOOR.video(stopped)
    assert 1 <= len(found.pixels) <= 5
    assert np.isfinite(found.time_s).all()


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_t14_sound_alone_is_no_video_but_a_sound(kind):
    data = video(None, kind=kind, sound="libopus" if kind == "webm" else "aac", seconds=1.0)
    with pytest.raises(MediaError, match="a sound track but no moving pictures"):
        DOOR.video(data)
    assert len(DOOR.audio(data, 8000)) == pytest.approx(8000, rel=0.15)


def test_t14_long_videos_are_read_up_to_their_budget(plain):
    times = [1000 * second for second in range(120)]
    data = video(ramp(120), times_ms=times)
    clip = MediaDoor(limits=MediaLimits(max_video_s=20)).video(data)
    assert clip.is_cut
    assert clip.time_s.max() < 20
    answer = decode_cell(data, VideoPreprocessor(16, 24, max_seconds=30), DOOR)
    assert answer.remarks == ((CUT, "only the first 30 s are used"),)
    few = MediaDoor(limits=MediaLimits(max_video_frames=10)).video(plain)
    assert few.is_cut
    assert few.time_s.max() < 0.8


def test_t14_frames_with_too_many_pixels_are_refused():
    data = video(ramp(3, 128, 128))
    door = MediaDoor(limits=MediaLimits(max_frame_pixels=10_000))
    with pytest.raises(MediaError):
        door.video(data)
    with pytest.raises(MediaError, match="The frames of the video have 128 x 128 pixels"):
        door.video(ramp(3, 128, 128))
    assert door.video(video(ramp(3, 96, 96))).pixels.shape == (3, 96, 96, 3)


def test_t14_decoding_ends_with_its_wall_time(plain):
    door = MediaDoor(limits=MediaLimits(max_decode_s=0.0))
    for attempt in (door.video, door.video_info, lambda cell: door.audio(cell, 8000)):
        with pytest.raises(MediaError, match=r"longer than 0 s"):
            attempt(plain)
    deadline = Deadline(0.0)
    time.sleep(0.01)
    with pytest.raises(TimeoutError):
        deadline.check()


def test_t14_truncated_videos_give_what_they_have_or_a_clean_error():
    for kind, codec in (("webm", "libvpx"), ("mpegts", "libx264"), ("avi", "mpeg4"), ("mp4", "libx264")):
        data = video(ramp(30), kind=kind, codec=codec)
        num_read = 0
        for tenth in range(1, 10):
            try:
                clip = DOOR.video(data[: len(data) * tenth // 10])
            except MediaError:
                continue
            assert 1 <= len(clip.pixels) <= 8
            assert (np.diff(clip.time_s) > 0).all()
            num_read += 1
        # An MP4 without its index at the end holds nothing that can be found
        assert num_read or kind == "mp4", kind


def test_t14_videos_with_flipped_bits_give_frames_or_a_clean_error():
    draw = np.random.default_rng(0)
    for kind, codec in (("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"), ("mpegts", "mpeg2video")):
        data = video(ramp(8), kind=kind, codec=codec, sound="libopus" if kind == "webm" else "mp2")
        num_read = 0
        for _ in range(25):
            broken = bytearray(data)
            for at in draw.integers(0, len(data), 6):
                broken[at] ^= 1 << int(draw.integers(0, 8))
            for attempt in (DOOR.video, lambda cell: DOOR.audio(cell, 8000)):
                try:
                    found = attempt(bytes(broken))
                except MediaError:
                    continue
                num_read += 1
                values = found.time_s if attempt == DOOR.video else found
                assert np.isfinite(values).all()
        assert num_read, kind


@pytest.fixture
def listener():
    """Address of a server, and a function that tells whether anybody knocked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def visited() -> bool:
            try:
                server.accept()[0].close()
            except TimeoutError:
                return False
            return True

        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4", visited


def playlists(named: str) -> dict[str, bytes]:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{named}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="1"><BaseURL>{named}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    return {
        "hls": hls.encode(),
        "hls behind a mark": b"\xef\xbb\xbf" + hls.encode(),
        "hls behind blanks": b"\n\n " + hls.encode(),
        "concat": f"ffconcat version 1.0\nfile '{named}'\n".encode(),
        "dash": mpd.encode(),
        "pls": f"[playlist]\nFile1={named}\n".encode(),
    }


@pytest.mark.parametrize("named", ["file:///etc/passwd", "/etc/passwd", "http"])
def test_t15_playlists_are_never_opened(named, listener, tmp_path, monkeypatch):
    address, visited = listener
    starts = []
    monkeypatch.setattr(av, "open", lambda *given, **options: starts.append(given))
    for kind, data in playlists(address if named == "http" else named).items():
        for name in ("a.m3u8", "a.mp4"):
            (tmp_path / name).write_bytes(data)
            for cell in (data, tmp_path / name):
                for attempt in (DOOR.video, DOOR.video_info):
                    with pytest.raises(MediaError, match="This is a playlist, which names other files") as caught:
                        attempt(cell)
                assert "passwd" not in str(caught.value), kind
                with pytest.raises(MediaError):
                    DOOR.audio(cell, 8000)
    assert not starts
    assert not visited()


@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "mov", "matroska", "mpegts", "avi", "gif", "mpeg"])
def test_t15_even_a_demuxer_of_playlists_reaches_nothing(kind, listener, tmp_path, monkeypatch):
    """Were the first bytes ever misjudged, the door would still have one file and no protocol."""
    address, visited = listener
    beside = tmp_path / "beside.mp4"
    beside.write_bytes(video(ramp(5)))
    monkeypatch.setattr(media_container, "video_format", lambda start: kind)
    for named in (address, str(beside), "beside.mp4", f"file://{beside}"):
        for data in playlists(named).values():
            (tmp_path / "list.mp4").write_bytes(data)
            for cell in (data, tmp_path / "list.mp4"):
                with pytest.raises(MediaError):
                    MediaDoor(root=tmp_path).video(cell)
    assert not visited()


def test_t15_other_files_that_an_mp4_refers_to_are_not_opened(tmp_path):
    """A data reference to another file instead of to itself."""
    data = bytearray(video(ramp(5)))
    place = data.index(b"url ") + 4
    # No longer "in this file"; the name of the other one would follow
    data[place : place + 4] = bytes(4)
    try:
        clip = DOOR.video(bytes(data))
    except MediaError:
        return
    assert len(clip.pixels) == 5


def test_t15_addresses_are_no_videos():
    for name in ("http://a.b/c.mp4", "concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:/etc/passwd", "data:video/mp4,x"):
        with pytest.raises(MediaError, match=r"addresses are not opened|no such file"):
            DOOR.video(name)
