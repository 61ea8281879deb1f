"""`fit --time --group` on dialogues: what was said before is learnt from, named, left out by --drop, never invented."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from tests.conftest import make_problem

import omnifuse
from omnifuse.api.options import FitOptions
from omnifuse.api.prepare import read_schema
from omnifuse.cli.main import run
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError

QUICK = ["--preset", "tiny", "--epochs", "1", "--no-baselines", "--logger", "none", "--report-media", "none"]
ASKED = ("shall we go", "shall we stay")


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run([str(item) for item in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return call


def dialogues(count, *, seed=0):
    """A question, then the same answer to either: only the question says what it means."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        asked = int(draw.integers(2))
        for turn, said in enumerate((ASKED[asked], "yes please")):
            rows.append({"talk": f"t{number}", "turn": turn, "said": said, "means": ("leave", "remain")[asked]})
    return [rows[place] for place in draw.permutation(len(rows))]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("talks") / "rows.csv"
    pl.DataFrame(dialogues(30)).write_csv(path)
    return path


def test_from_the_command_line(cli, table, tmp_path):
    options = ["fit", table, "--label", "means", "--field", "said=text", "--time", "turn", "--group", "talk"]
    code, out, err = cli(*options, "--out", tmp_path / "with", "--json", *QUICK)
    assert code == 0, err
    assert json.loads(out)["targets"]["means"]["metrics"]
    assert "said, said_before" in err
    stored = json.loads((tmp_path / "with" / "model" / "model.json").read_text())["schema"]
    assert stored["history"]["texts"] == [{"name": "said_before", "column": "said", "most": 5, "chars": 1000}]
    assert "said_before" in (tmp_path / "with" / "report" / "report.html").read_text()
    code, out, err = cli(*options, "--out", tmp_path / "none", "--drop", "said_after", *QUICK)
    assert code == 2
    assert "--drop names the column 'said_after', which rows.csv lacks" in err

    asked = tmp_path / "asked.csv"
    pl.DataFrame(dialogues(8, seed=1)).drop("means").write_csv(asked)
    code, out, err = cli("predict", tmp_path / "with", asked, "-o", tmp_path / "answers.csv")
    assert code == 0, err
    rows, answers = pl.read_csv(asked), pl.read_csv(tmp_path / "answers.csv")
    used = dict(zip(zip(rows["talk"], rows["turn"], strict=True), answers["modalities_used"], strict=True))
    assert {names for (_, turn), names in used.items() if turn == 0} == {"said"}
    assert {names for (_, turn), names in used.items() if turn == 1} == {"said+said_before"}


def test_left_out_by_name(table, tmp_path):
    asked = {"fields": {"said": "text"}, "time": "turn", "group": "talk"}
    options = FitOptions(("means",), tmp_path, drop=("said_before",), **asked)
    assert [item.name for item in read_schema(open_table(table), options).inputs] == ["said"]
    whole = read_schema(open_table(table), FitOptions(("means",), tmp_path, **asked))
    assert [item.name for item in whole.inputs] == ["said", "said_before"]
    alone = FitOptions(("means",), tmp_path, drop=("said_before",), fields={"said": "text"}, group="talk")
    with pytest.raises(InputError, match="--drop names the column 'said_before'"):
        read_schema(open_table(table), alone)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    return omnifuse.fit(
        dialogues(60),
        "means",
        out=tmp_path_factory.mktemp("learnt") / "run",
        fields={"said": "text"},
        time="turn",
        group="talk",
        preset="tiny",
        epochs=6,
        baselines=False,
        logger="none",
        report_media="none",
    )


def test_what_the_question_says_of_the_answer_is_learnt(learnt):
    rows = dialogues(20, seed=2)
    means = [answer.targets["means"].value for answer in learnt.predict(rows)]
    assert means == [row["means"] for row in rows]
    bare = learnt.predict([{"talk": "new", "turn": 1, "said": "yes please"}], proba=True)[0]
    assert bare.modalities_used == ("said",)
    asked = {"talk": "new", "turn": 0, "said": ASKED[1]}
    told = learnt.predict([{"talk": "new", "turn": 1, "said": "yes please"}], history=[asked])[0]
    assert (told.targets["means"].value, told.modalities_used) == ("remain", ("said", "said_before"))


def test_a_text_that_is_missing_at_prediction_leaves_what_was_said_before(learnt):
    rows = [dict(row, said=None) if row["turn"] else row for row in dialogues(5, seed=3)]
    answers = learnt.predict(rows)
    used = {answer.modalities_used for answer, row in zip(answers, rows, strict=True) if row["turn"]}
    assert used == {("said_before",)}
    bare = [{"talk": "x", "turn": 0, "said": None}, {"talk": "x", "turn": 1, "said": "yes please"}]
    assert [answer.modalities_used for answer in learnt.predict(bare)] == [(), ("said",)]
    assert learnt.predict(bare)[0].error


def test_a_text_column_without_any_text_makes_no_past(tmp_path):
    rows = [dict(row, said=None, size=place % 7 + 0.5) for place, row in enumerate(dialogues(20))]
    problem = make_problem(rows, ["means"], tmp_path, fields={"said": "text"}, time="turn", group="talk")
    assert [item.name for item in problem.prepared.schema.inputs] == ["said", "history", "table"]
    assert not problem.prepared.packs["said"].present.any()
    assert not [item for item in problem.prepared.findings if item.kind == "past_text"]
