"""fit: from raw rows to a trained, measured and reported model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.options import DEFAULT_MINUTES, FitOptions, Listener, as_tuple, need_training, silent
from omnifuse.data.tables import Table, open_table
from omnifuse.schema import TaskKind

if TYPE_CHECKING:
    from omnifuse.api.comparison import Comparison
    from omnifuse.api.members import Network, Task
    from omnifuse.api.model import Model
    from omnifuse.api.partition import Partition
    from omnifuse.api.prepare import Prepared
    from omnifuse.api.reporting import Scored
    from omnifuse.api.simple import Asked
    from omnifuse.presets import Preset


def fit(
    table: Any,
    label: str | Sequence[str],
    *,
    out: str | Path = Path("runs/fit"),
    valid: Any = None,
    preset: str = "auto",
    fusion: str = "joint",
    fields: Mapping[str, str] | None = None,
    encoders: Mapping[str, str] | None = None,
    tasks: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    group: str | None = None,
    time: str | None = None,
    seed: int = 0,
    seeds: int = 1,
    minutes: float | None = None,
    epochs: int | None = None,
    baselines: bool = True,
    logger: str = "tensorboard",
    resume: bool = False,
    max_bad: float = 0.01,
    media_root: Path | None = None,
    report_media: str = "sample",
    progress: Listener | None = None,
) -> Model:
    """Train a model on a table, measure it honestly, and write the run folder.

    Args:
        table: Path of a CSV, TSV, Parquet or JSONL file or of a folder, polars or pandas frame, or list of dicts, whose
            media cells may be paths, bytes, arrays or PIL images.
        label: Column to predict, or several.
        out: Run folder: model/, report/, checkpoints/, logs/.
        valid: Table that the scores are measured on instead of held-out rows of `table`.
        preset: "auto", "tiny", "small" or "base".
        fusion: How fields are joined; see `omnifuse list`.
        fields: Column to modality, overriding what is inferred.
        encoders: Input to encoder name.
        tasks: Label to task kind.
        settings: Single settings of the preset, `{"dropout": "0.2"}`.
        drop: Columns to leave out.
        group: Column whose groups are never divided between learning and scoring.
        time: Column of times: later rows are held out.
        seed: Of everything random.
        seeds: Repeat with so many seeds; the model of the first is kept, mean and deviation are reported.
        minutes: Upper limit for training the model; 6 where neither this nor `epochs` is given.
        epochs: Fixed number of passes; equal results to the bit on one machine.
        baselines: Whether single fields and simple models are trained too.
        logger: "tensorboard", "wandb" or "none".
        resume: Go on where an interrupted fit of this folder stopped.
        max_bad: Largest accepted share of unreadable cells of a field.
        media_root: Folder that media must lie in.
        report_media: "sample" shows examples in the report, "none" no media.
        progress: Called with ("stage" | "note" | "train", data).

    Returns:
        The model, as `omnifuse.load(out)` gives it.

    Raises:
        InputError: The table or an option is wrong; says what, where, and how to fix it.
        MissingDependencyError: torch or a companion is not installed.

    Example:
        >>> import omnifuse
        >>> model = omnifuse.fit("train.csv", label="species", minutes=2)  # doctest: +SKIP
    """
    need_training()
    options = FitOptions(
        labels=as_tuple(label),
        out=Path(out),
        preset=preset,
        fusion=fusion,
        fields=fields or {},
        encoders=encoders or {},
        tasks=tasks or {},
        settings=settings or {},
        drop=tuple(drop),
        group=group,
        time=time,
        seed=seed,
        seeds=seeds,
        minutes=minutes,
        epochs=epochs,
        baselines=baselines,
        logger=logger,
        resume=resume,
        max_bad=max_bad,
        media_root=media_root,
        report_media=report_media,
    )
    opened = open_table(table, media_root=media_root)
    held = opened.parts.get("dev") if valid is None else open_table(valid, media_root=media_root)
    return _Fit(opened, held, options, progress or silent).run()


@dataclass(frozen=True)
class _Trained:
    """One seed's networks and what they answered."""

    network: Network
    model: Model
    scored: Scored
    results: dict[str, Any]
    comparison: Comparison


class _Fit:
    """The steps of one fit, in order."""

    def __init__(self, table: Table, valid: Table | None, options: FitOptions, listen: Listener) -> None:
        self.table, self.valid, self.options, self.listen = table, valid, options, listen
        self.started = time.monotonic()
        self.asked: Asked | None = None

    def run(self) -> Model:
        """Prepare, train, score, compare, save, report."""
        prepared, preset = self._prepare()
        self.asked = self._open_valid(prepared)
        partition = self._partition(prepared)
        seconds = None if self.options.epochs else 60.0 * (self.options.minutes or DEFAULT_MINUTES)
        share = None if seconds is None else seconds / self.options.seeds
        trained = [
            self._train(prepared, partition, preset, self.options.seed + number, share)
            for number in range(self.options.seeds)
        ]
        first = trained[0]
        seeds = _over_seeds([item.results for item in trained])
        for name, values in seeds.items():
            first.results[name]["seeds"] = {
                metric: {"mean": mean, "sd": sd, "seeds": count} for metric, (mean, sd, count) in values.items()
            }
        self._save(first, prepared, partition, preset)
        self._report(first, seeds, prepared, partition)
        return first.model

    def _prepare(self) -> tuple[Prepared, Preset]:
        from omnifuse.api.prepare import prepare, read_schema
        from omnifuse.presets import choose_preset, with_settings

        options = self.options
        schema = read_schema(self.table, options)
        preset = choose_preset(options.preset, schema, self.table.num_rows)
        changed = replace(preset.model, fusion=options.fusion, encoders=dict(options.encoders))
        preset = with_settings(replace(preset, model=changed), options.settings)
        self._check_encoders(schema, preset)
        options.out.mkdir(parents=True, exist_ok=True)
        if not options.resume:  # else a later --resume of this run would take up networks of an older one
            shutil.rmtree(options.out / "checkpoints", ignore_errors=True)
        cache = options.out / "cache"
        prepared = prepare(
            self.table,
            schema,
            options,
            input_options=preset.input_options(schema),
            listen=self.listen,
            cache=cache if any(item.modality.is_media for item in schema.inputs) else None,
        )
        for note in prepared.notes:
            self.listen("note", {"text": note})
        for finding in prepared.findings:
            if finding.severity != "info":
                self.listen("note", {"text": f"{finding.severity}: {finding.text}"})
        return prepared, preset

    def _open_valid(self, prepared: Prepared) -> Asked | None:
        """Decode the table that is scored, so that a fault in it is told before the training."""
        from omnifuse.api.decode import decode
        from omnifuse.api.scoring import labels_of
        from omnifuse.api.simple import Asked

        if self.valid is None:
            return None
        truths = {target.name: labels_of(self.valid, target) for target in prepared.schema.targets}
        confined = self.options.media_root is not None
        return Asked(decode(self.valid, prepared.schema, prepared.preprocessors, confined=confined), truths)

    def _check_encoders(self, schema: Any, preset: Preset) -> None:
        """Refuse a wrong encoder name before any medium is decoded."""
        from omnifuse.encoders import encoder_entry
        from omnifuse.errors import InputError, did_you_mean

        inputs = {item.name: item for item in schema.inputs}
        for name, encoder in preset.model.encoders.items():
            if name not in inputs:
                raise InputError(f"--encoder names '{name}', which is no input", fix=did_you_mean(name, inputs))
            encoder_entry(encoder, inputs[name].modality)

    def _partition(self, prepared: Prepared) -> Partition:
        from omnifuse.api.partition import partition

        target = prepared.schema.targets[0]
        encoded = prepared.targets[target.name]
        labels = encoded if target.kind is TaskKind.CLASSIFICATION else None
        return partition(
            prepared.rows,
            labels=labels,
            groups=prepared.groups,
            times=prepared.times,
            num_members=3,
            seed=self.options.seed,
        )

    def _train(
        self, prepared: Prepared, partition: Partition, preset: Preset, seed: int, seconds: float | None
    ) -> _Trained:
        from omnifuse.api.comparison import compare, no_comparison
        from omnifuse.api.members import Budget, Task, train_members

        task = Task(f"seed{seed}", preset.model, preset.training, prepared.schema, self.options.out, seed)
        self.listen("stage", {"text": f"training {len(partition.members)} networks: {partition.words}"})
        budget = Budget(seconds, (1.0,) * len(partition.members))
        network = train_members(prepared, partition, task, options=self.options, budget=budget, listen=self.listen)
        spent = sum(item.seconds for item in network.results)
        comparison = (
            compare(
                prepared,
                partition,
                task,
                asked=self.asked,
                options=self.options,
                seconds=seconds and spent,
                listen=self.listen,
            )
            if self.options.baselines
            else no_comparison()
        )
        return self._score(prepared, partition, task, network, comparison)

    def _score(
        self, prepared: Prepared, partition: Partition, task: Task, network: Network, comparison: Comparison
    ) -> _Trained:
        from omnifuse.api.members import answers_of_members
        from omnifuse.api.model import Model
        from omnifuse.api.scoring import bare_readout
        from omnifuse.evaluation import calibration_subsets, fit_readout
        from omnifuse.model import Ensemble

        self.listen("stage", {"text": "calibrating and scoring every subset of fields"})
        names = tuple(item.name for item in prepared.schema.inputs)
        subsets = calibration_subsets(names)
        calibrate = answers_of_members(prepared, partition, network, partition.calibrate, subsets)
        bare, readouts = {}, {}
        for target in prepared.schema.targets:
            encoded = prepared.targets[target.name]
            bare[target.name] = bare_readout(target, prepared.schema, encoded, partition.members[0].train)
            readouts[target.name] = fit_readout(bare[target.name], calibrate, encoded[partition.calibrate])
        model = Model(
            Ensemble(network.members),
            schema=prepared.schema,
            preprocessors=prepared.preprocessors,
            readouts=readouts,
            manifest={"spec": task.spec.to_json(), "num_members": len(network.members)},
        )
        if self.asked is not None:
            scored, results = self._score_valid(model, comparison, prepared, self.asked)
        else:
            scored, results = self._score_report(
                prepared, partition, network, comparison, (subsets, calibrate, bare, readouts)
            )
        return _Trained(network, model, scored, results, comparison)

    def _score_report(
        self, prepared: Prepared, partition: Partition, network: Network, comparison: Comparison, found: Any
    ) -> tuple[Scored, dict[str, Any]]:
        """Score rows of the training table that were held out: by their fold's member, calibrated without them."""
        from omnifuse.api.members import answers_of_members
        from omnifuse.api.reporting import Scored
        from omnifuse.api.scoring import crossfitted_scores, target_result

        subsets, calibrate, bare, readouts = found
        rows = partition.report
        raws = calibrate
        if partition.fold is None:
            raws = answers_of_members(prepared, partition, network, rows, subsets)
        results, truths, complete = {}, {}, {}
        groups = prepared.groups[rows] if prepared.groups is not None else None
        for target in prepared.schema.targets:
            name = target.name
            truths[name] = prepared.targets[name][rows]
            if partition.fold is not None:
                scores = crossfitted_scores(bare[name], raws, truths[name], partition.fold[rows])
            else:
                scores = {subset: readouts[name].scores(raw) for subset, raw in raws.items()}
            complete[name] = scores[subsets[0]]
            results[name] = target_result(
                target,
                truths[name],
                scores,
                raws,
                singles=comparison.singles.get(name, {}),
                simple=comparison.simple.get(name, {}),
                seed=self.options.seed,
                groups=groups,
            )
        return Scored(prepared.table, rows, truths, complete, partition.words), results

    def _score_valid(
        self, model: Model, comparison: Comparison, prepared: Prepared, asked: Asked
    ) -> tuple[Scored, dict[str, Any]]:
        """Score the rows of the table that the user gave for it."""
        from omnifuse.api.comparison import as_models
        from omnifuse.api.reporting import Scored
        from omnifuse.api.scoring import evaluate_decoded

        singles = as_models(comparison, prepared)
        evaluated = evaluate_decoded(
            model, asked.decoded, asked.truths, seed=self.options.seed, singles=singles, simple=comparison.simple
        )
        table = asked.decoded.table
        words = f"the {table.num_rows} rows of {table.name}, by the average of all members"
        rows = np.arange(table.num_rows)
        return Scored(table, rows, asked.truths, evaluated["scores"], words), evaluated["targets"]

    def _save(self, trained: _Trained, prepared: Prepared, partition: Partition, preset: Preset) -> None:
        from omnifuse.api.comparison import as_models, singles_folder
        from omnifuse.api.scoring import cost_of
        from omnifuse.api.store import save_model, save_singles

        out, model = self.options.out, trained.model
        trainings = trained.network.results
        rows = partition.report[:64] if len(partition.report) else prepared.rows[:64]
        model.manifest |= {
            "preset": preset.name,
            "training": preset.training.to_json(),
            "metrics": {
                "rows": len(trained.scored.rows),
                "targets": trained.results,
                "cost": cost_of(model.members, prepared.packs, rows),
            },
            "data": {
                "fingerprint": self.table.fingerprint(),
                "rows": self.table.num_rows,
                "learnt_from": len(prepared.rows),
                "scored_on": f"Scores are of {trained.scored.words}.",
            },
            "fit": {
                "seed": self.options.seed,
                "seconds": round(time.monotonic() - self.started, 3),
                "training_seconds": round(sum(item.seconds for item in trainings), 3),
                "epochs": round(float(np.mean([item.epochs for item in trainings])), 3),
                "steps": [item.steps for item in trainings],
                "samples_per_s": round(float(np.mean([item.samples_per_s for item in trainings])), 1),
                "wait_share": round(float(np.mean([item.wait_share for item in trainings])), 4),
            },
        }
        shutil.rmtree(singles_folder(out), ignore_errors=True)
        save_model(model, out / "model")
        save_singles(as_models(trained.comparison, prepared), out)
        model.folder = out

    def _report(self, first: _Trained, seeds: dict[str, Any], prepared: Prepared, partition: Partition) -> None:
        from omnifuse.api.reporting import write_fit_report

        facts, cost = first.model.manifest["fit"], first.model.manifest["metrics"]["cost"]
        write_fit_report(
            self.options.out / "report" / "report.html",
            schema=prepared.schema,
            scored=first.scored,
            results=first.results,
            trainings=first.network.results,
            findings=prepared.findings,
            notes=[*prepared.notes, *first.comparison.notes],
            facts={
                "learnt from": f"{len(prepared.rows)} rows; {partition.words}",
                "networks": f"{len(first.network.members)}, {cost['parameters']:,} parameters together",
                "cost of a row": f"{cost['flops'] / 1e6:.1f} million operations, {cost['samples_per_s']:.0f} rows/s",
                "training": f"{facts['training_seconds']:.0f} s, {facts['epochs']:.0f} passes, "
                f"{facts['samples_per_s']:.0f} rows/s, {facts['wait_share']:.0%} waiting for data",
                "peak memory": f"{cost['peak_mb']:.0f} MB" if cost["peak_mb"] else "unknown",
                "seed": str(self.options.seed),
                "fusion": first.network.spec.fusion,
                "model id": first.model.model_id,
            },
            media=self.options.report_media == "sample",
            seeds=seeds,
        )


def _over_seeds(results: list[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Target to metric to (mean, deviation, number of seeds)."""
    if len(results) < 2:
        return {}
    found: dict[str, dict[str, tuple[float, float, int]]] = {}
    for name, first in results[0].items():
        found[name] = {}
        for metric in first["metrics"]:
            values = [item[name]["metrics"][metric]["value"] for item in results]
            if all(value is not None for value in values):
                found[name][metric] = (float(np.mean(values)), float(np.std(values, ddof=1)), len(values))
    return found
