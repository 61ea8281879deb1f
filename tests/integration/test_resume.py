"""kill -9 at any moment, then --resume: the same weights, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.errors import ArtefactError

DRIVER = """
import sys, torch
torch.set_num_threads(1)
import omnifuse
from omnifuse.training import loop
loop.CHECKPOINT_S = -1.0  # a checkpoint after each step
out, table, resume = sys.argv[1], sys.argv[2], sys.argv[3] == "resume"
omnifuse.fit(table, ["kind", "price"], out=out, drop=("key", "tags", "when"), preset="tiny", epochs=2, baselines=False,
             logger="none", report_media="none", settings={"mixup": "0.3"}, resume=resume)
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def driver(out: Path, table: Path, how: str) -> list[str]:
    return [sys.executable, "-c", DRIVER, str(out), str(table), how]


def kill_at(out: Path, table: Path, how: str, moment: tuple[str, int]) -> bool:
    """Start a fit and kill it after so many checkpoints of a member; False where it was done before."""
    name, count = moment
    process = subprocess.Popen(driver(out, table, how), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    folder = out / "checkpoints" / name
    seen: set[int] = set()
    deadline = time.monotonic() + 120
    try:
        while process.poll() is None:
            assert time.monotonic() < deadline
            for path in folder.glob("*.json"):
                try:
                    seen.add(path.stat().st_mtime_ns)
                except FileNotFoundError:
                    continue
            if len(seen) >= count:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


def go_on(out: Path, table: Path) -> bytes:
    subprocess.run(driver(out, table, "resume"), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return (out / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    pl.DataFrame(plain_rows(24, holes=0.1)).write_csv(path)
    return path


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(driver(out, table, "fresh"), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return (out / "model" / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_t31_killed_twice_then_resumed_equals_the_uninterrupted_run(table, whole, tmp_path):
    out = tmp_path / "run"
    assert kill_at(out, table, "fresh", ("seed0-0", 2))
    assert kill_at(out, table, "resume", ("seed0-3", 3))
    assert not (out / "model").exists()
    assert go_on(out, table) == whole


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("member", [0, 1, 2, 4])
def test_t31_kill_9_then_resume_equals_the_uninterrupted_run(table, whole, tmp_path, member, count):
    out = tmp_path / "run"
    assert kill_at(out, table, "fresh", (f"seed0-{member}", count))
    assert not (out / "model").exists()
    assert go_on(out, table) == whole


@pytest.mark.slow
def test_t31_killed_again_and_again_equals_the_uninterrupted_run(table, whole, tmp_path):
    out = tmp_path / "run"
    assert kill_at(out, table, "fresh", ("seed0-0", 2))
    for member in (0, 1, 2, 3, 4):
        kill_at(out, table, "resume", (f"seed0-{member}", 3))
    assert go_on(out, table) == whole


def test_a_fit_without_resume_takes_nothing_from_an_older_run_of_the_folder(tmp_path):
    rows = plain_rows(30)
    options = QUICK | ONE_LABEL
    out = tmp_path / "run"
    omnifuse.fit(rows, "kind", out=out, **options)
    kept = {path.name for path in (out / "checkpoints").iterdir()}

    class StoppedError(Exception):
        pass

    def stop(kind, data):
        if kind == "train":
            raise StoppedError

    with pytest.raises(StoppedError):
        omnifuse.fit(rows, "kind", out=out, **options, progress=stop)
    left = list((out / "checkpoints").rglob("*.json"))
    assert kept
    assert left == []


def test_resume_refuses_the_checkpoints_of_another_table_or_architecture(tmp_path):
    rows = plain_rows(30)
    options = QUICK | ONE_LABEL | {"out": tmp_path / "run"}
    omnifuse.fit(rows, "kind", **options)
    with pytest.raises(ArtefactError, match="another architecture"):
        omnifuse.fit(rows, "kind", **options, fusion="sum", resume=True)
    with pytest.raises(ArtefactError, match="another table"):
        omnifuse.fit(rows[:25], "kind", **options, resume=True)


def test_resume_without_any_checkpoint_fits_from_the_start(tmp_path):
    rows = plain_rows(30)
    options = QUICK | ONE_LABEL
    first = omnifuse.fit(rows, "kind", out=tmp_path / "a", **options)
    second = omnifuse.fit(rows, "kind", out=tmp_path / "b", **options, resume=True)
    assert first.predict_proba(rows).tolist() == second.predict_proba(rows).tolist()
