"""Shared by all tests: a generated world, one fitted tiny model, and small networks ready to be trained."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would every process that a test starts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("omnifuse", max_examples=60, deadline=None)
hypothesis.settings.load_profile("omnifuse")

LABELS = {"kind": "classification", "tags": "tagging", "price": "regression"}
# Options of a fit in a second or two
QUICK = {"preset": "tiny", "epochs": 1, "baselines": False, "logger": "none", "report_media": "none"}
# With one of the labels, what is left out of `plain_rows`
ONE_LABEL = {"drop": ("key", "tags", "price")}


@dataclass(frozen=True)
class World:
    """The generated rooms on disk."""

    folder: Path
    train: Path
    test: Path


@dataclass(frozen=True)
class Fitted:
    """A fitted model, its run folder and its world."""

    model: Any
    run: Path
    world: World


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of a test run fills, and the others wait for."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def rooms(tmp_path_factory) -> World:
    import omnifuse

    folder = made_once(tmp_path_factory, "rooms", lambda own: omnifuse.generate_rooms(own, num_train=80, num_test=40))
    return World(folder, folder / "train.csv", folder / "test.csv")


@pytest.fixture(scope="session")
def fitted(rooms, tmp_path_factory) -> Fitted:
    import torch

    import omnifuse

    torch.set_num_threads(1)
    run = made_once(
        tmp_path_factory,
        "fitted",
        lambda own: omnifuse.fit(rooms.train, "event", out=own / "run", preset="tiny", epochs=2),
    )
    return Fitted(omnifuse.load(run / "run"), run / "run", rooms)


@pytest.fixture(scope="session")
def exported(fitted, tmp_path_factory) -> Path:
    """A copy of the fitted run with its graphs."""
    import omnifuse
    from omnifuse.api.exporting import export_model

    def make(folder: Path) -> None:
        shutil.copytree(fitted.run, folder / "run")
        export_model(omnifuse.load(folder / "run"), folder / "run")

    return made_once(tmp_path_factory, "exported", make) / "run"


def plain_rows(num_rows: int, *, seed: int = 0, holes: float = 0.0) -> list[dict[str, Any]]:
    """Rows without media: text, number, category, date, and a label of each kind."""
    draw = np.random.default_rng(seed)
    words = {"red": "a red brick house by the lake", "blue": "blue paint on the old wooden door"}
    rows: list[dict[str, Any]] = []
    for number in range(num_rows):
        kind = "red" if draw.random() < 0.5 else "blue"
        size = float(draw.normal(3.0 if kind == "red" else -3.0, 1.0))
        row: dict[str, Any] = {
            "key": f"k{number:05d}",
            "note": f"{words[kind]} number {draw.integers(100)}",
            "size": f"{size:.3f}",
            "weight": f"{draw.normal():.3f}",
            "colour": str(draw.choice(["green", "grey", "gold"])),
            "when": f"2026-0{draw.integers(1, 9)}-1{draw.integers(0, 9)} 0{draw.integers(0, 9)}:30:00",
        }
        for column in ("note", "size", "weight", "colour", "when"):
            if draw.random() < holes:
                row[column] = None
        tags = [name for name in ("big", "old") if draw.random() < 0.5]
        row |= {"kind": kind, "tags": "|".join(tags) or None, "price": f"{size * 2 + draw.normal() * 0.01:.3f}"}
        rows.append(row)
    return rows


def room_rows(table: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of a table of rooms, with the whole paths of their media."""
    import polars as pl

    rows = pl.read_csv(table, infer_schema=False).head(count).to_dicts()
    for row in rows:
        row |= {name: row[name] and str(table.parent / row[name]) for name in ("picture", "sound")}
    return rows


@dataclass(frozen=True)
class Problem:
    """A prepared table and what builds a network with its batches for it."""

    prepared: Any
    preset: Any

    def network(self, *, seed: int = 0, **changes: Any) -> Any:
        """A network of the preset with some parts of its specification changed."""
        import torch

        from omnifuse.building import build_from_spec
        from omnifuse.training.batches import make_batch

        torch.manual_seed(seed)
        spec = replace(self.preset.model, **changes)
        model = build_from_spec(self.prepared.schema, self.prepared.preprocessors, spec)
        model.initialise(make_batch(self.prepared.packs, self.prepared.rows))
        return model

    def source(self, *, batch_size: int = 8, seed: int = 0, **more: Any) -> Any:
        """Batches of all rows."""
        from omnifuse.api.member import training_targets
        from omnifuse.training.batches import BatchSource

        targets = training_targets(self.prepared, self.prepared.schema, self.prepared.rows)
        return BatchSource(self.prepared.packs, targets, self.prepared.rows, batch_size, seed, **more)


def make_problem(table: Any, labels: Sequence[str], out: Path, **options: Any) -> Problem:
    """Prepare a table as `fit` does."""
    from omnifuse.api.options import FitOptions, silent
    from omnifuse.api.prepare import prepare, read_schema
    from omnifuse.data.tables import open_table
    from omnifuse.presets import PRESETS

    opened = open_table(table)
    chosen = FitOptions(tuple(labels), out, max_bad=1.0, **options)
    schema, preset = read_schema(opened, chosen), PRESETS["tiny"]
    prepared = prepare(opened, schema, chosen, input_options=preset.input_options(schema), listen=silent, cache=None)
    return Problem(prepared, preset)


@pytest.fixture(scope="session")
def plain_problem(tmp_path_factory) -> Problem:
    """24 rows of text, numbers, category and date, with holes in every column and in every label."""
    rows = plain_rows(24, holes=0.15)
    for number, name in ((1, "kind"), (2, "price"), (3, "tags"), (4, "price")):
        rows[number][name] = None
    return make_problem(rows, list(LABELS), tmp_path_factory.mktemp("plain"), tasks=LABELS, drop=("key",))


@pytest.fixture(scope="session")
def level_problem(tmp_path_factory) -> Problem:
    """24 rows with a label of four ordered levels by size, some of them missing."""
    rows = plain_rows(24)
    for row in rows:
        row["level"] = ("never", "rarely", "often", "always")[int(np.digitize(float(row["size"]), (-3.2, 0.0, 3.2)))]
    rows[2]["level"] = rows[7]["level"] = None
    drop = ("key", "kind", "tags", "price")
    return make_problem(rows, ["level"], tmp_path_factory.mktemp("level"), tasks={"level": "ordinal"}, drop=drop)


@pytest.fixture(scope="session")
def media_problem(rooms, tmp_path_factory) -> Problem:
    """16 rooms: picture, sound, note, sensors and time to one event."""
    return make_problem(room_rows(rooms.train, 16), ["event"], tmp_path_factory.mktemp("sixteen"))
