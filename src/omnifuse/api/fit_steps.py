"""The steps of one fit, in order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.options import (
    DEFAULT_MINUTES,
    FitOptions,
    Listener,
    fusion_names,
)
from omnifuse.api.run_lock import sole_fit
from omnifuse.data.tables import Table
from omnifuse.files import remove_folder, remove_temporaries
from omnifuse.schema import Schema

if TYPE_CHECKING:
    from omnifuse.api.backbones import OpenedBackbones
    from omnifuse.api.fusions import FusionTable
    from omnifuse.api.measuring import Trained
    from omnifuse.api.member import Task
    from omnifuse.api.members import Network
    from omnifuse.api.model import Model
    from omnifuse.api.partition import Partition
    from omnifuse.api.prepare import Prepared
    from omnifuse.api.rivals import Rivals
    from omnifuse.api.search import SearchResult
    from omnifuse.api.simple import Asked
    from omnifuse.api.start import Start
    from omnifuse.api.transfer import Lessons
    from omnifuse.presets import Preset

# Folders of the run folder in which files are written whole or not at all
PARTS = ("model", "report", "checkpoints", "singles", "cache")


class FitSteps:
    """All that a fit has read, drawn and trained so far, and what comes next."""

    def __init__(
        self,
        table: Table,
        valid: Table | None,
        options: FitOptions,
        listen: Listener,
        *,
        schema: Schema | None = None,
        taught: Mapping[str, np.ndarray] | None = None,
        more: Table | None = None,
    ) -> None:
        self.table, self.valid, self.options, self.listen = table, valid, options, listen
        self.schema, self.taught = schema, dict(taught or {})
        self.started = time.monotonic()
        self.asked: Asked | None = None
        self.fusions = fusion_names(options.fusion)
        self.fusion_table: FusionTable | None = None
        self.choice: str | None = None
        self.start: Start | None = None
        self.backbones: OpenedBackbones | None = None
        self.notes: list[str] = []
        self.more = more
        self.lessons: Lessons | None = None

    def run(self) -> Model:
        """Prepare, train, score, compare, save, report."""
        from omnifuse.training.ranks import is_first, joined_ranks

        schema, preset = self._choose()
        # Of several processes the first one alone writes
        with joined_ranks(), sole_fit(self.options.out) if is_first() else nullcontext():
            for part in PARTS if is_first() else ():
                remove_temporaries(self.options.out / part)
            return self._run(schema, preset)

    def _run(self, schema: Schema, preset: Preset) -> Model:
        from omnifuse.api.measuring import add_seeds
        from omnifuse.api.refit import refit_linear
        from omnifuse.api.run_folder import report_run, save_run
        from omnifuse.training.ranks import alone_only, is_first

        if self.options.search is not None:
            alone_only("a search for settings")
        prepared = self._prepare(schema, preset)
        self.asked = self._open_valid(prepared)
        partition = self._partition(prepared)
        found = None
        if self.options.search is not None:
            partition, preset, found = self._search(prepared, partition, preset)
        seconds = None if self.options.epochs else 60.0 * (self.options.minutes or DEFAULT_MINUTES)
        share = None if seconds is None else seconds / self.options.seeds
        networks: dict[int, Network] = {}
        if len(self.fusions) > 1:
            preset, networks = self._compare_fusions(prepared, partition, preset, seconds)
        trained = [
            self._train(prepared, partition, preset, seed, share, network=networks.get(seed))
            for seed in range(self.options.seed, self.options.seed + self.options.seeds)
        ]
        first = trained[0]
        if self.fusion_table is not None:
            first.model.manifest["fusions"] = self.fusion_table.to_json()
        seeds = add_seeds([item.results for item in trained])
        refit_linear(prepared, partition, first.network, seed=self.options.seed)
        if not is_first():
            return first.model
        first.model.manifest |= {"search": found.to_json()} if found is not None else {}
        save_run(first, prepared, partition=partition, preset=preset, options=self.options, started=self.started)
        report_run(first, prepared, partition=partition, seeds=seeds, options=self.options)
        return first.model

    def _choose(self) -> tuple[Schema, Preset]:
        """Read the columns and the options; nothing is written yet."""
        from omnifuse.api.backbones import open_backbones
        from omnifuse.api.fit_checks import check_encoders, check_written
        from omnifuse.api.prepare import read_schema
        from omnifuse.presets import choose_preset, with_settings, written_encoders

        options = self.options
        schema = self.schema or read_schema(self.table, options)
        if options.inputs:
            from omnifuse.api.transfer import chosen_inputs

            schema = chosen_inputs(schema, options.inputs)
        preset = choose_preset(options.preset, schema, self.table.num_rows)
        encoders = {**written_encoders(schema), **options.encoders}
        changed = replace(preset.model, fusion=self.fusions[0], encoders=encoders)
        preset = with_settings(replace(preset, model=changed), options.settings)
        check_written(schema, preset, self.options, several_fusions=len(self.fusions) > 1)
        preset, self.backbones = open_backbones(
            preset, schema, options.settings, allow_download=options.allow_download, listen=self.listen
        )
        if options.start is not None:
            from omnifuse.api.start import open_start, with_start

            self.start = open_start(options.start, schema)
            preset = with_start(preset, self.start, schema, options.settings)
        if options.shots is not None:
            schema, preset = self._draw(schema, preset)
        check_encoders(schema, preset)
        return schema, preset

    def _draw(self, schema: Schema, preset: Preset) -> tuple[Schema, Preset]:
        """Few labels: what is built for them, and which rows are learnt from and scored."""
        from omnifuse.api.drawing import draw_shots
        from omnifuse.api.shots import with_space

        options = self.options
        assert self.start is not None, "few labels need a model to begin with"
        assert options.shots is not None, "no shots were asked for"
        preset, self.start, schema, unread = with_space(preset, self.start, schema)
        drawn = draw_shots(self.table, schema.targets[0], options.shots, group=options.group, seed=options.seed)
        self.notes += [*unread, *drawn.notes]
        if self.valid is None:
            self.valid = drawn.scored
        self.table = drawn.learnt
        return schema, preset

    def _prepare(self, schema: Schema, preset: Preset) -> Prepared:
        from omnifuse.api.prepare import prepare
        from omnifuse.training.ranks import is_first

        options = self.options
        # Else a later --resume of this run would take up networks of an older one
        if not options.resume and is_first():
            remove_folder(options.out / "checkpoints")
        cache = options.out / "cache"
        prepared = prepare(
            self.table,
            schema,
            options,
            input_options=preset.input_options(schema),
            listen=self.listen,
            cache=cache if is_first() and any(item.modality.is_media for item in schema.inputs) else None,
            written=preset.written_options,
            start=self.start,
            backbones=self.backbones,
            out=options.out,
        )
        prepared = replace(prepared, taught=self.taught, notes=[*prepared.notes, *self.notes])
        if options.teacher is not None:
            prepared = self._ask_teacher(prepared)
        if options.semi or self.more is not None:
            from omnifuse.api.unlabelled import find_unlabelled

            confined = options.media_root is not None
            prepared = replace(
                prepared, unlabelled=find_unlabelled(prepared, self.more, own=options.semi, confined=confined)
            )
            if options.semi:  # they are learnt from after all
                prepared.notes[:] = [note for note in prepared.notes if "rows have no label" not in note]
        for note in prepared.notes:
            self.listen("note", {"text": note})
        for finding in prepared.findings:
            if finding.severity != "info":
                self.listen("note", {"text": f"{finding.severity}: {finding.text}"})
        return prepared

    def _ask_teacher(self, prepared: Prepared) -> Prepared:
        """The rows with what the teacher answers to them."""
        from omnifuse.api.transfer import ask_teacher

        options = self.options
        assert options.teacher is not None, "there is no teacher"
        self.listen("stage", {"text": f"asking the model in '{options.teacher}' for its answers"})
        confined = options.media_root is not None
        self.lessons = ask_teacher(options.teacher, self.table, prepared.schema, confined=confined)
        prepared.notes.append(self.lessons.words)
        if self.lessons.known and self.valid is None:
            prepared.notes.append(
                "The teacher has learnt from labels of rows that are scored here, if not from each row's own: scores "
                "of a table that it has not seen (--valid) are surer."
            )
        return replace(prepared, taught=self.lessons.answers)

    def _open_valid(self, prepared: Prepared) -> Asked | None:
        """Decode the table that is scored, so that a fault in it is told before the training."""
        from omnifuse.api.scoring import labels_of
        from omnifuse.api.simple import Asked
        from omnifuse.data.decode import decode

        if self.valid is None:
            return None
        truths = {
            target.name: labels_of(self.valid, target, prepared.preprocessors.get(target.name))
            for target in prepared.schema.targets
        }
        confined = self.options.media_root is not None
        return Asked(decode(self.valid, prepared.schema, prepared.preprocessors, confined=confined), truths)

    def _partition(self, prepared: Prepared) -> Partition:
        from omnifuse.api.partition import partition

        target = (prepared.schema.chosen or prepared.schema.targets)[0]
        encoded = prepared.targets[target.name]
        labels = encoded if target.kind.chooses_class else None
        return partition(
            prepared.rows,
            labels=labels,
            groups=prepared.groups,
            folds=prepared.folds,
            times=prepared.times,
            num_members=3,
            seed=self.options.seed,
        )

    def _compare_fusions(
        self, prepared: Prepared, partition: Partition, preset: Preset, seconds: float | None
    ) -> tuple[Preset, dict[int, Network]]:
        """Train every fusion asked for; the preset with the one that is taken, and its networks by seed."""
        from omnifuse.api.fusions import compare_fusions
        from omnifuse.api.member import Task
        from omnifuse.training.ranks import agreed

        task = Task("table", preset.model, preset.training, prepared.schema, self.options.out, self.options.seed)
        task, seconds = self._choose_table(prepared, partition, task, seconds)
        preset = replace(preset, model=task.spec)
        self.fusion_table, networks = compare_fusions(
            prepared, partition, preset, self.fusions, options=self.options, seconds=seconds, listen=self.listen
        )
        self.listen("note", {"text": self.fusion_table.words})
        chosen = agreed(self.fusion_table.chosen)
        return replace(preset, model=replace(preset.model, fusion=chosen)), networks

    def _choose_table(
        self, prepared: Prepared, partition: Partition, task: Task, seconds: float | None
    ) -> tuple[Task, float | None]:
        """The task with the table's encoder chosen, once for all seeds, and the seconds that are left."""
        from omnifuse.api.choosing import CHOICE_SHARE, choose_table, undecided
        from omnifuse.training.ranks import agreed

        if undecided(task.spec, prepared) is None:
            return task, seconds
        if self.choice is None:
            limit = None if seconds is None else seconds * CHOICE_SHARE
            self.choice, why = choose_table(
                prepared, partition, task, options=self.options, seconds=limit, listen=self.listen
            )
            self.choice = agreed(self.choice)
            self.listen("note", {"text": why})
            prepared.notes.append(why)
            seconds = None if seconds is None else seconds - (limit or 0.0)
        return replace(task, spec=replace(task.spec, table=self.choice)), seconds

    def _search(
        self, prepared: Prepared, partition: Partition, preset: Preset
    ) -> tuple[Partition, Preset, SearchResult]:
        """Try settings on rows that are not scored afterwards; with folds, one fold alone is scored."""
        from omnifuse.api.search import search_settings

        elsewhere = self.asked is not None
        partition = partition if elsewhere else partition.narrowed()
        preset, found = search_settings(
            prepared, partition, preset, options=self.options, listen=self.listen, elsewhere=elsewhere
        )
        return partition, preset, found

    def _train(
        self,
        prepared: Prepared,
        partition: Partition,
        preset: Preset,
        seed: int,
        seconds: float | None,
        *,
        network: Network | None,
    ) -> Trained:
        from omnifuse.api.budget import Budget
        from omnifuse.api.comparison import compare, no_comparison
        from omnifuse.api.curve import score_curve
        from omnifuse.api.measuring import measure
        from omnifuse.api.member import Task
        from omnifuse.api.members import train_members

        task = Task(f"seed{seed}", preset.model, preset.training, prepared.schema, self.options.out, seed)
        if self.options.shots is not None:
            return self._train_shots(prepared, partition, task, seconds)
        rivals, facts = None, dict[str, Any]()
        if prepared.unlabelled is not None or self.lessons is not None:
            task, seconds = self._choose_table(prepared, partition, task, seconds)
            prepared, rivals, facts = self._train_rivals(prepared, partition, task, seconds)
            network = rivals.network
        if network is None:
            task, seconds = self._choose_table(prepared, partition, task, seconds)
            self.listen("stage", {"text": f"training {len(partition.members)} networks: {partition.words}"})
            budget = Budget(seconds, (1.0,) * len(partition.members))
            network = train_members(prepared, partition, task, options=self.options, budget=budget, listen=self.listen)
        comparison = (
            compare(
                prepared,
                partition,
                task,
                asked=self.asked,
                options=self.options,
                seconds=seconds and network.seconds,
                listen=self.listen,
            )
            if self.options.baselines
            else no_comparison()
        )
        if rivals is not None:
            comparison = rivals.beside(comparison, prepared, partition, self.asked)
        self.listen("stage", {"text": "calibrating and scoring every subset of fields"})
        trained = measure(
            prepared, partition, network=network, comparison=comparison, asked=self.asked, seed=self.options.seed
        )
        trained.model.manifest |= facts
        if self.options.curve and seed == self.options.seed:
            curve = score_curve(prepared, partition, task, network, options=self.options, listen=self.listen)
            for name, points in curve.items():
                trained.results[name]["curve"] = points
        return trained

    def _train_rivals(
        self, prepared: Prepared, partition: Partition, task: Task, seconds: float | None
    ) -> tuple[Prepared, Rivals, dict[str, Any]]:
        """What more is learnt from, beside the same without: rows without a label, or a teacher.

        Returns:
            The rows as they were learnt from, both networks, and what the manifest says of them.
        """
        options = self.options
        if self.lessons is None:
            from omnifuse.api.semi import train_semi

            semi = train_semi(prepared, partition, task, options=options, seconds=seconds, listen=self.listen)
            semi.prepared.notes.extend(semi.words)
            return semi.prepared, semi.rivals, {"unlabelled": semi.facts}
        from omnifuse.api.transfer import TAUGHT, train_taught

        rivals = train_taught(prepared, partition, task, options=options, seconds=seconds, listen=self.listen)
        prepared.notes.append(rivals.words)
        facts = {"model_id": self.lessons.model_id, "fields": list(self.lessons.fields), **rivals.facts}
        prepared = prepared if rivals.way == TAUGHT else replace(prepared, taught={})
        return prepared, rivals, {"teacher": facts}

    def _train_shots(self, prepared: Prepared, partition: Partition, task: Task, seconds: float | None) -> Trained:
        """Few labels: heads on the space that is begun with, compared with the same on each single field."""
        from omnifuse.api.comparison import no_comparison
        from omnifuse.api.measuring import measure
        from omnifuse.api.shots import compare_shots, train_shots

        options = self.options
        self.listen("stage", {"text": f"fitting heads on the space of '{options.start}': {partition.words}"})
        found = train_shots(prepared, partition, task, options=options, seconds=seconds, listen=self.listen)
        self.listen("note", {"text": found.words})
        prepared.notes.append(found.words)
        comparison = (
            compare_shots(
                prepared, partition, task, asked=self.asked, options=options, seconds=seconds, listen=self.listen
            )
            if options.baselines
            else no_comparison()
        )
        self.listen("stage", {"text": "calibrating and scoring every subset of fields"})
        trained = measure(
            prepared, partition, network=found.network, comparison=comparison, asked=self.asked, seed=options.seed
        )
        trained.model.manifest["shots"] = {
            "a_class": options.shots,
            "rows": len(prepared.rows),
            "heads": found.way,
            "log_loss": {name: round(loss, 6) for name, loss in found.losses.items()},
        }
        return trained
