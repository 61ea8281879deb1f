"""A student: a model of a smaller preset that learns from a larger one's answers besides the labels.

It is fitted as every model is, on the same table with the same roles of its columns and the same seed, so the same rows
are held back from it. It may read fewer fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnifuse.api.check_rows import CheckRows, rows_held_back, rows_of_table, same_rows
from omnifuse.api.compress_judge import Judge
from omnifuse.api.options import FitOptions, Listener, need_training
from omnifuse.data.history import plain_schema
from omnifuse.data.tables import Table, open_table
from omnifuse.deploy.artefact import Artefact, find_model_folder, load_artefact
from omnifuse.deploy.description import described
from omnifuse.deploy.graph_set import GraphSet, read_graphs
from omnifuse.deploy.held_back import HELD_BACK
from omnifuse.deploy.runtime import Runtime
from omnifuse.deploy.trial import Trial
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Schema

if TYPE_CHECKING:
    from omnifuse.api.model import Model

# What a fit leaves in its folder
RUN_PARTS = ("model", "report", "checkpoints", "logs", "singles", "search", "cache", HELD_BACK, ".lock")
# Of a student these are its teacher's, since the table chose them and not the size
SAME_SETTINGS = ("fusion", "shallow", "table")


@dataclass(frozen=True)
class Lesson:
    """How a student is made.

    Attributes:
        preset: Its size.
        fields: Inputs that it reads; empty for all of its teacher's.
        minutes: Upper limit for its training; None takes that of `fit`.
        epochs: Fixed number of passes instead.
        max_bad: Largest accepted share of unreadable cells of a field, as for `fit`.
        media_root: Folder that media must lie in, as for `fit`.
    """

    preset: str
    fields: tuple[str, ...] = ()
    minutes: float | None = None
    epochs: int | None = None
    max_bad: float = 0.01
    media_root: Path | None = None


@dataclass(frozen=True)
class Student:
    """A student as it is tried.

    Attributes:
        artefact: Its model.
        graphs: As exported.
        rows: The same rows that its teacher is judged on, decoded its own way.
    """

    artefact: Artefact
    graphs: GraphSet
    rows: CheckRows

    def trial(self, threads: int | None) -> Trial:
        """Its rows, to try graphs on."""
        return Trial(self.rows.packs, threads=threads)

    def judge(self, teacher: Judge, trial: Trial) -> Judge:
        """Its judge, against what its teacher answers to the same rows."""
        fields = tuple(self.graphs.signature.fields)
        return teacher.of_student(described(self.artefact.manifest).readouts, fields, trial.answers(self.graphs))


def student_folder(out: Path) -> Path:
    """Run folder of the student that a compressed model was made of.

    Example:
        >>> student_folder(Path("runs/mine/compressed")).as_posix()
        'runs/mine/compressed-student'
    """
    return out.with_name(f"{out.name}-student")


def check_home(folder: Path) -> None:
    """Refuse a place for a student that holds anything but what a fit leaves there.

    Raises:
        InputError: It does.
    """
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if foreign := [name for name in found if name not in RUN_PARTS]:
        raise InputError(
            f"the student would go to '{folder}', which holds '{foreign[0]}'", fix="Give another folder with --out"
        )


def check_lesson(lesson: Lesson, schema: Schema) -> None:
    """Refuse a lesson that cannot be given.

    Raises:
        InputError: There is no such preset or field.
        MissingDependencyError: torch or a companion is not installed.
    """
    need_training()
    from omnifuse.presets import PRESETS

    if lesson.preset not in PRESETS:
        raise InputError(f"there is no preset '{lesson.preset}'", fix=did_you_mean(lesson.preset, PRESETS))
    names = [item.name for item in schema.inputs]
    for name in lesson.fields:
        if name not in names:
            raise InputError(f"--fields names '{name}', which the model does not read", fix=did_you_mean(name, names))


def open_lesson_table(teacher: Runtime, source: Any, lesson: Lesson, *, other: bool) -> Table:
    """The table that a student learns from.

    Args:
        teacher: Its teacher.
        source: Path, frame or list of dicts.
        lesson: What it is for.
        other: Whether it may be another table than the one that the teacher learnt from.

    Raises:
        InputError: It is another table, or lacks a column.
    """
    table = open_table(source, media_root=lesson.media_root)
    wanted = [item.source for item in plain_schema(teacher.schema).fields] + list(teacher.readouts)
    wanted += [name for name in (teacher.schema.group, teacher.schema.time) if name is not None]
    if absent := [name for name in dict.fromkeys(wanted) if name not in table.columns]:
        raise InputError(
            f"the table has no column '{absent[0]}'",
            where=f"its columns are {', '.join(table.columns)}",
            fix="Give the table that the model learnt from: --table TABLE",
        )
    if not other and teacher.manifest.get("data", {}).get("fingerprint") != table.fingerprint():
        raise InputError(
            f"{table.name} is not the table that the model learnt from, so the rows held back from the model are not "
            "held back from a student",
            fix="Give that table, or rows to judge on that are in neither: --check TABLE",
        )
    return table


def distil(teacher: Runtime, table: Table, lesson: Lesson, *, out: Path, listen: Listener) -> Model:
    """Fit a student and export it.

    Args:
        teacher: The model that it learns from.
        table: As `open_lesson_table` gave it.
        lesson: What it is.
        out: Its run folder.
        listen: Hears of each step.
    """
    from omnifuse.api.exporting import export_model
    from omnifuse.api.fitting import fit_student
    from omnifuse.api.members import restrict
    from omnifuse.api.teaching import teacher_answers
    from omnifuse.deploy.export import need_export

    need_export()
    schema, spec = teacher.schema, teacher.manifest["spec"]
    if lesson.fields:
        schema = restrict(schema, lesson.fields)
    options = FitOptions(
        labels=tuple(item.name for item in schema.targets),
        out=out,
        preset=lesson.preset,
        fusion=spec["fusion"],
        settings={name: str(spec[name]) for name in SAME_SETTINGS if name != "fusion"},
        group=schema.group,
        time=schema.time,
        seed=int(teacher.manifest.get("fit", {}).get("seed", 0)),
        minutes=lesson.minutes,
        epochs=lesson.epochs,
        baselines=False,
        logger="none",
        max_bad=lesson.max_bad,
        media_root=lesson.media_root,
        report_media="none",
    )
    listen("stage", {"text": f"asking the model for its answers to {table.num_rows} rows"})
    answers = teacher_answers(teacher, table, confined=lesson.media_root is not None)
    student = fit_student(table, options, schema=schema, taught=answers, listen=listen)
    listen("stage", {"text": "exporting the student"})
    export_model(student, out)
    return student


def read_student(folder: Path, rows: CheckRows, *, check: Any) -> Student:
    """A student with the rows that its teacher is judged on.

    Args:
        folder: Its run folder.
        rows: Those of its teacher.
        check: The table that they are of; None where they are those held back.

    Raises:
        InputError: Other rows were held back from the student.
    """
    place = find_model_folder(folder)
    artefact = load_artefact(place)
    if check is not None:
        own = rows_of_table(Runtime(place), check)
    else:
        own = rows_held_back(place, artefact)
        count = min(own.count, rows.count)
        own = replace(own.first(count), words=rows.words)
        if count < rows.count or not same_rows(own.truths, rows.truths):
            raise InputError(
                "other rows were held back from the student than from the model",
                where=f"the student lies in '{folder}'",
                fix="Give rows to judge on that neither learnt from: --check TABLE",
            )
    return Student(artefact, read_graphs(place, artefact.model_id), own)
