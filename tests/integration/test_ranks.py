"""Several processes train one network: as one of them would alone, and whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows
from tests.rank_worker import BATCH, ROWS

HOME = Path(__file__).resolve().parents[2]
ENDED = "one of the 2 processes that train together"
STEPS = -(-ROWS // BATCH)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


def environment(**more):
    path = os.pathsep.join([str(HOME), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def together(out, *words, count=2, waited_for=None):
    """Exit codes and what was said on stderr, of so many processes, as torchrun would start them.

    Of those that are not waited for, the end is not: they are killed once the others have ended.
    """
    port, processes = free_port(), []
    for rank in range(count):
        ranks = {
            "TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.rank_worker", str(out), *words]
        given = environment(**ranks) if count > 1 else environment()
        processes.append(subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True, cwd=HOME))
    try:
        chosen = range(count) if waited_for is None else waited_for
        said = {rank: processes[rank].communicate(timeout=240)[1] for rank in chosen}
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [process.returncode for process in processes], [said.get(rank, "") for rank in range(count)]


def found(out, rank=0):
    return json.loads((out / f"rank{rank}.json").read_text())


def weights(out):
    from safetensors.numpy import load_file

    return load_file(out / "weights")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns."""
    out = tmp_path_factory.mktemp("alone")
    codes, said = together(out, count=1)
    assert codes == [0], said
    return out


def assert_same_training(out, alone):
    np.testing.assert_allclose(found(out)["losses"], found(alone)["losses"], rtol=1e-5)
    for name, value in weights(alone).items():
        np.testing.assert_allclose(weights(out)[name], value, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(alone, tmp_path):
    codes, said = together(tmp_path)
    assert codes == [0, 0], said
    assert_same_training(tmp_path, alone)
    first, second = found(tmp_path), found(tmp_path, 1)
    assert first["losses"] == second["losses"]
    # Each row of each batch is one process's, and no row is seen twice in an epoch
    assert [one + other for one, other in zip(first["rows"], second["rows"], strict=True)] == found(alone)["rows"]
    for epoch in range(3):
        steps = slice(epoch * STEPS, (epoch + 1) * STEPS)
        assert sorted(row for part in (first, second) for rows in part["rows"][steps] for row in rows) == list(
            range(ROWS)
        )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Two processes of which one was killed in the midst: the folder, exit codes, what was said, and seconds."""
    out, began = tmp_path_factory.mktemp("killed"), time.monotonic()
    codes, said = together(out, "--die-at", "6", "--timeout", "200")
    return out, codes, said, time.monotonic() - began


@pytest.mark.slow
def test_t41_a_killed_process_ends_all_with_one_sentence(killed):
    out, codes, said, seconds = killed
    assert codes == [1, 9]
    assert seconds < 200
    assert said[0].count(f"{ENDED} has ended") == 1
    assert "Traceback" not in said[0]
    assert "--resume" in said[0]
    assert not (out / "rank0.json").exists()


@pytest.mark.slow
def test_t42_another_number_of_processes_goes_on_where_they_stopped(alone, killed, tmp_path):
    shutil.copytree(killed[0], tmp_path / "run")
    codes, said = together(tmp_path / "run", "--resume", count=1)
    assert codes == [0], said
    assert_same_training(tmp_path / "run", alone)
    went_on = found(tmp_path / "run")["rows"]
    assert 0 < len(went_on) < 3 * STEPS
    assert went_on == found(alone)["rows"][-len(went_on) :]


@pytest.mark.slow
def test_t41_a_process_that_hangs_is_given_up(tmp_path):
    codes, said = together(tmp_path, "--hang-at", "2", "--timeout", "15", waited_for=(0,))
    assert codes[0] == 1
    assert ENDED in said[0]
    assert "Traceback" not in said[0]


def torchrun(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port(),
         "-m", "omnifuse", *words],
        env=environment(), capture_output=True, text=True, check=False, cwd=cwd, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_fits_and_the_first_process_alone_writes_and_speaks(tmp_path):
    import omnifuse

    rows = plain_rows(60)
    pl.DataFrame(rows).write_csv(tmp_path / "train.csv")
    drop = [word for name in ONE_LABEL["drop"] for word in ("--drop", name)]
    done = torchrun("fit", "train.csv", "--label", "kind", "--out", "run", "--preset", "tiny", "--epochs", "2",
                    "--no-baselines", "--logger", "none", "--json", *drop, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["artefact"] == "run/model"
    assert {path.name for path in tmp_path.iterdir()} == {"train.csv", "run"}
    one = omnifuse.fit(rows, "kind", out=tmp_path / "alone", **{**QUICK, "epochs": 2}, **ONE_LABEL)
    answers = omnifuse.load(tmp_path / "run").predict(rows[:20], proba=True)
    assert all(answer.error is None for answer in answers)
    assert {answer.targets["kind"].probabilities.keys() == {"red", "blue"} for answer in answers} == {True}
    assert len(one.members) == len(omnifuse.load(tmp_path / "run").members)


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_refused(tmp_path):
    pytest.importorskip("optuna")
    pl.DataFrame(plain_rows(40)).write_csv(tmp_path / "train.csv")
    done = torchrun("fit", "train.csv", "--label", "kind", "--out", "run", "--search", "1", cwd=tmp_path)
    assert done.returncode != 0
    assert "a search for settings cannot be done by 2 processes together" in done.stderr
