"""Searching, measured: exact search against the memory's own speed, and a graph against usearch used bare.

    python benchmarks/search.py [--exact ROWSxWIDTH] [--graph ROWSxWIDTH] [--questions N] [--repeats N] [--quick]

Exact: one question at a time over vectors that are in memory (mapped, and touched once); the limit is the time in which
as many threads as there are cores read the same bytes, measured between the questions of each repeat. Graph: the same
vectors and settings given to usearch alone and to an `Index`: seconds to build, milliseconds a question, recall at 10
against an exact float64 pass, and peak memory of a process of its own each. Vectors are drawn around 1,000 centres, so
that neighbours mean something. Results go to results/search.json, with source tree and hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RESULTS_NAME = "search.json"
ADDED_AT_ONCE = 100_000


def made_vectors(rows: int, width: int, *, seed: int = 0) -> np.ndarray:
    """(rows, width) float32 of unit length around 1,000 centres."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((1000, width), dtype=np.float32)
    vectors = np.empty((rows, width), np.float32)
    for start in range(0, rows, ADDED_AT_ONCE):
        part = vectors[start : start + ADDED_AT_ONCE]
        part[:] = draw.standard_normal(part.shape, dtype=np.float32) + centres[draw.integers(0, 1000, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def read_seconds(values: np.ndarray, threads: int) -> float:
    """Seconds in which threads read all bytes of an array once."""
    flat = values.reshape(-1)
    parts = np.array_split(flat, threads * 8)
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(np.max, parts))
        return time.perf_counter() - started


def timed(call: Callable[[np.ndarray], Any], questions: np.ndarray) -> list[float]:
    """Milliseconds of each question, asked alone."""
    found = []
    for question in questions:
        started = time.perf_counter()
        call(question)
        found.append(1e3 * (time.perf_counter() - started))
    return found


def measure_exact(rows: int, width: int, *, questions: int, repeats: int) -> dict[str, Any]:
    """Median milliseconds of an exact search, and the share of the memory's speed that it reaches, one a repeat."""
    from omnifuse.search import Index

    vectors, asked = made_vectors(rows, width), made_vectors(questions, width, seed=1)
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "idx", {"embedding": width})
        for start in range(0, rows, ADDED_AT_ONCE):
            part = vectors[start : start + ADDED_AT_ONCE]
            index.add(range(start, start + len(part)), part)
        index.search(asked[0], 10, exact=True)  # the pages are in memory from here on
        p50, limits = [], []
        for _ in range(repeats):
            before = read_seconds(vectors, threads)
            p50.append(float(np.median(timed(lambda one: index.search(one, 10, exact=True), asked))))
            limits.append(1e3 * min(before, read_seconds(vectors, threads)))
    ratios = [limit / own for limit, own in zip(limits, p50, strict=True)]
    return {
        "rows": rows,
        "width": width,
        "bytes": vectors.nbytes,
        "threads": threads,
        "p50_ms": p50,
        "limit_ms": limits,
        "gb_per_s": [vectors.nbytes / own / 1e6 for own in p50],
        "share_of_bandwidth": {"median": float(np.median(ratios)), "all": ratios},
    }


def truth_of(vectors: np.ndarray, asked: np.ndarray) -> list[list[int]]:
    """The 10 nearest rows of each question in float64."""
    scores = np.concatenate(
        [
            asked.astype(np.float64) @ vectors[start : start + ADDED_AT_ONCE].astype(np.float64).T
            for start in range(0, len(vectors), ADDED_AT_ONCE)
        ],
        axis=1,
    )
    return [np.argsort(-row, kind="stable")[:10].tolist() for row in scores]


def run_graph(who: str, rows: int, width: int, questions: int) -> dict[str, Any]:
    """One side of the comparison, in a process of its own."""
    from omnifuse.search import graph as settings

    vectors, asked = made_vectors(rows, width), made_vectors(questions, width, seed=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if who == "usearch":
            from usearch.index import Index as Native

            native = Native(
                ndim=width, metric="ip", dtype="f16", connectivity=settings.CONNECTIVITY,
                expansion_add=settings.EXPANSION_ADD, expansion_search=settings.EXPANSION_SEARCH,
            )  # fmt: skip
            native.add(np.arange(rows, dtype=np.uint64), vectors)
            built = time.perf_counter() - started

            def found(one: np.ndarray) -> list[int]:
                return [int(key) for key in native.search(one, 10).keys]
        else:
            from omnifuse.search import Index

            index = Index.create(Path(folder) / "idx", {"embedding": width})
            for start in range(0, rows, ADDED_AT_ONCE):
                part = vectors[start : start + ADDED_AT_ONCE]
                index.add(range(start, start + len(part)), part)
            index.make_graph()
            built = time.perf_counter() - started

            def found(one: np.ndarray) -> list[int]:
                return [int(hit.id) for hit in index.search(one, 10)]

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found(asked[0])
        milliseconds = timed(found, asked)
        shared = [len(set(found(one)) & set(true)) for one, true in zip(asked, truth_of(vectors, asked), strict=True)]
    return {
        "build_s": built,
        "p50_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "recall_at_10": float(np.mean(shared)) / 10,
        "memory_mb": (peak - before) / 1024,
    }


def measure_graph(rows: int, width: int, *, questions: int) -> dict[str, Any]:
    """Ours and usearch bare, one after the other."""
    found: dict[str, Any] = {"rows": rows, "width": width}
    for who in ("usearch", "omnifuse"):
        command = [sys.executable, __file__, "--one", who, "--graph", f"{rows}x{width}", "--questions", str(questions)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        found[who] = json.loads(lines[-1]) if not done.returncode and lines else {"error": done.stderr[-400:]}
    return found


def size(text: str) -> tuple[int, int]:
    """`ROWSxWIDTH`."""
    rows, _, width = text.partition("x")
    return int(rows), int(width)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=size, default=(200_000, 512))
    parser.add_argument("--graph", type=size, default=(1_000_000, 256))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not kept")
    parser.add_argument("--one", choices=("usearch", "omnifuse"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(run_graph(given.one, *given.graph, given.questions)))
        return
    if given.quick:
        given.exact, given.graph, given.questions, given.repeats = (4000, 64), (4000, 32), 10, 2
    result = {
        "exact": measure_exact(*given.exact, questions=given.questions, repeats=given.repeats),
        "graph": measure_graph(*given.graph, questions=given.questions),
    }
    if not given.quick:
        from benchmarks.run import RESULTS, hardware, write_json
        from benchmarks.score import source_tree

        write_json(RESULTS / RESULTS_NAME, {**result, "source": source_tree(), "hardware": hardware()})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
