"""An exported model made smaller and faster, as far as its answers stay as good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnifuse.api.check_rows import CheckRows, rows_held_back, rows_of_table
from omnifuse.api.compress_budget import Budget, read_budget
from omnifuse.api.compress_judge import Judge
from omnifuse.api.compress_search import PRUNED_AT_ONCE, search
from omnifuse.api.compress_steps import Compressor
from omnifuse.api.distilling import (
    Lesson,
    check_home,
    check_lesson,
    distil,
    open_lesson_table,
    read_student,
    student_folder,
)
from omnifuse.api.options import Listener, silent
from omnifuse.data.tables import Table
from omnifuse.deploy.artefact import Artefact, find_model_folder, load_artefact
from omnifuse.deploy.compressed import check_out, compressed_folder, save_compressed
from omnifuse.deploy.description import described
from omnifuse.deploy.graph_set import GraphSet, read_graphs
from omnifuse.deploy.quantise import need_quantisation
from omnifuse.deploy.runtime import Runtime
from omnifuse.deploy.trial import Trial
from omnifuse.errors import InputError
from omnifuse.evaluation.metrics import MAIN_METRIC

# Share of the score that may be lost
MOST_LOSS = 0.005


@dataclass(frozen=True)
class CompressOptions:
    """What is to be done; with no step named, members are left out and graphs quantised.

    Attributes:
        int8: Quantise.
        members: Keep so many, with a budget at least so many; 0 leaves the number open.
        prune: Share of the hidden channels and of the heads to take out, with a budget at a time; 0 for none.
        budget: "20 ms", "5 MB" or "1% accuracy": steps are searched until it is met; "" for none.
        most_loss: Share of the score that may be lost.
        threads: Of each graph; None leaves it to ONNX Runtime.
        student: Fit a smaller model to the answers first; None for none.
    """

    int8: bool = False
    members: int = 0
    prune: float = 0.0
    budget: str = ""
    most_loss: float = MOST_LOSS
    threads: int | None = None
    student: Lesson | None = None

    @property
    def open(self) -> bool:
        """Whether no step but a student is named."""
        return not (self.int8 or self.members or self.prune)


def compress_model(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    check: Any = None,
    table: Any = None,
    options: CompressOptions | None = None,
    progress: Listener | None = None,
) -> dict[str, Any]:
    """Try steps that make the graphs of a model smaller, keep those that pay, and write what they make.

    Args:
        folder: A run folder or the model folder in it, after `omnifuse export`; it stays as it is.
        out: Where the compressed model goes; None for `compressed/` in the run folder. A student's run folder goes
            beside it, as `compressed-student/`.
        check: Labelled table whose first 512 rows are judged on; None takes the rows that `fit` held back.
        table: What a student learns from: the table that the model learnt from, which the run folder does not keep.
        options: What is to be done.
        progress: Hears of the training of a student, as in `fit`.

    Returns:
        What `compress.json` holds; "out" is None where no step pays, and nothing is written then.

    Raises:
        InputError: The model was not exported, there are no rows, an option makes no sense, or a budget cannot be met.
        MissingDependencyError: The packages for it are not installed.
    """
    options = options or CompressOptions()
    need_quantisation()
    place = find_model_folder(folder)
    artefact = load_artefact(place)
    if "compressed" in artefact.manifest:
        raise InputError(
            f"the model in '{folder}' is compressed already", fix="Give the one that it was made of, with other options"
        )
    graphs = read_graphs(place, artefact.model_id)
    _check_options(options, graphs.signature.num_members)
    goes = compressed_folder(place) if out is None else Path(out)
    check_out(goes)
    lesson_table = _lesson_table(place, artefact, options, table, other=check is not None)
    readouts = described(artefact.manifest).readouts
    budget = _budget(options, [MAIN_METRIC[item.target.kind] for item in readouts.values()])
    rows = rows_held_back(place, artefact) if check is None else rows_of_table(Runtime(place), check)
    trial = Trial(rows.packs, threads=options.threads)
    judge = Judge(readouts, tuple(graphs.signature.fields), trial.answers(graphs), rows.truths)
    if budget is not None and budget.kind == "score" and budget.metric not in judge.metrics:
        raise InputError(
            f"--budget '{budget.words}' needs rows with labels", fix="Give a labelled table: --check TABLE"
        )
    if options.student is not None:
        check_home(student_folder(goes))
        if not judge.metrics:
            raise InputError(
                "a student is judged by labels, and there are none",
                where=rows.words,
                fix="Give a labelled table: --check TABLE",
            )
    compressor = Compressor(
        trial,
        judge,
        graphs,
        goal=budget.kind if budget is not None else "both",
        most_loss=options.most_loss,
        limits={budget.metric: budget.limit} if budget is not None and budget.kind == "score" else None,
    )
    shipped = artefact
    if options.student is not None and lesson_table is not None:
        home = student_folder(goes)
        distil(Runtime(place), lesson_table, options.student, out=home, listen=progress or silent)
        shipped = _student(compressor, artefact, home, rows, options, check=check)
    if budget is not None:
        fewest, share = max(options.members, 1), options.prune or PRUNED_AT_ONCE
        search(compressor, budget, _allowed(options), fewest=fewest, share=share)
    else:
        _named(compressor, options)
    report = _report(compressor, artefact, rows, options, exported=(trial, graphs))
    if compressor.graphs is graphs:
        return {**report, "out": None}
    report["out"] = str(goes)
    model_id = save_compressed(goes, shipped, compressor.graphs, report, of=artefact.model_id)
    return {**report, "model_id": model_id}


def _check_options(options: CompressOptions, num_members: int) -> None:
    if options.prune and not 0 < options.prune < 1:
        raise InputError(f"--prune {options.prune:g} is no share", fix="Give one above 0 and below 1, such as 0.3")
    if options.members and not 1 <= options.members < num_members:
        fix = f"Give 1 to {num_members - 1}" if num_members > 1 else "Leave it out"
        raise InputError(f"--members {options.members}, and the model has {num_members}", fix=fix)
    if not 0 <= options.most_loss < 1:
        raise InputError(f"--loss {options.most_loss:g} is no share", fix="Give one from 0 to below 1, such as 0.01")


def _lesson_table(
    place: Path, artefact: Artefact, options: CompressOptions, source: Any, *, other: bool
) -> Table | None:
    """The table that a student learns from; None without a student."""
    if options.student is None:
        if source is not None:
            raise InputError("a table is given and no student", fix="Add --distil PRESET, or leave --table out")
        return None
    check_lesson(options.student, described(artefact.manifest).schema)
    if source is None:
        raise InputError(
            "a student needs the rows that the model learnt from",
            where="the run folder keeps none of them",
            fix="Give their table: --table TABLE",
        )
    return open_lesson_table(Runtime(place), source, options.student, other=other)


def _budget(options: CompressOptions, metrics: list[str]) -> Budget | None:
    return read_budget(options.budget, sorted(set(metrics))) if options.budget else None


def _student(
    compressor: Compressor, artefact: Artefact, home: Path, rows: CheckRows, options: CompressOptions, *, check: Any
) -> Artefact:
    """Try the student in a folder; the model that is gone on with."""
    assert options.student is not None
    student = read_student(home, rows, check=check)
    trial = student.trial(options.threads)
    read = f" of {', '.join(options.student.fields)}" if options.student.fields else ""
    name = f"distilled into {options.student.preset}{read}"
    kept = compressor.student(name, trial, student.judge(compressor.judge, trial), student.graphs)
    return student.artefact if kept else artefact


def _allowed(options: CompressOptions) -> set[str]:
    if options.open:
        return {"members", "int8", "prune"}
    named = {"int8": options.int8, "members": options.members > 0, "prune": options.prune > 0}
    return {name for name, there in named.items() if there}


def _named(compressor: Compressor, options: CompressOptions) -> None:
    """The steps that were named. Members are left out first: what follows then has less to do."""
    count, nothing = compressor.graphs.signature.num_members, options.open and options.student is None
    if options.members or nothing:
        counts = [options.members] if options.members else list(range(count - 1, 0, -1))
        compressor.fewer_members([number for number in counts if number < count])
    if options.prune:
        compressor.prune(options.prune)
    if options.int8 or nothing:
        compressor.int8()


def _report(
    compressor: Compressor,
    artefact: Artefact,
    rows: CheckRows,
    options: CompressOptions,
    *,
    exported: tuple[Trial, GraphSet],
) -> dict[str, Any]:
    trial, graphs = exported
    ms = trial.row_ms({"before": graphs}, beside={"after": (compressor.trial, compressor.graphs)})
    return {
        "model": artefact.model_id,
        "rows": rows.count,
        "judged_on": rows.words,
        "most_loss": compressor.most_loss,
        "budget": options.budget or None,
        "members": [graphs.signature.num_members, compressor.graphs.signature.num_members],
        "size_bytes": [graphs.size_bytes, compressor.graphs.size_bytes],
        "row_ms": [ms["before"], ms["after"]],
        "steps": [step.to_json() for step in compressor.steps],
    }
