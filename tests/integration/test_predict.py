"""Answers: every row, in order, with bounded memory, the same alone or together."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from tests.conftest import QUICK, plain_rows, room_rows

import omnifuse
from omnifuse.readout import answering


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "run"
    options = QUICK | {"epochs": 2, "tasks": {"tags": "tagging"}}
    model = omnifuse.fit(plain_rows(40, holes=0.1), ["kind", "price", "tags"], out=out, **options)
    return model, out


def test_chunks_change_no_answer_and_keep_the_order(plain, monkeypatch):
    rows = plain_rows(53, seed=2, holes=0.2)
    whole = plain[0].predict(rows, proba=True)
    monkeypatch.setattr(answering, "CHUNK_ROWS", 7)
    parts = list(plain[0].stream(rows, proba=True))
    assert [len(part) for part in parts] == [7] * 7 + [4]
    pieces = [answer for part in parts for answer in part]
    assert [answer.row_id for answer in pieces] == [answer.row_id for answer in whole]
    for one, other in zip(pieces, whole, strict=True):
        assert one.modalities_used == other.modalities_used
        assert one.targets["price"].value == pytest.approx(other.targets["price"].value, rel=1e-4, abs=1e-4)
        assert one.targets["kind"].probabilities == pytest.approx(other.targets["kind"].probabilities, abs=1e-5)


def test_a_row_alone_is_answered_as_among_others(plain):
    rows = plain_rows(20, seed=3, holes=0.3)
    whole = plain[0].predict(rows, proba=True)
    for number in (0, 7, 19):
        alone = plain[0].predict([rows[number]], proba=True)[0]
        assert alone.targets["kind"].probabilities == pytest.approx(
            whole[number].targets["kind"].probabilities, abs=1e-5
        )


def test_a_loaded_model_answers_as_the_fitted_one(plain):
    rows = plain_rows(20, seed=4)
    loaded = omnifuse.load(plain[1])
    moved = omnifuse.load(plain[1] / "model")
    assert loaded.model_id == moved.model_id == plain[0].model_id
    assert loaded.predict(rows, proba=True) == plain[0].predict(rows, proba=True)
    assert all(answer.model_id == loaded.model_id for answer in loaded.predict(rows))


def test_a_saved_copy_answers_the_same(plain, tmp_path):
    rows = plain_rows(10, seed=4)
    copy = omnifuse.load(omnifuse.load(plain[1]).save(tmp_path / "copy"))
    assert copy.predict_proba(rows).tolist() == plain[0].predict_proba(rows).tolist()


def test_probabilities_and_confidence_agree(plain):
    rows = plain_rows(20, seed=5)
    model = plain[0]
    chances = model.predict_proba(rows)
    assert chances.shape == (20, 2)
    assert chances.sum(axis=1) == pytest.approx(np.ones(20))
    for answer, line in zip(model.predict(rows, proba=True), chances, strict=True):
        found = answer.targets["kind"]
        assert list(found.probabilities.values()) == pytest.approx(line)
        chosen = int(model.choose(line[None], target="kind")[0])
        assert found.confidence == pytest.approx(line[chosen])
        assert found.value == model.schema.targets[0].classes[chosen]
        assert set(answer.targets["tags"].value) == {
            name for name, chance in answer.targets["tags"].probabilities.items() if chance >= 0.5
        }
        assert answer.targets["price"].confidence is None
        assert answer.targets["price"].probabilities is None
    assert all(answer.targets["kind"].probabilities is None for answer in model.predict(rows))


def test_answers_have_a_strict_json_form(plain):
    import json

    rows = plain_rows(3, seed=6)
    answer = plain[0].predict([rows[0] | {"size": "wild"}], proba=True)[0]
    data = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert set(data) == {"row_id", "targets", "modalities_used", "warnings", "model_id"}
    assert set(data["targets"]["kind"]) == {"value", "confidence", "abstained", "probabilities"}
    empty = plain[0].predict([dict.fromkeys(rows[0])])[0].to_json()
    assert empty["error"]
    assert empty["targets"]["kind"]["value"] is None


def test_warnings_name_field_and_reason_in_the_right_row(fitted, monkeypatch):
    monkeypatch.setattr(answering, "CHUNK_ROWS", 3)
    rows = room_rows(fitted.world.test, 8)
    rows[4]["picture"] = "gone.png"
    rows[6]["temperature"] = "warm"
    answers = fitted.model.predict(rows)
    told = {number: answer.warnings for number, answer in enumerate(answers) if answer.warnings}
    assert set(told) == {4, 6}
    assert told[4][0].startswith("picture: ")
    assert "gone.png" in told[4][0]
    assert told[6] == ("temperature: 'warm' is not a number",)
    assert "picture" not in answers[4].modalities_used


def test_media_outside_the_media_root_are_refused(fitted, tmp_path):
    picture = next((fitted.world.folder / "pictures").glob("*.png"))
    (tmp_path / "inside.png").write_bytes(picture.read_bytes())
    rows = [{"picture": "inside.png"}, {"picture": str(picture)}, {"picture": "../" + picture.name}]
    table = tmp_path / "rows.csv"
    pl.DataFrame(rows).write_csv(table)
    answers = fitted.model.predict(table, media_root=tmp_path)
    assert [bool(answer.error) for answer in answers] == [False, True, True]
    assert all(any(text.startswith("picture:") for text in answer.warnings) for answer in answers[1:])


def test_embeddings_have_unit_length_and_are_nan_where_a_field_is_absent(plain):
    rows = plain_rows(12, seed=7, holes=0.3)
    vectors = plain[0].embed(rows)
    assert set(vectors) == {"embedding", *(f"embedding_{name}" for name in plain[0].fields)}
    assert np.linalg.norm(vectors["embedding"], axis=1) == pytest.approx(np.ones(12), rel=1e-5)
    gone = np.array([row["note"] is None for row in rows])
    assert 0 < gone.sum() < 12
    assert (np.isnan(vectors["embedding_note"]).any(axis=1) == gone).all()


# Not `ru_maxrss`: a child's begins with the size of the process that started it, which would hide the growth
MEASURED = """
import atexit, pathlib, sys, torch
torch.set_num_threads(1)
from omnifuse.cli.main import run
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print("PEAK", status.read_text().split("VmHWM:")[1].split()[0], file=sys.stderr))
run(["predict", sys.argv[1], sys.argv[2], "-o", sys.argv[3]])
"""


@pytest.mark.slow
def test_memory_is_bounded_over_20_000_rows(plain, tmp_path):
    peaks = {}
    few = plain_rows(1000, seed=8)
    for count in (1000, 20_000):
        table, out = tmp_path / f"{count}.csv", tmp_path / f"{count}.jsonl"
        rows = [row | {"key": f"k{number}"} for number, row in enumerate(few * (count // 1000))]
        pl.DataFrame(rows).write_csv(table)
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(plain[1]), str(table), str(out)],
            capture_output=True, text=True, check=True, timeout=400,
        )  # fmt: skip
        peaks[count] = int(done.stderr.split("PEAK")[1]) / 1024
        with out.open() as handle:
            assert sum(1 for _ in handle) == count
    assert peaks[20_000] - peaks[1000] < 150
