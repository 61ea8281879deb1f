"""Explanations of models whose truth is known by hand: sums of words, columns and bright pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.explained import FIELDS, ROW, SIZE, TARGETS, SumModel, WideProbe

from omnifuse.data.table import TablePreprocessor
from omnifuse.errors import InputError
from omnifuse.explain import explain_decoded
from omnifuse.explain.answered import log_odds
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Field, Modality, Schema


def test_fields_of_a_sum_get_what_they_add():
    found = SumModel().explain(ROW)
    (answer,) = found.answers
    assert (answer.answered.label, answer.answered.unit) == ("red", "log-odds")
    assert answer.prior == 0.0
    effects = {share.field: share.effect for share in found.shares}
    assert effects == pytest.approx({"note": 2.0, "photo": 1.0, "table": SIZE - 0.5})
    assert sum(effects.values()) == pytest.approx(answer.value - answer.prior)
    assert sum(share.share for share in found.shares) == pytest.approx(1.0)


def test_parts_that_speak_are_found():
    parts = SumModel().explain(ROW).parts
    assert {part.what: pytest.approx(part.effect) for part in parts["note"].parts} == {"a": 0, "red": 2, "house": 0}
    columns = {part.where["column"]: part.effect for part in parts["table"].parts}
    assert columns == pytest.approx({"size": SIZE, "weight": 0.0, "colour": -0.5})
    assert [part.what for part in parts["table"].parts] == ["size = 4", "weight = 1", "colour = grey"]
    grid = parts["photo"].effects()
    assert grid.shape == (1, 4, 4)
    assert np.unravel_index(grid.argmax(), grid.shape) == (0, 0, 3)
    assert grid[0, 0, 3] == pytest.approx(1.0)
    assert np.abs(grid).sum() == pytest.approx(1.0)


def test_each_task_has_its_unit():
    found = {item.answered.target: item for item in SumModel(*TARGETS).explain(ROW, parts=False).answers}
    total = 2.5 + SIZE
    price = found["price"]
    assert (price.answered.unit, price.prior) == ("the unit of the label", 10.0)
    assert price.value == pytest.approx(10.0 + total)
    assert price.shares[0].effect == pytest.approx(2.0)
    assert (found["tags"].answered.label, found["tags"].value) == ("big", pytest.approx(total))
    level = found["level"]
    odds = np.exp(total)
    assert (level.answered.label, level.answered.unit, level.prior) == ("high", "levels", pytest.approx(2.0))
    assert level.value == pytest.approx((1 + 2 + 3 * odds) / (2 + odds))
    assert sum(share.effect for share in level.shares) == pytest.approx(level.value - level.prior)


def test_the_prior_of_a_row_without_fields_is_that_of_the_readout():
    model = SumModel()
    model.readouts["kind"] = TargetReadout(TARGETS["kind"], FIELDS, prior=(0.8, 0.2))
    (answer,) = model.explain(ROW, parts=False).answers
    assert answer.prior == pytest.approx(np.log(0.2 / 0.8))
    assert sum(share.effect for share in answer.shares) == pytest.approx(answer.value - answer.prior)


def test_missing_fields_and_cells_have_no_share():
    found = SumModel().explain({"note": "red", "size": None, "weight": "2", "colour": None})
    assert [share.field for share in found.shares] == ["note", "table"]
    assert [part.where["column"] for part in found.parts["table"].parts] == ["weight"]
    nothing = SumModel().explain({"note": None})
    assert nothing.answers == ()
    assert nothing.error == "no field of this row can be read"
    assert nothing.shares == ()
    assert nothing.parts == {}


def test_rows_of_a_table_with_their_ids_and_warnings():
    rows = [{"key": "k1", "note": "blue"}, {"key": None, "note": "red", "size": "much"}]
    first, second = SumModel().explain_rows(rows, rows=[1, 0])
    assert (first.row_id, second.row_id) == (1, "k1")
    assert any("'much' is not a number" in text for text in first.warnings)


def test_bad_input_is_one_clear_error():
    model = SumModel()
    with pytest.raises(InputError, match="the model has no target 'knd'"):
        model.explain(ROW, "knd")
    with pytest.raises(InputError, match="a list is no row"):
        model.explain([ROW])
    with pytest.raises(InputError, match=r"there is no row 5\. <memory> has 1 rows\. Rows are counted from 0"):
        model.explain_rows([ROW], rows=[5])
    with pytest.raises(InputError, match="none of the model's fields"):
        model.explain({"other": 1})


def test_the_json_form_is_plain_and_finite():
    data = json.loads(json.dumps(SumModel(*TARGETS).explain(ROW).to_json(), allow_nan=False))
    answer = data["answers"][0]
    assert answer["shares"][0] == {"field": "note", "effect": pytest.approx(2.0), "share": answer["shares"][0]["share"]}
    assert answer["parts"]["note"]["text"] == "a red house"
    assert np.array(answer["parts"]["photo"]["grid"]).shape == (1, 4, 4)
    assert "not tell what causes" in data["what"]


def test_log_odds_of_certainty_are_finite():
    assert log_odds(np.array([0.0, 1.0])) == pytest.approx([-13.8155, 13.8155], abs=1e-3)


def test_many_columns_are_left_out_one_at_a_time():
    names = [f"c{number}" for number in range(70)]
    model = SumModel()
    wide = TablePreprocessor.fit({name: ["1", "2", "3"] for name in names}, numbers=names, categories=[])
    model.schema = Schema(tuple(Field(name, Modality.NUMBER) for name in names), (TARGETS["kind"],))
    model.preprocessors = {"table": wide}
    model.probe = lambda decoded, row: WideProbe(decoded.packs["table"].row(row))
    found = model.explain(dict.fromkeys(names, "3")).parts["table"]
    assert found.method == "occlusion"
    assert len(found.parts) == 70
    assert [part.what for part in found.parts if abs(part.effect) > 1e-9] == ["c7 = 3"]


def test_rows_may_be_numbers_of_numpy_and_nothing_but_numbers():
    found = SumModel().explain_rows([ROW, ROW], rows=np.arange(2), parts=False)
    assert [item.row_id for item in found] == [0, 1]
    json.dumps([item.to_json() for item in found])
    with pytest.raises(InputError, match=r"0\.5 is no number of a row"):
        SumModel().explain_rows([ROW], rows=[0.5])


def test_an_answer_that_is_not_finite_is_an_error_and_no_number():
    model = SumModel("price")
    model.readouts["price"] = TargetReadout(TARGETS["price"], FIELDS, mean=np.inf)
    found = model.explain(ROW)
    assert found.answers == ()
    assert "not finite" in found.error
    json.dumps(found.to_json(), allow_nan=False)


def test_a_table_without_any_cell_has_no_parts():
    model = SumModel()
    decoded = model.decode(model.opened([ROW]))
    decoded.packs["table"].arrays["missing"][:] = True
    found = explain_decoded(model, decoded, 0)
    assert set(found.parts) == {"note", "photo"}
