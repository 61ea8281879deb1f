"""What the verbs that write share: files to rows, options of the search, and how texts are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omnifuse.cli.options import print_json
from omnifuse.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from omnifuse.api import Model
    from omnifuse.schema import Modality, Prediction, Schema, TaskKind

METHOD_HELP = "beam keeps the likeliest texts, greedy the likeliest piece each time, sample draws."
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


def target_of(schema: Schema, kind: TaskKind, wanted: str | None) -> str:
    """The target of a task that is meant, the first by default.

    Raises:
        InputError: The model has none.
    """
    names = [item.name for item in schema.targets if item.kind is kind]
    if not names:
        answered = ", ".join(f"{item.name} ({item.kind.value})" for item in schema.targets)
        raise InputError(
            f"the model has no target of {kind.value}",
            where=f"it answers {answered}",
            fix=f"Fit one with --task COLUMN={kind.value}",
        )
    if wanted is not None and wanted not in names:
        raise InputError(f"the model has no target '{wanted}' of {kind.value}", fix=did_you_mean(wanted, names))
    return wanted or names[0]


def rows_of_files(
    schema: Schema, files: Sequence[str], cells: Mapping[str, str], *, field: str | None = None
) -> list[dict[str, Any]]:
    """One row a file: the file in the field of its medium, the given cells in every row.

    Args:
        schema: Of the model.
        files: Paths of pictures, sounds, videos or texts.
        cells: Column to the cell that every row has.
        field: The field that the files are; None: told by their medium.

    Raises:
        InputError: A file is absent or of no medium that the model reads, or a name is unknown.
    """
    columns = {item.source: item.modality for item in schema.fields}
    for name in [*cells, *([field] if field is not None else [])]:
        if name not in columns:
            raise InputError(f"the model has no field '{name}'", fix=did_you_mean(name, columns))
    return [{**cells, **_cell_of_file(columns, Path(file), field)} for file in files]


def _cell_of_file(columns: Mapping[str, Modality], path: Path, field: str | None) -> dict[str, Any]:
    from omnifuse.data.folders import medium_of
    from omnifuse.schema import Modality

    if not path.is_file():
        raise InputError(f"there is no file '{path}'", fix="Give paths of files")
    medium = medium_of(path)
    names = [name for name, modality in columns.items() if modality is medium] if field is None else [field]
    if not names:
        read = ", ".join(f"{name} ({modality.value})" for name, modality in columns.items())
        what = "no medium" if medium is None else medium.value
        raise InputError(f"'{path.name}' is {what}, which the model does not read", where=f"it reads {read}")
    if len(names) > 1:
        raise InputError(f"'{path.name}' may be any of {', '.join(names)}", fix="Name it with --field NAME")
    name = names[0]
    if columns[name] is Modality.TEXT:
        return {name: path.read_text(encoding="utf-8", errors="replace")}
    return {name: str(path.resolve())}


def question_field(schema: Schema) -> str:
    """The field of text that holds the question.

    Raises:
        InputError: There are several.
    """
    from omnifuse.schema import Modality

    names = [item.name for item in schema.fields if item.modality is Modality.TEXT]
    if len(names) != 1:
        raise InputError(
            f"the question may be any of {', '.join(names)}" if names else "the model reads no text",
            fix="Say it with --cell NAME=QUESTION",
        )
    return names[0]


def source_of(
    model: Model, files: Sequence[str], cells: Mapping[str, str], *, field: str | None
) -> tuple[Any, list[str] | None]:
    """What `Model.generate` reads, and the names of its rows: files, or None for the rows of a table."""
    if len(files) == 1 and Path(files[0]).suffix.lower() in TABLE_SUFFIXES:
        if cells or field is not None:
            raise InputError(
                "a table has its own columns", fix="Leave out --cell, --field and --question, or give files"
            )
        return files[0], None
    return rows_of_files(model.schema, files, cells, field=field), list(files)


def print_texts(
    answers: Sequence[Prediction], target: str, names: Sequence[str] | None, *, as_json: bool, num: int
) -> None:
    """A line a row, its other texts below it; or one JSON document."""
    labelled = list(zip(names or [str(item.row_id) for item in answers], answers, strict=True))
    key = "row" if names is None else "file"
    if as_json:
        listed = [{key: name, **_entry(item, target)} for name, item in labelled]
        print_json({"target": target, "texts": listed, "model_id": answers[0].model_id if answers else ""})
        return
    for name, item in labelled:
        found = item.targets[target]
        if item.error:
            typer.echo(f"{name}: ({item.error}{': ' if item.warnings else ''}{'; '.join(item.warnings)})")
            continue
        typer.echo(f"{name}: {found.value}" if found.value else f"{name}: (nothing)")
        for other in found.hypotheses[1:] if num > 1 else ():
            typer.echo(f"    {other.text}  ({other.score:.3f})")


def _entry(item: Prediction, target: str) -> dict[str, Any]:
    found = item.targets[target]
    return {
        "text": found.value,
        "confidence": found.confidence,
        "hypotheses": [other.to_json() for other in found.hypotheses],
        "modalities_used": list(item.modalities_used),
        "warnings": list(item.warnings),
        "error": item.error,
    }
