"""A table into an index, through whatever embeds rows: a trained model, or its exported graphs.

Shapes: R rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from omnifuse.data.media import MediaDoor
from omnifuse.data.tables import Table
from omnifuse.errors import InputError
from omnifuse.readout.answering import CHUNK_ROWS, Answering
from omnifuse.search.content import content_keys
from omnifuse.search.finding import EXACT_ROWS
from omnifuse.search.graph import INSTALL, can_make_graphs
from omnifuse.search.incoming import refuse_repeated
from omnifuse.search.index import Index
from omnifuse.search.manifest import FILE, FUSED
from omnifuse.search.row_names import row_names

# So many rows are made to last at once
_ROWS_AT_ONCE = 4096
_SHOWN = 5


@dataclass(frozen=True)
class Indexed:
    """What came of indexing a table: the index, rows that were added, and what is to be said."""

    index: Index
    rows: int
    notes: tuple[str, ...]


def index_table(
    model: Answering,
    source: Any,
    folder: str | Path,
    *,
    id_column: str | None = None,
    only_fused: bool = False,
    precision: str = "float32",
    replace: bool = False,
    media_root: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Embed the rows of a table and add them to an index, with all their columns.

    Args:
        model: A `Model` or `Runtime`.
        source: As for `predict`.
        folder: Of the index; made where absent, else added to.
        id_column: Names the rows; by default an id column whose cells are all there and unlike each other, else the
            row's number from 0.
        only_fused: Keep no vectors of single fields: fewer bytes, but no search in one field and no map.
        precision: "float32" or "float16".
        replace: Rows whose ids are in the index take their place.
        media_root: As for `predict`.
        progress: Told the rows that are embedded and all rows, from 0 on.

    Returns:
        The index. A row of which nothing can be read is not in it, and `notes` names it.

    Raises:
        InputError: The index is of another model, an id comes twice, or the model was not saved.
    """
    if not model.model_id:
        raise InputError("the model has no id, so its vectors could not be told from another's", fix="Save it first")
    table = model.opened(source, media_root=media_root)
    folder = Path(folder)
    index = Index.open(folder) if (folder / FILE).exists() else None
    first = index.snapshot.num_rows if index is not None else 0
    names, told = row_names(table, model.schema.ids, id_column, first)
    if index is not None:
        # Told before anything is embedded
        index.check_model(model.model_id)
        if not replace:
            series = pl.Series(names, dtype=pl.String)
            refuse_repeated(series, series.is_in(pl.Series(index.ids, dtype=pl.String).implode()))
    root = str(table.root.resolve() if table.root is not None else Path.cwd())
    door = MediaDoor(root=table.root, confined=media_root is not None)
    kept, skipped, num_bad, start = 0, [], 0, 0

    def told_of(done: int) -> None:
        if progress is not None:
            progress(start + done, table.num_rows)

    told_of(0)
    for piece in table.batches(_ROWS_AT_ONCE):
        vectors, readable, bad = _embedded(
            model, piece, told_of, confined=media_root is not None, only_fused=only_fused
        )  # fmt: skip
        num_bad += bad
        skipped += [start + int(row) for row in np.flatnonzero(~readable)]
        rows = np.flatnonzero(readable)
        part = piece if readable.all() else piece.select(rows)
        if index is None:
            index = _created(model, folder, vectors, precision)
        kept += index.add(
            [names[start + int(row)] for row in rows],
            {name: values[rows] for name, values in vectors.items() if name in index.spaces},
            {name: part.cells(name) for name in part.columns if name not in part.derived},
            keys=[key or "" for key in content_keys(part, model.schema, door)],
            model_id=model.model_id,
            root=root,
            replace=replace,
        )
        start += piece.num_rows
    assert index is not None
    return Indexed(index, kept, tuple([told] * bool(told) + _notes(index, skipped, num_bad)))


def _embedded(
    model: Answering, piece: Table, told_of: Callable[[int], None], *, confined: bool, only_fused: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
    """Space to vectors (R, D), which rows (R,) hold anything readable, and the number of unreadable cells."""
    parts: dict[str, list[np.ndarray]] = {}
    readable: list[Any] = []
    bad, done = 0, 0
    for chunk in piece.batches(CHUNK_ROWS):
        decoded = model.decode(chunk, confined=confined)
        raw = model.raw(decoded, vectors=True)
        assert raw.pooled is not None
        parts.setdefault(FUSED, []).append(raw.pooled)
        for name, pooled in raw.field_pooled.items():
            parts.setdefault(f"{FUSED}_{name}", []).append(pooled)
        readable.append(np.stack(list(raw.present.values())).any(axis=0))
        bad += len(decoded.bad)
        done += chunk.num_rows
        told_of(done)
    chosen = [FUSED] if only_fused else list(parts)
    return {name: np.concatenate(parts[name]) for name in chosen}, np.concatenate(readable), bad


def _created(model: Answering, folder: Path, vectors: dict[str, np.ndarray], precision: str) -> Index:
    fields = {item.source: item.modality.value for item in reversed(model.schema.fields)}
    # A video with a sound track is a video
    fields |= {item.source: item.modality.value for item in model.schema.fields if not item.column}
    return Index.create(
        folder,
        {name: values.shape[1] for name, values in vectors.items()},
        model_id=model.model_id,
        model_folder="" if model.folder is None else str(Path(model.folder).resolve()),
        precision=precision,
        fields=fields,
        labels=[target.name for target in model.schema.targets],
    )


def _notes(index: Index, skipped: list[int], num_bad: int) -> list[str]:
    notes = []
    if skipped:
        named = ", ".join(str(row + 1) for row in skipped[:_SHOWN]) + (", ..." if len(skipped) > _SHOWN else "")
        notes.append(f"{len(skipped)} rows hold nothing readable and are not in the index: row {named}")
    if num_bad:
        notes.append(f"{num_bad} cells could not be read and count as missing")
    notes += [
        f"{count} cells of '{name}' could not be kept beside the vectors: they are no {index.columns[name].value}, or "
        "media in memory"
        for name, count in index.lost.items()
    ]
    if len(index) > EXACT_ROWS:
        if can_make_graphs():
            index.make_graph()
        else:
            notes.append(f"more than {EXACT_ROWS} rows are compared one by one; for a graph type: {INSTALL}")
    return notes
