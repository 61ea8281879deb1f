"""What is wrong with a pretraining is said in one line; rows without a pair, and rows that show the same, are used."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.conftest import plain_rows

import omnifuse
from omnifuse import InputError

QUICK = {"preset": "tiny", "logger": "none", "epochs": 1}
DROP = ["kind", "tags", "price", "when"]


def rows_of(count=40, **holes):
    rows = [{name: value for name, value in row.items() if name not in DROP} for row in plain_rows(count, seed=2)]
    for name, empty in holes.items():
        for number in empty:
            rows[number][name] = None
    return rows


def pretrain(rows, out, **options):
    return omnifuse.pretrain(rows, out=out / "run", **{**QUICK, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": "note:colour"}, "--pairs note:colour names 'colour', which is no field.*Known: note, table, text"),
        ({"pairs": "note:size"}, "is a part of 'table'"),
        ({"pairs": "note"}, "is not FIELD:FIELD"),
        ({"pairs": "note:text"}, "compares 'note' with itself"),
        ({"pairs": "note:key"}, "the column 'key' is not used"),
        ({"objective": "contrast"}, "there is no objective 'contrast'. did you mean 'contrastive'"),
        ({"id": "kee"}, "--id names the column 'kee'.*did you mean 'key'"),
        ({"minutes": 1.0}, "--minutes and --epochs were both given"),
        ({"encoders": {"photo": "image-conv"}}, "--encoder names 'photo', which is no input"),
        ({"settings": {"space": "-1"}}, "the setting space is -1"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        pretrain(rows_of(), tmp_path, **options)
    assert not (tmp_path / "run").exists()


def test_fields_that_never_meet_are_named(tmp_path):
    rows = rows_of(note=range(0, 20), size=range(20, 40), weight=range(20, 40), colour=range(20, 40))
    with pytest.raises(InputError, match=r"no row has both fields.*'note' is in 20 of 40 rows, 'table' in 20"):
        pretrain(rows, tmp_path, pairs="note:table")
    # Without a word on pairs each field is learnt from two views of itself
    model = pretrain(rows, tmp_path)
    assert model.manifest["pretraining"]["pairs"] == []
    assert set(model.embed(rows)) == {"embedding", "embedding_note", "embedding_table"}


def test_a_table_without_fields_says_why(tmp_path):
    with pytest.raises(InputError, match="has no field to learn from"):
        omnifuse.pretrain([{"key": f"k{n}"} for n in range(20)], out=tmp_path, id="key", **QUICK)


def test_a_modality_that_is_absent_everywhere_is_no_hindrance(tmp_path):
    rows = [{**row, "photo": None} for row in rows_of()]
    model = pretrain(rows, tmp_path, fields={"photo": "image"})
    assert any("No row has 'photo': its encoder is not trained" in note for note in notes_of(model))
    vectors = model.embed(rows)
    assert np.isnan(vectors["embedding_photo"]).all()
    assert np.isfinite(vectors["embedding"]).all()


def notes_of(model):
    return model.manifest["pretraining"]["notes"]


def test_rows_without_a_pair_are_learnt_from(tmp_path):
    rows = rows_of(note=range(0, 12))
    model = pretrain(rows, tmp_path)
    assert "12 of 40 rows have no pair and are learnt from by two views of what they have." in notes_of(model)


def test_rows_that_show_the_same_are_counted(tmp_path):
    rows = rows_of()
    for number, row in enumerate(rows):
        row |= {"key": f"k{number // 2}", "note": f"{row['note']} {number}"}
    for number in (3, 4, 5):
        rows[number]["note"] = rows[2]["note"]
    model = pretrain(rows, tmp_path, id="key")
    assert "4 rows share their 'note' with others: they count as partners, not as strangers." in notes_of(model)
    assert "40 rows share their 'key' with others: they count as partners, not as strangers." in notes_of(model)
    score = model.manifest["pretraining"]["retrieval"]["note>table"]
    assert score["chance R@1"] > 1.9 / score["rows"]
    assert model.schema.ids[0] == "key"


def test_all_rows_alike_end_in_a_collapse_that_is_named(tmp_path):
    rows = [{"note": "the same words", "other": "said again"} for _ in range(20)]
    model = pretrain(rows, tmp_path, fields={"note": "text", "other": "text"})
    assert any("The space of 'note' has collapsed" in note for note in notes_of(model))


@pytest.mark.parametrize("objective", ["sigmoid", "matching", "masked", "all"])
def test_every_objective_ends_in_a_model_that_embeds(objective, tmp_path):
    rows = rows_of()
    model = pretrain(rows, tmp_path, objective=objective)
    vectors = model.embed(rows)
    assert all(bool(np.isfinite(value).all()) for value in vectors.values())


def test_batches_of_one_row_are_no_failure(tmp_path):
    assert pretrain(rows_of(12), tmp_path, settings={"batch_size": "1"}).manifest["fit"]["steps"] == [12]


def test_one_seed_gives_one_model_and_another_one_another(tmp_path):
    rows = rows_of()
    found = [pretrain(rows, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = (model.network.state_dict() for model in found)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    rows = rows_of()
    whole = pretrain(rows, tmp_path / "whole", epochs=4, objective="all")
    # The schedule of four passes, ended after two
    from omnifuse.training import loop
    from omnifuse.training.lanes import Halted

    step = loop.Trainer._step

    def halting(trainer, fabric, optimiser, batch, number, steps):
        step(trainer, fabric, optimiser, batch, number, steps)
        if number == 3:
            trainer.halt.save = True
            trainer.halt.set()

    loop.Trainer._step = halting
    try:
        with pytest.raises((Halted, KeyError)):
            pretrain(rows, tmp_path / "part", epochs=4, objective="all")
    finally:
        loop.Trainer._step = step
    resumed = pretrain(rows, tmp_path / "part", epochs=4, objective="all", resume=True)
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="belongs to another"):
        pretrain(rows, tmp_path / "part", epochs=4, objective="contrastive", resume=True)


def test_a_fit_refuses_what_does_not_suit(tmp_path):
    labelled = plain_rows(40, seed=2)
    pretrain([{name: row[name] for name in ("note", "size", "kind")} for row in labelled], tmp_path)

    def fit(rows, **options):
        return omnifuse.fit(
            rows, "kind", out=tmp_path / "fit", start=tmp_path / "run", baselines=False, report_media="none",
            **{**QUICK, **options},
        )  # fmt: skip

    with pytest.raises(InputError, match=r"has read the label 'kind' as a field.*--drop kind"):
        fit(labelled, drop=("key", "tags", "price"))
    pretrain([{name: row[name] for name in ("note", "size", "weight")} for row in labelled], tmp_path)
    with pytest.raises(InputError, match="no field in common with the table"):
        fit([{"colour": row["colour"], "kind": row["kind"]} for row in labelled])
    with pytest.raises(InputError, match="'note' is category here and text"):
        fit(labelled, fields={"note": "category"}, drop=("key", "tags", "price"))
    with pytest.raises(InputError, match=r"--set dim=64, and the model in .* has dim=32"):
        fit(labelled, settings={"dim": "64"})
    with pytest.raises(InputError, match="--from and --search"):
        fit(labelled, search=1.0)
    model = fit([{name: row[name] for name in ("note", "size", "colour", "kind")} for row in labelled])
    taken = model.manifest["from"]
    assert taken["taken"] == ["note"]
    assert taken["fresh"] == {"table": "whose columns differ: 'colour' only here, 'weight' only there"}


def test_the_command_line(tmp_path, capsys):
    from omnifuse.cli.main import run

    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows_of()))
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        run(["pretrain", str(table), "--out", str(out), "--pairs", "note:table", "--preset", "tiny", "--epochs", "1",
             "--logger", "none", "--id", "key", "--json"])  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    assert found["artefact"] == str(out / "model")
    assert set(found["retrieval"]) == {"note>table", "table>note"}
    with pytest.raises(SystemExit) as end:
        run(["embed", str(out), str(table), "-o", str(tmp_path / "e.parquet"), "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["widths"] == {
        "embedding": 32, "embedding_note": 32, "embedding_table": 32,
    }  # fmt: skip
    with pytest.raises(SystemExit) as end:
        run(["predict", str(out), str(table), "-o", str(tmp_path / "p.csv")])
    assert end.value.code == 2
    assert "was pretrained" in capsys.readouterr().err
