"""The benchmark of searching, at tiny sizes."""

from __future__ import annotations

import json

import numpy as np
from benchmarks.search import made_vectors, main, measure_exact, truth_of


def test_exact_is_measured_against_the_memory():
    found = measure_exact(3000, 32, questions=3, repeats=2)
    assert found["bytes"] == 3000 * 32 * 4
    assert len(found["p50_ms"]) == len(found["limit_ms"]) == 2
    assert found["share_of_bandwidth"]["median"] > 0


def test_truth_is_float64():
    vectors = made_vectors(200, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert [row[0] for row in truth_of(vectors, vectors[:5])] == [0, 1, 2, 3, 4]


def test_one_side_prints_its_numbers(capsys):
    main(["--one", "omnifuse", "--graph", "500x16", "--questions", "4"])
    found = json.loads(capsys.readouterr().out)
    assert found["recall_at_10"] == 1.0  # so few rows are compared one by one
