"""Cross-modal transfer: a model that sees more fields teaches one that will see fewer, beside the same untaught.

Shapes: R rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.member import Task
from omnifuse.api.members import restrict, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.ordering import time_blocks
from omnifuse.api.partition import partition as divide
from omnifuse.api.prepare import Prepared, column_codes, learnable_rows
from omnifuse.api.rivals import Rivals
from omnifuse.api.store import load_model
from omnifuse.api.teaching import teacher_answers
from omnifuse.data.tables import Table
from omnifuse.data.targets import encode_target
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Schema
from omnifuse.training.predict import run_subsets

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.api.partition import Partition

TAUGHT, UNTAUGHT = "with the teacher", "without the teacher"


@dataclass(frozen=True)
class Lessons:
    """What a teacher answers.

    Attributes:
        model_id: Of the teacher.
        fields: That it reads.
        answers: Target to its answers to all rows, see `teaching`.
        unseen: Rows that were answered by networks that had not learnt from them.
        known: Whether the teacher has learnt from this very table.
    """

    model_id: str
    fields: tuple[str, ...]
    answers: dict[str, np.ndarray]
    unseen: int
    known: bool

    @property
    def words(self) -> str:
        """How the rows were answered."""
        text = f"The teacher reads {', '.join(self.fields)}."
        if self.unseen:
            return f"{text} {self.unseen} rows are answered by those of its networks that had not learnt from them."
        if self.known:
            return f"{text} It has learnt from these rows, and all its networks answer each."
        return f"{text} It has learnt from another table."


def chosen_inputs(schema: Schema, names: Sequence[str]) -> Schema:
    """The schema with some of the inputs, named by themselves or by their modality.

    Raises:
        InputError: A name is no input.
    """
    inputs = {item.name: item.modality.value for item in schema.inputs}
    kept: dict[str, None] = {}
    for name in names:
        found = [name] if name in inputs else [item for item, kind in inputs.items() if kind == name]
        if not found:
            raise InputError(
                f"--fields names '{name}', which is no field of the table",
                fix=did_you_mean(name, [*inputs, *inputs.values()]),
            )
        kept |= dict.fromkeys(found)
    left = restrict(schema, tuple(kept))
    read = {item.source for item in left.fields}
    gone = {item.source: "not in --fields" for item in schema.fields if item.source not in read}
    return replace(left, dropped={**schema.dropped, **gone})


def ask_teacher(folder: Path, table: Table, schema: Schema, *, confined: bool) -> Lessons:
    """A teacher's answers to the rows of a table, by networks that had not learnt from them where that can be known.

    Raises:
        InputError: The teacher answers another label, or other classes of it.
        ArtefactError: The folder holds no whole model.
    """
    teacher = load_model(folder)
    teacher.need_target()
    theirs = {target.name: target for target in teacher.schema.chosen}
    for target in schema.chosen:
        other = theirs.get(target.name)
        if other is None:
            raise InputError(
                f"the teacher in '{folder}' does not answer '{target.name}'",
                where=f"it answers {', '.join(theirs) or 'nothing but texts'}",
                fix="Give a model that was fitted with the same --label",
            )
        if other.kind is not target.kind or set(other.classes) != set(target.classes):
            raise InputError(
                f"the teacher in '{folder}' answers '{target.name}' in another way",
                where=f"it knows {_way(other)}, and the table has {_way(target)}",
                fix="Fit teacher and student with the same --task and the same classes",
            )
    found = teacher_answers(teacher, table, confined=confined)
    known = teacher.manifest.get("data", {}).get("fingerprint") == table.fingerprint()
    rows, own = _unseen(teacher, table, confined) if known else (np.zeros(0, np.int64), {})
    for name, values in own.items():
        found[name][rows] = values
    answers = {}
    for target in schema.chosen:
        values = found[target.name]
        if target.classes:
            # In the order of this table's classes
            values = values[:, [theirs[target.name].classes.index(name) for name in target.classes]]
        answers[target.name] = values
    return Lessons(teacher.model_id, teacher.fields, answers, len(rows), known)


def _way(target: Any) -> str:
    return f"{target.kind.value}" + (f" of {', '.join(target.classes[:6])}" if target.classes else "")


def _unseen(teacher: Model, table: Table, confined: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows whose fold is known and their answers by its own network; no rows where the teacher has no folds."""
    nothing: tuple[np.ndarray, dict[str, np.ndarray]] = (np.zeros(0, np.int64), {})
    schema = teacher.schema
    if schema.time is not None or schema.written:
        return nothing
    decoded = teacher.decode(table, confined=confined)
    targets = {item.name: encode_target(table.cells(item.name), item) for item in schema.targets}
    rows, _ = learnable_rows(decoded.packs, targets, schema)
    groups, folds = column_codes(table, schema.group), None
    if groups is None and (blocks := time_blocks(table, schema, rows)) is not None:
        groups, folds = blocks.codes, blocks.folds
    first = schema.chosen[0]
    seed = int(teacher.manifest.get("fit", {}).get("seed", 0))
    labels = targets[first.name] if first.kind.chooses_class else None
    divided = divide(rows, labels=labels, groups=groups, folds=folds, times=None, num_members=3, seed=seed)
    if divided.fold is None or len(divided.members) != len(teacher.members):
        return nothing
    answered: dict[str, list[np.ndarray]] = {name: [] for name in teacher.readouts}
    for model, part in zip(teacher.members, divided.members, strict=True):
        raw = run_subsets([model], decoded.packs, part.out, [teacher.fields])[teacher.fields]
        for name, readout in teacher.readouts.items():
            answered[name].append(np.asarray(readout.scores(raw), np.float64))
    order = np.concatenate([part.out for part in divided.members])
    return order, {name: np.concatenate(values) for name, values in answered.items()}


def train_taught(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> Rivals:
    """The same networks with the teacher's answers and without, each in half of the time.

    Args:
        prepared: The rows, with what the teacher answers to them.
        partition: Which of them are learnt from.
        task: What to train.
        options: Of the fit.
        seconds: Time limit of both together.
        listen: Hears of stages.
    """
    weights = (1.0,) * len(partition.members)
    half = None if seconds is None else seconds / 2
    networks = {}
    for name, rows, ending in (
        (UNTAUGHT, replace(prepared, taught={}), "-untaught"),
        (TAUGHT, prepared, ""),
    ):
        listen("stage", {"text": f"training {len(weights)} networks {name}: {partition.words}"})
        own = replace(task, name=f"{task.name}{ending}")
        budget = Budget(half, weights)
        networks[name] = train_members(rows, partition, own, options=options, budget=budget, listen=listen)
    rivals = Rivals.measured(networks, prepared, partition)
    listen("note", {"text": rivals.words})
    return rivals
