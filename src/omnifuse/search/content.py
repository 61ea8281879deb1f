"""What tells rows of equal content: one key a row, over all fields; a medium counts by its bytes."""

from __future__ import annotations

import hashlib

from omnifuse.data.duplicates import cell_key
from omnifuse.data.media import MediaDoor
from omnifuse.data.media_parts import media_parts
from omnifuse.data.tables import Table
from omnifuse.errors import MediaError
from omnifuse.schema import Schema


def content_keys(table: Table, schema: Schema, door: MediaDoor) -> list[str | None]:
    """SHA-256 of each row's fields in hexadecimal digits; None for a row without any cell.

    Two copies of a file, and a file and its bytes, have one key. A file that cannot be opened counts by its name.
    """
    sources = dict.fromkeys((item.source, item.modality.is_media) for item in schema.fields)
    columns = {name: is_media for name, is_media in sources if name in table.columns}
    cells = {name: table.cells(name) for name in columns}
    found: list[str | None] = []
    for row in range(table.num_rows):
        parts = [_key(cells[name][row], door, is_media=is_media) for name, is_media in columns.items()]
        text = "\x1f".join("" if part is None else "=" + part for part in parts)
        is_empty = all(part is None for part in parts)
        found.append(None if is_empty else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest())
    return found


def _key(cell: object, door: MediaDoor, *, is_media: bool) -> str | None:
    if cell is None:
        return None
    if not is_media:
        return cell_key(cell)
    try:
        return "+".join(door.content_key(part) for part in media_parts(cell))
    except MediaError:
        return "?" + cell_key(cell)
