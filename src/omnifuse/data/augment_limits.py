"""Check the options of augmentation."""

from __future__ import annotations

from typing import Any

from omnifuse.errors import InputError


def check_limits(options: Any, **limits: tuple[float, float]) -> None:
    """Refuse options of a dataclass that are out of their limits.

    Args:
        options: The dataclass; a value may be a pair, whose first number must not be the larger one.
        **limits: Option name to its least and largest value.

    Raises:
        InputError: Names option, limits and what was received.
    """
    for name, (low, high) in limits.items():
        value = getattr(options, name)
        pair = value if isinstance(value, tuple) else (value, value)
        if not (len(pair) == 2 and low <= pair[0] <= pair[1] <= high):
            order = " with the smaller one first" if isinstance(value, tuple) else ""
            raise InputError(f"{name} of {type(options).__name__} must be {low} to {high}{order}, received {value}")
