"""The page of `omnifuse report`: a map of the space and how well its modalities meet."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from omnifuse.data.media import MediaDoor
from omnifuse.files import make_folder, write_atomically
from omnifuse.report.charts import COLOURS
from omnifuse.report.gallery import cell_text, shown_media
from omnifuse.report.media import cut_text
from omnifuse.schema import Modality
from omnifuse.search import Index
from omnifuse.search.retrieval import Estimate
from omnifuse.search.space import MeasuredSpace

# More rows have their texts shown, but no picture: the page would be too large
MOST_PICTURES = 150
_MOST_CELLS, _CELL = 6, 120
_WIDTH, _HEIGHT, _EDGE = 800, 600, 14


def write_space(index: Index, space: MeasuredSpace, path: Path, *, media_root: Path | None = None) -> Path:
    """Write the page; every text in it is escaped, and its own script alone runs, by its digest.

    Args:
        index: That was measured.
        space: What was measured.
        path: Where; its folder is made.
        media_root: Where media lie now, and may lie.

    Returns:
        The path.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    home = Path(__file__).parent
    template = environment.from_string((home / "space.html").read_text(encoding="utf-8"))
    script = (home / "space.js").read_text(encoding="utf-8").strip()
    names = list(dict.fromkeys(space.map.names))
    classes = [name for name, _ in Counter(label for label in space.map.labels if label).most_common(len(COLOURS))]
    classes.sort()
    layout = space.map.layout
    page = template.render(
        title=f"The space of {index.folder.name}",
        lead=f"{space.drawn} of {space.rows} rows were measured; model {index.model_id}",
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colours=COLOURS,
        label=space.label,
        modality_keys=list(zip(names, COLOURS * 9, strict=False)),
        label_keys=list(zip(classes, COLOURS, strict=False)),
        points=_points(space, names, classes, index),
        items=_items(index, np.unique(space.map.numbers), media_root),
        map_words=f"Made of {layout.method}; {layout.kept:.0%} of the 10 nearest vectors are among the nearest dots. "
        f"The first two principal components hold {layout.explained:.0%} of the variance.",
        retrieval=[
            [
                item.asked,
                item.found,
                *(_estimate(value, ".3f") for value in item.recall.values()),
                f"{min(10 / item.rows, 1.0):.3f}",
                _estimate(item.median_rank, ".0f"),
                str(item.rows),
            ]
            for item in space.retrieval
        ],
        repeated=space.repeated,
        pairs=space.pairs,
        filled=[(name, value, space.hubness[name] + 0.0) for name, value in space.uniformity.items()],
    )
    make_folder(path.parent)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def _estimate(item: Estimate, digits: str) -> str:
    return f"{item.value:{digits}} [{item.low:{digits}}, {item.high:{digits}}]"


def _points(space: MeasuredSpace, names: list[str], classes: list[str], index: Index) -> list[dict[str, Any]]:
    places = (space.map.layout.places + 1) / 2
    found = []
    for place, number, name, label in zip(places, space.map.numbers, space.map.names, space.map.labels, strict=True):
        found.append(
            {
                "x": f"{_EDGE + place[0] * (_WIDTH - 2 * _EDGE):.1f}",
                "y": f"{_EDGE + (1 - place[1]) * (_HEIGHT - 2 * _EDGE):.1f}",
                "modality": names.index(name) % len(COLOURS),
                "label": classes.index(label) if label in classes else "-",
                "item": int(number),
                "field": name,
                "title": f"{name}" + (f", {space.label}: {cut_text(label, 60)}" if label else ""),
            }
        )
    return found


def _items(index: Index, numbers: np.ndarray, media_root: Path | None) -> list[dict[str, Any]]:
    """What the map says of each row."""
    fields, columns = index.manifest.fields, index.columns
    names = sorted(columns, key=lambda name: (name not in index.manifest.labels, name not in fields))
    pictured = [name for name in names if fields.get(name) in (Modality.IMAGE, Modality.VIDEO)][:1]
    media = [name for name in names if name in fields and Modality(fields[name]).is_media]
    shown = [name for name in names if name not in media][:_MOST_CELLS]
    with_picture = set(numbers[:: max(1, -(-len(numbers) // MOST_PICTURES))].tolist()) if pictured else set()
    found = []
    for hit in index.hits(numbers, np.zeros(len(numbers))):
        picture = ""
        cell = hit.row.get(pictured[0]) if hit.number in with_picture else None
        if cell is not None:
            root = media_root or Path(index.snapshot.root(hit.number) or ".")
            door = MediaDoor(root=root, confined=media_root is not None)
            picture = next(iter(shown_media(cell, fields[pictured[0]], door, sounds=False)["pictures"]), "")
        cells = [(name, cut_text(cell_text(hit.row[name], columns[name]), _CELL)) for name in shown]
        found.append({"number": hit.number, "id": hit.id, "picture": picture, "cells": cells})
    return found
