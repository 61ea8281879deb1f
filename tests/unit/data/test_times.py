"""Times of rows and steps: the calendar's own seconds are the truth."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pandas as pd
import pytest

from omnifuse.data.times import TimeReader

START = datetime.datetime(2024, 2, 29, 23, 59, 58, 250_000, tzinfo=datetime.UTC)
FORMS = {
    "iso": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
    "iso z": lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%fZ"),
    "zone": lambda at: (at + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%f+02:00"),
    "words": lambda at: at.strftime("%d.%m.%Y %H:%M:%S.%f"),
    "object": lambda at: at,
    "numpy": lambda at: np.datetime64(at.replace(tzinfo=None)),
    "pandas": pd.Timestamp,
    "epoch": lambda at: at.timestamp(),
    "epoch text": lambda at: f"{at.timestamp():.6f}",
    "milliseconds": lambda at: round(at.timestamp() * 1000),
    "nanoseconds": lambda at: int(at.timestamp() * 1_000_000) * 1000,
}


@pytest.mark.parametrize("form", FORMS)
def test_dates_and_epochs_keep_fractions_of_a_second(form):
    moments = [START + datetime.timedelta(milliseconds=250 * step) for step in range(5)]
    cells = [FORMS[form](at) for at in moments]
    reader = TimeReader.fit(cells)
    assert reader.dates
    np.testing.assert_allclose(reader.seconds(cells), [at.timestamp() for at in moments], atol=1e-5, rtol=0)


def test_counters_stay_as_they_are():
    cells = ["998", "999", "1000", "1001.5"]
    reader = TimeReader.fit(cells)
    assert not reader.dates
    assert reader.seconds(cells).tolist() == [998, 999, 1000, 1001.5]
    assert TimeReader.fit([2015, 2016]).seconds([2015, 2016]).tolist() == [2015, 2016]


def test_compact_days_are_days():
    reader = TimeReader.fit([20240101, 20240131, 20240201])
    assert np.diff(reader.seconds([20240131, 20240201])).tolist() == [86_400]


def test_what_cannot_be_read_is_nan_and_the_order_of_day_and_month_is_learnt():
    cells = ["25/01/2024 10:00", None, "soon", "03/02/2024 10:00"]
    reader = TimeReader.fit(cells)
    assert reader == TimeReader(dates=True, day_first=True)
    found = reader.seconds(cells)
    assert [math.isnan(value) for value in found] == [False, True, True, False]
    assert found[3] - found[0] == 9 * 86_400
    assert math.isnan(reader.seconds(["2024-02-30 10:00"])[0])
    assert TimeReader.fit([]).seconds([None]).tolist() != [0]
