"""What is in an index: one JSON document that is replaced at once, so that a crash leaves the old or the new index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omnifuse.errors import ArtefactError, InputError
from omnifuse.files import sha256_of, write_atomically
from omnifuse.search.columns import ColumnKind

FILE = "index.json"
FORMAT, VERSION = "omnifuse index", 1
FUSED = "embedding"
PRECISIONS = ("float32", "float16")
_MOST_BYTES = 64 * 2**20
_REBUILD = "Make the index anew with omnifuse index"


@dataclass(frozen=True)
class StoredFile:
    """A file of an index, with what it must be."""

    name: str
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """A file that was just written."""
        return cls(path.name, path.stat().st_size, sha256_of(path))

    def check(self, folder: Path, *, content: bool, what: str) -> Path:
        """The path of the file.

        Args:
            folder: Of the index.
            content: Read the whole file and compare its SHA-256; else its length alone is looked at.
            what: What is lost with it, for the message.

        Raises:
            ArtefactError: The file is absent, cut short, or not what was written.
        """
        path = folder / self.name
        try:
            size = path.stat().st_size
        except OSError:
            raise ArtefactError(f"the index lacks its file '{self.name}'", where=what, fix=_REBUILD) from None
        if size != self.num_bytes:
            told = f"it has {size} bytes, {self.num_bytes} were written"
            raise ArtefactError(f"the file '{self.name}' of the index is damaged: {told}", where=what, fix=_REBUILD)
        if content and sha256_of(path) != self.sha256:
            told = "its content is not what was written"
            raise ArtefactError(f"the file '{self.name}' of the index is damaged: {told}", where=what, fix=_REBUILD)
        return path


@dataclass(frozen=True)
class StoredSegment:
    """Rows that were added together; their number in the index follows from the order of the segments.

    Attributes:
        rows: How many.
        table: Their columns, ids and keys, an Arrow file.
        vectors: Space to its file of `rows` vectors, one behind the other.
        root: Folder that relative paths of media in the columns resolve against; "" where none is known.
    """

    rows: int
    table: StoredFile
    vectors: Mapping[str, StoredFile]
    root: str = ""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All its files."""
        return (self.table, *self.vectors.values())


@dataclass(frozen=True)
class StoredGraph:
    """A graph over the first `rows` rows of a space, for approximate search."""

    file: StoredFile
    rows: int


@dataclass(frozen=True)
class Manifest:
    """An index as it stands on disk.

    Attributes:
        spaces: Name of each vector space to its width; `embedding` is the fused one.
        model_id: The model that made the vectors; "" where it is not known.
        model_folder: Where it lay when the index was made.
        precision: "float32" or "float16".
        columns: Column name to what it holds.
        fields: Column name to its modality, as the model reads it.
        labels: Columns that the model was to predict.
        segments: In order.
        deleted: Bits of the rows that were deleted, if any.
        graphs: Space to its graph.
        serial: Grows with each change.
    """

    spaces: Mapping[str, int]
    model_id: str = ""
    model_folder: str = ""
    precision: str = "float32"
    columns: Mapping[str, ColumnKind] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    segments: tuple[StoredSegment, ...] = ()
    deleted: StoredFile | None = None
    graphs: Mapping[str, StoredGraph] = field(default_factory=dict)
    serial: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.spaces:
            raise InputError("an index without vectors was asked for", fix="Give at least one space, as 'embedding'")
        for name, width in self.spaces.items():
            if not isinstance(width, int) or not 0 < width <= 1 << 16:
                raise InputError(f"the vectors of '{name}' would be {width} wide", fix="Give a width from 1 to 65536")
        if self.precision not in PRECISIONS:
            raise InputError(f"'{self.precision}' is no precision", fix="Give " + " or ".join(PRECISIONS))

    @property
    def num_rows(self) -> int:
        """Rows on disk, deleted ones included."""
        return sum(segment.rows for segment in self.segments)

    @property
    def file_names(self) -> frozenset[str]:
        """Every file that belongs to the index."""
        files = [item for segment in self.segments for item in segment.files]
        files += [graph.file for graph in self.graphs.values()] + ([self.deleted] if self.deleted else [])
        return frozenset(item.name for item in files)

    def changed(self, **changes: Any) -> Manifest:
        """The same with changes, and the next serial."""
        return replace(self, serial=self.serial + 1, **changes)

    def write(self, folder: Path) -> None:
        """Replace the document; on return it lasts through a power cut."""
        write_atomically(folder / FILE, _text(self).encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The document of a folder.

        Raises:
            ArtefactError: There is none, it is damaged, or of another version.
        """
        path = folder / FILE
        if not path.is_file():
            raise ArtefactError(f"'{folder}' holds no index", fix="Make one with omnifuse index DIR TABLE -o IDX")
        try:
            with path.open("rb") as handle:
                content = handle.read(_MOST_BYTES)
            data = json.loads(content)
            if data["format"] != FORMAT:
                raise ValueError
            version, digest = data["version"], data.pop("digest")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ArtefactError(f"'{path}' is damaged, or no index", fix=_REBUILD) from None
        if version != VERSION:
            raise ArtefactError(
                f"the index in '{folder}' has format {version}, this omnifuse reads {VERSION}", fix=_REBUILD
            )
        if digest != _digest(data):
            raise ArtefactError(f"'{path}' is damaged: its digest is wrong", fix=_REBUILD)
        return _of_json(data)


def _file_json(item: StoredFile) -> list[Any]:
    return [item.name, item.num_bytes, item.sha256]


def _to_json(item: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "serial": item.serial,
        "model_id": item.model_id,
        "model_folder": item.model_folder,
        "precision": item.precision,
        "spaces": dict(item.spaces),
        "columns": {name: kind.value for name, kind in item.columns.items()},
        "fields": dict(item.fields),
        "labels": list(item.labels),
        "segments": [
            {
                "rows": segment.rows,
                "root": segment.root,
                "table": _file_json(segment.table),
                "vectors": {name: _file_json(file) for name, file in segment.vectors.items()},
            }
            for segment in item.segments
        ],
        "deleted": _file_json(item.deleted) if item.deleted else None,
        "graphs": {
            name: {"file": _file_json(graph.file), "rows": graph.rows} for name, graph in item.graphs.items()
        },
    }  # fmt: skip


def _of_json(data: dict[str, Any]) -> Manifest:
    return Manifest(
        spaces=data["spaces"],
        model_id=data["model_id"],
        model_folder=data["model_folder"],
        precision=data["precision"],
        columns={name: ColumnKind(kind) for name, kind in data["columns"].items()},
        fields=data["fields"],
        labels=tuple(data["labels"]),
        segments=tuple(
            StoredSegment(
                item["rows"],
                StoredFile(*item["table"]),
                {name: StoredFile(*file) for name, file in item["vectors"].items()},
                item["root"],
            )
            for item in data["segments"]
        ),
        deleted=StoredFile(*data["deleted"]) if data["deleted"] else None,
        graphs={name: StoredGraph(StoredFile(*item["file"]), item["rows"]) for name, item in data["graphs"].items()},
        serial=data["serial"],
    )


def _digest(data: dict[str, Any]) -> str:
    """SHA-256 of the document without its digest."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _text(item: Manifest) -> str:
    # Paths may hold what no UTF-8 file can: JSON escapes it
    data = _to_json(item)
    return json.dumps({**data, "digest": _digest(data)}, indent=1)
