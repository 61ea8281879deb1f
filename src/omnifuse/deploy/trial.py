"""Different graphs of one model on the same rows: what they answer, what they are fed, how long a row takes.

Each graph is opened once and each field is encoded once by a graph, however many sets of graphs share them.

Shapes: B rows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from omnifuse.data.pack import Pack
from omnifuse.deploy.graph_folder import FUSION_FILE
from omnifuse.deploy.graph_runner import ROWS_AT_ONCE, EncodedField, GraphRunner, no_field, open_graph
from omnifuse.deploy.graph_set import GraphSet
from omnifuse.deploy.parity import Subset, checked_subsets
from omnifuse.readout.raw import RawOutputs, concatenate

# Of one graph: inputs that are kept to calibrate on, and of single rows to time it with
MOST_FEEDS, ROW_FEEDS = 32, 8
CALIBRATION_ROWS = 64

Feed = dict[str, np.ndarray]


class Trial:
    """Rows that graphs are tried on.

    Args:
        packs: Field to decoded rows.
        threads: Of each graph; None leaves it to ONNX Runtime.
    """

    def __init__(self, packs: Mapping[str, Pack], *, threads: int | None = None) -> None:
        self.packs, self.threads = packs, threads
        self.num_rows = len(next(iter(packs.values())).present)
        self._sessions: dict[str, Any] = {}
        self._encoded: dict[tuple[str, int], list[EncodedField]] = {}

    def runner(self, graphs: GraphSet) -> GraphRunner:
        """The graphs, opened."""
        fields = graphs.signature.fields
        encoders = {name: self.session(graphs.contents[item.file]) for name, item in fields.items()}
        return GraphRunner(graphs.signature, encoders, self.session(graphs.contents[FUSION_FILE]))

    def session(self, content: bytes) -> Any:
        """One graph, opened."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self._sessions:
            self._sessions[key] = open_graph(content, self.threads)
        return self._sessions[key]

    def runs(self, content: bytes, feed: Feed) -> bool:
        """Whether the runtime can open a graph and run it."""
        try:
            self.session(content).run(None, feed)
        except Exception:
            # The runtime has a class of errors for each of its states; each means that the graph is of no use
            return False
        return True

    def answers(self, graphs: GraphSet) -> dict[Subset, RawOutputs]:
        """Raw outputs of all rows, as they are and without each single field."""
        runner = self.runner(graphs)
        names = tuple(graphs.signature.fields)
        encoded = {name: self._encode(runner, name) for name in names}
        found: dict[Subset, RawOutputs] = {}
        for subset in checked_subsets(names):
            parts = []
            for chunk, rows in enumerate(self._chunks()):
                fields = {
                    name: encoded[name][chunk]
                    if name in subset
                    else no_field(graphs.signature.fields[name], graphs.signature.num_members, len(rows))
                    for name in names
                }
                parts.append(runner.fuse(fields))
            found[subset] = concatenate(parts)
        return found

    def _chunks(self) -> list[np.ndarray]:
        return [
            np.arange(start, min(start + ROWS_AT_ONCE, self.num_rows))
            for start in range(0, self.num_rows, ROWS_AT_ONCE)
        ]

    def _encode(self, runner: GraphRunner, name: str) -> list[EncodedField]:
        key = (name, id(runner.sessions[name]))
        if key not in self._encoded:
            self._encoded[key] = [runner.encode(name, self.packs[name].take(rows)) for rows in self._chunks()]
        return self._encoded[key]

    def feeds(self, graphs: GraphSet) -> dict[str, list[Feed]]:
        """File to at most 32 inputs of the graph, from the first 64 rows; none of a field that none of them has."""
        rows = np.arange(min(self.num_rows, CALIBRATION_ROWS))
        names = tuple(graphs.signature.fields)

        def run(runner: GraphRunner) -> None:
            for subset in checked_subsets(names):
                runner.raw(self.packs, rows, subset=subset)

        return self._recorded(graphs, run, MOST_FEEDS)

    def row_feeds(self, graphs: GraphSet) -> dict[str, list[Feed]]:
        """File to at most 8 inputs of the graph, each of one row."""

        def run(runner: GraphRunner) -> None:
            for row in self._timed_rows():
                runner.raw(self.packs, row)

        return self._recorded(graphs, run, ROW_FEEDS)

    def _recorded(self, graphs: GraphSet, run: Callable[[GraphRunner], None], most: int) -> dict[str, list[Feed]]:
        runner = self.runner(graphs)
        found: dict[str, list[Feed]] = {file: [] for file in graphs.files}
        for name, item in graphs.signature.fields.items():
            runner.sessions[name] = _Recording(runner.sessions[name], found[item.file], most)
        runner.fusion = _Recording(runner.fusion, found[FUSION_FILE], most)
        run(runner)
        return found

    def row_ms(
        self,
        sets: Mapping[str, GraphSet],
        *,
        seconds: float = 2.0,
        beside: Mapping[str, tuple[Trial, GraphSet]] | None = None,
    ) -> dict[str, float]:
        """Name to the median milliseconds of one row, the sets taking turns; decoding is not counted.

        Args:
            sets: Name to graphs that read these rows.
            seconds: How long to go on.
            beside: Name to graphs of another model, with the rows as that one reads them.
        """
        tasks = {name: self._row_calls(graphs) for name, graphs in sets.items()}
        tasks |= {name: trial._row_calls(graphs) for name, (trial, graphs) in (beside or {}).items()}
        return median_ms(tasks, seconds=seconds)

    def _row_calls(self, graphs: GraphSet) -> list[_Call]:
        runner = self.runner(graphs)
        return [_Call(runner.raw, self.packs, row) for row in self._timed_rows()]

    def graph_ms(self, contents: Mapping[str, bytes], feeds: list[Feed], *, seconds: float = 0.5) -> dict[str, float]:
        """Name to the median milliseconds of one graph, the graphs taking turns."""
        opened = {name: self.session(content) for name, content in contents.items()}
        tasks = {name: [_Call(session.run, None, feed) for feed in feeds] for name, session in opened.items()}
        return median_ms(tasks, seconds=seconds)

    def _timed_rows(self) -> list[np.ndarray]:
        """The rows with most fields: those take longest."""
        present = np.sum([pack.present for pack in self.packs.values()], axis=0)
        return [np.array([row]) for row in np.argsort(-present, kind="stable")[:ROW_FEEDS]]


class _Call:
    """A call with its arguments, to be made later."""

    def __init__(self, run: Callable[..., Any], *arguments: Any) -> None:
        self.run, self.arguments = run, arguments

    def __call__(self) -> None:
        self.run(*self.arguments)


class _Recording:
    """A session that keeps its first inputs."""

    def __init__(self, session: Any, kept: list[Feed], most: int) -> None:
        self.session, self.kept, self.most = session, kept, most

    def run(self, names: Any, feed: Feed) -> Any:
        if len(self.kept) < self.most:
            self.kept.append(feed)
        return self.session.run(names, feed)


def median_ms(
    tasks: Mapping[str, list[Callable[[], None]]] | Mapping[str, list[_Call]],
    *,
    seconds: float,
    fewest: int = 21,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Name to the median milliseconds of one of its calls.

    All names take turns, so that a machine that slows down slows all of them alike; the first round only warms up.

    Args:
        tasks: Name to calls, as many for each.
        seconds: How long to go on.
        fewest: Rounds at least.
        clock: Seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    ends, number = clock() + seconds, -1
    while number < fewest or clock() < ends:
        for name, calls in tasks.items():
            began = clock()
            calls[max(number, 0) % len(calls)]()
            if number >= 0:
                taken[name].append(clock() - began)
        number += 1
    return {name: float(np.median(values)) * 1e3 for name, values in taken.items()}
