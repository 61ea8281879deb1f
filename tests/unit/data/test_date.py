"""Dates as people and programs write them."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data.date import DatePreprocessor, parse_date
from omnifuse.errors import InputError

DAY = 1579910400  # 2020-01-25 00:00 UTC


def seconds(moment):
    return int(moment.replace(tzinfo=datetime.UTC).timestamp())


@pytest.mark.parametrize(
    "text",
    ["2020-01-25", "2020/01/25", "2020.1.25", "25.01.2020", "1/25/2020", "25/1/2020", "01-25-20", "20200125"]
    + ["January 25, 2020", "Jan 25 2020", "25 Jan 2020", "25. January 2020", "25th of January 2020", "2020 Jan 25"]
    + [
        "Saturday, 25 January 2020",
        "2020\u5e741\u670825\u65e5",
        "2020-01-25T00:00:00Z",
        " 2020-01-25 ",
        "20200125T000000",
    ]
    + ["2020-01-25 01:00+01:00", "2020-01-24 24:00", "1579910400", "1579910400000", "1579910400.5"],
)
def test_one_day_in_many_forms(text):
    assert parse_date(text) == DAY


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("2020-01-25 17:51:00", 64260),
        ("2020-01-25T17:51", 64260),
        ("1/25/2020 5:51 PM", 64260),
        ("2020-01-25 12:00 am", 0),
        ("25 Jan 2020 12:00 p.m.", 43200),
        ("2020-01-25 17:51:00.123456", 64260),
        ("2020-01-25T10:00-0230", 45000),
        ("20200125T1751", 64260),
    ],
)
def test_times_of_day(text, offset):
    assert parse_date(text) == DAY + offset


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (datetime.date(2020, 1, 25), DAY),
        (datetime.datetime(2020, 1, 25, 0, 0, 1), DAY + 1),
        (datetime.datetime(2020, 1, 25, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), DAY),
        (np.datetime64("2020-01-25"), DAY),
        (pd.Timestamp("2020-01-25"), DAY),
        (DAY, DAY),
        (DAY * 1000, DAY),
        (DAY * 10**6, DAY),
        (DAY * 10**9, DAY),
        (20200125, DAY),
        (2020, seconds(datetime.datetime(2020, 1, 1))),
        ("2020", seconds(datetime.datetime(2020, 1, 1))),
        ("Jan 2020", seconds(datetime.datetime(2020, 1, 1))),
        ("01/02/69", seconds(datetime.datetime(1969, 1, 2))),
        ("01/02/68", seconds(datetime.datetime(2068, 1, 2))),
        (b"2020-01-25", DAY),
    ],
)
def test_objects_and_numbers(cell, found):
    assert parse_date(cell) == found


@pytest.mark.parametrize(
    "cell",
    ["", "soon", "2020-13-01", "2020-02-30", "30.02.2020", "0000-01-01", "2020-01-25 25:00", "2020-01-25 10:61"]
    + ["2020-01-25 13:00 pm", "1.2.3", "10:30", "2020-01-25 10:00+99:00", "x" * 100, "2020-01-25" + " " * 70 + "1"]
    + [True, None, [], float("nan"), float("inf"), np.datetime64("NaT"), pd.NaT, 1e30, "9" * 20],
)
def test_not_a_date(cell):
    with pytest.raises(InputError, match=r"is not a date that can be read. Write it as 2020-01-25"):
        parse_date(cell)


@given(st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(9999, 12, 30)))
def test_round_trip(moment):
    moment = moment.replace(microsecond=0)
    wanted = seconds(moment)
    for text in (
        moment.isoformat(),
        moment.isoformat(" "),
        f"{moment:%Y/%m/%d %H:%M:%S}",
        f"{moment:%d.%m.%Y %H:%M:%S}",
        f"{moment:%B} {moment.day}, {moment.year} {moment:%I:%M:%S %p}",
        moment.isoformat() + "Z",
    ):
        assert parse_date(text) == wanted
    assert parse_date(moment) == wanted
    assert parse_date(f"{moment:%d/%m/%Y}", day_first=True) == parse_date(moment.date())
    assert parse_date(f"{moment:%m/%d/%Y}") == parse_date(moment.date())


@given(st.one_of(st.text(max_size=70), st.text("0123456789-/.: TZ+,amp", max_size=30), st.floats(), st.integers()))
def test_seconds_or_a_clear_error(cell):
    try:
        found = parse_date(cell)
    except InputError:
        return
    assert isinstance(found, int)
    assert -62135596800 <= found <= 253402300799


def test_order_of_day_and_month_is_learnt():
    assert DatePreprocessor.fit(["01/02/2020", "25/01/2020"]).day_first is True
    assert DatePreprocessor.fit(["01/02/2020", "01/25/2020"]).day_first is False
    assert DatePreprocessor.fit(["01/02/2020"]).day_first is False
    assert DatePreprocessor.fit(["01/02/2020"], day_first=True)("01/02/2020")["seconds"][0] == parse_date("2020-02-01")


def test_span_and_json():
    dates = DatePreprocessor.fit(["2020-01-25", None, "soon", "2020-01-27", "2020-01-26 12:00"])
    assert (dates.earliest, dates.latest, dates.has_time) == (DAY, DAY + 2 * 86400, True)
    assert DatePreprocessor.from_json(json.loads(json.dumps(dates.to_json()))) == dates
    assert dates("2020-01-25")["seconds"].dtype == np.int64
    assert dates("2020-01-25")["seconds"].shape == (1,)
    assert DatePreprocessor.fit([]) == DatePreprocessor()
