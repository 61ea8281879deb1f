"""Filters over the columns of an index: from a text to polars expressions, without eval.

A missing cell fits no comparison, `!=` among them; `not (...)` turns that round, so it fits `not (price < 30)`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any as AnyType

import numpy as np
import polars as pl

from omnifuse.data.date import parse_date
from omnifuse.errors import InputError, did_you_mean
from omnifuse.search.columns import ColumnKind
from omnifuse.search.filter_error import FilterError
from omnifuse.search.filter_tree import COMPARISONS, All, Any, Condition, Node, Not, Value, parse_filter

_COMPARE: dict[str, Callable[[AnyType, AnyType], AnyType]] = dict(
    zip(COMPARISONS, (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge), strict=True)
)
_ALLOWED = {
    ColumnKind.NUMBER: (*COMPARISONS, "in", "missing"),
    ColumnKind.DATE: (*COMPARISONS, "in", "missing"),
    ColumnKind.TEXT: ("==", "!=", "in", "contains", "missing"),
    ColumnKind.TAGS: ("contains", "missing"),
    ColumnKind.FLAG: ("==", "!=", "in", "true", "missing"),
}
_HOLDS = {
    ColumnKind.NUMBER: "numbers",
    ColumnKind.DATE: "dates",
    ColumnKind.TEXT: "texts",
    ColumnKind.TAGS: "tags",
    ColumnKind.FLAG: "true and false",
}
_ADVICE = {
    ColumnKind.NUMBER: "Write for example {0} < 30, or {0} in (1, 2)",
    ColumnKind.DATE: "Write for example {0} >= '2026-01-31'",
    ColumnKind.TEXT: "Write for example {0} == 'coat', or {0} contains 'red'",
    ColumnKind.TAGS: "Write for example {0} contains 'new'",
    ColumnKind.FLAG: "Write {0}, not {0}, or {0} == true",
}


class Filter:
    """A filter that fits the columns of an index.

    Args:
        text: Such as ``price < 30 and kind in ('coat', 'hat') and not note contains 'worn'``.
        kinds: Column name to what it holds.

    Attributes:
        columns: The columns that it reads, each once.

    Raises:
        FilterError: The text cannot be read, or asks of a column what it does not hold; says where and what to write.

    Example:
        >>> frame = pl.DataFrame({"price": [10.0, 50.0, None]})
        >>> Filter("price < 30", {"price": ColumnKind.NUMBER}).mask(frame).tolist()
        [True, False, False]
    """

    def __init__(self, text: str, kinds: Mapping[str, ColumnKind]) -> None:
        # A lone surrogate, as a shell may give one, fits no cell
        self.text, self._kinds = text.encode("utf-8", "replace").decode(), kinds
        tree = parse_filter(self.text)
        self.columns = tuple(dict.fromkeys(item.column for item in _conditions(tree)))
        # Column names could be read as patterns by polars
        self._aliases = {name: f"c{number}" for number, name in enumerate(self.columns)}
        self._expression = self._built(tree)

    def mask(self, frame: pl.DataFrame) -> np.ndarray:
        """(R,) bool: which rows fit."""
        chosen = pl.DataFrame([frame.get_column(name).alias(alias) for name, alias in self._aliases.items()])
        return np.asarray(chosen.select(self._expression.alias("fits")).get_column("fits").to_numpy(), dtype=np.bool_)

    def _built(self, node: Node) -> pl.Expr:
        if isinstance(node, Not):
            return ~self._built(node.part)
        if isinstance(node, All):
            return pl.all_horizontal([self._built(part) for part in node.parts])
        if isinstance(node, Any):
            return pl.any_horizontal([self._built(part) for part in node.parts])
        return self._condition(node)

    def _condition(self, item: Condition) -> pl.Expr:
        name = item.column
        if name not in self._kinds:
            fix = did_you_mean(name, self._kinds) if self._kinds else "The index holds no columns"
            raise FilterError(f"there is no column '{name}'", self.text, item.start, item.end, fix=fix)
        kind = self._kinds[name]
        written = name if name.isidentifier() else f"`{name}`"
        if item.operator not in _ALLOWED[kind]:
            asked = "it needs a comparison" if item.operator == "true" else f"`{item.operator}` is not for them"
            what = f"'{name}' holds {_HOLDS[kind]}, and {asked}"
            raise FilterError(what, self.text, item.start, item.end, fix=_ADVICE[kind].format(written))
        column = pl.col(self._aliases[name])
        if item.operator == "missing":
            return column.is_null()
        values = [self._value(value, name, kind) for value in item.values]
        if item.operator == "true":
            found = column
        elif item.operator == "in":
            found = column.is_in(pl.Series(values, dtype=_dtype(kind)).implode())
        elif item.operator == "contains":
            found = _contains(column, str(values[0]), kind)
        else:
            found = _COMPARE[item.operator](column, pl.lit(values[0], dtype=_dtype(kind)))
        return found.fill_null(False)

    def _value(self, item: Value, name: str, kind: ColumnKind) -> AnyType:
        """The value as the column holds it."""
        value = item.value
        is_text, is_flag = isinstance(value, str), isinstance(value, bool)
        wrong, fix = "", ""
        if kind is ColumnKind.NUMBER and (is_text or is_flag):
            wrong, fix = "no number", "Write the number without quotes" if is_text else "Write a number"
        elif kind is ColumnKind.FLAG and not is_flag:
            wrong, fix = "neither true nor false", "Write true or false"
        elif kind in (ColumnKind.TEXT, ColumnKind.TAGS, ColumnKind.DATE) and not is_text:
            wrong, fix = "no text", f"Put it between quotes: '{self.text[item.start : item.end]}'"
        elif kind is ColumnKind.DATE:
            try:
                return parse_date(value)
            except InputError:
                wrong, fix = "no date", "Write for example '2026-01-31' or '2026-01-31 17:30'"
        if wrong:
            shown = self.text[item.start : item.end][:40]
            what = f"'{name}' holds {_HOLDS[kind]}, and {shown} is {wrong}"
            raise FilterError(what, self.text, item.start, item.end, fix=fix)
        return value


def _dtype(kind: ColumnKind) -> pl.DataType:
    return {
        ColumnKind.NUMBER: pl.Float64(),
        ColumnKind.DATE: pl.Int64(),
        ColumnKind.FLAG: pl.Boolean(),
    }.get(kind, pl.String())


def _contains(column: pl.Expr, text: str, kind: ColumnKind) -> pl.Expr:
    """Whether a text holds another one, in whatever case; whether tags hold one exactly."""
    if kind is ColumnKind.TAGS:
        return column.list.contains(text)
    return column.str.to_lowercase().str.contains(text.lower(), literal=True)


def _conditions(node: Node) -> Iterator[Condition]:
    if isinstance(node, Condition):
        yield node
    elif isinstance(node, Not):
        yield from _conditions(node.part)
    else:
        for part in node.parts:
            yield from _conditions(part)
