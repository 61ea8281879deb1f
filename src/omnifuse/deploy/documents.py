"""JSON that came from elsewhere: bounded, strict, and refused with one line where it is anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omnifuse.errors import ArtefactError

FIX = "Get it again from where it was made; if it stays so, somebody changed it"


def encode_document(data: dict[str, Any]) -> bytes:
    """One JSON document; equal data gives equal bytes."""
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read_document(content: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object in which no key stands twice and every number is finite.

    Args:
        content: UTF-8, of a size that was bounded before.
        what: Its name in a message.

    Raises:
        ArtefactError: It is anything else.

    Example:
        >>> read_document(b'{"format": 1}', "stages.json")
        {'format': 1}
    """
    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        raise ArtefactError(f"'{what}' is damaged ({reason})", fix=FIX) from None
    if not isinstance(data, dict):
        raise ArtefactError(f"'{what}' is no description but a {type(data).__name__}", fix=FIX)
    return data


def read_format(content: bytes, what: str, wanted: int) -> dict[str, Any]:
    """Read a JSON object of the format that this release writes.

    Args:
        content: See `read_document`.
        what: Its name in a message.
        wanted: Number of the format.

    Raises:
        ArtefactError: It is damaged or of another format.
    """
    data = read_document(content, what)
    if data.get("format") != wanted:
        raise ArtefactError(
            f"'{what}' has format {data.get('format')!r}, this omnifuse reads format {wanted}",
            fix="Install the omnifuse release that made it",
        )
    return data


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say of JSON that parses but means nothing that it was not made by the registry."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"'{error.args[0]}' is absent" if isinstance(error, KeyError) and error.args else str(error)
        raise ArtefactError(f"'{what}' cannot be read ({reason})", fix=FIX) from None


def exact_keys(data: Any, known: set[str]) -> dict[str, Any]:
    """The object itself, if it has these keys and no other.

    Raises:
        ValueError: It has not.
    """
    if not isinstance(data, dict) or set(data) != known:
        found = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"expected {', '.join(sorted(known))}, found {found}")
    return data


def whole(value: Any, least: int = 0) -> int:
    """A whole number from `least` on; True is none.

    Raises:
        ValueError: It is anything else.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"expected a whole number from {least}, found {str(value)[:40]!r}")
    return value


def words(value: Any, most: int = 1000) -> str:
    """A text of at most so many characters.

    Raises:
        ValueError: It is anything else.
    """
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"expected a text of at most {most} characters")
    return value


def hex_digest(value: Any) -> str:
    """A SHA-256 in lower-case hexadecimal.

    Raises:
        ValueError: It is anything else.
    """
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
