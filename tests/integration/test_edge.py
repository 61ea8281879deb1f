"""`omnifuse edge`: lines, folders and recordings in, JSON lines out, whatever is among them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import room_rows
from tests.made_video import ramp, video
from tests.serving import until

from omnifuse.deploy.edge import answer_folder, answer_lines, answer_recording
from omnifuse.deploy.runtime import Runtime
from omnifuse.errors import InputError


@pytest.fixture(scope="module")
def runtime(exported):
    return Runtime(exported, threads=1)


@pytest.fixture
def row(rooms):
    row = next(row for row in room_rows(rooms.test, 40) if all(value not in (None, "") for value in row.values()))
    return {name: value for name, value in row.items() if name not in ("id", "event")}


def encoded(path):
    return {"base64": base64.b64encode(Path(path).read_bytes()).decode()}


def test_lines_are_answered_as_rows_and_bad_ones_are_named(runtime, row):
    lines = [
        json.dumps(row),
        "",
        "{no json",
        "[1, 2]",
        json.dumps({**row, "picture": encoded(row["picture"])}),
        json.dumps({"nothing": "known"}),
        json.dumps({"note": "smoke"}),
    ]
    found = list(answer_lines(runtime, lines, proba=True))
    assert [item["line"] for item in found] == [1, 3, 4, 5, 6, 7]
    assert ["error" in item for item in found] == [False, True, True, False, True, False]
    wanted = runtime.predict([row], proba=True)[0].targets["event"]
    for item in (found[0], found[3]):
        assert item["targets"]["event"]["value"] == wanted.value
        assert item["targets"]["event"]["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-6)


def test_a_stream_of_parts_goes_on_behind_a_bad_one(runtime, row):
    samples = (np.random.default_rng(0).normal(size=1600) * 1000).astype("<i2").tobytes()
    part = {"pcm16": base64.b64encode(samples).decode()}
    lines = [
        json.dumps({"t": 0.0, "values": {**row, "sound": part}}),
        json.dumps({"t": 0.1, "values": {"sound": part}}),
        json.dumps({"t": 0.05, "values": {"sound": part}}),
        json.dumps({"t": "x", "values": {}}),
        json.dumps({"t": 0.2, "values": {"temperature": 35}}),
    ]
    found = list(answer_lines(runtime, lines, rates_hz={"sound": 8000}))
    assert ["error" in item for item in found] == [False, False, True, True, False]
    assert "sound" in found[1]["modalities_used"]


def test_a_folder_is_answered_file_by_file(runtime, row, tmp_path):
    shutil.copy(row["picture"], tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    shutil.copy(row["sound"], tmp_path / "c.wav")
    (tmp_path / "d.txt").write_text("a calm morning")
    (tmp_path / "e.xyz").write_text("of no kind")
    found = list(answer_folder(runtime, tmp_path))
    assert [Path(item["file"]).name for item in found] == ["a.png", "b.png", "c.wav", "d.txt"]
    assert ["error" in item for item in found] == [False, True, False, False]
    assert [item["modalities_used"] for item in found] == [["picture"], [], ["sound"], ["note"]]


def test_a_folder_without_anything_to_read_says_what_is_read(runtime, tmp_path):
    with pytest.raises(InputError, match="holds no file"):
        list(answer_folder(runtime, tmp_path))


def test_a_sound_is_answered_step_by_step(runtime, tmp_path):
    import soundfile

    path = tmp_path / "long.wav"
    soundfile.write(path, np.random.default_rng(0).normal(size=8000 * 3) * 0.1, 8000)
    found = list(answer_recording(runtime, path, every_s=0.5, window_s=1.0))
    assert [item["t"] for item in found] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert all(item["modalities_used"] == ["sound"] for item in found)


def test_a_video_gives_frames_as_pictures_and_its_sound(runtime, tmp_path):
    path = tmp_path / "camera.mp4"
    video(ramp(50), sound="aac", path=path)
    found = list(answer_recording(runtime, path, every_s=1.0))
    assert [item["t"] for item in found] == [1.0, 2.0]
    assert all(item["modalities_used"] == ["picture", "sound"] for item in found)


def test_a_recording_that_the_model_does_not_read_says_what_is_read(runtime, tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(InputError, match=r"reads nothing of 'table\.csv'"):
        list(answer_recording(runtime, tmp_path / "table.csv"))


def test_the_command_answers_standard_input_line_by_line(exported, row):
    done = subprocess.run(
        [sys.executable, "-c", "from omnifuse.cli.main import run; run()", "edge", str(exported), "--threads", "1"],
        input=json.dumps(row) + "\n" + "oops\n",
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = map(json.loads, io.StringIO(done.stdout))
    assert first["targets"]["event"]["value"]
    assert "error" in second
    assert done.stderr == ""


def test_a_new_version_answers_the_next_line_and_a_stream_keeps_its_windows(exported, row):
    first, second = Runtime(exported, threads=1), Runtime(exported, threads=1)
    now = [(first, "v1")]

    def lines():
        samples = (np.random.default_rng(0).normal(size=16000) * 1000).astype("<i2").tobytes()
        part = {"pcm16": base64.b64encode(samples).decode()}
        yield json.dumps(row)
        yield json.dumps({"t": 0.0, "values": {"note": row["note"], "sound": part}})
        now[0] = (second, "v2")
        yield json.dumps({"t": 0.5, "values": {"temperature": 21}})
        yield json.dumps(row)

    found = list(answer_lines(lambda: now[0], lines()))
    assert [item["version"] for item in found] == ["v1", "v1", "v2", "v2"]
    assert set(found[2]["modalities_used"]) >= {"note", "sound"}
    assert found[3]["targets"] == found[0]["targets"]


def test_the_command_follows_a_registry(exported, row, tmp_path):
    from omnifuse.deploy.registry import Registry

    Registry(tmp_path / "registry").add(exported, name="first")
    Registry(tmp_path / "registry").promote("first", "production")
    code = "from omnifuse.cli.main import run; run()"
    options = ["--registry", tmp_path / "registry", "--cache", tmp_path / "cache", "--poll", "0.1", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-c", code, "edge", *map(str, options)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def asked():
        process.stdin.write(json.dumps(row) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())["version"]

    try:
        assert asked() == "first"
        Registry(tmp_path / "registry").add(exported, name="second")
        Registry(tmp_path / "registry").promote("second", "production")
        until(lambda: asked() == "second", 60)
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0
