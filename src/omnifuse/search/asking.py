"""A question to an index: a row with holes, embedded as any row is, and what of each result is near it.

Shapes: D width of the unified space, K results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import InputError, did_you_mean
from omnifuse.readout.answering import Answering
from omnifuse.schema import Modality, Schema
from omnifuse.search.filters import Filter
from omnifuse.search.hit import Hit
from omnifuse.search.index import Index
from omnifuse.search.manifest import FUSED


@dataclass(frozen=True)
class Found:
    """Results of a question.

    Attributes:
        row: The question: column to cell.
        hits: Best first.
        warnings: Cells of the question that could not be read.
        where: The filter.
        filtered: Columns that it reads.
        num_fitting: Rows that fit it and have a vector in the space.
        space: Which vectors were compared.
    """

    row: Mapping[str, Any]
    hits: tuple[Hit, ...]
    warnings: tuple[str, ...]
    where: str | None
    filtered: tuple[str, ...]
    num_fitting: int
    space: str


def question_row(
    schema: Schema,
    *,
    text: str | None = None,
    media: Mapping[Modality, str] | None = None,
    row: Mapping[str, Any] | None = None,
    field: str | None = None,
) -> dict[str, Any]:
    """The row that a question means.

    Args:
        schema: Of the model.
        text: Words, for the text field.
        media: Modality to a path, for the field of that modality.
        row: Further cells by column.
        field: Which text field is meant, where there are several.

    Raises:
        InputError: The model reads no such field, or several; a column is unknown; nothing is asked.
    """
    known = {item.source for item in schema.fields}
    found = dict(row or {})
    for name in found:
        if name not in known:
            raise InputError(f"the model reads no column '{name}'", fix=did_you_mean(name, sorted(known)))
    if text is not None:
        found[field or _only_field(schema, Modality.TEXT)] = text
    elif field is not None:
        raise InputError("--field says where words belong, but there are none", fix="Give the words to search for")
    if field is not None and field not in known:
        raise InputError(f"the model reads no column '{field}'", fix=did_you_mean(field, sorted(known)))
    for modality, path in (media or {}).items():
        found[_only_field(schema, modality)] = path
    if not found:
        raise InputError("there is no question", fix="Give words, --image FILE, --audio FILE or --row '{\"note\": ..}'")
    return found


def ask(
    model: Answering,
    index: Index,
    row: Mapping[str, Any],
    k: int = 20,
    *,
    where: str | None = None,
    diversity: float = 0.0,
    space: str | None = None,
    exact: bool = False,
    media_root: Path | None = None,
) -> Found:
    """Search an index for what is near a row with holes.

    Args:
        model: The one that the index was made with.
        index: To search.
        row: Column to cell; absent columns are missing, as in any row.
        k: How many rows.
        where: A filter, see `omnifuse.search.filters`.
        diversity: 0 to 1, see `omnifuse.search.diversity`.
        space: A field whose vectors are compared; the fused ones by default. The question's vector is then that of its
            own field of this name, else the mean of its fields' vectors.
        exact: As in `Index.search`.
        media_root: Resolve media paths against this folder and refuse whatever lies outside it.

    Raises:
        InputError: The index is of another model, nothing of the question can be read, or as in `Index.search`.
    """
    index.check_model(model.model_id)
    name = index.space(space)
    decoded = model.decode(model.opened([dict(row)], media_root=media_root), confined=media_root is not None)
    warnings = tuple(f"{cell.field}: {cell.reason}" for cell in decoded.bad)
    raw = model.raw(decoded, vectors=True)
    fields = {field: values[0] for field, values in raw.field_pooled.items() if raw.present[field][0]}
    if not any(present[0] for present in raw.present.values()) or raw.pooled is None:
        raise InputError("nothing of the question can be read", where="; ".join(warnings), fix="Look at its cells")
    fields = {field: _unit(values) for field, values in fields.items()}
    if name == FUSED:
        vector = raw.pooled[0]
    else:
        vector = fields.get(name.removeprefix(f"{FUSED}_"), np.mean(list(fields.values()), axis=0))
    found = index.search(vector, k, where=where, diversity=diversity, space=name, model_id=model.model_id, exact=exact)
    hits = _with_near(index, found, fields)
    filtered = Filter(where, index.columns).columns if where is not None else ()
    num_fitting = int(index.kept(where, name).sum())
    return Found(dict(row), tuple(hits), warnings, where, filtered, num_fitting, name)


def _only_field(schema: Schema, modality: Modality) -> str:
    names = [item.name for item in schema.fields if item.modality is modality and not item.column]
    names = names or [item.source for item in schema.fields if item.modality is modality]
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(
            f"the model reads no {modality}",
            where="It reads " + ", ".join(f"{item.name} ({item.modality})" for item in schema.fields),
            fix="Ask with --row",
        )
    what = f"the model reads {len(names)} fields of {modality}: {', '.join(names)}"
    raise InputError(what, fix="Name one with --field" if modality is Modality.TEXT else "Ask with --row")


def _with_near(index: Index, hits: list[Hit], fields: Mapping[str, np.ndarray]) -> list[Hit]:
    """Hits with the cosine of each of their fields with the question's same field, or with the nearest one of it."""
    spaces = [name for name in index.spaces if name.startswith(f"{FUSED}_")]
    if not hits or not fields or not spaces:
        return hits
    numbers = np.array([hit.number for hit in hits])
    near: list[dict[str, float]] = [{} for _ in hits]
    for space in spaces:
        name, vectors = space.removeprefix(f"{FUSED}_"), index.vectors(numbers, space)
        asked = [name] if name in fields else list(fields)
        cosines = np.stack([vectors @ fields[item] for item in asked])
        for place in np.flatnonzero(vectors.any(axis=1)):
            best = int(cosines[:, place].argmax())
            label = name if asked[best] == name else f"{asked[best]} ~ {name}"
            near[place][label] = float(cosines[best, place])
    return [replace(hit, near=found) for hit, found in zip(hits, near, strict=True)]


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)
