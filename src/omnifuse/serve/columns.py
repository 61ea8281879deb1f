"""What a row of a request may hold, by the model's own schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from omnifuse.data.history import plain_schema
from omnifuse.errors import did_you_mean
from omnifuse.schema import Modality, Schema
from omnifuse.serve.request_error import RequestError


@dataclass(frozen=True)
class Columns:
    """The columns of a model.

    Attributes:
        fields: Column to what it holds, in the order of the training table; a video with a sound track is a video.
        parts: Columns of `fields` that are one number of a place.
        roles: Columns that say who, which group and when: read, but no fields.
        unused: Columns of the training table that are not read (targets, dropped ones): accepted and left out.
    """

    fields: dict[str, Modality]
    parts: frozenset[str]
    roles: tuple[str, ...]
    unused: frozenset[str]

    @property
    def known(self) -> tuple[str, ...]:
        """All that is read."""
        return tuple(dict.fromkeys((*self.fields, *self.roles)))

    def check(self, names: Iterable[str], where: str) -> None:
        """Refuse a row with a field that the model does not know.

        Raises:
            RequestError: 422, naming the field and its nearest known one.
        """
        for name in names:
            if name not in self.fields and name not in self.roles and name not in self.unused:
                raise RequestError(
                    422, f"unknown field '{name[:60]}'", where=where, fix=did_you_mean(name[:60], self.known)
                )


def columns_of(schema: Schema) -> Columns:
    """The columns that a schema reads."""
    fields: dict[str, Modality] = {}
    plain = plain_schema(schema)
    for item in plain.fields:
        if fields.get(item.source) is not Modality.VIDEO:
            fields[item.source] = item.modality
    history = schema.history
    roles = [*schema.ids, schema.group, schema.time]
    if history is not None:
        roles += [history.time, history.group, *history.columns, *(item.column for item in history.texts)]
    kept = tuple(dict.fromkeys(name for name in roles if name and name not in fields))
    unused = frozenset((*(item.name for item in schema.targets), *schema.dropped)) - set(fields) - set(kept)
    parts = frozenset(item.name for item in plain.fields if item.part_of)
    return Columns(fields, parts, kept, unused)
