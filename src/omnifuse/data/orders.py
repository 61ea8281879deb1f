"""The order of levels: numbers by value, texts by orders that everybody knows, or an order that the user gives."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from omnifuse.data.numbers import parse_numbers
from omnifuse.errors import InputError, did_you_mean

# From the lowest level on, in small letters with blanks between words
KNOWN_ORDERS: tuple[tuple[str, ...], ...] = (
    ("none", "very low", "low", "medium low", "medium", "moderate", "medium high", "high", "very high", "extreme"),
    ("never", "almost never", "rarely", "seldom", "occasionally", "sometimes", "often", "usually", "very often")
    + ("almost always", "always"),
    ("none", "absent", "minimal", "trace", "mild", "moderate", "marked", "severe", "very severe", "critical"),
    ("strongly disagree", "disagree", "somewhat disagree", "slightly disagree", "neutral", "neither agree nor disagree")
    + ("slightly agree", "somewhat agree", "agree", "strongly agree"),
    ("very dissatisfied", "dissatisfied", "somewhat dissatisfied", "neutral", "somewhat satisfied", "satisfied")
    + ("very satisfied",),
    ("very unlikely", "unlikely", "neutral", "likely", "very likely"),
    ("very negative", "negative", "neutral", "positive", "very positive"),
    ("not at all", "slightly", "a little", "somewhat", "moderately", "quite", "very", "very much", "extremely"),
    ("very bad", "terrible", "bad", "poor", "below average", "fair", "average", "ok", "okay", "above average", "good")
    + ("very good", "great", "excellent", "outstanding"),
    ("worst", "worse", "same", "unchanged", "better", "best"),
    ("tiny", "very small", "small", "medium", "large", "very large", "huge"),
    ("xxs", "xs", "s", "m", "l", "xl", "xxl", "2xl", "xxxl", "3xl", "4xl"),
    ("f", "e", "d-", "d", "d+", "c-", "c", "c+", "b-", "b", "b+", "a-", "a", "a+"),
    ("beginner", "elementary", "intermediate", "upper intermediate", "advanced", "expert"),
    ("short", "medium", "long"),
    ("slow", "medium", "fast"),
    ("cold", "cool", "mild", "warm", "hot"),
    ("light", "medium", "heavy"),
    ("young", "middle aged", "old"),
    ("bronze", "silver", "gold", "platinum"),
)
GRADES = re.compile(r"[a-f][+-]?")


def _plain(text: str) -> str:
    """Small letters, words between single blanks; the mark of a grade stays."""
    small = text.strip().lower()
    return small if GRADES.fullmatch(small) else re.sub(r"[\s_-]+", " ", small).strip()


def known_order(names: Sequence[str]) -> tuple[str, ...] | None:
    """The names from the lowest level on, None where nothing tells their order.

    Numbers are ordered by value; texts only where one known order holds every one of them, and no two are the same
    level.

    Example:
        >>> known_order(["high", "low", "medium"]), known_order(["10", "9"]), known_order(["cat", "dog"])
        (('low', 'medium', 'high'), ('9', '10'), None)
    """
    values = parse_numbers(list(names))
    if not np.isnan(values).any():
        return tuple(names[place] for place in np.argsort(values, kind="stable"))
    plain = {name: _plain(name) for name in names}
    if len(set(plain.values())) < len(plain):
        return None
    for order in KNOWN_ORDERS:
        if all(text in order for text in plain.values()):
            return tuple(sorted(names, key=lambda name: order.index(plain[name])))
    return None


def given_order(column: str, text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The levels of `none<mild<severe`; a level may hold the sign itself, as the class '<30' of a table does.

    Args:
        column: For messages.
        text: What the user wrote.
        names: The classes that the table holds; the order must name each, and may name others.

    Raises:
        InputError: It names a class twice, or lacks one.

    Example:
        >>> given_order("age", "<30<30-50<>50", ["30-50", "<30", ">50"])
        ('<30', '30-50', '>50')
    """
    levels = _joined(text.split("<"), {name for name in names if "<" in name})
    repeated = [level for level in levels if levels.count(level) > 1]
    where = f"--task {column}=ordinal:{text}"
    if repeated or "" in levels:
        what = f"names '{repeated[0]}' twice" if repeated and repeated[0] else "has an empty level"
        raise InputError(f"the order of '{column}' {what}", where=where, fix="Write for example low<medium<high")
    absent = [name for name in names if name not in levels]
    if absent:
        raise InputError(
            f"the order of '{column}' lacks '{absent[0]}'", where=where, fix=did_you_mean(absent[0], levels)
        )
    return tuple(levels)


def _joined(pieces: list[str], signed: set[str]) -> list[str]:
    """Pieces between '<' as levels; pieces that only together name one of the `signed` classes stay together."""
    levels, place = [], 0
    while place < len(pieces):
        ends = range(len(pieces), place + 1, -1)
        end = next((end for end in ends if "<".join(pieces[place:end]).strip() in signed), place + 1)
        levels.append("<".join(pieces[place:end]).strip())
        place = end
    return levels


def order_levels(column: str, names: Sequence[str], given: str | None) -> tuple[str, ...]:
    """The classes of an ordinal label from the lowest level on.

    Args:
        column: The label.
        names: Its classes.
        given: The user's order, or None.

    Raises:
        InputError: The order is wrong, or nothing tells it.
    """
    if given is not None:
        return given_order(column, given, names)
    order = known_order(names)
    if order is None:
        shown = "<".join(names[:6])
        raise InputError(
            f"the order of the levels of '{column}' is not known",
            where=f"they are {', '.join(names[:12])}",
            fix=f'Say it from the lowest level on: --task "{column}=ordinal:{shown}"',
        )
    return order
