"""A date's cycles are read only where training rows show them often enough."""

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
