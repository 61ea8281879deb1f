"""A date's cycles are read only where training rows show them often enough."""

import datetime
import math

import pytest
import torch

from omnifuse.encoders.date import DateEncoder

DAY = 86_400
# Sines and cosines of three of the hour, one of the weekday, two of the year; weekend; elapsed
HOUR, WEEK, YEAR = {0, 1, 2, 6, 7, 8}, {3, 9, 12}, {4, 5, 10, 11, 13}


@pytest.mark.parametrize(
    ("days", "read"),
    [(0.5, set()), (6, HOUR), (30, HOUR | WEEK), (500, HOUR | WEEK), (800, HOUR | WEEK | YEAR)],
)
def test_cycles_shorter_than_half_the_span_are_read(days, read):
    encoder = DateEncoder(dim=8, earliest=0, latest=int(days * DAY), median=int(days * DAY / 2))
    seconds = torch.arange(0, 1000 * DAY, 12_345)
    found = encoder.features(seconds)
    assert {column for column in range(found.shape[1]) if found[:, column].abs().max() > 0} == read
    assert found.abs().max() <= 1.0


def test_features_are_those_of_the_calendar():
    moments = [datetime.datetime(*day, tzinfo=datetime.UTC) for day in ((1969, 7, 20, 20, 17), (2026, 3, 7, 6, 30, 15))]
    seconds = [int(moment.timestamp()) for moment in moments]
    encoder = DateEncoder(dim=8, earliest=-(10**9), latest=3 * 10**9, median=10**9)
    found = encoder.features(torch.tensor(seconds))
    for row, moment, second in zip(found, moments, seconds, strict=True):
        hour = (moment.hour * 3600 + moment.minute * 60 + moment.second) / DAY
        year = (second // DAY) % 365.2425 / 365.2425
        turns = [hour, 2 * hour, 3 * hour, moment.weekday() / 7, year, 2 * year]
        circles = [turn(2 * math.pi * part) for turn in (math.sin, math.cos) for part in turns]
        wanted = torch.tensor([*circles, float(moment.weekday() >= 5), (second - 10**9) / (4 * 10**9)])
        torch.testing.assert_close(row, wanted, atol=2e-6, rtol=0)
