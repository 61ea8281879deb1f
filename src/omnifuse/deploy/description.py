"""What the manifest of a model says of its rows: schema, preprocessing, calibration. Nothing is built of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omnifuse.data.preprocessors import preprocessors_from_json
from omnifuse.errors import ArtefactError
from omnifuse.readout.target_readout import TargetReadout
from omnifuse.schema import Schema

MAX_MEMBERS = 64


@dataclass(frozen=True)
class Description:
    """The manifest of a model, read.

    Attributes:
        schema: Fields, targets and roles.
        preprocessors: Input to its preprocessor.
        readouts: Target to its readout.
        num_members: Networks whose answers are averaged.
    """

    schema: Schema
    preprocessors: dict[str, Any]
    readouts: dict[str, TargetReadout]
    num_members: int


def described(manifest: Mapping[str, Any]) -> Description:
    """Read the manifest of a model.

    Raises:
        ArtefactError: It was not made by fit.
    """
    with reading_manifest():
        num_members = int(manifest["num_members"])
        if not 1 <= num_members <= MAX_MEMBERS:
            raise ValueError(f"{num_members} members")
        return Description(
            Schema.from_json(manifest["schema"]),
            preprocessors_from_json(manifest["preprocessors"]),
            {name: TargetReadout.from_json(data) for name, data in manifest["readouts"].items()},
            num_members,
        )


@contextmanager
def reading_manifest() -> Iterator[None]:
    """Say of a manifest with sound digests but senseless content that it was not made by fit."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ArtefactError(
            "the model's description cannot be read",
            where=f"{type(error).__name__}: {error}",
            fix="Use the folder as fit wrote it",
        ) from None
