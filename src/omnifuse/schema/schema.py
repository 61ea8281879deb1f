"""Fields, targets and the schema of a table: plain frozen data with a JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omnifuse.schema.modality import Modality, TaskKind

TABLE_INPUT = "table"


@dataclass(frozen=True)
class Field:
    """One input column: its modality, why it was given it, and its share of missing cells (0 to 1).

    `column` names the column that the field stands in where that is another one: the sound of a video.
    """

    name: str
    modality: Modality
    reason: str = ""
    missing: float = 0.0
    column: str = ""

    @property
    def source(self) -> str:
        """The column that its cells stand in."""
        return self.column or self.name

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as `inspect --json` prints them."""
        data = {
            "name": self.name,
            "modality": self.modality.value,
            "reason": self.reason,
            "missing": round(self.missing, 6),
        }
        return {**data, "column": self.column} if self.column else data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Field:
        """Inverse of `to_json`."""
        return cls(
            data["name"],
            Modality(data["modality"]),
            data.get("reason", ""),
            data.get("missing", 0.0),
            data.get("column", ""),
        )


@dataclass(frozen=True)
class Target:
    """One column to predict. `classes` holds the exact cell texts in sorted order (classification, tagging)."""

    name: str
    kind: TaskKind
    classes: tuple[str, ...] = ()
    reason: str = ""
    missing: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "classes": list(self.classes),
            "reason": self.reason,
            "missing": round(self.missing, 6),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        """Inverse of `to_json`."""
        return cls(
            data["name"],
            TaskKind(data["kind"]),
            tuple(data.get("classes", ())),
            data.get("reason", ""),
            data.get("missing", 0.0),
        )


@dataclass(frozen=True)
class Input:
    """What one encoder reads: a media, text, date ... column by its own name, a video's sound, or all number and
    category columns.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """The roles of all columns of a table.

    `dropped` maps each unused column to the reason why. Group, time and id columns are not fields unless the
    user named them so.
    """

    fields: tuple[Field, ...]
    targets: tuple[Target, ...]
    ids: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    dropped: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Model inputs in column order; number and category columns are joined into the one named "table"."""
        cells = (Modality.NUMBER, Modality.CATEGORY)
        columns = tuple(item.name for item in self.fields if item.modality in cells)
        inputs = [Input(item.name, item.modality, (item.source,)) for item in self.fields if item.modality not in cells]
        if columns:
            name = TABLE_INPUT
            while any(item.name == name for item in inputs):
                name += "_"
            inputs.append(Input(name, Modality.TABLE, columns))
        return tuple(inputs)

    def field(self, name: str) -> Field:
        """The field of that name; `KeyError` where there is none."""
        return {item.name: item for item in self.fields}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as stored in `model.json`."""
        return {
            "fields": [item.to_json() for item in self.fields],
            "targets": [item.to_json() for item in self.targets],
            "ids": list(self.ids),
            "group": self.group,
            "time": self.time,
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """Inverse of `to_json`."""
        return cls(
            tuple(Field.from_json(item) for item in data["fields"]),
            tuple(Target.from_json(item) for item in data["targets"]),
            tuple(data.get("ids", ())),
            data.get("group"),
            data.get("time"),
            dict(data.get("dropped", {})),
        )
