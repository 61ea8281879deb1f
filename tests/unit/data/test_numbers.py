"""Number cells: what is read, what is not, and how a column is scaled."""

from __future__ import annotations

import decimal
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data.numbers import NumberColumn, parse_number, parse_numbers
from omnifuse.errors import InputError


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("3", 3.0),
        (" 1e-3 ", 0.001),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1,234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("1 234,5", 1234.5),
        ("1\u202f234\u202f567", 1234567.0),
        ("1'234.50", 1234.5),
        ("1,234", 1234.0),
        ("1,234,567", 1234567.0),
        ("0,5", 0.5),
        ("0,123", 0.123),
        ("-0,123", -0.123),
        ("12%", 0.12),
        ("12,5 %", 0.125),
        ("$5", 5.0),
        ("-$5", -5.0),
        ("5 \u20ac", 5.0),
        ("(12)", -12.0),
        ("($1,200)", -1200.0),
        ("\u22124", -4.0),
        ("\u0663", 3.0),
        (7, 7.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (decimal.Decimal("1.5"), 1.5),
    ],
)
def test_read(cell, number):
    assert parse_number(cell) == number


@pytest.mark.parametrize(
    "cell",
    ["", " ", "n/a", "nan", "inf", "-Infinity", "12 kg", "1,23,456", "1 2345", "1.2.3", "--5", "(-5)", "(", "()", "%"]
    + ["$", "-", "+", "1e", "1e400", "0x10", "1_000", "\u00b2", "5" * 65, None, [], {}, object(), float("inf"), 1j]
    + [10**400, "1" + " " * 200 + "2"],
)
def test_not_read(cell):
    assert math.isnan(parse_number(cell))


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_every_float_is_read_from_its_repr(value):
    assert parse_number(repr(value)) == value
    assert parse_number(value) == value


@given(st.integers(-(10**15), 10**15))
def test_every_grouping_of_an_integer_is_read(value):
    for text in (f"{value:,}", f"{value:,}".replace(",", " "), f"{value:,}".replace(",", "'"), f"{value:,}.0"):
        assert parse_number(text) == value
    assert parse_number(f"{value:,}".replace(",", ".") + ",0") == value


@given(st.one_of(st.text(max_size=80), st.text("0123456789.,-+()%$ e'\u20ac", max_size=20), st.binary(max_size=9)))
def test_never_raises_and_is_finite_or_nan(cell):
    value = parse_number(cell)
    assert isinstance(value, float)
    assert math.isfinite(value) or math.isnan(value)
    assert np.array_equal(parse_numbers([cell, 1]), np.clip([value, 1.0], -1e100, 1e100), equal_nan=True)


def test_many_cells_at_once():
    assert np.array_equal(parse_numbers([1, None, 2.5, float("inf")]), [1, np.nan, 2.5, np.nan], equal_nan=True)
    assert np.array_equal(parse_numbers(["1", None, [1, 2], 1e300]), [1, np.nan, np.nan, 1e100], equal_nan=True)
    assert parse_numbers([]).shape == (0,)


def test_scaling_is_robust_and_monotone():
    values = np.random.default_rng(0).normal(50, 10, 2000)
    column = NumberColumn.fit("x", values.tolist())
    scaled = column.scaled(values)
    assert abs(float(np.median(scaled))) < 1e-6
    assert float(scaled.std()) == pytest.approx(1.0, abs=0.05)
    extreme = column.scaled(np.array([-1e90, 0.0, 50.0, 1e90, np.nan]))
    assert (np.diff(extreme[:4]) > 0).all()
    assert np.abs(extreme).max() <= 8
    assert extreme[4] == 0
    with_outlier = NumberColumn.fit("x", [*values.tolist(), 1e12])
    assert with_outlier.scale == pytest.approx(column.scale, rel=0.01)


@pytest.mark.parametrize("transform", ["robust", "quantile"])
@given(cells=st.lists(st.one_of(st.none(), st.floats(allow_nan=False, width=32), st.integers(-5, 5)), max_size=40))
def test_any_column_can_be_fitted(transform, cells):
    column = NumberColumn.fit("x", cells, transform=transform)
    assert len(column.edges) >= 2
    assert (np.diff(column.edges) > 0).all()
    scaled = column.scaled(parse_numbers(cells))
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    values = parse_numbers(cells)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    assert (np.diff(scaled[order]) >= -1e-6).all()
    again = NumberColumn.from_json(json.loads(json.dumps(column.to_json())))
    assert again == column
    assert np.array_equal(again.scaled(parse_numbers(cells)), scaled)


def test_quantile_transform_tames_heavy_tails():
    values = np.exp(np.random.default_rng(0).normal(0, 3, 3000))
    scaled = NumberColumn.fit("x", values.tolist(), transform="quantile").scaled(values)
    assert float(scaled.std()) == pytest.approx(1.0, abs=0.05)
    assert abs(float(((scaled - scaled.mean()) ** 3).mean())) < 0.1


def test_unreadable_cells_are_counted_apart_from_missing_ones():
    column = NumberColumn.fit("x", ["1", "two", None, "3", float("nan")])
    assert column.num_unreadable == 1
    assert NumberColumn.fit("x", ["a", None]).median == 0.0


def test_wrong_options():
    with pytest.raises(InputError, match=r"Unknown transform 'quantil' of numbers.*did you mean 'quantile'"):
        NumberColumn.fit("x", [1], transform="quantil")
    with pytest.raises(InputError, match="num_bins must be at least 1, received 0"):
        NumberColumn.fit("x", [1], num_bins=0)
