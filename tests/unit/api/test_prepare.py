"""Rows that follow one another in time are held out in stretches of time."""

import numpy as np
import pytest

from omnifuse.api.options import FitOptions, silent
from omnifuse.api.ordering import NUM_BLOCKS
from omnifuse.api.partition import NUM_FOLDS, partition
from omnifuse.api.prepare import prepare, read_schema
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


@pytest.mark.parametrize(("rows", "drop"), [(600, ()), (600, ("when",)), (6000, ())], ids=["field", "dropped", "many"])
def test_rows_in_the_order_of_a_date_are_held_out_in_stretches(rows, drop):
    found = prepared_of(np.arange(rows) * 60, drop=drop)
    assert len(np.unique(found.groups)) == NUM_BLOCKS
    assert (np.diff(found.groups) >= 0).all()
    assert set(np.bincount(found.groups)) == {rows // NUM_BLOCKS}
    assert any(f"5 stretches of {rows // 5} consecutive rows" in note and "'when'" in note for note in found.notes)
    parts = partition(
        found.rows,
        labels=found.targets["open"],
        groups=found.groups,
        folds=found.folds,
        times=None,
        num_members=3,
        seed=0,
    )
    assert len(parts.members) == NUM_FOLDS
    for member in parts.members:
        assert (np.diff(member.out) == 1).all()
        assert sorted([*member.train, *member.out]) == list(range(rows))
    assert "consecutive in time" in parts.words


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
    assert found.folds is None
    assert not any("consecutive rows" in note for note in found.notes)
