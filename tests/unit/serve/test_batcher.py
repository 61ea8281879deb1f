"""Dynamic batching: what shares a batch, what waits, what fails alone."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from omnifuse.serve.batcher import Batcher, Failure, isolated
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.request_error import RequestError


class Work:
    """Doubles numbers; -1 fails; waits where it is told to."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, items):
        self.batches.append(list(items))
        assert self.go.wait(10)
        if -1 in items:
            raise ValueError("minus one")
        return [item * 2 for item in items]


def with_batcher(scenario, **limits):
    """Run a scenario with a batcher and its work."""

    async def run():
        reports = []
        batcher = Batcher(replace(ServeLimits(), **limits), reports.append)
        batcher.start()
        work = Work()
        try:
            return await asyncio.wait_for(scenario(batcher, work, reports), 20)
        finally:
            work.go.set()
            await batcher.close()

    return asyncio.run(run())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_a_request_alone_is_answered_at_once_though_the_wait_is_long():
    async def scenario(batcher, work, reports):
        start = time.monotonic()
        assert await batcher.submit(work, [1, 2, 3]) == [2, 4, 6]
        return time.monotonic() - start

    assert with_batcher(scenario, max_wait_s=5.0) < 4


def test_rows_of_several_requests_share_a_batch_while_the_model_works():
    async def scenario(batcher, work, reports):
        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [0]))
        await until(lambda: work.batches)
        others = [asyncio.ensure_future(batcher.submit(work, [number])) for number in range(1, 8)]
        await until(lambda: batcher.num_waiting == 7)
        work.go.set()
        assert await asyncio.gather(first, *others) == [[number * 2] for number in range(8)]
        assert work.batches == [[0], [1, 2, 3, 4, 5, 6, 7]]
        assert [(report.num_rows, report.num_waiting) for report in reports] == [(1, 7), (7, 0)]

    with_batcher(scenario)


def test_a_row_waits_for_others_that_are_coming_but_not_for_ever():
    async def scenario(batcher, work, reports):
        with batcher.coming():
            one = asyncio.ensure_future(batcher.submit(work, [1]))
            await asyncio.sleep(0.02)
            assert work.batches == []
            two = asyncio.ensure_future(batcher.submit(work, [2]))
        assert await asyncio.gather(one, two) == [[2], [4]]
        assert work.batches == [[1, 2]]
        with batcher.coming():
            batcher._limits = replace(batcher._limits, max_wait_s=0.01)
            assert await batcher.submit(work, [5]) == [10]

    with_batcher(scenario, max_wait_s=15.0)


def test_a_large_request_does_not_hold_up_a_small_one():
    async def scenario(batcher, work, reports):
        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [100]))
        await until(lambda: work.batches)
        large = asyncio.ensure_future(batcher.submit(work, list(range(10))))
        await until(lambda: batcher.num_waiting == 10)
        small = asyncio.ensure_future(batcher.submit(work, [50]))
        await until(lambda: batcher.num_waiting == 11)
        work.go.set()
        await asyncio.gather(first, large, small)
        assert 50 in work.batches[1]
        assert [len(batch) for batch in work.batches] == [1, 4, 4, 3]
        assert large.result() == [number * 2 for number in range(10)]

    with_batcher(scenario, max_batch=4)


def test_only_equal_work_shares_a_batch():
    async def scenario(batcher, work, reports):
        def triple(items):
            return [item * 3 for item in items]

        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [0]))
        await until(lambda: work.batches)
        found = [asyncio.ensure_future(batcher.submit(function, [1])) for function in (work, triple, work)]
        await until(lambda: batcher.num_waiting == 3)
        work.go.set()
        await first
        assert await asyncio.gather(*found) == [[2], [3], [2]]
        assert work.batches == [[0], [1, 1]]

    with_batcher(scenario)


def test_a_cancelled_request_leaves_the_queue():
    async def scenario(batcher, work, reports):
        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [0]))
        await until(lambda: work.batches)
        gone = [asyncio.ensure_future(batcher.submit(work, [7, 8])) for _ in range(100)]
        await until(lambda: batcher.num_waiting == 200)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert batcher.num_waiting == 0
        work.go.set()
        assert await first == [0]
        assert work.batches == [[0]]

    with_batcher(scenario)


def test_a_full_queue_turns_away_with_a_time_to_come_again():
    async def scenario(batcher, work, reports):
        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [0]))
        await until(lambda: work.batches)
        waiting = asyncio.ensure_future(batcher.submit(work, [1] * 9))
        await until(lambda: batcher.num_waiting == 9)
        with pytest.raises(RequestError, match="more rows to answer") as caught:
            await batcher.submit(work, [1, 2])
        assert caught.value.status == 503
        assert 1 <= int(caught.value.headers["retry-after"]) <= 30
        work.go.set()
        await asyncio.gather(first, waiting)
        assert await batcher.submit(work, list(range(11))) == [number * 2 for number in range(11)]

    with_batcher(scenario, max_queue=10)


def test_who_would_wait_too_long_is_turned_away():
    async def scenario(batcher, work, reports):
        batcher._seconds_a_row, work.go = 1.0, threading.Event()
        first = asyncio.ensure_future(batcher.submit(work, [0, 0, 0]))
        await until(lambda: batcher.num_waiting == 2)
        with pytest.raises(RequestError, match="more rows to answer"):
            batcher.check_room()
        work.go.set()
        await first

    with_batcher(scenario, max_batch=1, max_delay_s=1.5)


def test_bad_items_fail_alone():
    work = Work()
    items = [3, -1, 4, -1, 5]
    found = isolated(work, items)
    assert [type(item) for item in found] == [int, Failure, int, Failure, int]
    assert [item for item in found if isinstance(item, int)] == [6, 8, 10]
    assert isinstance(found[1].error, ValueError)


def test_a_wrong_number_of_answers_is_a_failure():
    assert all(isinstance(item, Failure) for item in isolated(lambda items: [1, 2, 3], [0, 0]))


def test_a_running_batch_is_told_by_its_seconds():
    async def scenario(batcher, work, reports):
        assert batcher.stuck_s() == 0
        work.go.clear()
        first = asyncio.ensure_future(batcher.submit(work, [0]))
        await until(lambda: batcher.stuck_s() > 0)
        work.go.set()
        await first
        await until(lambda: batcher.stuck_s() == 0)

    with_batcher(scenario)


def test_closing_gives_up_what_waits():
    async def scenario(batcher, work, reports):
        work.go.clear()
        found = [asyncio.ensure_future(batcher.submit(work, [number])) for number in range(3)]
        await until(lambda: work.batches)
        await batcher.close()
        assert all(isinstance(item, asyncio.CancelledError)
                   for item in await asyncio.gather(*found, return_exceptions=True))  # fmt: skip

    with_batcher(scenario, max_batch=1)
