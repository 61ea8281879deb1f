"""fit: from raw rows to a trained, measured and reported model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnifuse.api.options import DEFAULT_MINUTES, DEFAULT_WINDOW, FitOptions, Listener, as_tuple, need_training, silent
from omnifuse.data.tables import Table, open_table
from omnifuse.schema import TaskKind

if TYPE_CHECKING:
    from omnifuse.api.measuring import Trained
    from omnifuse.api.model import Model
    from omnifuse.api.partition import Partition
    from omnifuse.api.prepare import Prepared
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
    window: int = DEFAULT_WINDOW,
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
        time: Column of times: later rows are held out, and each row gets its past rows.
        window: Largest number of past rows that it gets, those of its group; 0 for none.
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
        window=window,
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


class _Fit:
    """The steps of one fit, in order."""

    def __init__(self, table: Table, valid: Table | None, options: FitOptions, listen: Listener) -> None:
        self.table, self.valid, self.options, self.listen = table, valid, options, listen
        self.started = time.monotonic()
        self.asked: Asked | None = None

    def run(self) -> Model:
        """Prepare, train, score, compare, save, report."""
        from omnifuse.api.measuring import add_seeds
        from omnifuse.api.run_folder import report_run, save_run

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
        seeds = add_seeds([item.results for item in trained])
        save_run(first, prepared, partition=partition, preset=preset, options=self.options, started=self.started)
        report_run(first, prepared, partition=partition, seeds=seeds, options=self.options)
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
            folds=prepared.folds,
            times=prepared.times,
            num_members=3,
            seed=self.options.seed,
        )

    def _train(
        self, prepared: Prepared, partition: Partition, preset: Preset, seed: int, seconds: float | None
    ) -> Trained:
        from omnifuse.api.comparison import compare, no_comparison
        from omnifuse.api.measuring import measure
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
        self.listen("stage", {"text": "calibrating and scoring every subset of fields"})
        return measure(
            prepared, partition, network=network, comparison=comparison, asked=self.asked, seed=self.options.seed
        )
