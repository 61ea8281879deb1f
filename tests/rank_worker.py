"""One of several processes that train a tiny network together; `tests/integration/test_ranks.py` starts them.

python -m tests.rank_worker OUT [--epochs N] [--die-at STEP] [--hang-at STEP] [--timeout S] [--resume]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.conftest import LABELS, make_problem, plain_rows
from tests.integration.test_overfit import EXACT

from omnifuse.errors import OmnifuseError

ROWS, BATCH = 26, 8


def problem_of(folder: Path):
    """26 rows with holes in every column and in every label, of which batches do not divide evenly."""
    rows = plain_rows(ROWS, holes=0.15)
    for number, name in ((1, "kind"), (2, "price"), (3, "tags"), (4, "price")):
        rows[number][name] = None
    return make_problem(rows, list(LABELS), folder, tasks=LABELS, drop=("key",))


def trained(folder: Path, options: argparse.Namespace) -> None:
    """Train, and write losses, the rows of each step and, in the first process, the weights."""
    from safetensors.torch import save_file

    from omnifuse.presets import TrainingSpec
    from omnifuse.training import loop
    from omnifuse.training.checkpoint import CheckpointFolder
    from omnifuse.training.loop import Trainer
    from omnifuse.training.ranks import is_first, joined_ranks, rank

    loop.CHECKPOINT_S = -1.0
    seen: list[list[int]] = []

    def report(data):
        if data["step"] == options.die_at and rank() == 1:
            os._exit(9)
        if data["step"] == options.hang_at and rank() == 1:
            time.sleep(600)

    problem = problem_of(folder)
    source = problem.source(batch_size=BATCH)
    make = source._make

    def listened(epoch, index, rows):
        batch = make(epoch, index, rows)
        seen.append(batch.rows.tolist())
        return batch

    source._make = listened
    model = problem.network(**EXACT, shallow="none", seed=rank())  # unequal at first: the first one's weights count
    spec = TrainingSpec(epochs=options.epochs, learning_rate=1e-3, mixup=0.0)
    place = CheckpointFolder(folder / "checkpoints")
    with joined_ranks(timeout_s=options.timeout):
        result = Trainer(model, source, spec, seed=3, place=place, report=report).run(resume=options.resume)
    (folder / f"rank{rank()}.json").write_text(json.dumps({"losses": result.losses, "rows": seen}))
    if is_first():
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--hang-at", type=int, default=-1)
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        trained(options.out, options)
    except OmnifuseError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
