"""The latest seconds of a stream as a row."""

from __future__ import annotations

import numpy as np
import pytest
from tests.serving import SCHEMA, base64_of, picture

from omnifuse.data.media import MediaDoor
from omnifuse.data.windows import MOST_FRAMES
from omnifuse.serve.columns import columns_of
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError
from omnifuse.serve.stream import read_setting
from omnifuse.serve.windows import Windows


def windows(**options):
    return Windows(columns_of(SCHEMA), ServeLimits(), **{"window_s": 1.0, "rates_hz": {"sound": 100}, **options})


def pcm(*samples):
    return {"pcm16": base64_of(np.array(samples, "<i2").tobytes())}


def test_sounds_keep_the_last_seconds():
    found = windows()
    assert found.row(0.0) == {}
    for number in range(30):
        assert found.push({"sound": pcm(*range(number * 10, number * 10 + 10))}, number / 10) == []
    samples, rate = found.row(3.0)["sound"]
    assert rate == 100
    assert samples.tolist() == list(range(200, 300))
    assert len(MediaDoor().audio((samples, rate), 100)) == 100


def test_frames_make_a_video_of_the_window():
    found = windows(window_s=3.1)
    for number in range(100):
        found.push({"clip": {"base64": base64_of(picture())}}, number / 10)
    frames, rate = found.row(9.9)["clip"]
    assert frames.shape[0] in (MOST_FRAMES - 1, MOST_FRAMES)
    assert rate == pytest.approx(10)
    assert len(MediaDoor().video((frames, rate)).pixels) == 8
    found.push({"clip": base64_of(picture(16))}, 10.0)
    assert found.row(10.0)["clip"][0].shape == (1, 16, 16, 3)
    assert "clip" not in found.row(14.0)


def test_large_frames_are_made_smaller():
    found = windows()
    found.push({"clip": base64_of(picture(1500))}, 0.0)
    assert found.row(0.0)["clip"][0].shape == (1, 512, 512, 3)


@pytest.mark.parametrize(
    ("steps", "cell"),
    [
        ([1, 2], {"time": [0.0, 0.5], "values": [[1], [2]]}),
        ([[1, 2], [3, 4]], {"time": [0.0, 0.5], "values": [[1, 2], [3, 4]]}),
        ([{"a": 1, "b": 2}, {"b": 3, "a": 4}], {"time": [0.0, 0.5], "a": [1, 4], "b": [2, 3]}),
        ([1, {"a": 1}], {"time": [0.5], "a": [1]}),
    ],
)
def test_steps_make_a_series(steps, cell):
    found = windows()
    for number, step in enumerate(steps):
        assert found.push({"pulse": step}, number / 2) == []
    assert found.row(0.5)["pulse"] == cell
    assert len(MediaDoor().series(cell).values) == len(cell["time"])
    assert "pulse" not in found.row(2.0)


def test_a_picture_counts_for_a_window_and_a_number_until_the_next():
    found = windows()
    found.push({"photo": base64_of(picture()), "size": 3, "note": "calm"}, 0.0)
    assert set(found.row(1.0)) == {"photo", "size", "note"}
    assert found.row(1.5) == {"size": 3, "note": "calm"}
    found.push({"size": None}, 2.0)
    assert found.row(2.0) == {"size": None, "note": "calm"}
    assert found.plain_row({"size": 1, "photo": b"", "sound": 1, "pulse": 1, "clip": 1}) == {"size": 1}


def test_what_cannot_be_read_is_named_and_the_rest_counts():
    found = windows()
    odd = {"pcm16": base64_of(b"abc")}
    words = found.push({"sound": odd, "clip": "/etc/passwd", "pulse": [[1]], "photo": "a.png", "size": 2}, 0.0)
    assert [text.split(":")[0] for text in words] == ["sound", "clip", "pulse", "photo"]
    assert found.row(0.0) == {"photo": None, "size": 2}
    assert found.push({"clip": base64_of(b"no picture")}, 0.0)[0].startswith("clip: The content is not PNG")
    with pytest.raises(RequestError, match="did you mean 'note'"):
        found.push({"nota": 1}, 0.0)
    with pytest.raises(RequestError, match="the message is not an object"):
        found.push([1], 0.0)


def test_settings_are_checked():
    limits = ServeLimits()
    assert read_setting({}, limits).window_s == 2.0
    assert read_setting({"window_s": 5, "rates_hz": {"sound": 8000}, "proba": True}, limits).rates_hz == {"sound": 8000}
    for bad in ([], {"window": 1}, {"window_s": 1e9}, {"window_s": True}, {"every_s": 0}, {"rates_hz": {"a": 1e6}},
                {"rates_hz": [1]}, {"rates_hz": {"a": 10**9}}, {"proba": 1}):  # fmt: skip
        with pytest.raises(RequestError) as caught:
            read_setting(bad, limits)
        assert caught.value.status == 422
