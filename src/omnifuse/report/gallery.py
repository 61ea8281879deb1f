"""The results of a search as a page: pictures, sounds, texts, scores as bars, and why each row is there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from omnifuse.data.media import MediaDoor, NoSoundError
from omnifuse.data.media_parts import media_parts
from omnifuse.errors import MediaError
from omnifuse.files import make_folder, write_atomically
from omnifuse.report.media import MAX_PICTURE, cut_text, picture_uri, sound_uri
from omnifuse.schema import Modality
from omnifuse.search import Hit, Index
from omnifuse.search.asking import Found
from omnifuse.search.columns import ColumnKind
from omnifuse.search.manifest import FUSED

MOST_SHOWN = 200
_MOST_MEDIA = 3
_SOUND_RATE_HZ = 16_000
_VIDEO_S = 0.5
_TEXT, _CELL = 600, 200
_MEDIA = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)


def write_gallery(index: Index, found: Found, path: Path, *, media_root: Path | None = None) -> Path:
    """Write the page; every text in it is escaped, and nothing in it runs or loads from a network.

    Args:
        index: That was searched.
        found: What was found; the first 200 rows are shown.
        path: Where; its folder is made.
        media_root: Where media lie now, and may lie; the table's own folder by default.

    Returns:
        The path.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("gallery.html").read_text(encoding="utf-8"))
    fields = index.manifest.fields
    own = MediaDoor(root=media_root, confined=media_root is not None)
    hits = [
        _hit(hit, index, found, MediaDoor(root=media_root or _root(index, hit), confined=media_root is not None))
        for hit in found.hits[:MOST_SHOWN]
    ]
    page = template.render(
        title="Search: " + cut_text(" + ".join(_named(cell, fields.get(name)) for name, cell in found.row.items()), 80),
        lead=f"The nearest {len(hits)} of {found.num_fitting} rows{' that fit' if found.where else ''}; index "
        f"{index.folder.name}, model {index.model_id}",
        compared=_compared(found),
        has_near=any(hit.near for hit in found.hits),
        crossed=next((name for hit in found.hits for name in hit.near if " ~ " in name), ""),
        question=[(name, _question(cell, fields.get(name, ""), own)) for name, cell in found.row.items()],
        where=found.where,
        warnings=found.warnings,
        hits=hits,
    )
    make_folder(path.parent)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def cell_text(cell: Any, kind: ColumnKind) -> str:
    """A cell of an index for a person.

    Example:
        >>> cell_text(0, ColumnKind.DATE), cell_text(3.0, ColumnKind.NUMBER), cell_text(["a", "b"], ColumnKind.TAGS)
        ('1970-01-01 00:00', '3', 'a, b')
    """
    if cell is None:
        return "(missing)"
    if kind is ColumnKind.DATE:
        return datetime.fromtimestamp(cell, UTC).strftime("%Y-%m-%d %H:%M")
    if kind is ColumnKind.NUMBER:
        return f"{cell:.6g}"
    return ", ".join(cell) if kind is ColumnKind.TAGS else str(cell)


def shown_media(cell: Any, modality: str, door: MediaDoor, *, sounds: bool = True) -> dict[str, Any]:
    """Pictures and sounds of a cell as data URIs, and what is to be said of those that cannot be shown."""
    shown: dict[str, Any] = {"pictures": [], "sounds": [], "remark": ""}
    for part in [cell] if modality == Modality.VIDEO else media_parts(cell)[:_MOST_MEDIA]:
        try:
            if modality == Modality.IMAGE:
                shown["pictures"].append(picture_uri(door.image(part, min_side=MAX_PICTURE)))
            elif modality == Modality.VIDEO:
                shown["pictures"].append(picture_uri(door.video(part, max_s=_VIDEO_S, min_side=MAX_PICTURE).pixels[0]))
            elif sounds:
                shown["sounds"].append(sound_uri(door.audio(part, _SOUND_RATE_HZ, max_s=10.0), _SOUND_RATE_HZ))
        except NoSoundError:
            shown["remark"] = "(no sound track)"
        except MediaError as error:
            shown["remark"] = f"(unreadable: {error.what})"
    return shown


def _named(cell: Any, modality: str | None) -> str:
    """The cell as a word of the title: of a file its name alone."""
    return Path(str(cell)).name if modality in _MEDIA and isinstance(cell, str | Path) else str(cell)


def _compared(found: Found) -> str:
    """Which vectors were compared, in words."""
    field = found.space.removeprefix(f"{FUSED}_")
    if field in (FUSED, found.space):
        return "Compared: all fields of the question with all fields of each row."
    asked = field if found.row.get(field) is not None else " and ".join(found.row)
    told = "" if asked == field else " How well one finds the other is measured by omnifuse report."
    return f"Compared: the question's {asked} with each row's {field}.{told}"


def _root(index: Index, hit: Hit) -> Path | None:
    root = index.snapshot.root(hit.number)
    return Path(root) if root else None


def _question(cell: Any, modality: str, door: MediaDoor) -> dict[str, Any]:
    if modality in _MEDIA:
        shown = shown_media(cell, modality, door)
        return shown | {"text": shown["remark"]}
    return {"pictures": [], "sounds": [], "text": cut_text(str(cell), _TEXT)}


def _hit(hit: Hit, index: Index, found: Found, door: MediaDoor) -> dict[str, Any]:
    fields, columns = index.manifest.fields, index.columns
    data: dict[str, Any] = {"pictures": [], "sounds": [], "texts": [], "cells": [], "missing": []}
    for name in sorted(hit.row, key=lambda name: (name not in found.filtered, name not in fields)):
        cell, modality = hit.row[name], fields.get(name, "")
        if cell == hit.id and name not in found.filtered:
            continue  # it stands above
        if cell is None and name not in found.filtered:
            data["missing"].append(name)
            continue
        if modality in _MEDIA:
            shown = shown_media(cell, modality, door)
            data["pictures"] += shown["pictures"]
            data["sounds"] += shown["sounds"]
            if shown["remark"]:
                data["cells"].append((name, shown["remark"], False))
        elif modality == Modality.TEXT and name not in found.filtered:
            data["texts"].append(cut_text(cell, _TEXT))
        else:
            data["cells"].append((name, cut_text(cell_text(cell, columns[name]), _CELL), name in found.filtered))
    return data | {
        "id": hit.id,
        "score": f"{hit.score:.3f}",
        "bar": score_bar(hit.score, width=240, height=6),
        "near": _near(hit.near),
    }


def _near(near: Mapping[str, float]) -> list[tuple[str, Markup, str]]:
    ordered = sorted(near.items(), key=lambda item: -item[1])
    return [(name, score_bar(value, width=110, height=8), f"{value:.2f}") for name, value in ordered]


def score_bar(score: float, *, width: int, height: int) -> Markup:
    """A cosine as a bar, empty from 0 downwards."""
    length = width * min(max(score, 0.0), 1.0)
    return Markup(
        '<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" preserveAspectRatio="none" role="img" '
        'aria-label="{label}">'
        '<rect width="{w}" height="{h}" rx="3" fill="#e2e8f0"/><rect width="{length:.1f}" height="{h}" rx="3" '
        'fill="#2563eb"/></svg>'
    ).format(w=width, h=height, label=f"{score:.3f}", length=length)
