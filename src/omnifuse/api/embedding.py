"""Embeddings of a table written chunk by chunk to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.errors import InputError
from omnifuse.files import replacing

if TYPE_CHECKING:
    from omnifuse.api.model import Model


def _column(vectors: np.ndarray) -> Any:
    """Rows of a matrix as a list column; a row of NaN (field absent) is null."""
    import pyarrow

    missing = np.isnan(vectors).any(axis=1)
    return pyarrow.array(
        [None if gone else vector for vector, gone in zip(vectors, missing, strict=True)],
        type=pyarrow.list_(pyarrow.float32(), vectors.shape[1]),
    )


def write_embeddings(
    model: Model, source: Any, out: Path, *, media_root: Path | None = None
) -> tuple[int, dict[str, int]]:
    """Write id columns (or `row`), `embedding` and `embedding_<field>` of every row.

    Returns:
        The number of rows, and column name to width.

    Raises:
        InputError: If `out` does not end in .parquet.
    """
    import pyarrow
    import pyarrow.parquet

    if out.suffix != ".parquet":
        raise InputError(f"embeddings go to a Parquet file, not to '{out.name}'", fix="Name it OUT.parquet")
    table = model.opened(source, media_root=media_root)
    out.parent.mkdir(parents=True, exist_ok=True)
    writer: Any = None
    start, widths = 0, {}
    with replacing(out) as temporary:
        for chunk in table.batches(512):
            vectors = model.embed(chunk, media_root=media_root)
            widths = {name: value.shape[1] for name, value in vectors.items()}
            ids = [name for name in model.schema.ids if name in chunk.columns]
            columns: dict[str, Any] = {
                name: pyarrow.array(
                    [None if cell is None else str(cell) for cell in chunk.cells(name)], pyarrow.string()
                )
                for name in ids
            } or {"row": pyarrow.array(np.arange(start, start + chunk.num_rows))}
            columns |= {name: _column(value) for name, value in vectors.items()}
            block = pyarrow.table(columns)
            writer = writer or pyarrow.parquet.ParquetWriter(temporary, block.schema)
            writer.write_table(block)
            start += chunk.num_rows
        if writer is None:
            raise InputError(f"{table.name} has no rows", fix="Give at least one row")
        writer.close()
    return start, widths
