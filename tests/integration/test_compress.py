"""Compression of an exported model: smaller graphs that the runtime answers with, and one line for what cannot be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import room_rows

import omnifuse
from omnifuse.api.compressing import CompressOptions, compress_model
from omnifuse.api.distilling import Lesson
from omnifuse.cli.main import run
from omnifuse.deploy.compressed import REPORT
from omnifuse.deploy.held_back import HELD_BACK
from omnifuse.deploy.runtime import Runtime
from omnifuse.errors import ArtefactError, InputError

pytestmark = pytest.mark.slow  # a fit and its graphs

QUICK = CompressOptions(members=1, int8=True, most_loss=0.99, threads=1)


@pytest.fixture(scope="module")
def compressed(exported, tmp_path_factory):
    """What was found, and the folder."""
    out = tmp_path_factory.mktemp("compressed") / "small"
    return compress_model(exported, out=out, options=QUICK), out


def test_the_report_holds_each_step(compressed):
    found, out = compressed
    assert json.loads((out / REPORT).read_text())["model_id"] == found["model_id"]
    assert [step["step"].split()[0] for step in found["steps"]] == ["as", "1", "int8"]
    assert found["members"] == [5, 1]
    assert found["size_bytes"][1] < found["size_bytes"][0] / 4
    first = found["steps"][0]
    assert first["agreement"] == 1.0
    assert first["scores"]["event"]["metric"] == "accuracy"
    assert first["scores"]["event"]["low"] <= first["scores"]["event"]["value"] <= first["scores"]["event"]["high"]
    assert "only losses count" in found["judged_on"]
    assert {item["form"] for item in found["steps"][2]["graphs"]} & {"dynamic", "static"}


def test_the_compressed_model_answers_by_itself(compressed, exported, rooms):
    found, out = compressed
    small, whole = Runtime(out, threads=1), Runtime(exported, threads=1)
    assert small.model_id == found["model_id"] != whole.model_id
    assert (small.graphs.signature.num_members, small.graphs.signature.precision) == (1, "int8")
    rows = room_rows(rooms.test, 6)
    chances = [model.predict_proba(rows) for model in (small, whole)]
    assert np.isfinite(chances[0]).all()
    np.testing.assert_allclose(chances[0].sum(axis=1), 1.0, atol=1e-6)
    assert np.abs(chances[0] - chances[1]).mean() < 0.2
    size = sum(path.stat().st_size for path in (out / "model").rglob("*") if path.is_file())
    assert size < found["size_bytes"][0] / 4


def test_a_compressed_model_is_no_model_for_pytorch_and_is_not_compressed_again(compressed):
    _, out = compressed
    with pytest.raises(ArtefactError, match="was compressed: it holds graphs and no weights"):
        omnifuse.load(out)
    with pytest.raises(InputError, match="is compressed already"):
        compress_model(out)


def says(capsys, *words):
    """Exit code and the error line of a command."""
    with pytest.raises(SystemExit) as end:
        run(["compress", *[str(word) for word in words]])
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prune", "1.5"], "--prune 1.5 is no share"),
        (["--members", "5"], "--members 5, and the model has 5. Give 1 to 4"),
        (["--budget", "3 apples"], "the unit 'apples' is not known"),
        (["--budget", "1% beauty"], "'beauty' is not compared"),
        (["--loss", "2"], "--loss 2 is no share"),
        (["--fields", "note"], "--fields is for a student, and there is none"),
        (["--table", "x.csv"], "a table is given and no student"),
        (["--distil", "tny"], "did you mean 'tiny'"),
        (["--distil", "tiny", "--fields", "nte"], "did you mean 'note'"),
        (["--distil", "tiny"], "Give their table: --table TABLE"),
    ],
)
def test_bad_options_are_one_line(exported, capsys, options, words):
    code, error = says(capsys, exported, *options)
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_a_model_without_graphs_names_the_command(fitted, capsys):
    code, error = says(capsys, fitted.run, "--int8")
    assert code == 2
    assert "omnifuse export" in error


def test_a_folder_of_something_else_is_not_replaced(exported, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    code, error = says(capsys, exported, "--int8", "--out", tmp_path)
    assert code == 2
    assert "holds something else than a compressed model" in error
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_without_rows_a_table_is_asked_for(exported, tmp_path, capsys):
    shutil.copytree(exported / "model", tmp_path / "run" / "model")
    assert (exported / HELD_BACK).is_file()
    code, error = says(capsys, tmp_path / "run", "--int8")
    assert code == 2
    assert "--check TABLE" in error


def test_a_student_learns_from_the_model_and_takes_its_place(exported, rooms, tmp_path):
    lesson = Lesson("tiny", ("note", "table"), epochs=1)
    out = tmp_path / "small"
    options = CompressOptions(student=lesson, members=1, most_loss=0.99, threads=1)
    found = compress_model(exported, out=out, table=rooms.train, options=options)
    first, distilled, members = found["steps"]
    assert distilled["step"] == "distilled into tiny of note, table"
    assert distilled["kept"]
    assert distilled["scores"]["event"]["metric"] == "accuracy"
    assert distilled["size_bytes"] < first["size_bytes"]
    assert members["step"].startswith("1 of 5 members")
    small = Runtime(out, threads=1)
    assert small.fields == ("note", "table")
    assert small.model_id == found["model_id"]
    assert json.loads((out / "model" / "model.json").read_text())["compressed"]["of"] == found["model"]
    assert small.predict(room_rows(rooms.test, 1))[0].targets["event"].value
    # The student is a model of its own, for PyTorch too
    assert omnifuse.load(tmp_path / "small-student").fields == ("note", "table")


def test_a_student_of_another_table_needs_rows_to_judge_on(exported, rooms, capsys):
    code, error = says(capsys, exported, "--distil", "tiny", "--table", rooms.test)
    assert code == 2
    assert "is not the table that the model learnt from" in error
    assert "--check TABLE" in error


def test_what_a_student_needs_is_told_before_it_is_trained(exported, rooms, tmp_path, monkeypatch):
    from omnifuse.api import compressing
    from omnifuse.api.check_rows import rows_held_back

    options, out = CompressOptions(student=Lesson("tiny"), threads=1), tmp_path / "small"
    monkeypatch.setattr(compressing, "distil", lambda *_, **__: pytest.fail("trained"))
    home = tmp_path / "small-student"
    home.mkdir()
    (home / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match=r"small-student', which holds 'precious\.txt'"):
        compress_model(exported, out=out, table=rooms.train, options=options)
    (home / "precious.txt").unlink()
    unlabelled = lambda *found: replace(rows_held_back(*found), truths={})  # noqa: E731
    monkeypatch.setattr(compressing, "rows_held_back", unlabelled)
    with pytest.raises(InputError, match="a student is judged by labels, and there are none"):
        compress_model(exported, out=out, table=rooms.train, options=options)
    with pytest.raises(InputError, match="needs rows with labels"):
        compress_model(exported, out=out, options=CompressOptions(budget="1% accuracy", threads=1))


def test_heads_are_found_in_the_graphs_of_the_library(exported):
    from omnifuse.deploy.artefact import load_artefact
    from omnifuse.deploy.graph_set import read_graphs
    from omnifuse.deploy.held_back import load_held_back
    from omnifuse.deploy.prune_heads import prune_heads
    from omnifuse.deploy.trial import Trial

    graphs = read_graphs(exported / "model", load_artefact(exported).model_id)
    trial = Trial(load_held_back(exported, tuple(graphs.signature.fields)), threads=1)
    file = graphs.signature.fields["note"].file
    pruned, removed = prune_heads(graphs.contents[file], trial.feeds(graphs)[file], 0.5)
    # 5 members of one block with 2 heads
    assert removed == 5
    assert np.isfinite(
        trial.answers(graphs.with_graph(file, pruned))[tuple(graphs.signature.fields)].fused["event"]
    ).all()
