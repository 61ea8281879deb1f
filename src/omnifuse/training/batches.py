"""Packed rows to batches: shuffled, many texts bucketed by length, augmented, prepared while the processor trains."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from omnifuse.data.pack import Pack, PackedRows
from omnifuse.tokens import Batch, FieldBatch
from omnifuse.training.accumulation import Outline
from omnifuse.training.bucketing import bucketed
from omnifuse.training.lanes import batch_makers
from omnifuse.training.ranks import num_ranks, own_part, rank
from omnifuse.training.sampling import draw_rows

Change = Callable[[str, PackedRows, np.random.Generator], PackedRows]
_AHEAD = 2
# From so many rows on, texts of like length make a batch, which halves the time. Fewer rows, and sounds of any number,
# are batched at random: what is equally long is often said by one speaker or means the same, and a batch of it teaches
# less (drowned digits at equal passes: 0.54 right instead of 0.63)
PLENTY_ROWS = 5000
# Lengths of rows whose deviation is smaller are not worth sorting
UNEVEN = 0.02


def field_batch(packed: PackedRows) -> FieldBatch:
    """Packed numpy rows as tensors."""
    values = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in packed.values.items()}
    return FieldBatch(values, torch.from_numpy(packed.lengths.astype(np.int64)), torch.from_numpy(packed.present))


def make_batch(
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    *,
    targets: Mapping[str, Tensor] | None = None,
    change: Change | None = None,
    draw: np.random.Generator | None = None,
) -> Batch:
    """Rows of a table as one batch.

    Args:
        packs: Input to decoded arrays of all rows.
        rows: (B,) row numbers.
        targets: Target to encoded values of all rows.
        change: Augmentation of one input's rows.
        draw: Its randomness.
    """
    fields = {}
    for name, pack in packs.items():
        packed = pack.take(rows)
        if change is not None and draw is not None and len(packed.lengths):
            packed = change(name, packed, draw)
        fields[name] = field_batch(packed)
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    chosen = {name: values[index] for name, values in (targets or {}).items()}
    return Batch(fields, chosen, torch.ones(len(rows)), index)


def useful_tokens(batch: Batch) -> tuple[int, int]:
    """Steps of sounds, texts, series and videos that are there, and those that are computed, padding included.

    Fields that have one step a row (pictures, tables) hold no padding and do not count.
    """
    useful = computed = 0
    for part in batch.fields.values():
        longest = int(part.lengths.max()) if len(part.lengths) else 0
        if longest > 1:
            useful += int(part.lengths.sum())
            computed += longest * len(part.lengths)
    return useful, computed


@dataclass
class BatchSource:
    """The training rows of one network, epoch by epoch.

    The order and the augmentation of batch `i` of epoch `e` depend on (seed, e, i) alone, so training can go on at
    any step as if it had never stopped.

    Attributes:
        packs: Input to decoded arrays.
        targets: Target to encoded values of all rows of the table.
        rows: Rows to learn from.
        batch_size: Most rows a batch.
        seed: Of order and augmentation.
        change: Augmentation, or None.
        weights: How often each of the rows is drawn, mean 1; None for each once an epoch.
        makers: Threads that make batches; 0 for what suits the device.
        waited: Seconds that training waited for batches so far.
    """

    packs: Mapping[str, Pack]
    targets: Mapping[str, Tensor]
    rows: np.ndarray
    batch_size: int
    seed: int
    change: Change | None = None
    weights: np.ndarray | None = None
    makers: int = 0
    waited: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Measure the lengths once."""
        self._uneven = self._lengths()
        self._ordered: tuple[int, list[np.ndarray]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return max(1, -(-len(self.rows) // self.batch_size))

    def _lengths(self) -> np.ndarray | None:
        """(R of the table, F) length of each text where lengths differ, in units of its longest training row."""
        found = []
        for pack in self.packs.values() if len(self.rows) >= PLENTY_ROWS else ():
            if "ids" not in pack.arrays:
                continue
            longest = int(pack.lengths[self.rows].max(initial=0))
            if longest > 1:
                found.append(pack.lengths / longest)
        total = np.sum(found, axis=0)[self.rows] if found else np.zeros(0)
        return np.stack(found, axis=1) if total.size and total.std() > UNEVEN else None

    def order(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch: random; of many texts, those of like length together."""
        draw = np.random.default_rng([self.seed, epoch, 7])
        shuffled = draw.permutation(self.rows) if self.weights is None else draw_rows(self.rows, self.weights, draw)
        count = self.steps_per_epoch
        if self._uneven is not None and count > 1:
            batches = bucketed(shuffled, self._uneven, count)
            return [batches[index] for index in draw.permutation(count)]
        return np.array_split(shuffled, count)

    def share(self, batch: Batch) -> float:
        """How much a whole batch's mean loss counts, so that each row of an epoch counts alike: about 1."""
        return batch.size * self.steps_per_epoch / len(self.rows)

    def outline(self, step: int) -> Outline | None:
        """The whole batch of a step, of which several processes have a part each; None for one process alone."""
        if num_ranks() == 1:
            return None
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._ordered[0] != epoch:
            self._ordered = (epoch, self.order(epoch))
        rows = self._ordered[1][index]
        none = torch.zeros(0, dtype=torch.int64)
        fields = {
            name: FieldBatch({}, none, torch.from_numpy(np.asarray(pack.present[rows])))
            for name, pack in self.packs.items()
        }
        numbers = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        targets = {name: values[numbers] for name, values in self.targets.items()}
        return Outline(Batch(fields, targets, torch.ones(len(rows)), numbers), own_part(len(rows))[0])

    def _make(self, epoch: int, index: int, rows: np.ndarray) -> Batch:
        draw = np.random.default_rng([self.seed, epoch, index, *([rank()] if num_ranks() > 1 else [])])
        start, stop = own_part(len(rows))
        rows = rows[start:stop]
        batch = make_batch(self.packs, rows, targets=self.targets, change=self.change, draw=draw)
        return batch.pinned() if torch.cuda.is_available() else batch

    def _planned(self, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, number in it and rows of each batch."""
        epoch, batches = -1, []
        for step in range(start, stop):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                batches = self.order(epoch)
            index = step % self.steps_per_epoch
            yield epoch, index, batches[index]

    def _made(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Batches in their order, made by as many threads as there are `makers`."""
        planned, makers = self._planned(start, stop), self.makers or batch_makers()
        if makers == 1:
            for item in planned:
                yield self._make(*item)
            return
        pool = ThreadPoolExecutor(makers)
        try:
            waiting: deque[Future[Batch]] = deque()
            for item in planned:
                waiting.append(pool.submit(self._make, *item))
                if len(waiting) > makers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def steps(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps start to stop, made ahead by a thread.

        Args:
            start: First step.
            stop: One behind the last.
        """
        ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=_AHEAD)
        ended = threading.Event()

        def work() -> None:
            try:
                with closing(self._made(start, stop)) as made:
                    for batch in made:
                        while not ended.is_set():
                            try:
                                ready.put(batch, timeout=0.2)
                                break
                            except queue.Full:
                                continue
                        if ended.is_set():
                            return
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            for _ in range(start, stop):
                began = time.perf_counter()
                item = ready.get()
                self.waited += time.perf_counter() - began
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            ended.set()
            thread.join()
