"""Fields, targets and the schema of a table: plain frozen data with a JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omnifuse.schema.history import History
from omnifuse.schema.modality import Modality, TaskKind

TABLE_INPUT = "table"


@dataclass(frozen=True)
class Field:
    """One input column: its modality, why it was given it, and its share of missing cells (0 to 1).

    `part_of` names the input that reads this column together with others (latitude and longitude); "" = its own.
    `column` names the column that the field stands in where that is another one: the sound of a video.
    """

    name: str
    modality: Modality
    reason: str = ""
    missing: float = 0.0
    part_of: str = ""
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
            **({"part_of": self.part_of} if self.part_of else {}),
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
            data.get("part_of", ""),
            data.get("column", ""),
        )


@dataclass(frozen=True)
class Target:
    """One column to predict. `classes` holds the exact cell texts, sorted; from the lowest level on where ordinal."""

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
    """What one encoder reads: a column by its own name, a video's sound, latitude with longitude, or all numbers and
    categories.
    """

    name: str
    modality: Modality
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """The roles of all columns of a table.

    `dropped` maps each unused column to the reason why. `history` says which fields are made of earlier rows. Group,
    time and id columns are not fields unless the user named them so.
    """

    fields: tuple[Field, ...]
    targets: tuple[Target, ...]
    ids: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    dropped: dict[str, str] = field(default_factory=dict)
    history: History | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Model inputs in column order; number and category columns are joined into the one named "table"."""
        cells = (Modality.NUMBER, Modality.CATEGORY)
        columns = tuple(item.name for item in self.fields if item.modality in cells)
        others = [item for item in self.fields if item.modality not in cells]
        named = {item.part_of or item.name: item.modality for item in others}
        inputs = [
            Input(name, modality, tuple(item.source for item in others if (item.part_of or item.name) == name))
            for name, modality in named.items()
        ]
        if columns:
            name = TABLE_INPUT
            # A written target has a vocabulary, which is kept beside the inputs' preprocessors
            taken = {item.name for item in inputs} | {item.name for item in self.written}
            while name in taken:
                name += "_"
            inputs.append(Input(name, Modality.TABLE, columns))
        return tuple(inputs)

    @property
    def chosen(self) -> tuple[Target, ...]:
        """Targets that are answered by classes, tags or numbers."""
        return tuple(item for item in self.targets if not item.kind.writes)

    @property
    def written(self) -> tuple[Target, ...]:
        """Targets that are answered by texts."""
        return tuple(item for item in self.targets if item.kind.writes)

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
            "history": self.history.to_json() if self.history is not None else None,
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
            History.from_json(data["history"]) if data.get("history") else None,
        )
