"""A trained model behind a real server, in this process and by the command line."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from tests.conftest import QUICK, plain_rows, room_rows
from tests.serving import running, until

import omnifuse

MEDIA = ("picture", "sound")


def as_sent(rows):
    """Rows of a table as a client sends them: the content of files in the place of their names."""
    sent = []
    for row in rows:
        files = {name: base64.b64encode(Path(row[name]).read_bytes()).decode() for name in MEDIA if row.get(name)}
        sent.append({**{name: "" if cell is None else cell for name, cell in row.items()}, **files})
    return sent


def same(found, expected):
    """Whether a served answer is the model's own."""
    assert tuple(found["modalities_used"]) == expected.modalities_used
    for name, answer in expected.targets.items():
        assert found["targets"][name]["value"] == answer.value
        assert found["targets"][name]["probabilities"] == pytest.approx(answer.probabilities, abs=1e-4)


@pytest.fixture(scope="module")
def served(fitted):
    from omnifuse.serve.model_answerer import ModelAnswerer

    with running(ModelAnswerer(omnifuse.load(fitted.run))) as found:
        yield found


def test_served_answers_are_those_of_the_model(served, fitted):
    rows = room_rows(fitted.world.test, 12)
    expected = fitted.model.predict(rows, proba=True)
    answer = served.predict(*as_sent(rows), proba=True)
    assert answer.status == 200
    for found, one in zip(answer.json["predictions"], expected, strict=True):
        same(found, one)
        assert found["model_id"] == fitted.model.model_id
        assert found["row_id"] == one.row_id
    with ThreadPoolExecutor(8) as pool:
        alone = [pool.submit(served.predict, row, proba=True) for row in as_sent(rows)]
    for answer, one in zip(alone, expected, strict=True):
        same(answer.result().json["predictions"][0], one)


def test_parts_of_rows_are_answered_from_what_is_there(served, fitted):
    (row,) = as_sent(room_rows(fitted.world.test, 1))
    for names in (["picture"], ["sound", "note"], ["temperature"]):
        (found,) = served.predict({name: row[name] for name in names}).json["predictions"]
        assert "error" not in found
        assert found["warnings"] == []
    empty, broken = served.predict({}, {"picture": base64.b64encode(b"no picture").decode()}).json["predictions"]
    assert "no field of this row can be read" in empty["error"]
    assert broken["warnings"][0].startswith("picture: The content is not PNG")


def test_the_example_works_as_it_stands(served):
    example = served.send("GET", "/schema").json["example"]
    (found,) = served.send("POST", "/predict", example).json["predictions"]
    assert found["warnings"] == []
    assert len(found["modalities_used"]) == len(served.answerer.model.fields)


def test_the_schema_names_the_values_that_a_category_may_have(served):
    found = served.send("GET", "/schema").json
    (room,) = [item for item in found["fields"] if item["name"] == "room"]
    assert len(room["values"]) >= 2
    assert found["example"]["rows"][0]["room"] == room["values"][0]
    assert all("values" not in item for item in found["fields"] if item["modality"] != "category")


def test_vectors_are_those_of_the_model(served, fitted):
    rows = room_rows(fitted.world.test, 3)
    expected = fitted.model.embed(rows)
    found = served.send("POST", "/embed", {"rows": as_sent(rows)}).json["embeddings"]
    assert [row["embedding"] for row in found] == [pytest.approx(vector, abs=1e-4) for vector in expected["embedding"]]
    assert set(expected) <= set(found[0])


def test_a_path_of_the_server_is_not_read(served, fitted):
    row = room_rows(fitted.world.test, 1)[0]
    (found,) = served.predict({"picture": row["picture"], "note": "calm"}).json["predictions"]
    assert found["modalities_used"] == ["note"]
    assert "opens no path" in found["warnings"][0]


def test_earlier_rows_come_with_the_request(tmp_path):
    from omnifuse.serve.model_answerer import ModelAnswerer

    rows = plain_rows(40)
    for number, row in enumerate(rows):
        row["when"] = f"2026-01-01 {number // 60:02d}:{number % 60:02d}:00"
    drop = ("key", "tags", "price", "colour", "note")
    model = omnifuse.fit(rows, "kind", out=tmp_path / "run", time="when", window=5, drop=drop, **QUICK)
    rows = [{name: row[name] for name in ("when", "size", "weight")} for row in rows]
    (expected,) = model.predict(rows[20:21], history=rows[10:20], proba=True)
    with running(ModelAnswerer(model)) as server:
        (found,) = server.predict(*rows[20:21], history=rows[10:20], proba=True).json["predictions"]
        (bare,) = server.predict(*rows[20:21], proba=True).json["predictions"]
    same(found, expected)
    assert set(bare["modalities_used"]) < set(found["modalities_used"])


def test_a_new_version_in_the_folder_is_taken_up(fitted, tmp_path):
    from omnifuse.serve.model_answerer import ModelAnswerer
    from omnifuse.serve.reload import Reloader

    model = omnifuse.load(fitted.run)
    folder = model.save(tmp_path / "model")
    before = model.model_id

    def reloader(service):
        return Reloader(service, folder, lambda: ModelAnswerer(omnifuse.load(folder)))

    with running(ModelAnswerer(omnifuse.load(folder)), reloader=reloader, reload_s=0.05) as server:
        model.manifest = {**model.manifest, "version": "second"}
        model.save(folder)
        assert model.model_id != before
        until(lambda: server.send("GET", "/health/ready").json["model_id"] == model.model_id, 60)
        (found,) = server.predict({"note": "calm"}).json["predictions"]
        assert found["model_id"] == model.model_id
        weights = folder / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        until(lambda: server.metric("omnifuse_errors_total") >= 1, 60)
        assert server.predict({"note": "calm"}).json["predictions"][0]["model_id"] == model.model_id


def serve_by_command(*options):
    """The command with its first line read."""
    code = "from omnifuse.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", "--json", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate(timeout=60)[1])
    return process, json.loads(line)


def ask(told, token=""):
    """One row over HTTP."""
    request = urllib.request.Request(
        f"{told['url']}predict", json.dumps({"rows": [{"note": "calm"}]}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {token}"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.loads(response.read())["predictions"][0]


def test_the_command_serves_and_ends_with_a_signal(fitted, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length-0123456789\n")
    process, told = serve_by_command(fitted.run, "--token-file", str(token))
    try:
        assert told["model_id"] == fitted.model.model_id
        assert told["token"] is True
        assert ask(told, token.read_text().strip())["model_id"] == told["model_id"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(told)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events[:2] == ["worker_started", "started"]
    assert events[-1] == "ended"
    assert "request" in events


def test_a_killed_process_of_the_model_is_replaced_and_its_clients_wait(fitted):
    process, told = serve_by_command(fitted.run)
    try:
        worker = json.loads(process.stderr.readline())
        assert worker["event"] == "worker_started"
        os.kill(worker["pid"], signal.SIGKILL)
        assert ask(told)["model_id"] == told["model_id"]
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in err.splitlines()].count("worker_lost") == 1


def test_a_model_that_cannot_be_loaded_is_one_line_and_code_2(fitted, tmp_path):
    folder = omnifuse.load(fitted.run).save(tmp_path / "model")
    (folder / "CARD.md").write_text("changed")
    code = "from omnifuse.cli.main import run; run()"
    done = subprocess.run([sys.executable, "-c", code, "serve", str(folder), "--port", "0"],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert "the digest of 'CARD.md' does not match" in line
    assert done.stdout == ""


@pytest.mark.slow
def test_the_command_follows_a_registry_through_damage_and_absence(exported, tmp_path):
    from omnifuse.deploy.artefact import find_model_folder
    from omnifuse.deploy.registry import Registry

    place, hidden = tmp_path / "registry", tmp_path / "hidden"
    for name in ("first", "second", "third"):
        Registry(place).add(exported, name=name)
    Registry(place).promote("first", "production")
    options = ["--cache", str(tmp_path / "cache"), "--poll", "0.2", "--graphs"]
    process, told = serve_by_command("--registry", str(place), *options)
    try:
        assert ask(told)["version"] == "first"
        Registry(place).promote("second", "production")
        until(lambda: ask(told)["version"] == "second", 60)
        # The place vanishes, and comes back with a version that was damaged meanwhile
        place.rename(hidden)
        Registry(hidden).promote("third", "production")
        graph = hidden / "versions/third/files/graph/fusion.onnx"
        assert (find_model_folder(exported) / "graph/fusion.onnx").read_bytes() == graph.read_bytes()
        whole = graph.read_bytes()
        graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        until(lambda: num_problems(told) == 1, 60)
        assert ask(told)["version"] == "second"
        hidden.rename(place)
        until(lambda: num_problems(told) == 2, 60)
        assert ask(told)["version"] == "second"
        graph = place / "versions/third/files/graph/fusion.onnx"
        graph.write_bytes(whole)
        until(lambda: ask(told)["version"] == "third", 60)
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    reasons = [json.loads(line).get("reason", "") for line in err.splitlines()]
    assert any("the digest of 'graph/fusion.onnx' of version 'third' does not match" in reason for reason in reasons)


def num_problems(told):
    """How many different ones the server has had with the registry."""
    with urllib.request.urlopen(f"{told['url']}metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('omnifuse_errors_total{kind="registry"}'))
