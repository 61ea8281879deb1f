"""A teacher that sees more fields and a student that sees fewer, end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import omnifuse
from omnifuse import InputError
from omnifuse.api.transfer import ask_teacher
from omnifuse.data.tables import open_table

QUICK = {"preset": "tiny", "logger": "none", "report_media": "none", "baselines": False}
WORDS = {"a": "sunny warm and bright", "b": "rainy cold and dark"}


def rows_of(count, seed=0):
    """The words tell the class; the number tells it half."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = "ab"[number % 2]
        size = f"{draw.normal(1.0 if kind == 'a' else -1.0, 1.5):.4f}"
        rows.append({"words": f"{WORDS[kind]} {draw.integers(99)}", "size": size, "kind": kind})
    return rows


FIELDS = {"words": "text", "size": "number"}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("teacher") / "run"
    return omnifuse.fit(rows_of(60), "kind", out=out, fields=FIELDS, epochs=4, **QUICK), out


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    heard = []
    out = tmp_path_factory.mktemp("student") / "run"
    model = omnifuse.fit(
        rows_of(60), "kind", out=out, fields=FIELDS, epochs=2, teacher=teacher[1], inputs=["table"],
        progress=lambda kind, data: heard.append(data.get("text", "")), **QUICK,
    )  # fmt: skip
    return model, heard


def test_both_students_are_reported(teacher, student):
    model, heard = student
    assert model.fields == ("table",)
    found = model.manifest["teacher"]
    assert found["model_id"] == teacher[0].model_id
    assert found["fields"] == ["words", "table"]
    assert set(found["loss"]) == {"with the teacher", "without the teacher"}
    assert found["ships"] == min(found["loss"], key=found["loss"].get)
    other = ({"with the teacher", "without the teacher"} - {found["ships"]}).pop()
    assert other in model.metrics["targets"]["kind"]["baselines"]
    assert any("60 rows are answered by those of its networks that had not learnt" in text for text in heard)
    assert any("--valid" in text for text in heard)
    assert model.predict([{"size": 2.0}])[0].targets["kind"].value in ("a", "b")


def test_answers_are_out_of_fold(teacher):
    """Each row is answered by the one network that had not learnt from it, as the teacher's own fit did."""
    model, out = teacher
    table = open_table(rows_of(60))
    found = ask_teacher(out, table, model.schema, confined=False)
    assert found.unseen == 60
    every = model.predict_proba(rows_of(60))
    assert found.answers["kind"].shape == every.shape
    assert not np.allclose(found.answers["kind"], every, atol=1e-6)
    np.testing.assert_allclose(found.answers["kind"].sum(axis=1), 1, atol=1e-6)
    # One network alone answers; the folds are those of the fit
    from omnifuse.api.partition import partition

    labels = np.array([number % 2 for number in range(60)])
    folds = partition(np.arange(60), labels=labels, groups=None, times=None, num_members=3, seed=0)
    decoded = model.decode(table)
    member, part = model.members[2], folds.members[2]
    from omnifuse.training.predict import run_subsets

    raw = run_subsets([member], decoded.packs, part.out, [model.fields])[model.fields]
    np.testing.assert_allclose(found.answers["kind"][part.out], model.readouts["kind"].scores(raw), atol=1e-6)


def test_another_table_is_answered_by_all(teacher):
    model, out = teacher
    found = ask_teacher(out, open_table(rows_of(20, seed=4)), model.schema, confined=False)
    assert (found.unseen, found.known) == (0, False)
    np.testing.assert_allclose(found.answers["kind"], model.predict_proba(rows_of(20, seed=4)), atol=1e-6)


def test_fields_alone_choose_what_is_read(tmp_path):
    model = omnifuse.fit(rows_of(30), "kind", out=tmp_path / "run", fields=FIELDS, inputs=["text"], epochs=1, **QUICK)
    assert model.fields == ("words",)
    assert model.schema.dropped["size"] == "not in --fields"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": ["colour"]}, "--fields names 'colour', which is no field"),
        ({"curve": True}, "--teacher and --curve were both given"),
        ({"semi": True}, "--semi and --teacher were both given"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(teacher, options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        omnifuse.fit(rows_of(30), "kind", out=tmp_path / "run", fields=FIELDS, teacher=teacher[1], **options, **QUICK)


def test_a_teacher_of_another_label_is_refused(teacher, tmp_path):
    rows = [{**row, "other": row["kind"]} for row in rows_of(30)]
    with pytest.raises(InputError, match="does not answer 'other'"):
        omnifuse.fit(rows, "other", out=tmp_path / "a", fields=FIELDS, teacher=teacher[1], **QUICK)
    rows = [{**row, "kind": "abc"[n % 3]} for n, row in enumerate(rows_of(30))]
    with pytest.raises(InputError, match="answers 'kind' in another way"):
        omnifuse.fit(rows, "kind", out=tmp_path / "b", fields=FIELDS, teacher=teacher[1], **QUICK)


def test_the_command_line(teacher, tmp_path, capsys):
    from omnifuse.cli.main import run

    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows_of(30, seed=2)))
    with pytest.raises(SystemExit) as end:
        run(["fit", str(table), "--label", "kind", "--teacher", str(teacher[1]), "--fields", "table", "--out",
             str(tmp_path / "run"), "--preset", "tiny", "--epochs", "1", "--logger", "none", "--no-baselines",
             "--json"])  # fmt: skip
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["teacher"]["fields"] == ["words", "table"]
