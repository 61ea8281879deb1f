"""T34, T36, T43, T44, T45: a run that is ended, a loss that jumps, two fits in one folder, a clock that jumps, bits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.api import members
from omnifuse.api.run_lock import LOCK, sole_fit
from omnifuse.errors import ArtefactError, InputError
from omnifuse.presets import TrainingSpec
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.loop import Trainer

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# A fit on the command line whose steps take a moment, so that a signal meets it in the middle
SLOW = """
import sys, time, torch
torch.set_num_threads(1)
from omnifuse.training.loop import Trainer
step = Trainer._step
def slow(self, fabric, optimiser, batch, number, steps):
    step(self, fabric, optimiser, batch, number, steps)
    if number == 2:
        print("now", flush=True)
        time.sleep(float(sys.argv[1]))
Trainer._step = slow
from omnifuse.cli.main import run
run(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    pl.DataFrame(plain_rows(24)).write_csv(path)
    return path


def command(table, out, *more, pause="0"):
    options = ["--preset", "tiny", "--epochs", "2", "--no-baselines", "--logger", "none", "--json"]
    drop = [word for name in ("key", "tags", "price", "when") for word in ("--drop", name)]
    return [sys.executable, "-c", SLOW, pause, "fit", str(table), "--label", "kind", "--out", str(out), *drop, *options,
            *more]  # fmt: skip


def fit_here(table, out, *, resume=False):
    """The same fit in this process: its weights."""
    import torch

    torch.set_num_threads(1)
    omnifuse.fit(table, "kind", out=out, preset="tiny", epochs=2, baselines=False, logger="none", resume=resume,
                 drop=("key", "tags", "price", "when"))  # fmt: skip
    return (out / "model" / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_t34_sigterm_saves_and_ends_and_resume_goes_on_to_the_same_bits(table, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(command(table, out, pause="1"), env=ENVIRONMENT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout.readline() == "now\n"
        began = time.monotonic()
        for _ in range(3):  # further signals change nothing
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 143
    assert time.monotonic() - began < 30
    assert "omnifuse: terminated; what was saved stays. Type the same with --resume" in err
    assert "Traceback" not in err
    assert not (out / "model").exists()
    saved = CheckpointFolder(out / "checkpoints" / "seed0-0").load()
    assert saved.facts["step"] == 3
    assert fit_here(table, out, resume=True) == fit_here(table, tmp_path / "whole")


def test_t34_a_step_that_does_not_end_is_left_at_the_deadline():
    script = """
import sys, time
from omnifuse.cli.termination import terminable
with terminable(deadline_s=0.5):
    try:
        print("now", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.stdout.close()
    assert process.returncode == 143


def test_t34_sigterm_is_as_before_once_the_command_has_ended():
    from omnifuse.cli.termination import terminable

    before = signal.getsignal(signal.SIGTERM)
    threads = threading.active_count()
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert threading.active_count() == threads


# T36


def spiked(problem, monkeypatch, *, at, factor, place=None, resume=False, heard=None, logged=None):
    """Train with the price of the rows of one step multiplied."""
    made = type(problem.source())._make

    def make(self, epoch, index, rows):
        batch = made(self, epoch, index, rows)
        if epoch * self.steps_per_epoch + index == at:
            batch.targets["price"].mul_(factor).add_(factor)
        return batch

    monkeypatch.setattr(type(problem.source()), "_make", make)
    keep = [] if logged is None else logged
    logger = SimpleNamespace(log=lambda *item: keep.append(item), note=lambda *item: keep.append(item))
    trainer = Trainer(problem.network(), problem.source(), TrainingSpec(epochs=5), seed=3, place=place, logger=logger,
                      report=heard.append if heard is not None else None)  # fmt: skip
    return trainer.run(resume=resume)


def test_t36_a_loss_100_times_the_usual_is_flagged(plain_problem, monkeypatch, tmp_path):
    heard, logged, place = [], [], CheckpointFolder(tmp_path)
    result = spiked(plain_problem, monkeypatch, at=12, factor=1e4, heard=heard, logged=logged, place=place)
    assert [step for step, _, _ in result.spikes] == [12]
    _, loss, usual = result.spikes[0]
    assert loss >= 100 * usual
    assert result.bad_steps == []
    remarks = [item["remark"] for item in heard if item["remark"]]
    assert len(remarks) == 1
    assert re.match(r"the loss at step 12 was .* times the usual .* \(rows \d", remarks[0])
    assert [step for values, step in logged if "spike" in values] == [12]
    assert [step for words, step in logged if str(words).startswith("the loss at step 12 was")] == [12]
    again = spiked(plain_problem, monkeypatch, at=-1, factor=1.0, place=place, resume=True)
    assert again.spikes == result.spikes
    note = members.training_notes([again])
    assert len(note) == 1
    assert re.search(r"Network 1: the loss at step 12 was .* times the usual .*learning_rate", note[0])


def test_t36_a_loss_ten_times_the_usual_is_not(plain_problem, monkeypatch):
    result = spiked(plain_problem, monkeypatch, at=12, factor=3.0)
    assert result.spikes == []
    assert members.training_notes([result]) == []


def test_t36_spikes_stand_in_the_log_the_report_and_the_model(tmp_path, monkeypatch):
    watch, heard = Trainer._watch, []

    def watched(self, loss, step, batch):
        watch(self, 1e6 if step == 10 else loss, step, batch)

    monkeypatch.setattr(Trainer, "_watch", watched)
    model = omnifuse.fit(plain_rows(24), "kind", out=tmp_path / "run", **(QUICK | ONE_LABEL | {"epochs": 6}),
                         progress=lambda kind, data: heard.append((kind, data.get("text", ""))))  # fmt: skip
    assert sum(kind == "note" and "the loss at step 10 was 1e+06" in text for kind, text in heard) == 5
    assert len(model.manifest["fit"]["notes"]) == 5
    assert "Network 3: the loss at step 10 was 1e+06" in (tmp_path / "run/report/report.html").read_text()


# T43


def test_t43_a_second_fit_into_one_folder_is_refused(tmp_path):
    out, seen = tmp_path / "run", []

    def second(kind, data):
        if kind == "train" and not seen:
            seen.append(1)
            with pytest.raises(InputError, match=rf"another fit is at work in .*process {os.getpid()} on .*--out"):
                omnifuse.fit(plain_rows(24), "kind", out=out, **(QUICK | ONE_LABEL))

    omnifuse.fit(plain_rows(24), "kind", out=out, **(QUICK | ONE_LABEL), progress=second)
    assert seen
    assert not (out / LOCK).exists()


def test_t43_another_process_is_refused_and_a_dead_ones_lock_is_taken_over(tmp_path):
    script = f"""
import time
from pathlib import Path
from omnifuse.api.run_lock import sole_fit
with sole_fit(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"another fit is at work.*process {process.pid} "), sole_fit(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    assert json.loads((tmp_path / LOCK).read_text())["process"] == process.pid
    with sole_fit(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_t43_a_lock_file_of_anything_locks_nobody_out(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff{")
    with sole_fit(tmp_path), pytest.raises(InputError, match="another fit is at work"), sole_fit(tmp_path):
        pass


# T44


def test_t44_a_clock_that_jumps_back_gives_no_negative_rate(plain_problem, monkeypatch, tmp_path):
    now = [2e9]

    def back():
        now[0] -= 1000.0
        return now[0]

    monkeypatch.setattr(time, "time", back)
    heard = []
    trainer = Trainer(plain_problem.network(), plain_problem.source(), TrainingSpec(epochs=2), seed=0,
                      place=CheckpointFolder(tmp_path), report=heard.append)  # fmt: skip
    result = trainer.run(seconds=30.0)
    assert result.steps == 6
    assert result.seconds > 0
    assert 0 < result.samples_per_s < 1e6
    assert 0 <= result.wait_share <= 1
    assert all(item["samples_per_s"] > 0 for item in heard)
    # The newer slot is told by its number, not by the time of the file
    place = CheckpointFolder(tmp_path)
    place.save(place.load())
    newest = max(("a", "b"), key=lambda slot: place._facts(slot)["number"])
    for slot, moment in zip(("a", "b"), ((1, 1), (2**31, 2**31)) if newest == "a" else ((2**31, 2**31), (1, 1)),
                            strict=True):  # fmt: skip
        os.utime(tmp_path / f"{slot}.json", moment)
    assert place.load().facts["number"] == place._facts(newest)["number"]


def test_t44_no_rate_is_taken_from_a_clock_that_can_be_set():
    home = Path(omnifuse.__file__).parent
    settable = re.compile(r"\btime\.time\(|\bdatetime\.(now|utcnow|today)\(|\.st_mtime\b")
    found = [str(path.relative_to(home)) for path in home.rglob("*.py") if settable.search(path.read_text("utf-8"))]
    # The registry tells people when a version was added; versions are ordered by their numbers. The cache of features
    # takes files that were begun an hour ago for abandoned, and what it loses is computed again
    assert sorted(found) == ["data/feature_cache.py", "deploy/registry.py"]


# T45


def test_t45_a_flipped_bit_of_a_weight_is_caught_by_its_digest(tmp_path):
    out = tmp_path / "run"
    omnifuse.fit(plain_rows(24), "kind", out=out, **(QUICK | ONE_LABEL | {"baselines": True}))
    draw = np.random.default_rng(0)
    for path in (out / "model/weights.safetensors", out / "singles/0/weights.safetensors"):
        original = path.read_bytes()
        for _ in range(5):
            content = bytearray(original)
            # Behind the header, so that only a value changes
            content[int(draw.integers(len(content) // 2, len(content)))] ^= 1 << int(draw.integers(8))
            path.write_bytes(content)
            with pytest.raises(ArtefactError, match=r"weights\.safetensors.*digest|digest.*weights\.safetensors"):
                omnifuse.load(path.parent)
        path.write_bytes(original)
        omnifuse.load(path.parent)
    place = CheckpointFolder(out / "checkpoints" / "seed0-0")
    slot = next(slot for slot in ("a", "b") if place._facts(slot))
    path = place.folder / f"{slot}.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    assert place.load() is None
