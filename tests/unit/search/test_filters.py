"""Filters: what they choose, what is wrong with them and where, and that no text makes them fail otherwise."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnifuse.schema import Modality
from omnifuse.search import FilterError
from omnifuse.search.columns import ColumnKind, column_kind, typed_frame
from omnifuse.search.filter_tree import KEYWORDS
from omnifuse.search.filters import Filter

KINDS = {
    "price": ColumnKind.NUMBER,
    "kind": ColumnKind.TEXT,
    "tags": ColumnKind.TAGS,
    "added": ColumnKind.DATE,
    "stock": ColumnKind.FLAG,
    "^.*$": ColumnKind.TEXT,
}
CELLS = {
    "price": ["10", "30", None, "-2.5"],
    "kind": ["coat", "Hat, old", None, "o'clock"],
    "tags": ["new|sale", "old", None, "new"],
    "added": ["2026-01-01", "2026-02-01 12:00", None, "1999-12-31"],
    "stock": ["true", "false", None, "TRUE"],
    "^.*$": ["a", "b", None, "a"],
}
FRAME, LOST = typed_frame(CELLS, KINDS)


def chosen(text):
    return np.flatnonzero(Filter(text, KINDS).mask(FRAME)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("price < 30", [0, 3]),
        ("price <= 30 and price > -2.5", [0, 1]),
        ("price<-2", [3]),
        ("price = 1e1 or price <> 30", [0, 3]),
        ("not (price < 30)", [1, 2]),
        ("price is missing", [2]),
        ("price is not missing AND NOT kind == 'coat'", [1, 3]),
        ("kind in ('coat', \"o'clock\")", [0, 3]),
        ("kind not in ('coat')", [1, 2, 3]),
        ("kind == 'o''clock'", [3]),
        ("kind contains 'hat'", [1]),
        ("not kind contains 'a'", [2, 3]),
        ("tags contains 'new'", [0, 3]),
        ("tags not contains 'new'", [1, 2]),
        ("added >= '2026'", [0, 1]),
        ("added < '2026-02-01' and added != '1999-12-31'", [0]),
        ("stock", [0, 3]),
        ("not stock", [1, 2]),
        ("stock == false or price == 10", [0, 1]),
        ("`^.*$` == 'a'", [0, 3]),
        ("price > 100 or price > 5 and kind == 'coat'", [0]),
        ("(price > 100 or price > 5) and kind == 'coat'", [0]),
        ("price in (10, 30.0)", [0, 1]),
    ],
)
def test_rows_that_fit(text, rows):
    assert not LOST
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "start", "what", "fix"),
    [
        ("pric < 30", 0, "no column 'pric'", "did you mean 'price'"),
        ("price < 3 and colour == 'x'", 14, "no column 'colour'", "Known"),
        ("price < '3'", 8, "is no number", "without quotes"),
        ("price", 0, "needs a comparison", "price < 30"),
        ("kind < 'b'", 0, "`<` is not for them", "kind == 'coat'"),
        ("kind == 3", 8, "is no text", "'3'"),
        ("kind == coat", 8, "a number or a text is expected", "'coat'"),
        ("added > 'soon'", 8, "is no date", "2026-01-31"),
        ("stock == 'yes'", 9, "neither true nor false", "true or false"),
        ("tags == 'new'", 0, "`==` is not for them", "contains"),
        ("price in 3", 9, "`(` is expected", "in ('a', 'b')"),
        ("price in (1, 2", 14, "its end came", "in ('a', 'b')"),
        ("(price < 3", 0, "not closed", "Add )"),
        ("price < 3)", 9, "should end here", "parentheses"),
        ("price < 3 kind == 'a'", 10, "should end here", "and, or"),
        ("price < 3 & stock", 10, "means nothing", "Write and"),
        ("kind == 'x", 8, "does not end", "Add '"),
        ("price is 3", 9, "`missing` is expected", "is missing"),
        ("price < 1e999", 8, "is no number", ""),
        ("", 0, "is empty", "price < 30"),
        ("not", 3, "a column is expected", ""),
        ("(" * 80 + "stock" + ")" * 80, 65, "inside each other", ""),
        ("stock" + " or stock" * 2000, 0, "characters", "in (...)"),
    ],
)
def test_errors_name_place_and_remedy(text, start, what, fix):
    with pytest.raises(FilterError) as caught:
        chosen(text)
    assert caught.value.start == start
    lines = str(caught.value).split("\n")
    assert what in lines[0]
    assert fix in lines[-1]
    caret = lines[2].index("^") - 2
    if len(text) < 60:
        assert lines[1][2:] == text
        assert caret == start
    elif start:
        assert lines[1][2:][caret : caret + 1] == text[start : start + 1]


def test_long_chains_are_no_deep_trees():
    text = " or ".join(f"price == {number}" for number in range(600))
    assert chosen(text) == [0, 1]


NAMES = ["price", "kind", "tags", "added", "stock", "`^.*$`", "nope", *sorted(KEYWORDS)]
WORDS = st.sampled_from([*NAMES, "==", "!=", "<", ">", "(", ")", ",", "3", "-1.5", "'coat'", "'2026-01-01'", '"', "\\"])
TEXTS = st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.text(max_size=40))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_text_fails_otherwise(text):
    try:
        mask = Filter(text, KINDS).mask(FRAME)
    except FilterError as error:
        wrong = error
    else:
        assert mask.shape == (4,)
        return
    assert 0 <= wrong.start <= len(text)


@st.composite
def filters(draw, depth=2):
    """A filter with its truth, computed by hand row by row."""
    kind = draw(st.sampled_from(["price", "kind", "missing", *(["not", "and", "or"] if depth else [])]))
    prices = [10.0, 30.0, None, -2.5]
    if kind == "price":
        bound, sign = draw(st.sampled_from([-2.5, 0, 10, 30])), draw(st.sampled_from(["<", ">=", "!="]))
        tests = {"<": lambda x: x < bound, ">=": lambda x: x >= bound, "!=": lambda x: x != bound}
        return f"price {sign} {bound}", [x is not None and tests[sign](x) for x in prices]
    if kind == "kind":
        text = draw(st.sampled_from(["coat", "Hat, old", "x"]))
        return f"kind == '{text}'", [cell == text for cell in CELLS["kind"]]
    if kind == "missing":
        return "tags is missing", [cell is None for cell in CELLS["tags"]]
    one = draw(filters(depth=depth - 1))
    if kind == "not":
        return f"not ({one[0]})", [not item for item in one[1]]
    two = draw(filters(depth=depth - 1))
    joined = [(a and b) if kind == "and" else (a or b) for a, b in zip(one[1], two[1], strict=True)]
    return f"({one[0]}) {kind} ({two[0]})", joined


@settings(max_examples=100, deadline=None)
@given(filters())
def test_nested_filters_choose_what_python_does(case):
    text, truth = case
    assert Filter(text, KINDS).mask(FRAME).tolist() == truth


def test_kinds_of_columns():
    assert column_kind("code", ["03", "04"]) is ColumnKind.TEXT
    assert column_kind("price", ["3", "4,5"]) is ColumnKind.NUMBER
    assert column_kind("price", ["3", "4"], Modality.CATEGORY) is ColumnKind.TEXT
    assert column_kind("in_stock", [True, None, False]) is ColumnKind.FLAG
    assert column_kind("empty", [None, None]) is ColumnKind.TEXT
    assert column_kind("when", ["2026-01-01", "2026-01-02"]) is ColumnKind.DATE


def test_cells_that_cannot_be_kept_are_counted():
    frame, lost = typed_frame(
        {"price": ["3", "many", None], "photo": [b"\x89PNG", "a.png", None]},
        {"price": ColumnKind.NUMBER, "photo": ColumnKind.TEXT},
    )
    assert lost == {"price": 1, "photo": 1}
    assert frame.equals(pl.DataFrame({"price": [3.0, None, None], "photo": [None, "a.png", None]}))
