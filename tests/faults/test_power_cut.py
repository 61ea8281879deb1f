"""T32: power that fails at any moment of a save: the last checkpoint or the one before is there, and goes on alike."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests.power_cut import Disk, lay_out

from omnifuse import files
from omnifuse.deploy.artefact import Artefact, load_artefact, save_artefact
from omnifuse.errors import ArtefactError
from omnifuse.presets import TrainingSpec
from omnifuse.training import loop
from omnifuse.training.checkpoint import Checkpoint, CheckpointFolder
from omnifuse.training.loop import Trainer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the open files are looked up in /proc")


@contextmanager
def watched(home):
    """The disk, and what patches may be added with."""
    disk = Disk(home)
    with pytest.MonkeyPatch.context() as patch:
        disk.watch(patch)
        yield disk, patch


class Marking(CheckpointFolder):
    """Tells the disk of each save that has returned."""

    disk = None

    def save(self, checkpoint):
        super().save(checkpoint)
        self.disk.mark()


def checkpoint(step):
    return Checkpoint({"model/w": torch.arange(20.0) + step}, {"step": step})


def steps_after_a_cut(home, folder, *, saves, spoil=lambda patch: None):
    """(saves that had returned, step of the checkpoint that is loaded) of each state of the disk."""
    (home / "disk").mkdir()
    with watched(home / "disk") as (disk, patch):
        spoil(patch)
        place = CheckpointFolder(home / "disk" / folder)
        for step in range(1, saves + 1):
            place.save(checkpoint(step))
            disk.mark()
    found = []
    for number, (done, state) in enumerate(disk.states()):
        loaded = CheckpointFolder(lay_out(state, home / f"{number}") / folder).load()
        if loaded is not None:
            assert torch.equal(loaded.tensors["model/w"], checkpoint(loaded.facts["step"]).tensors["model/w"])
        found.append((done, loaded.facts["step"] if loaded is not None else 0))
    return found


def test_t32_the_last_checkpoint_or_the_one_in_the_making_is_loaded_from_any_state(tmp_path):
    found = steps_after_a_cut(tmp_path, "checkpoints/seed0-0", saves=4)
    assert len(found) > 50
    assert {(done, step) for done, step in found} == {(done, done + more) for done in range(5) for more in (0, 1)} - {
        (4, 5)
    }


def without_files(patch):
    sync = os.fsync
    patch.setattr(os, "fsync", lambda number: sync(number) if os.path.isdir(f"/proc/self/fd/{number}") else None)


def without_folders(patch):
    patch.setattr(files, "sync_folder", lambda folder: None)


@pytest.mark.parametrize("spoil", [without_files, without_folders])
def test_t32_a_sync_that_is_left_out_would_be_found(tmp_path, spoil):
    found = steps_after_a_cut(tmp_path, "", saves=1, spoil=spoil)
    assert (1, 0) in found


def test_t32_resume_from_any_state_gives_the_same_curve_and_weights(plain_problem, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_S", -1.0)

    def train(place, *, resume):
        model = plain_problem.network(dim=8, num_heads=2, encoder_depth=1, shallow="none")
        trainer = Trainer(model, plain_problem.source(), TrainingSpec(epochs=1, mixup=0.3), seed=3, place=place)
        result = trainer.run(resume=resume)
        return result.losses, torch.cat([value.flatten() for value in model.state_dict().values()]).numpy()

    (tmp_path / "disk").mkdir()
    with watched(tmp_path / "disk") as (disk, _):
        place = Marking(tmp_path / "disk" / "seed0-0")
        place.disk = disk
        losses, weights = train(place, resume=False)
    resumed = {}
    for number, (done, state) in enumerate(disk.states()):
        place = CheckpointFolder(lay_out(state, tmp_path / f"{number}") / "seed0-0")
        loaded = place.load()
        step = loaded.facts["step"] if loaded is not None else 0
        # The last step is saved twice: by itself and as the end
        assert step in (min(done, 3), min(done + 1, 3))
        if step not in resumed:
            resumed[step] = train(place, resume=True)
            assert resumed[step][0] == losses
            np.testing.assert_array_equal(resumed[step][1], weights)
    assert sorted(resumed) == [0, 1, 2, 3]


def artefact(value):
    return Artefact({"preprocessors": {}, "value": value}, {"w": np.full(5, value, np.float32)}, f"card {value}")


def test_t32_a_model_folder_holds_the_old_model_the_new_one_or_is_refused(tmp_path):
    folder = tmp_path / "disk"
    save_artefact(folder / "model", artefact(1))
    with watched(folder) as (disk, _):
        save_artefact(folder / "model", artefact(2))
        disk.mark()
    found = set()
    for number, (done, state) in enumerate(disk.states()):
        try:
            loaded = load_artefact(lay_out(state, tmp_path / f"{number}"))
            value = loaded.manifest["value"]
            assert loaded.weights["w"].tolist() == [value] * 5
            assert loaded.card == f"card {value}"
        except ArtefactError:
            value = None
        found.add((done, value))
    assert found == {(0, 1), (0, None), (0, 2), (1, 2)}


def test_t32_a_folder_that_was_removed_does_not_come_back(tmp_path):
    (tmp_path / "disk/checkpoints/seed0-0").mkdir(parents=True)
    (tmp_path / "disk/checkpoints/seed0-0/a.json").write_text("{}")
    with watched(tmp_path / "disk") as (disk, _):
        files.remove_folder(tmp_path / "disk/checkpoints")
        disk.mark()
    states = [state for done, state in disk.states() if done]
    assert states == [{"": None}]
    assert any("checkpoints/seed0-0/a.json" in state for _, state in disk.states())
