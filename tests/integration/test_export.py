"""Export: graphs that answer as the model does, with any field absent, and a runtime that loads no PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import QUICK, room_rows

import omnifuse
from omnifuse.api import exporting
from omnifuse.api.exporting import export_model
from omnifuse.cli.main import run
from omnifuse.deploy.graph_folder import FUSION_FILE, GRAPH_FOLDER, GRAPH_MANIFEST
from omnifuse.deploy.runtime import Runtime
from omnifuse.errors import ArtefactError, InputError, OmnifuseError

FIELDS = ("picture", "sound", "note", "temperature", "co2", "room", "time")


@pytest.fixture(scope="module")
def runtime(exported):
    return Runtime(exported, threads=1)


def holes(rows, draw):
    """Rows of which a third of the cells is empty, the first whole and the last without anything."""
    for row in rows[1:]:
        for name in FIELDS:
            if draw.random() < 1 / 3:
                row[name] = None
    rows[-1] |= dict.fromkeys(FIELDS)
    return rows


def chances(predictions):
    """(B, C) probabilities of the event, NaN where a row has none."""
    known = next(item.targets["event"].probabilities for item in predictions if item.error is None)
    none = dict.fromkeys(known, np.nan)
    return np.array([list((item.targets["event"].probabilities or none).values()) for item in predictions])


def assert_same_answers(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.targets["event"].value == other.targets["event"].value
        assert (one.row_id, one.ids, one.modalities_used) == (other.row_id, other.ids, other.modalities_used)
        assert (one.error, one.warnings, one.model_id) == (other.error, other.warnings, other.model_id)
    np.testing.assert_allclose(chances(found), chances(wanted), atol=1e-4)


def test_the_report_says_how_far_the_graphs_lie_apart(exported, fitted):
    graphs = exported / "model" / GRAPH_FOLDER
    report = json.loads((graphs / exporting.PARITY).read_text())
    assert report["rows"] > 1
    assert report["relative"] <= report["tolerance"] == 1e-4
    assert report["agreement"] == 1.0
    assert len(report["subsets"]) == 1 + len(fitted.model.fields)
    files = {path.name for path in graphs.iterdir()}
    assert len(files) == len(fitted.model.fields) + 3
    assert files >= {FUSION_FILE, GRAPH_MANIFEST, exporting.PARITY, "encoder_picture.onnx", "encoder_note.onnx"}


def test_rows_with_holes_are_answered_as_the_model_answers_them(runtime, fitted, rooms):
    rows = holes(room_rows(rooms.test, 24), np.random.default_rng(0))
    assert_same_answers(runtime.predict(rows, proba=True), fitted.model.predict(rows, proba=True))


@pytest.mark.parametrize("only", ["picture", "sound", "note", "time"])
def test_one_field_alone_is_enough(runtime, fitted, rooms, only):
    rows = [{only: row[only]} for row in room_rows(rooms.test, 6) if row[only]]
    assert_same_answers(runtime.predict(rows, proba=True), fitted.model.predict(rows, proba=True))


def test_a_row_alone_is_answered_as_among_others(runtime, rooms):
    rows = room_rows(rooms.test, 8)
    alone = [runtime.predict([row], proba=True)[0] for row in rows]
    np.testing.assert_allclose(chances(alone), chances(runtime.predict(rows, proba=True)), atol=1e-5)


def test_only_the_encoders_of_present_fields_run(exported, rooms):
    runtime = Runtime(exported, threads=1)
    asked = []

    def watched(name: str, session: object) -> object:
        class Watched:
            def run(self, *given):
                asked.append(name)
                return session.run(*given)

        return Watched()

    runtime.graphs.sessions = {name: watched(name, session) for name, session in runtime.graphs.sessions.items()}
    runtime.predict([{"note": "a calm morning"}])
    assert asked == ["note"]


def test_files_and_bytes_and_arrays_are_read_alike(runtime, rooms):
    from PIL import Image

    row = next(row for row in room_rows(rooms.test, 40) if row["picture"])
    path = row["picture"]
    with Image.open(path) as picture:
        given = [path, Path(path).read_bytes(), np.asarray(picture.convert("RGB")), picture.convert("RGB")]
    found = chances([runtime.predict([{**row, "picture": item}], proba=True)[0] for item in given])
    np.testing.assert_allclose(found, np.repeat(found[:1], len(given), axis=0), atol=1e-6)


WITHOUT_TORCH = """
import json, sys
# An import of what is None in sys.modules fails as if it were not installed
sys.modules |= dict.fromkeys(("torch", "lightning", "torchmetrics", "sklearn"))
from omnifuse.deploy.runtime import Runtime
rows = json.load(sys.stdin)
found = Runtime(sys.argv[1]).predict(rows, proba=True)
print(json.dumps([[item.targets["event"].value, list(item.targets["event"].probabilities.values())] for item in found]))
"""


def test_the_runtime_needs_no_torch(exported, fitted, rooms):
    rows = room_rows(rooms.test, 5)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(exported)],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        check=True,
    )
    found, wanted = json.loads(done.stdout), fitted.model.predict(rows, proba=True)
    assert [value for value, _ in found] == [item.targets["event"].value for item in wanted]
    np.testing.assert_allclose([given for _, given in found], chances(wanted), atol=1e-4)


@pytest.fixture(scope="module")
def small(rooms, tmp_path_factory):
    """The run of a model of two numbers, quick to export."""
    run = tmp_path_factory.mktemp("small") / "run"
    drop = tuple(name for name in FIELDS if name not in ("temperature", "co2"))
    omnifuse.fit(rooms.train, "event", out=run, **QUICK, drop=drop)
    return run


def test_the_command_compares_on_a_table_and_writes(small, rooms, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(small, folder)
    with pytest.raises(SystemExit) as ended:
        run(["export", str(folder), "--check", str(rooms.test), "--json"])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 40
    assert report["relative"] <= 1e-4


def test_graphs_that_answer_apart_are_not_written(small, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(small, folder)
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(OmnifuseError, match="apart from the model"):
        export_model(omnifuse.load(folder), folder)
    assert not (folder / "model" / GRAPH_FOLDER).exists()


def test_without_rows_to_compare_it_says_what_to_give(fitted, tmp_path):
    shutil.copytree(fitted.run / "model", tmp_path / "model")
    with pytest.raises(InputError, match="no rows to compare"):
        export_model(omnifuse.load(tmp_path / "model"), tmp_path / "model")


def damaged(change: Callable, exported, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(exported, folder)
    change(folder / "model" / GRAPH_FOLDER)
    with pytest.raises(ArtefactError) as told:
        Runtime(folder)
    return str(told.value)


def test_a_changed_byte_of_a_graph_is_refused(exported, tmp_path):
    def flip(graphs):
        content = bytearray((graphs / FUSION_FILE).read_bytes())
        content[len(content) // 2] ^= 1
        (graphs / FUSION_FILE).write_bytes(content)

    assert FUSION_FILE in damaged(flip, exported, tmp_path)


def test_an_absent_graph_is_named(exported, tmp_path):
    assert FUSION_FILE in damaged(lambda graphs: (graphs / FUSION_FILE).unlink(), exported, tmp_path)


def test_a_changed_description_is_refused(exported, tmp_path):
    def change(graphs):
        path = graphs / GRAPH_MANIFEST
        path.write_text(path.read_text().replace('"fp32"', '"int8"'))

    assert "was changed" in damaged(change, exported, tmp_path)


def test_graphs_of_another_model_are_refused(exported, rooms, tmp_path):
    model = omnifuse.fit(rooms.train, "event", out=tmp_path / "other", **{**QUICK, "seed": 3})
    shutil.copytree(exported / "model" / GRAPH_FOLDER, tmp_path / "other" / "model" / GRAPH_FOLDER)
    with pytest.raises(ArtefactError, match=f"holds model {model.model_id}"):
        Runtime(tmp_path / "other")


def test_a_model_that_was_not_exported_says_how(fitted):
    with pytest.raises(ArtefactError, match="omnifuse export"):
        Runtime(fitted.run)
