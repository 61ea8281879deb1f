"""omnifuse on one job as one process, as the peers are run: fit, then answers to the rows of every test table.

    python ours.py job.json

Settings are those of `omnifuse fit`, but for logs and the pictures of the report, which no peer writes either.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from common import read_job, write_answers

# As our command line does before torch is loaded: threads that spin while they wait slow training
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

import omnifuse


def main() -> int:
    job = read_job()
    window: dict[str, Any] = {} if job["window"] is None else {"window": job["window"]}
    model = omnifuse.fit(
        job["train"],
        job["label"],
        out=Path(job["out"]) / "model",
        drop=tuple(job["drop"]),
        group=job["group"],
        time=job["time"],
        seed=job["seed"],
        minutes=job["minutes"],
        baselines=False,
        logger="none",
        report_media="none",
        **window,
    )
    classes = list(model.schema.targets[0].classes)
    for test, path in job["tests"].items():
        found = np.asarray(model.predict_proba(path), np.float64)
        write_answers(job, test, np.where(np.isnan(found), 1 / len(classes), found), classes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
