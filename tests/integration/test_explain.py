"""Explanations of a fitted model, of its graphs, on the command line and by the server."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.conftest import QUICK, room_rows

import omnifuse
from omnifuse.data.worlds import World, WorldField
from omnifuse.deploy.runtime import Runtime


def shares_of(explanation):
    return {(answer.answered.target, share.field): share.effect for answer in explanation.answers
            for share in answer.shares}  # fmt: skip


def effects_of(explanation):
    return {
        (name, part.what): part.effect for name, item in explanation.parts.items() for part in item.parts
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole_row(fitted, rooms):
    """A row with every field."""
    rows = room_rows(rooms.test, 40)
    return next(row for row, found in zip(rows, fitted.model.predict(rows), strict=True)
                if len(found.modalities_used) == len(fitted.model.fields))  # fmt: skip


@pytest.fixture(scope="module")
def explained(fitted, whole_row):
    return fitted.model.explain(whole_row)


def test_shares_add_up_to_the_answer(fitted, whole_row, explained):
    (answer,) = explained.answers
    (predicted,) = fitted.model.predict([whole_row])
    assert answer.answered.label == predicted.targets["event"].value
    sure = predicted.targets["event"].confidence
    assert answer.value == pytest.approx(np.log(sure / (1 - sure)), abs=1e-3)
    readout = fitted.model.readouts["event"]
    share = readout.prior[answer.answered.number]
    assert answer.prior == pytest.approx(np.log(share / (1 - share)))
    assert sum(shares_of(explained).values()) == pytest.approx(answer.value - answer.prior, abs=1e-6)
    assert {share.field for share in answer.shares} == set(fitted.model.fields)


def test_hiding_a_field_by_hand_gives_the_same_answers(fitted, whole_row):
    """What the probe says of subsets is what the model answers to rows that lack the other fields."""
    model = fitted.model
    decoded = model.decode(omnifuse.open_table([whole_row]))
    patterns = np.random.default_rng(0).random((6, len(model.fields))) < 0.5
    patterns[0] = False
    found = model.readouts["event"].scores(model.probe(decoded, 0).subsets(patterns))
    columns = {item.name: item.columns for item in model.schema.inputs}
    rows = []
    for pattern in patterns:
        kept = {column for name, there in zip(model.fields, pattern, strict=True) if there for column in columns[name]}
        rows.append({name: cell if name in kept else None for name, cell in whole_row.items()})
    np.testing.assert_allclose(found, model.predict_proba(rows, target="event"), atol=1e-5)


def test_every_field_but_dates_is_looked_into(fitted, explained):
    kinds = {item.name: item.modality for item in fitted.model.schema.inputs}
    assert set(explained.parts) == {name for name, kind in kinds.items() if kind not in ("date", "place")}
    for item in explained.parts.values():
        assert item.parts
        assert np.isfinite(item.effects()).all()
    json.dumps(explained.to_json(), allow_nan=False)


def test_the_graphs_explain_as_the_model_does(exported, whole_row, explained):
    found = Runtime(exported, threads=1).explain(whole_row)
    assert found.model_id
    assert shares_of(found) == pytest.approx(shares_of(explained), abs=1e-3)
    assert found.answers[0].value == pytest.approx(explained.answers[0].value, abs=1e-3)
    assert effects_of(found) == pytest.approx(effects_of(explained), abs=1e-3)


def test_the_field_that_carries_the_label_gets_the_largest_share(tmp_path):
    """In a world where the note shows the label and number, category and tags are noise."""
    fields = (WorldField("note", 0), WorldField("number", None), WorldField("category", None), WorldField("tags", None))
    train, test = omnifuse.generate_world(tmp_path / "world", World(fields), num_train=120, num_test=8)
    model = omnifuse.fit(train, "label", out=tmp_path / "run", **QUICK)
    for found in model.explain_rows(test, rows=range(8), parts=False):
        assert {share.field for share in found.shares} == set(model.fields) == {"note", "tags", "table"}
        assert max(found.shares, key=lambda share: share.effect).field == "note"
        assert max(found.shares, key=lambda share: share.share).field == "note"


def test_on_the_command_line(fitted, rooms, tmp_path, capsys):
    from omnifuse.cli.main import run

    def cli(*arguments):
        with pytest.raises(SystemExit) as end:
            run([str(part) for part in arguments])
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    page = tmp_path / "page.html"
    code, out, _ = cli("explain", fitted.run, rooms.test, "--row", 1, "--html", page, "--json")
    assert code == 0
    (found,) = json.loads(out)["explanations"]
    assert found["answers"][0]["shares"]
    text = page.read_text()
    assert "<script" not in text
    assert "event: " in text
    code, out, _ = cli("explain", fitted.run, rooms.test, "--row", 0)
    assert code == 0
    assert "log-odds" in out
    assert "not what causes the label" in out
    code, _, err = cli("explain", fitted.run, rooms.test, "--row", 4000)
    assert (code, "there is no row 4000" in err) == (2, True)
    code, _, err = cli("explain", fitted.run, rooms.test, "--target", "evnt")
    assert (code, "did you mean 'event'" in err) == (2, True)


def test_by_the_server(fitted, whole_row, explained):
    from pathlib import Path

    from tests.serving import base64_of, running

    from omnifuse.serve.model_answerer import ModelAnswerer

    row = {name: {"base64": base64_of(Path(cell).read_bytes())} if name in ("picture", "sound") else cell
           for name, cell in whole_row.items() if name != "event"}  # fmt: skip
    with running(ModelAnswerer(fitted.model)) as server:
        answer = server.send("POST", "/explain", {"rows": [row, {}]})
    found, empty = answer.json["explanations"]
    shares = {share["field"]: share["effect"] for share in found["answers"][0]["shares"]}
    assert shares == pytest.approx({share.field: share.effect for share in explained.shares}, abs=1e-4)
    assert set(found["answers"][0]["parts"]) == set(explained.parts)
    assert empty["error"] == "no field of this row can be read"
