"""What a fit leaves in its run folder: the model with what was measured, the single-field networks, the report."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from omnifuse.api.comparison import as_models, singles_folder
from omnifuse.api.measuring import Seeds, Trained
from omnifuse.api.members import training_notes
from omnifuse.api.options import FitOptions
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.reporting import write_fit_report
from omnifuse.api.scoring import cost_of
from omnifuse.api.store import save_model, save_singles
from omnifuse.deploy.held_back import save_held_back
from omnifuse.files import remove_folder
from omnifuse.presets import Preset


def save_run(
    trained: Trained,
    prepared: Prepared,
    *,
    partition: Partition,
    preset: Preset,
    options: FitOptions,
    started: float,
) -> None:
    """Write model/ and singles/, those of an older fit are replaced.

    Args:
        trained: What ships; its model gets manifest, id and folder.
        prepared: The table.
        partition: Which of its rows did what.
        preset: What was built and how it was trained.
        options: Of the fit.
        started: When it began, on the monotonic clock.
    """
    out, model = options.out, trained.model
    trainings = trained.network.results
    rows = partition.report[:64] if len(partition.report) else prepared.rows[:64]
    model.manifest |= {
        "preset": preset.name,
        "training": preset.training.to_json(),
        "metrics": {
            "rows": len(trained.scored.rows),
            "targets": trained.results,
            "cost": cost_of(model.members, {name: pack.bare for name, pack in prepared.packs.items()}, rows),
        },
        "data": {
            "fingerprint": prepared.table.fingerprint(),
            "rows": prepared.table.num_rows,
            "learnt_from": len(prepared.rows),
            "scored_on": f"Scores are of {trained.scored.words}.",
        },
        "fit": {
            "seed": options.seed,
            "seconds": round(time.monotonic() - started, 3),
            "training_seconds": round(trained.network.seconds, 3),
            "epochs": round(float(np.mean([item.epochs for item in trainings])), 3),
            "steps": [item.steps for item in trainings],
            "samples_per_s": round(float(np.mean([item.samples_per_s for item in trainings])), 1),
            "wait_share": round(float(np.mean([item.wait_share for item in trainings])), 4),
            "notes": training_notes(trainings),
        },
    }
    model.manifest |= {"from": prepared.start.to_json()} if prepared.start is not None else {}
    remove_folder(singles_folder(out))
    save_model(model, out / "model")
    save_held_back(out, prepared.packs, rows, targets=prepared.targets)
    save_singles(as_models(trained.comparison, prepared), out)
    model.folder = out


def report_run(
    trained: Trained, prepared: Prepared, *, partition: Partition, seeds: Seeds, options: FitOptions
) -> None:
    """Write report/report.html of a run that was saved."""
    write_fit_report(
        options.out / "report" / "report.html",
        schema=prepared.schema,
        scored=trained.scored,
        results=trained.results,
        trainings=trained.network.results,
        findings=prepared.findings,
        notes=[*prepared.notes, *training_notes(trained.network.results), *trained.comparison.notes],
        facts=_facts(trained, prepared, partition, options),
        media=options.report_media == "sample",
        seeds=seeds,
        fusions=trained.model.manifest.get("fusions"),
        search=trained.model.manifest.get("search"),
    )


def _facts(trained: Trained, prepared: Prepared, partition: Partition, options: FitOptions) -> dict[str, str]:
    """What the report says under cost and how it was made."""
    manifest: dict[str, Any] = trained.model.manifest
    fit, cost = manifest["fit"], manifest["metrics"]["cost"]
    return {
        "learnt from": f"{len(prepared.rows)} rows; {partition.words}",
        "networks": f"{len(trained.network.members)}, {cost['parameters']:,} parameters together",
        "cost of a row": f"{cost['flops'] / 1e6:.1f} million operations, {cost['samples_per_s']:.0f} rows/s",
        "training": f"{fit['training_seconds']:.0f} s, {fit['epochs']:.0f} passes, "
        f"{fit['samples_per_s']:.0f} rows/s, {fit['wait_share']:.0%} waiting for data",
        "peak memory": f"{cost['peak_mb']:.0f} MB" if cost["peak_mb"] else "unknown",
        "seed": str(options.seed),
        "fusion": trained.network.spec.fusion,
        "model id": trained.model.model_id,
    }
