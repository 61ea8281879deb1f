"""What a column holds, judged by a sample of its cells, with the reason in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.date import parse_date
from omnifuse.data.media_container import video_format
from omnifuse.data.media_parts import media_parts
from omnifuse.data.media_series import SERIES_SUFFIXES, TIME_NAMES, is_series_text, object_series
from omnifuse.data.numbers import parse_numbers
from omnifuse.data.place import looks_like_place
from omnifuse.data.targets import tag_texts
from omnifuse.errors import InputError, MediaError
from omnifuse.schema import Modality

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
AUDIO_SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".opus",
    ".oga",
    ".mp3",
    ".aiff",
    ".aif",
    ".au",
    ".w64",
    ".caf",
)  # codespell:ignore caf
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mkv", ".avi", ".mov", ".webm", ".mpg", ".mpeg")
_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_AUDIO_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb", b"\xff\xf3", b".snd")
_SERIES_MAGIC = (b"\x93NUMPY", b"PAR1")
# Samples of a sound are 1 at full scale; a 2-D array is a picture only where it can be one
_LOUDEST_SAMPLE = 4.0
_ROW_NAME = re.compile(r"(?:^|[_\W])(?:id|uuid|guid|index|idx|row|key|serial)$|^(?:unnamed.*|column_1)$")
_ID_NAME = re.compile(r"(?:^|[_\W])(?:id|uuid|guid)$")
_CAMEL_ID = re.compile(r"[a-z]I[dD]$")
_JOINED_ID = re.compile(r"^(?:patient|user|subject|customer|client|case|study|record|person|item|order)s?id$")
_LEADING_ZERO = re.compile(r"0\d+")


@dataclass(frozen=True)
class Kind:
    """The judgement on one column: a modality, or a role other than field ("id", "group", "drop")."""

    modality: Modality | None
    reason: str
    role: str = "field"


def _suffix_share(cells: Sequence[Any], suffixes: tuple[str, ...]) -> float:
    named = sum(str(cell).lower().endswith(suffixes) for cell in cells if isinstance(cell, str | Path))
    return named / max(len(cells), 1)


def _array_kind(cell: Any) -> Modality | None:
    if _is_series(cell):
        return Modality.SERIES
    if isinstance(cell, np.ndarray):
        if cell.ndim in (2, 3) and cell.shape[-1] > 0:
            return Modality.IMAGE
        if cell.ndim == 4 and cell.shape[-1] == 3:
            return Modality.VIDEO
        return Modality.AUDIO if cell.ndim == 1 else None
    if isinstance(cell, tuple) and len(cell) == 2 and isinstance(cell[0], np.ndarray):
        return Modality.VIDEO if cell[0].ndim == 4 else Modality.AUDIO
    if isinstance(cell, bytes | bytearray):
        start = bytes(cell[:1024])
        if (video_format(start) or "gif") != "gif":
            return Modality.VIDEO
        if start.startswith(_IMAGE_MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
            return Modality.IMAGE
        return Modality.AUDIO if start.startswith(_AUDIO_MAGIC) else None
    return Modality.IMAGE if type(cell).__module__.startswith("PIL.") else None


def _is_series(cell: Any) -> bool:
    """Numbers in a list, a dict with times, JSON text of these, or an array that can be neither picture nor sound."""
    if isinstance(cell, np.ndarray):
        if cell.dtype.kind != "f" or cell.ndim not in (1, 2) or not cell.size:
            return False
        size = float(np.max(np.abs(cell)))
        return not size <= _LOUDEST_SAMPLE if cell.ndim == 1 else not (size <= 1 and float(cell.min()) >= 0)
    if isinstance(cell, bytes | bytearray):
        return bytes(cell[:8]).startswith(_SERIES_MAGIC)
    is_text = isinstance(cell, str) and is_series_text(cell)
    if isinstance(cell, dict) or (is_text and cell.lstrip()[0] == "{"):
        named = cell if isinstance(cell, dict) else {name for name in TIME_NAMES if f'"{name}"' in cell.lower()}
        if not any(str(name).lower() in TIME_NAMES for name in named):
            return False
    elif not isinstance(cell, list) and not is_text:
        return False
    remarks: list[str] = []
    try:
        raw = object_series(cell, remarks=remarks)
    except MediaError:
        return False
    return not remarks and raw.values.size > 1


def _media_kind(cells: Sequence[Any]) -> Kind | None:
    for modality, suffixes in (
        (Modality.IMAGE, IMAGE_SUFFIXES),
        (Modality.AUDIO, AUDIO_SUFFIXES),
        (Modality.VIDEO, VIDEO_SUFFIXES),
        (Modality.SERIES, SERIES_SUFFIXES),
    ):
        share = _suffix_share(cells, suffixes)
        if share >= 0.8:
            ends = sorted({Path(str(cell)).suffix.lower() for cell in cells})[:3]
            return Kind(modality, f"{share:.0%} of the cells name files ending in {', '.join(ends)}")
    kinds = [_array_kind(cell) for cell in cells]
    for modality in (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.SERIES):
        if kinds.count(modality) >= 0.8 * len(cells):
            many = modality if modality is Modality.SERIES else f"{modality}s"
            return Kind(modality, f"the cells are {type(cells[0]).__name__} objects that hold {many}")
    return None


def _is_date(cells: Sequence[Any]) -> bool:
    good = 0
    for cell in cells:
        try:
            parse_date(cell)
        except InputError:
            continue
        good += 1
    return good >= 0.9 * len(cells)


def _set_kind(cells: Sequence[Any]) -> Kind | None:
    """Lists of texts, or texts that list tags between "|", which come again and again."""
    lists = [isinstance(cell, list | tuple | set | frozenset) for cell in cells]
    if all(lists):
        if not all(isinstance(part, str) for cell in cells for part in cell):
            return None
    elif sum(isinstance(cell, str) and "|" in cell for cell in cells) <= 0.2 * len(cells):
        return None
    found = [tag for cell in cells for tag in tag_texts(cell) or ()]
    if not found or len(set(found)) > 0.5 * len(found):
        return None
    return Kind(Modality.TAGS, f"{len(set(found))} different tags in {len(cells)} cells")


def _number_kind(cells: Sequence[Any], distinct: int) -> Kind | None:
    if any(isinstance(cell, bool | np.bool_) for cell in cells):
        return Kind(Modality.CATEGORY, "true or false")
    values = parse_numbers(cells)
    known = values[~np.isnan(values)]
    if len(known) < 0.95 * len(cells):
        return None
    texts = [cell for cell in cells if isinstance(cell, str)]
    if texts and sum(bool(_LEADING_ZERO.fullmatch(cell.strip())) for cell in texts) > 0.05 * len(texts):
        return Kind(Modality.CATEGORY, "digits with leading zeros are codes, not amounts")
    whole = bool((known == np.round(known)).all())
    if whole and len(known) > 20 and distinct >= 0.999 * len(cells) and bool((np.diff(known) > 0).all()):
        return Kind(None, "counts up from row to row", "id")
    return Kind(Modality.NUMBER, f"{len(known) / len(cells):.0%} of the cells are {'whole ' if whole else ''}numbers")


def _text_kind(cells: Sequence[Any], distinct: int) -> Kind:
    texts = [str(cell) for cell in cells]
    words = float(np.mean([len(text.split()) for text in texts]))
    length = float(np.mean([len(text) for text in texts]))
    share = distinct / len(texts)
    if sum(text.lower().startswith(("http://", "https://")) for text in texts) > 0.8 * len(texts):
        return Kind(None, "web addresses are not opened", "drop")
    # Chinese and Japanese texts have no blanks between words
    wide = float(np.mean([sum(ord(letter) > 0x2E80 for letter in text[:200]) for text in texts]))
    wordy = words >= 3 or wide >= 4
    if (wordy and (share > 0.05 or distinct > 50)) or (words >= 1.5 and length > 25 and share > 0.2):
        return Kind(
            Modality.TEXT, f"{words:.1f} words a cell on average, {distinct} different texts in {len(texts)} cells"
        )
    if len(texts) > 20 and share > 0.95 and words < 1.5:
        return Kind(None, f"{distinct} different short texts in {len(texts)} cells: an identifier", "id")
    if share > 0.5 and distinct > 50 and words >= 1.5:
        return Kind(Modality.TEXT, f"{distinct} different short texts in {len(texts)} cells")
    return Kind(Modality.CATEGORY, f"{distinct} different short texts in {len(texts)} cells")


def _identifier_kind(name: str, known: Sequence[Any], distinct: int) -> Kind | None:
    """Identifiers told by their name; a measure such as a body mass index has fractions or repeats."""
    lowered = name.lower()
    is_joined = bool(_JOINED_ID.match(lowered))
    is_id = is_joined or bool(_ID_NAME.search(lowered) or _CAMEL_ID.search(name))
    if not is_id and not _ROW_NAME.search(lowered):
        return None
    values = parse_numbers(known)
    if bool((values % 1 > 0).any()):
        return None
    if distinct >= 0.95 * len(known):
        return Kind(None, "its name and its distinct cells say that it numbers the rows", "id")
    if is_joined or (is_id and distinct > 20):
        fix = f"use --group {name} if rows of one belong together, or --field {name}=category to learn from it"
        return Kind(None, f"its name says that it identifies something, and its values repeat: {fix}", "group")
    return None


def judge(name: str, cells: Sequence[Any]) -> Kind:
    """Say what a column holds.

    Args:
        name: Its name; only names such as "id" matter.
        cells: A sample of its cells, None where missing.

    Returns:
        The judgement with its reason.
    """
    known = [cell for cell in cells if cell is not None]
    if not known:
        return Kind(None, "every cell is missing", "drop")
    media = _media_kind([part for cell in known for part in media_parts(cell)] or known)
    if media is not None:
        return media
    if sum(map(looks_like_place, known[:200])) >= 0.9 * len(known[:200]):
        return Kind(Modality.PLACE, f"the cells are places such as '{str(known[0])[:40]}'")
    tags = _set_kind(known)
    if tags is not None:
        return tags
    if isinstance(known[0], list | tuple | set | frozenset | dict | np.ndarray | bytes):
        return Kind(None, f"cells of {type(known[0]).__name__} are not read", "drop")
    distinct = len({str(cell) for cell in known})
    found = _identifier_kind(name.strip(), known, distinct)
    if found is not None:
        return found
    found = _number_kind(known, distinct)
    if found is not None:
        return found
    if _is_date(known[:200]):
        return Kind(Modality.DATE, f"the cells are dates such as '{str(known[0])[:30]}'")
    return _text_kind(known, distinct)
