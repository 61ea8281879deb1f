"""What a user can ask of `pretrain`, checked once at the border; and which fields the pairs name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omnifuse.api.options import LOGGERS
from omnifuse.errors import InputError, did_you_mean
from omnifuse.schema import Modality, Schema

RECIPE_NAMES = ("contrastive", "sigmoid", "matching", "masked", "all")


@dataclass(frozen=True)
class PretrainOptions:
    """Options of one pretraining; those that `fit` has too mean the same.

    Attributes:
        out: Run folder.
        pairs: Fields or modalities that are compared, `("image:audio",)`; none for all.
        objective: One of `RECIPE_NAMES`.
        id: Column whose equal cells say that rows show the same item; None for none.
    """

    out: Path
    pairs: tuple[str, ...] = ()
    objective: str = "contrastive"
    id: str | None = None
    preset: str = "auto"
    fields: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    group: str | None = None
    seed: int = 0
    minutes: float | None = None
    epochs: int | None = None
    logger: str = "tensorboard"
    resume: bool = False
    max_bad: float = 0.01
    media_root: Path | None = None
    allow_download: bool = False
    # What reading a table asks too
    labels: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    time: str | None = None
    window: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.objective not in RECIPE_NAMES:
            raise InputError(
                f"there is no objective '{self.objective}'", fix=did_you_mean(self.objective, RECIPE_NAMES)
            )
        if self.minutes is not None and self.epochs is not None:
            raise InputError("--minutes and --epochs were both given", fix="Give one of them")
        for name in ("minutes", "epochs"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name} is {value}", fix="Give a number above 0")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}", fix="Give a whole number from 0")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad is {self.max_bad}", fix="Give a share between 0 and 1")
        if self.logger not in LOGGERS:
            raise InputError(f"--logger is '{self.logger}'", fix="Give one of " + ", ".join(LOGGERS))
        if self.id is not None and (self.id in self.fields or self.id in self.drop):
            raise InputError(
                f"--id names '{self.id}', which has another role too", fix="Leave it out of --field, --drop"
            )


def named_pairs(pairs: Sequence[str], schema: Schema) -> tuple[tuple[str, str], ...]:
    """The pairs of inputs that are compared, each once.

    Args:
        pairs: `NAME:NAME` of inputs, or of modalities, which stand for all their inputs; none for all pairs.
        schema: Of the table.

    Raises:
        InputError: A pair is not NAME:NAME, names what is no input, or the same one twice.
    """
    names = [item.name for item in schema.inputs]
    if not pairs:
        return tuple(itertools.combinations(names, 2))
    found: dict[tuple[str, str], None] = {}
    for text in pairs:
        one, two = _split(text, names)
        for first, second in itertools.product(_named(one, text, schema), _named(two, text, schema)):
            if first != second:
                found[(first, second) if names.index(first) < names.index(second) else (second, first)] = None
        if not found:
            raise InputError(f"--pairs {text} compares '{one}' with itself", fix="Name two fields")
    return tuple(found)


def _split(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Both sides of a pair; a field's name may hold a colon itself."""
    places = [place for place, letter in enumerate(text) if letter == ":"]
    ways = [(text[:place].strip(), text[place + 1 :].strip()) for place in places]
    ways = [(one, two) for one, two in ways if one and two]
    if not ways:
        raise InputError(f"--pairs '{text}' is not FIELD:FIELD", fix="Write for example --pairs photo:sound,photo:text")
    return next((way for way in ways if all(name in names for name in way)), ways[0])


def _named(name: str, text: str, schema: Schema) -> list[str]:
    names = [item.name for item in schema.inputs]
    if name in names:
        return [name]
    modalities = {item.modality.value for item in schema.inputs}
    if name in modalities:
        return [item.name for item in schema.inputs if item.modality is Modality(name)]
    where = ""
    if name in schema.dropped:
        where = f"the column '{name}' is not used: {schema.dropped[name]}"
    elif any(item.name == name for item in schema.fields):
        whole = next(item.name for item in schema.inputs if name in item.columns)
        where = f"the column '{name}' is a part of '{whole}'"
    raise InputError(
        f"--pairs {text} names '{name}', which is no field of the table",
        where=where,
        fix=did_you_mean(name, [*names, *sorted(modalities - set(names))]),
    )
