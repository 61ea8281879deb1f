from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.api.curve import nested_rows


def test_subsets_lie_inside_one_another_and_end_with_all():
    rows = np.arange(100, 260)
    parts = nested_rows(rows, None, 0)
    assert [len(part) for part in parts] == [20, 40, 80, 160]
    for small, large in itertools.pairwise(parts):
        assert set(small.tolist()) < set(large.tolist())
    assert np.array_equal(parts[-1], rows)
    assert not np.array_equal(nested_rows(rows, None, 1)[0], parts[0])


def test_the_smallest_subset_holds_every_class_and_few_rows_are_left_out():
    labels = np.array([0] * 70 + [1] * 8 + [2, -1])
    parts = nested_rows(np.arange(80), labels, 3)
    assert [len(part) for part in parts] == [10, 20, 40, 80]
    assert set(labels[parts[0]]) >= {0, 1, 2}
    assert [len(part) for part in nested_rows(np.arange(20), None, 0)] == [10, 20]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    run = tmp_path_factory.mktemp("curve") / "run"
    options = QUICK | ONE_LABEL | {"epochs": 3}
    return omnifuse.fit(plain_rows(90), "kind", out=run, **options, curve=True), run


def test_a_fit_measures_the_curve_on_rows_that_no_point_learnt_from(fitted):
    model, _ = fitted
    points = model.metrics["targets"]["kind"]["curve"]
    assert [point["rows"] for point in points] == [9, 18, 36, 72]
    assert {point["scored"] for point in points} == {18}
    for point in points:
        score = point["metrics"]["accuracy"]
        assert score["low"] <= score["value"] <= score["high"]


def test_the_report_draws_it_and_says_what_it_shows(fitted):
    _, run = fitted
    page = (run / "report/report.html").read_text()
    assert "Would more rows help?" in page
    assert "From 9 to 72 rows accuracy of one network went from" in page
    assert 'aria-label="accuracy by rows learnt from"' in page
    assert {f"seed0-curve-{number}-0" for number in range(3)} <= {path.name for path in (run / "checkpoints").iterdir()}
