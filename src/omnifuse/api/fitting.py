"""fit: from raw rows to a trained, measured and reported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.fit_steps import FitSteps
from omnifuse.api.options import (
    DEFAULT_WINDOW,
    FitOptions,
    Listener,
    as_tuple,
    need_training,
    silent,
)
from omnifuse.data.tables import Table, open_table
from omnifuse.schema import Schema

if TYPE_CHECKING:
    from omnifuse.api.model import Model


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
    search: float | None = None,
    curve: bool = False,
    start: str | Path | None = None,
    allow_download: bool = False,
    shots: int | None = None,
    semi: bool = False,
    unlabelled: Any = None,
    teacher: str | Path | None = None,
    inputs: Sequence[str] = (),
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
        fusion: How fields are joined; see `omnifuse list`. Several with commas between, or "all", share the time
            equally and are compared; the first (or "joint") builds the model unless another one is surely better.
        fields: Column to modality, overriding what is inferred.
        encoders: Input to encoder name; `hf:NAME_OR_FOLDER[@REVISION][:frozen|lora|full]` for a pretrained backbone.
        tasks: Label to task kind; `ordinal` orders numbers and known texts, `ordinal:low<medium<high` any texts.
        settings: Single settings of the preset, `{"dropout": "0.2"}`.
        drop: Columns to leave out, those that are made of past rows among them.
        group: Column whose groups are never divided between learning and scoring.
        time: Column of times: later rows are held out, and each row gets its past rows.
        window: Largest number of past rows that it gets, those of its group; 0 for none. With a group, text columns get
            up to 5 earlier texts as a field of their own.
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
        search: Minutes in which settings (learning rate, dropout, width, fusion ...) are tried on rows that the report
            does not score, before the model is trained with the best ones; needs optuna.
        curve: Also measure the score for an eighth, a quarter and a half of the rows.
        start: Folder of a model, of `pretrain` for instance, whose preprocessing and encoders are begun with.
        allow_download: Whether backbones named by `hf:` may be fetched from the hub; else only what is on this machine
            is looked at.
        shots: Learn from so many labelled rows of each class, drawn by seed, on the space of `start`; the other
            labelled rows are scored.
        semi: Learn from rows of the table whose label is empty too, beside a model of the labelled rows alone.
        unlabelled: Another table, whose rows are learnt from without their label; as `table`.
        teacher: Folder of a model of the same label, which may read more fields: its answers are learnt from too,
            beside the same model without it.
        inputs: Fields, or modalities, that are read; none for all.
        progress: Called with ("stage" | "note" | "train", data).

    Returns:
        The model, as `omnifuse.load(out)` gives it.

    Raises:
        InputError: The table or an option is wrong; says what, where, and how to fix it.
        MissingDependencyError: torch or a companion is not installed, or with `search` optuna.

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
        search=search,
        curve=curve,
        start=None if start is None else Path(start),
        allow_download=allow_download,
        shots=shots,
        semi=semi,
        more_rows=unlabelled is not None,
        teacher=None if teacher is None else Path(teacher),
        inputs=as_tuple(inputs),
    )
    if search is not None:
        from omnifuse.api.search import need_search

        need_search()
    opened = open_table(table, media_root=media_root)
    held = opened.parts.get("dev") if valid is None else open_table(valid, media_root=media_root)
    more = None if unlabelled is None else open_table(unlabelled, media_root=media_root)
    return FitSteps(opened, held, options, progress or silent, more=more).run()


def fit_student(
    table: Table, options: FitOptions, *, schema: Schema, taught: Mapping[str, np.ndarray], listen: Listener
) -> Model:
    """Fit a model that learns from a teacher's answers too, as `fit` does all else.

    Args:
        table: The rows.
        options: Of the fit; what they say of single columns is not looked at.
        schema: Roles of the columns.
        taught: Target to what the teacher answers to all rows, see `teaching`.
        listen: Hears of each step.
    """
    return FitSteps(table, table.parts.get("dev"), options, listen, schema=schema, taught=taught).run()
