"""Who takes which rows where torchrun has started several processes; without them nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.errors import InputError
from omnifuse.training import ranks


@pytest.fixture
def started(monkeypatch):
    """Pretend to be one of the processes that torchrun has started."""

    def be(rank, count):
        for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", count), ("RANK", rank), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, str(value))

    return be


def test_a_process_alone_is_the_first_and_takes_all(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # of another program: torchrun did not start this one
    assert (ranks.num_ranks(), ranks.rank(), ranks.is_first()) == (1, 0, True)
    assert ranks.own_part(7) == (0, 7)
    assert ranks.agreed([1, "a"]) == [1, "a"]
    ranks.alone_only("anything")
    with ranks.joined_ranks():
        pass


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 16])
def test_parts_are_even_and_hold_every_row_once(started, rows, count):
    parts = []
    for number in range(count):
        started(number, count)
        parts.append(ranks.own_part(rows))
    assert [row for start, stop in parts for row in range(start, stop)] == list(range(rows))
    assert max(stop - start for start, stop in parts) - min(stop - start for start, stop in parts) <= 1


def test_the_batches_of_all_processes_are_those_of_one(started, plain_problem):
    whole = [batch.rows.tolist() for batch in plain_problem.source(batch_size=7).steps(0, 8)]
    parts = []
    for number in range(3):
        started(number, 3)
        source = plain_problem.source(batch_size=7)
        parts.append([batch.rows.tolist() for batch in source.steps(0, 8)])
        for step, rows in enumerate(whole):
            outline = source.outline(step)
            assert outline.whole.rows.tolist() == rows
            assert rows[outline.start : outline.start + len(parts[-1][step])] == parts[-1][step]
            for name, pack in source.packs.items():
                assert np.array_equal(outline.whole.fields[name].present.numpy(), pack.present[rows])
    assert [[row for part in parts for row in part[step]] for step in range(8)] == whole


def test_what_several_cannot_do_is_refused(started):
    started(1, 2)
    assert not ranks.is_first()
    with pytest.raises(InputError, match="a search cannot be done by 2 processes together"):
        ranks.alone_only("a search")
