from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from omnifuse.training.checkpoint import SLOTS, Checkpoint, CheckpointFolder, pack_state, unpack_state
from omnifuse.training.optimiser import WeightAverage, make_optimiser


def checkpoint(step: int) -> Checkpoint:
    values = torch.arange(50, dtype=torch.float32) + step
    return Checkpoint(
        {"model/w": values, "optimiser/0/step": torch.tensor(float(step))}, {"step": step, "losses": [0.1]}
    )


def test_an_empty_folder_gives_nothing(tmp_path):
    assert CheckpointFolder(tmp_path / "absent").load() is None


def test_the_newest_comes_back_and_the_one_before_stays_on_disk(tmp_path):
    place = CheckpointFolder(tmp_path / "made")
    for step in range(1, 6):
        place.save(checkpoint(step))
        loaded = place.load()
        assert loaded.facts["step"] == step
        assert loaded.facts["losses"] == [0.1]
        assert torch.equal(loaded.tensors["model/w"], checkpoint(step).tensors["model/w"])
        assert loaded.tensors["optimiser/0/step"].shape == ()
    assert sorted(place._facts(slot)["step"] for slot in SLOTS) == [4, 5]
    assert sorted(path.name for path in place.folder.iterdir()) == [
        "a.json", "a.safetensors", "b.json", "b.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("failing", [1, 2])
def test_t31_a_crash_between_write_and_rename_leaves_the_old_pair(tmp_path, monkeypatch, failing):
    place = CheckpointFolder(tmp_path)
    for step in (1, 2, 3):
        place.save(checkpoint(step))
    calls = []

    def replace(self, target, original=Path.replace):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="Input/output"):
        place.save(checkpoint(4))
    assert place.load().facts["step"] == 3
    assert not list(tmp_path.glob("*.tmp"))
    monkeypatch.undo()
    place.save(checkpoint(5))
    assert place.load().facts["step"] == 5
    assert place._facts("a")["number"] != place._facts("b")["number"]


@pytest.mark.parametrize("failing", [1, 2])
def test_t31_a_kill_between_write_and_rename_leaves_the_old_pair(tmp_path, monkeypatch, failing):
    """As above, but as after SIGKILL: nothing is tidied away, half a temporary file stays."""
    from omnifuse.training import checkpoint as module

    place = CheckpointFolder(tmp_path)
    for step in (1, 2):
        place.save(checkpoint(step))
    calls = []

    def write(path, content, original=module.write_atomically):
        calls.append(path)
        if len(calls) == failing:
            path.with_name(path.name + ".tmp").write_bytes(content[: len(content) // 2])
            raise KeyboardInterrupt
        original(path, content)

    monkeypatch.setattr(module, "write_atomically", write)
    with pytest.raises(KeyboardInterrupt):
        place.save(checkpoint(3))
    monkeypatch.undo()
    assert place.load().facts["step"] == 2
    place.save(checkpoint(4))
    assert place.load().facts["step"] == 4
    place.clear()
    assert list(tmp_path.iterdir()) == []


def test_t28_one_flipped_bit_at_any_of_1000_positions_falls_back(tmp_path):
    place = CheckpointFolder(tmp_path)
    place.save(checkpoint(1))
    place.save(checkpoint(2))
    newest = "a" if place._facts("a")["step"] == 2 else "b"
    draw = np.random.default_rng(0)
    for _ in range(1000):
        path = tmp_path / f"{newest}.{draw.choice(['json', 'safetensors'])}"
        original = path.read_bytes()
        content = bytearray(original)
        content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
        path.write_bytes(content)
        assert place.load().facts["step"] == 1
        path.write_bytes(original)
    assert place.load().facts["step"] == 2


def test_both_damaged_gives_nothing(tmp_path):
    place = CheckpointFolder(tmp_path)
    place.save(checkpoint(1))
    place.save(checkpoint(2))
    (tmp_path / "a.json").write_text("[" * 100_000)
    (tmp_path / "b.safetensors").unlink()
    assert place.load() is None


def test_state_round_trip_is_exact():
    def made(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        return (
            model,
            make_optimiser(model, learning_rate=0.01, weight_decay=0.1),
            WeightAverage(model.parameters(), share=0.5, steps=9),
        )

    def step(model, optimiser, average, number):
        torch.manual_seed(number)
        model(torch.randn(8, 3)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        average.update(number)

    first, second = made(0), made(1)
    for number in range(3):
        step(*first, number)
    # Copies, as a file gives them: an optimiser takes over the tensors that it is handed
    saved = {name: value.clone() for name, value in pack_state(*first).items()}
    unpack_state(saved, *second)
    for number in range(3, 6):
        step(*first, number)
        step(*second, number)
    for mine, theirs in zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(torch.equal(a, b) for a, b in zip(first[2].values, second[2].values, strict=True))
