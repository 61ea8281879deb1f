"""pretrain: from rows without labels to encoders and a space in which the fields of a row lie together."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnifuse.api.options import DEFAULT_MINUTES, Listener, as_tuple, need_training, silent
from omnifuse.api.pretrain_options import PretrainOptions, named_pairs
from omnifuse.api.run_lock import sole_fit
from omnifuse.data.tables import Table, open_table
from omnifuse.errors import InputError
from omnifuse.files import remove_folder, remove_temporaries
from omnifuse.schema import Schema

if TYPE_CHECKING:
    from omnifuse.api.backbones import OpenedBackbones
    from omnifuse.api.model import Model
    from omnifuse.api.prepare import Prepared
    from omnifuse.api.pretrainer import Material
    from omnifuse.model import MultimodalModel
    from omnifuse.presets import Preset
    from omnifuse.training.result import TrainingResult

PARTS = ("model", "checkpoints", "cache")
# Rows that are looked at for a collapse where none are held out
MEASURED = 500


def pretrain(
    table: Any,
    *,
    out: str | Path = Path("runs/pretrain"),
    pairs: str | Sequence[str] = (),
    objective: str = "contrastive",
    id: str | None = None,
    preset: str = "auto",
    fields: Mapping[str, str] | None = None,
    encoders: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    group: str | None = None,
    seed: int = 0,
    minutes: float | None = None,
    epochs: int | None = None,
    logger: str = "tensorboard",
    resume: bool = False,
    max_bad: float = 0.01,
    media_root: Path | None = None,
    allow_download: bool = False,
    progress: Listener | None = None,
) -> Model:
    """Learn encoders and a shared space from rows without labels, and write the run folder.

    Args:
        table: As for `fit`. Drop columns that hold labels: they would be read as fields.
        out: Run folder: model/, checkpoints/, logs/.
        pairs: Fields or modalities that are compared, `["image:audio", "image:text"]`; none for all pairs of fields.
        objective: "contrastive", "sigmoid", "matching" (with contrastive), "masked", or "all".
        id: Column whose equal cells say that rows show the same item, so that they are partners of one another.
        preset: As for `fit`.
        fields: As for `fit`.
        encoders: As for `fit`.
        settings: As for `fit`; `{"space": "128"}` is the width of the shared space, that of the model by default.
        drop: Columns to leave out.
        group: Column whose groups are held out whole.
        seed: Of everything random.
        minutes: Upper limit for training; 6 where neither this nor `epochs` is given.
        epochs: Fixed number of passes; equal results to the bit on one machine.
        logger: "tensorboard", "wandb" or "none".
        resume: Go on where an interrupted pretraining of this folder stopped.
        max_bad: As for `fit`.
        media_root: As for `fit`.
        allow_download: As for `fit`.
        progress: As for `fit`.

    Returns:
        A model that embeds and that a fit can begin with (`fit(..., start=out)`); it has no target to predict.

    Raises:
        InputError: The table or an option is wrong; says what, where, and how to fix it.
        MissingDependencyError: torch or a companion is not installed.

    Example:
        >>> import omnifuse
        >>> space = omnifuse.pretrain("pairs.csv", pairs="photo:sound", minutes=2)  # doctest: +SKIP
    """
    need_training()
    options = PretrainOptions(
        out=Path(out),
        pairs=as_tuple(pairs.split(",") if isinstance(pairs, str) else pairs),
        objective=objective,
        id=id,
        preset=preset,
        fields=fields or {},
        encoders=encoders or {},
        settings=settings or {},
        drop=tuple(drop),
        group=group,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        logger=logger,
        resume=resume,
        max_bad=max_bad,
        media_root=media_root,
        allow_download=allow_download,
    )
    return _Pretrain(open_table(table, media_root=media_root), options, progress or silent).run()


class _Pretrain:
    """The steps of one pretraining, in order."""

    def __init__(self, table: Table, options: PretrainOptions, listen: Listener) -> None:
        self.table, self.options, self.listen = table, options, listen
        self.started = clock.monotonic()
        self.backbones: OpenedBackbones | None = None

    def run(self) -> Model:
        """Prepare, train, measure, save."""
        schema, preset = self._choose()
        with sole_fit(self.options.out):
            for part in PARTS:
                remove_temporaries(self.options.out / part)
            return self._run(schema, preset)

    def _choose(self) -> tuple[Schema, Preset]:
        """Read the columns and the options; nothing is written yet."""
        from omnifuse.api.backbones import open_backbones
        from omnifuse.api.prepare import read_schema
        from omnifuse.encoders import encoder_entry
        from omnifuse.errors import did_you_mean
        from omnifuse.presets import choose_preset, with_settings

        options = self.options
        reading = options
        if options.id is not None:
            if options.id not in self.table.columns:
                raise InputError(
                    f"--id names the column '{options.id}', which {self.table.name} lacks",
                    fix=did_you_mean(options.id, self.table.columns),
                )
            reading = replace(options, drop=(*options.drop, options.id), id=None)
        schema = read_schema(self.table, reading)
        if options.id is not None:
            schema = replace(schema, ids=(options.id, *(name for name in schema.ids if name != options.id)))
        if not schema.inputs:
            listed = "; ".join(f"{column}: {reason}" for column, reason in schema.dropped.items())
            raise InputError(
                f"{self.table.name} has no field to learn from",
                where=listed,
                fix="Name one with --field COLUMN=MODALITY",
            )
        schema = _of_pairs(schema, named_pairs(options.pairs, schema))
        preset = choose_preset(options.preset, schema, self.table.num_rows)
        inputs = {item.name: item for item in schema.inputs}
        for name, encoder in options.encoders.items():
            if name not in inputs:
                raise InputError(f"--encoder names '{name}', which is no input", fix=did_you_mean(name, inputs))
            encoder_entry(encoder, inputs[name].modality)
        model = replace(preset.model, encoders=dict(options.encoders), shallow="none", alignment=0.0)
        preset = with_settings(replace(preset, model=model), options.settings)
        preset, self.backbones = open_backbones(
            preset, schema, options.settings, allow_download=options.allow_download, listen=self.listen
        )
        # Without labels there is nothing to mix, to balance or to choose by
        training = replace(preset.training, mixup=0.0, cutmix=0.0, balancing="none", sampling="natural")
        table = "transformer" if preset.model.table == "auto" else preset.model.table
        model = replace(preset.model, space=preset.model.space or preset.model.dim, table=table)
        return schema, replace(preset, model=model, training=training)

    def _run(self, schema: Schema, preset: Preset) -> Model:
        from omnifuse.api.pretrainer import make_material, prepare_pretrainer

        prepared = self._prepare(schema, preset)
        material = make_material(prepared, self.options)
        for note in (*prepared.notes, *material.notes):
            self.listen("note", {"text": note})
        trainer = prepare_pretrainer(prepared, material, preset, self.options)
        what = ", ".join(f"{one}:{two}" for one, two in material.plan.pairs) or "each field by itself"
        self.listen("stage", {"text": f"pretraining on {len(material.train)} rows, {self.options.objective}: {what}"})
        result = self._train(trainer)
        network: MultimodalModel = trainer.model.model  # type: ignore[assignment]
        scale: float | None = trainer.model.scale  # type: ignore[assignment]
        return self._save(network, prepared, material, preset, result, scale=scale)

    def _prepare(self, schema: Schema, preset: Preset) -> Prepared:
        from omnifuse.api.prepare import prepare

        options = self.options
        if not options.resume:  # else a later --resume of this run would take up a network of an older one
            remove_folder(options.out / "checkpoints")
        return prepare(
            self.table,
            schema,
            options,
            input_options=preset.input_options(schema),
            listen=self.listen,
            cache=options.out / "cache" if any(item.modality.is_media for item in schema.inputs) else None,
            backbones=self.backbones,
            out=options.out,
        )

    def _train(self, trainer: Any) -> TrainingResult:
        """Train on a thread of its own, so that a signal never cuts a step in two."""
        from omnifuse.api.budget import Budget
        from omnifuse.api.joint_progress import JointProgress
        from omnifuse.training.lanes import Halt, side_by_side

        seconds = None if self.options.epochs else 60.0 * (self.options.minutes or DEFAULT_MINUTES)
        trainer.report = JointProgress("pretrain", 1, Budget(seconds, (1.0,)), self.listen).report(0)

        def job(halt: Halt) -> TrainingResult:
            trainer.halt = halt
            try:
                found: TrainingResult = trainer.run(
                    seconds=seconds, epochs=self.options.epochs, resume=self.options.resume
                )
                return found
            finally:
                trainer.logger.close()

        return side_by_side([job])[0]

    def _save(
        self,
        network: MultimodalModel,
        prepared: Prepared,
        material: Material,
        preset: Preset,
        result: TrainingResult,
        *,
        scale: float | None,
    ) -> Model:
        from omnifuse.api.members import training_notes
        from omnifuse.api.model import Model
        from omnifuse.api.space_scores import measure_space
        from omnifuse.api.store import save_model
        from omnifuse.model import Ensemble

        options = self.options
        self.listen("stage", {"text": "measuring retrieval and the spread of the space"})
        rows = material.held if len(material.held) else material.train[:MEASURED]
        words = (
            f"{len(rows)} rows that were held out"
            if len(material.held)
            else f"{len(rows)} rows that were learnt from, since the table is too small to hold any out"
        )
        found = measure_space(network, prepared.packs, rows, material.plan.pairs, material.codes)
        for note in found["notes"]:
            self.listen("note", {"text": note})
        notes = [*prepared.notes, *material.notes, *found.pop("notes"), *training_notes([result])]
        manifest: dict[str, Any] = {
            "spec": preset.model.to_json(),
            "num_members": 1,
            "preset": preset.name,
            "training": preset.training.to_json(),
            "metrics": {"targets": {}},
            "data": {
                "fingerprint": prepared.table.fingerprint(),
                "rows": prepared.table.num_rows,
                "learnt_from": len(material.train),
                "scored_on": f"Retrieval is of {words}.",
            },
            "pretraining": {
                "objective": options.objective,
                "pairs": [list(pair) for pair in material.plan.pairs],
                "learnt_from": len(material.train),
                "scale": scale,
                **found,
                "notes": notes,
            },
            "fit": {
                "seed": options.seed,
                "seconds": round(clock.monotonic() - self.started, 3),
                "training_seconds": round(result.seconds, 3),
                "epochs": round(result.epochs, 3),
                "steps": [result.steps],
                "samples_per_s": round(result.samples_per_s, 1),
                "wait_share": round(result.wait_share, 4),
                "notes": training_notes([result]),
            },
        }
        network.requires_grad_(True)
        model = Model(
            Ensemble([network.cpu()]),
            schema=prepared.schema,
            preprocessors=prepared.preprocessors,
            readouts={},
            manifest=manifest,
            folder=options.out,
        )
        save_model(model, options.out / "model")
        return model


def _of_pairs(schema: Schema, pairs: Sequence[tuple[str, str]]) -> Schema:
    """The schema with the inputs that the pairs name, the others with the reason why they are not read."""
    from omnifuse.api.members import restrict

    names = {name for pair in pairs for name in pair}
    if not names or names == {item.name for item in schema.inputs}:
        return schema
    left = restrict(schema, tuple(names))
    kept = {item.source for item in left.fields}
    gone = {item.source: "in none of --pairs" for item in schema.fields if item.source not in kept}
    return replace(left, dropped={**schema.dropped, **gone})
