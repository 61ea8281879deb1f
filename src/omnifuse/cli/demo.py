"""`omnifuse demo`: a generated world, a fit, its evaluation, and where the report lies."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import print_json
from omnifuse.cli.progress import Progress

TRAIN_ROWS, TEST_ROWS = 600, 300


def demo(
    out: Path = typer.Option(Path("runs/demo"), "--out", help="Run folder."),
    seed: int = typer.Option(0, "--seed", help="One seed gives the same world and the same model."),
    as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout."),
) -> None:
    """Generate guarded rooms (picture, sound, note, sensors, time), fit, evaluate, and say where the report lies."""
    from omnifuse.api import fit
    from omnifuse.api.options import need_training
    from omnifuse.cli.fit import print_result
    from omnifuse.data.rooms import generate_rooms

    need_training()
    progress = Progress()
    progress("stage", {"text": f"generating {TRAIN_ROWS} + {TEST_ROWS} rooms: picture, sound, note, sensors, time"})
    train, test = generate_rooms(out / "data", num_train=TRAIN_ROWS, num_test=TEST_ROWS, seed=seed)
    try:
        model = fit(train, "event", out=out, valid=test, seed=seed, minutes=1.15, progress=progress)
    finally:
        progress.close()
    result = {"artefact": str(out / "model"), **model.manifest["fit"], "targets": model.metrics["targets"]}
    if as_json:
        print_json({**result, "report": str(out / "report" / "report.html")})
    else:
        print_result(result, out)
