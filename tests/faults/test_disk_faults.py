"""T33: a disk that is full, breaks or turns read-only while a fit writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.api import members
from omnifuse.cli.main import run
from omnifuse.deploy import artefact
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.checkpoint import Checkpoint, CheckpointFolder
from omnifuse.training.loop import Trainer

ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS]


# What a save calls, in order: twice it opens, syncs, renames and syncs the folder
MOMENTS = {
    "open": (Path, "open", 1),
    "sync": (os, "fsync", 1),
    "rename": (Path, "replace", 1),
    "sync of the folder": (os, "fsync", 2),
    "second open": (Path, "open", 2),
    "second sync": (os, "fsync", 3),
    "second rename": (Path, "replace", 2),
}
SPEC = TrainingSpec(epochs=2, mixup=0.3)


def fail_at(patch, moment, error):
    """Let a call end with an error of the system."""
    owner, name, number = MOMENTS[moment]
    original, left = getattr(owner, name), [number]

    def failing(*arguments, **options):
        left[0] -= name != "open" or "wb" in arguments
        if not left[0]:
            left[0] = -1
            raise OSError(error, os.strerror(error))
        return original(*arguments, **options)

    patch.setattr(owner, name, failing)


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("moment", MOMENTS)
def test_t33_a_save_that_fails_at_any_moment_leaves_the_old_checkpoint(tmp_path, error, moment):
    def checkpoint(step):
        return Checkpoint({"w": torch.full((9,), float(step))}, {"step": step})

    place = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        place.save(checkpoint(step))
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, moment, error)
        with pytest.raises(OSError, match=os.strerror(error)):
            place.save(checkpoint(4))
    assert place.load().facts["step"] == 3
    assert not list(tmp_path.glob("*.tmp"))
    place.save(checkpoint(5))
    assert place.load().facts["step"] == 5


def train(problem, place=None, *, resume=False, heard=None):
    model = problem.network(shallow="none")
    report = None if heard is None else heard.append
    trainer = Trainer(model, problem.source(), SPEC, seed=3, place=place, report=report)
    result = trainer.run(resume=resume)
    return torch.cat([value.flatten() for value in model.state_dict().values()]), result


def fail_saves(patch, numbers, error):
    """Let the saves of these numbers, counted from 1, fail."""
    save, calls = CheckpointFolder.save, []

    def failing(self, checkpoint):
        calls.append(1)
        if len(calls) in numbers:
            raise OSError(error, os.strerror(error))
        save(self, checkpoint)

    patch.setattr(CheckpointFolder, "save", failing)
    patch.setattr(loop, "CHECKPOINT_S", -1.0)


def test_t33_training_goes_on_past_saves_that_fail_and_says_so(plain_problem, tmp_path, monkeypatch):
    expected, _ = train(plain_problem)
    place, heard = CheckpointFolder(tmp_path), []
    fail_saves(monkeypatch, {3, 4}, errno.ENOSPC)
    weights, result = train(plain_problem, place, heard=heard)
    assert torch.equal(weights, expected)
    assert result.unsaved == [(3, "No space left on device"), (4, "No space left on device")]
    told = [(item["step"], item["remark"]) for item in heard if item["remark"]]
    assert told == [
        (4, "the checkpoint of step 3 could not be written (No space left on device); training goes on"),
    ]
    assert members.training_notes([result]) == [
        "Network 1: 2 checkpoints could not be written, the last at step 4 (No space left on device)."
    ]
    assert place.load().facts["unsaved"] == [list(item) for item in result.unsaved]
    assert torch.equal(train(plain_problem, place, resume=True)[0], expected)


def test_t33_resume_from_the_last_save_before_the_disk_failed_gives_the_same(plain_problem, tmp_path):
    place = CheckpointFolder(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        fail_saves(patch, range(4, 100), errno.EROFS)
        expected, _ = train(plain_problem, place)
    assert place.load().facts["step"] == 3
    weights, result = train(plain_problem, place, resume=True)
    assert torch.equal(weights, expected)
    assert result.unsaved == []


def test_t33_a_model_that_cannot_be_written_is_one_line_and_resume_writes_it(tmp_path, capsys):
    table, out = tmp_path / "rows.csv", tmp_path / "run"
    pl.DataFrame(plain_rows(24)).write_csv(table)
    drop = [word for name in ("key", "tags", "price") for word in ("--drop", name)]
    command = ["fit", str(table), "--label", "kind", "--out", str(out), "--preset", "tiny", "--epochs", "1", *drop,
               "--no-baselines", "--logger", "none", "--json"]  # fmt: skip

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artefact, "write_atomically", full)
        with pytest.raises(SystemExit) as end:
            run(command)
    assert end.value.code == 3
    error = capsys.readouterr().err
    assert "omnifuse: error: No space left on device" in error
    assert "space left on the disk" in error
    assert "Traceback" not in error
    saved = {path: path.read_bytes() for path in (out / "checkpoints").rglob("*.safetensors")}
    assert len(saved) == 5
    with pytest.raises(SystemExit) as end:
        run([*command, "--resume"])
    assert end.value.code == 0
    assert {path: path.read_bytes() for path in saved} == saved
    assert omnifuse.load(out).fields


def test_t33_what_a_killed_fit_left_unfinished_is_removed_by_the_next(tmp_path):
    out = tmp_path / "run"
    ours = ["model/weights.safetensors.tmp", "checkpoints/seed0-0/a.json.tmp", "cache/0a/k.1.2.tmp", "report/r.tmp"]
    others = ["notes.tmp", "mine/notes.tmp", "model/kept.txt"]
    for name in (*ours, *others):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half")
    omnifuse.fit(plain_rows(24), "kind", out=out, resume=True, **(QUICK | ONE_LABEL))
    assert not [name for name in ours if (out / name).exists()]
    assert all((out / name).exists() for name in others)
