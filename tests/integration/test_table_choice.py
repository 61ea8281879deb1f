"""`--set table`: the ensemble, and the choice between the table's encoders."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import QUICK, plain_rows

import omnifuse
from omnifuse.encoders import TableEncoder, TableMLPEncoder
from omnifuse.errors import InputError

ALONE = {"drop": ("key", "tags", "price", "note", "when")}


def test_the_ensemble_alone_has_heads_of_its_members(tmp_path):
    rows = plain_rows(40)
    options = {**QUICK, **ALONE, "settings": {"table": "mlp", "shallow": "none"}}
    model = omnifuse.fit(rows, "kind", out=tmp_path / "run", **options)
    network = model.members[0]
    assert isinstance(network.encoders[0], TableMLPEncoder)
    assert network.tasks[0].heads.fields == ("table",)
    assert "table" in model.readouts["kind"].subsets["table"].weights or len(model.readouts["kind"].subsets) == 1
    before = model.predict_proba(rows)
    assert np.array_equal(omnifuse.load(tmp_path / "run").predict_proba(rows), before)
    assert np.isfinite(before).all()


def test_the_choice_is_made_once_and_told(tmp_path):
    heard = []
    options = {**QUICK, **ALONE, "settings": {"table": "auto", "shallow": "none"}}
    model = omnifuse.fit(
        plain_rows(40),
        "kind",
        out=tmp_path / "run",
        progress=lambda kind, data: heard.append((kind, data)),
        **options,
    )
    notes = [data["text"] for kind, data in heard if kind == "note"]
    (why,) = [note for note in notes if note.startswith("The table is read by table-")]
    assert "table-piecewise" in why
    assert "table-mlp" in why
    assert why in (tmp_path / "run" / "report" / "report.html").read_text()
    losses = dict(part.rsplit(" ", 1) for part in why.rstrip(".").split(": ")[1].split(", "))
    best = min(losses, key=lambda name: float(losses[name]))
    chosen = model.manifest["spec"]["table"]
    assert {"table-piecewise": "transformer", "table-mlp": "mlp"}[best] == chosen
    assert isinstance(model.members[0].encoders[0], TableEncoder if chosen == "transformer" else TableMLPEncoder)


def test_an_unknown_choice_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no choice of table 'mlpp'. did you mean 'mlp'"):
        omnifuse.fit(plain_rows(20), "kind", out=tmp_path / "run", **QUICK, **ALONE, settings={"table": "mlpp"})
