"""`fit --time`: a state that only the past rows show is learnt, and every way of asking gives the same answers."""

from __future__ import annotations

import datetime
import json

import numpy as np
import polars as pl
import pytest
from tests.conftest import QUICK

import omnifuse
from omnifuse.cli.main import run
from omnifuse.errors import InputError
from omnifuse.readout import answering

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def rooms_in_time(count, *, seed=0):
    """Each room warms or cools; the level itself says nothing."""
    draw = np.random.default_rng(seed)
    rows, level, state = [], {"hall": 0.0, "attic": 50.0}, {"hall": 1, "attic": -1}
    for step in range(count):
        room = ("hall", "attic")[step % 2]
        if draw.random() < 0.08:
            state[room] = -state[room]
        level[room] += state[room] + draw.normal(0, 0.1)
        when = START + datetime.timedelta(minutes=step // 2 + 300 * (step > count // 2))
        rows.append(
            {
                "when": when.isoformat(),
                "room": room,
                "heat": f"{level[room]:.3f}",
                "noise": f"{draw.normal():.3f}",
                "trend": "warms" if state[room] > 0 else "cools",
            }
        )
    return rows


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timed") / "run"
    rows = rooms_in_time(160)
    model = omnifuse.fit(rows, "trend", out=folder, time="when", group="room", window=8, **QUICK)
    return model, folder, rows


def told(answers):
    """What each row was answered, but for its number in the table."""
    return [(answer.targets["trend"].probabilities, answer.modalities_used, answer.warnings) for answer in answers]


def same(one, two):
    for first, second in zip(one, two, strict=True):
        assert first[1:] == second[1:]
        assert first[0] == pytest.approx(second[0], abs=1e-5)


def test_the_folder_says_what_is_made_and_the_loaded_model_answers_the_same(timed):
    model, folder, rows = timed
    history = json.loads((folder / "model" / "model.json").read_text())["schema"]["history"]
    assert (history["window"], history["time"], history["group"], history["columns"]) == (
        8,
        "when",
        "room",
        ["heat", "noise"],
    )
    assert model.fields == ("history", "table")
    same(told(omnifuse.load(folder).predict(rows, proba=True)), told(model.predict(rows, proba=True)))


def test_the_first_rows_and_those_after_a_gap_are_answered_without(timed):
    model, _, rows = timed
    used = [answer.modalities_used for answer in model.predict(rows)]
    bare = [row for row, names in enumerate(used) if "history" not in names]
    assert bare == [0, 1, 81, 82]
    assert set(used) == {("table",), ("history", "table")}


def test_later_rows_and_other_groups_change_no_answer(timed):
    model, _, rows = timed
    whole = told(model.predict(rows, proba=True))
    same(told(model.predict(rows[:60], proba=True)), whole[:60])
    changed = [dict(row, heat="1e6") if row["room"] == "attic" or place > 70 else row for place, row in enumerate(rows)]
    kept = [place for place in range(71) if rows[place]["room"] == "hall"]
    found = told(model.predict(changed, proba=True))
    same([found[place] for place in kept], [whole[place] for place in kept])
    assert any(found[place][0] != pytest.approx(whole[place][0], abs=1e-5) for place in range(1, 71, 2))
    labels = [dict(row, trend="warms") for row in rows]
    same(told(model.predict(labels, proba=True)), whole)


def test_any_order_chunks_and_single_rows_answer_alike(timed, monkeypatch):
    model, _, rows = timed
    whole = told(model.predict(rows, proba=True))
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = told(model.predict([rows[place] for place in order], proba=True))
    same(shuffled, [whole[place] for place in order])
    same(told(model.predict(rows[40:42], proba=True, history=rows[:40])), whole[40:42])
    scores = model.predict_proba(rows)
    vectors = model.embed(rows)
    monkeypatch.setattr(answering, "CHUNK_ROWS", 13)
    same(told(model.predict([rows[place] for place in order], proba=True)), shuffled)
    np.testing.assert_allclose(model.predict_proba(rows), scores, atol=1e-5)
    for name, values in model.embed(rows).items():
        np.testing.assert_allclose(values, vectors[name], atol=1e-4)


def asked(out, *options):
    """The exit code of `omnifuse predict`."""
    with pytest.raises(SystemExit) as end:
        run(["predict", *options, "-o", str(out)])
    return end.value.code


def test_the_command_line_takes_earlier_rows_that_are_not_answered(timed, tmp_path, capsys):
    model, folder, rows = timed
    earlier, later, out = tmp_path / "earlier.csv", tmp_path / "later.csv", tmp_path / "answers.jsonl"
    pl.DataFrame(rows[:40]).write_csv(earlier)
    pl.DataFrame(rows[40:44]).write_csv(later)
    assert asked(out, str(folder), str(later), "--history", str(earlier), "--proba") == 0
    found = pl.read_ndjson(out).to_dicts()
    for row, answer in zip(found, model.predict(rows[40:44], proba=True, history=rows[:40]), strict=True):
        assert row["modalities_used"] == "history+table"
        assert row["trend=warms"] == pytest.approx(answer.targets["trend"].probabilities["warms"], abs=1e-5)
    assert asked(out, str(folder), str(later), "--proba") == 0
    assert pl.read_ndjson(out)["modalities_used"].to_list()[:2] == ["table", "table"]
    out.unlink()
    pl.DataFrame(rows[:40]).rename({"when": "wen"}).write_csv(earlier)
    assert asked(out, str(folder), str(later), "--history", str(earlier)) == 2
    assert "the history has no column 'when'. did you mean 'wen'?" in capsys.readouterr().err
    assert not out.exists()


def test_evaluation_reads_the_past_of_its_own_table(timed):
    model, _, rows = timed
    result = model.evaluate(rows[:100])
    assert set(result["targets"]["trend"]["subsets"]) == {"history+table", "history", "table"}
    stripped = [{key: cell for key, cell in row.items() if key != "when"} for row in rows[:100]]
    assert model.evaluate(stripped)["warnings"] == ["column 'when' is absent: treated as missing"]


def test_a_time_that_cannot_be_read_is_named_and_costs_the_history_of_its_row(timed):
    model, _, rows = timed
    broken = [dict(row) for row in rows[:20]]
    broken[10]["when"], broken[12]["when"] = "soon", None
    answers = model.predict(broken)
    assert answers[10].warnings == ("when: 'soon' is no time: answered without history",)
    assert answers[12].warnings == ("when: the time is missing: answered without history",)
    assert answers[10].modalities_used == answers[12].modalities_used == ("table",)
    assert answers[11].modalities_used == ("history", "table")


def test_window_0_reads_no_past(tmp_path, capsys):
    rows = rooms_in_time(60)
    model = omnifuse.fit(rows, "trend", out=tmp_path / "run", time="when", window=0, **QUICK)
    assert model.fields == ("table",)
    assert model.schema.history is None
    with pytest.raises(InputError, match="the model reads no history"):
        model.predict(rows[5:], history=rows[:5])
    table, out = tmp_path / "rows.csv", tmp_path / "answers.csv"
    pl.DataFrame(rows).write_csv(table)
    assert asked(out, str(tmp_path / "run"), str(table), "--history", str(table)) == 2
    assert "the model reads no history. Fit it with --time COLUMN" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(InputError, match="--window is -1"):
        omnifuse.fit(rows, "trend", out=tmp_path / "other", time="when", window=-1, **QUICK)
