"""A table is a path, a polars or pandas frame or a list of dicts; media are paths, bytes, arrays or pictures."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from PIL import Image
from tests.conftest import QUICK, room_rows

import omnifuse


@pytest.fixture(scope="module")
def rows(rooms):
    found = room_rows(rooms.test, 12)
    assert any(row["picture"] is None for row in found)
    return found


@pytest.fixture(scope="module")
def expected(fitted, rows):
    return fitted.model.predict(rows, proba=True)


def converted(rows, picture, sound):
    return [
        row | {"picture": row["picture"] and picture(row["picture"]), "sound": row["sound"] and sound(row["sound"])}
        for row in rows
    ]


def read(path):
    with open(path, "rb") as handle:
        return handle.read()


def opened(path):
    return Image.open(io.BytesIO(read(path)))


def samples(path):
    values, rate = soundfile.read(path, dtype="float32")
    return values, rate


FORMS = {
    "bytes": (read, read),
    "arrays": (lambda path: np.asarray(opened(path).convert("RGB")), samples),
    "pictures": (opened, read),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_media_in_memory_give_the_answers_of_their_files(fitted, rows, expected, form):
    answers = fitted.model.predict(converted(rows, *FORMS[form]), proba=True)
    for answer, other in zip(answers, expected, strict=True):
        assert answer.warnings == other.warnings == ()
        assert answer.modalities_used == other.modalities_used
        assert answer.row_id == other.row_id
        assert answer.targets["event"].probabilities == pytest.approx(other.targets["event"].probabilities, abs=1e-6)


FRAMES = {
    "polars": lambda rows, folder: pl.DataFrame(rows),
    "lazy": lambda rows, folder: pl.LazyFrame(rows),
    "pandas": lambda rows, folder: pd.DataFrame(rows),
    "pandas with its own index": lambda rows, folder: pd.DataFrame(rows, index=range(100, 112)),
    "csv": lambda rows, folder: save(pl.DataFrame(rows).write_csv, folder / "rows.csv"),
    "tsv": lambda rows, folder: save(lambda path: pl.DataFrame(rows).write_csv(path, separator="\t"), folder / "r.tsv"),
    "parquet": lambda rows, folder: save(pl.DataFrame(rows).write_parquet, folder / "rows.parquet"),
    "jsonl": lambda rows, folder: save(pl.DataFrame(rows).write_ndjson, folder / "rows.jsonl"),
}


def save(write, path):
    write(path)
    return path


@pytest.mark.parametrize("form", list(FRAMES))
def test_every_form_of_table_gives_the_same_answers(fitted, rows, expected, tmp_path, form):
    answers = fitted.model.predict(FRAMES[form](rows, tmp_path), proba=True)
    assert answers == expected


def test_frames_hold_bytes_of_media(fitted, rows, expected):
    inside = converted(rows, read, read)
    for frame in (pl.DataFrame(inside), pd.DataFrame(inside)):
        answers = fitted.model.predict(frame, proba=True)
        for answer, other in zip(answers, expected, strict=True):
            assert answer.targets["event"].probabilities == pytest.approx(
                other.targets["event"].probabilities, abs=1e-6
            )


def test_relative_paths_of_a_table_resolve_against_its_folder(fitted, rows, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answers = fitted.model.predict(fitted.world.test, proba=True)[:12]
    assert answers == expected


def test_a_fit_on_a_frame_equals_a_fit_on_its_file(rooms, tmp_path):
    options = QUICK | {"drop": ("picture", "sound", "time")}
    frame = pl.read_csv(rooms.train, infer_schema=False)
    omnifuse.fit(rooms.train, "event", out=tmp_path / "file", **options)
    omnifuse.fit(frame, "event", out=tmp_path / "frame", **options)
    omnifuse.fit(frame.to_pandas(), "event", out=tmp_path / "pandas", **options)
    found = {(tmp_path / name / "model/weights.safetensors").read_bytes() for name in ("file", "frame", "pandas")}
    assert len(found) == 1
