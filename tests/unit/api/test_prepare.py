"""Rows that follow one another in time are held out in blocks."""

import numpy as np
import pytest

from omnifuse.api.options import FitOptions, silent
from omnifuse.api.partition import partition
from omnifuse.api.prepare import NUM_BLOCKS, prepare, read_schema
from omnifuse.data.tables import open_table


def table_of(seconds):
    draw = np.random.default_rng(0)
    return open_table(
        [
            {
                "when": str(np.datetime64("2026-01-01T00:00:00") + np.timedelta64(int(second), "s")),
                "level": f"{draw.normal():.3f}",
                "open": str(number % 2),
            }
            for number, second in enumerate(seconds)
        ]
    )


def prepared_of(seconds, **options):
    table, asked = table_of(seconds), FitOptions(("open",), out="unused", **options)
    return prepare(table, read_schema(table, asked), asked, input_options={}, listen=silent, cache=None)


def test_rows_in_the_order_of_a_date_are_held_out_in_blocks():
    found = prepared_of(np.arange(600) * 60)
    assert len(np.unique(found.groups)) == NUM_BLOCKS
    assert (np.diff(found.groups) >= 0).all()
    assert set(np.bincount(found.groups)) == {12}
    assert any("blocks of 12 consecutive rows" in note and "'when'" in note for note in found.notes)
    parts = partition(found.rows, labels=found.targets["open"], groups=found.groups, times=None, num_members=3, seed=0)
    for member in parts.members:
        assert not set(found.groups[member.train]) & set(found.groups[member.out])


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        (np.random.default_rng(0).permutation(600) * 60, {}),
        (np.arange(400) * 60, {}),
        (np.repeat([0, 86_400], 300), {}),
        (np.arange(600) * 60, {"time": "when"}),
    ],
    ids=["any order", "few rows", "two moments", "time given"],
)
def test_no_blocks_where_rows_do_not_follow_one_another(seconds, options):
    found = prepared_of(seconds, **options)
    assert found.groups is None
    assert not any("consecutive rows" in note for note in found.notes)
