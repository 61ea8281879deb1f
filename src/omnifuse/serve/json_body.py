"""JSON of strangers: bounded in depth and keys before and while it is parsed, without NaN and repeated keys."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError

# The end of a string is optional, and nothing is given back once matched: the time is linear for any bytes
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def is_too_deep(data: bytes, *, most: int) -> bool:
    """Whether lists and objects lie deeper than `most` in each other; brackets inside texts do not count.

    Example:
        >>> is_too_deep(b'{"a": [1, "[[["]}', most=2), is_too_deep(b'{"a": [1, "[[["]}', most=1)
        (False, True)
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    depth = 0
    for match in _TOKENS.finditer(data):
        mark = data[match.start()]
        if mark == 0x22:
            continue
        depth += 1 if mark in b"[{" else -1
        if depth > most:
            return True
    return False


def parse_json(data: bytes, limits: ServeLimits) -> Any:
    """Parse a body.

    Raises:
        RequestError: 400 where it is no JSON, 413 where it is too deep or has too many keys.
    """
    if is_too_deep(data, most=limits.max_json_depth):
        raise RequestError(413, f"the JSON is nested deeper than {limits.max_json_depth} levels")
    keys = 0

    def counted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal keys
        keys += len(pairs)
        if keys > limits.max_json_keys:
            raise RequestError(413, f"the JSON has more than {limits.max_json_keys} keys")
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise RequestError(400, f"the key '{_repeated(names)[:40]}' stands twice in one object")
        return found

    try:
        return json.loads(data, object_pairs_hook=counted, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise RequestError(400, "the body is not UTF-8", fix="Send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            400, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise RequestError(413, "the JSON is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise RequestError(400, "the body holds a number that cannot be read") from None


def _no_number(name: str) -> NoReturn:
    raise RequestError(400, f"{name} is not JSON", fix="Leave the value out, or send null or ''")


def _repeated(names: list[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
