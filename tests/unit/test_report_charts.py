"""Charts of the report where the figures are out of the ordinary."""

from __future__ import annotations

from omnifuse.report.charts import bars
from omnifuse.report.page import _smooth


def test_running_means_pass_over_losses_that_are_no_numbers():
    assert _smooth([1.0, float("nan"), 3.0, float("inf")]) == ([1.0, 3.0], [1.0, 3.0])
    assert _smooth([float("nan")] * 3) == ([], [])
    assert _smooth([1.0, 3.0, 5.0, 7.0], count=2) == ([2.0, 4.0], [2.0, 6.0])


def test_interval_below_the_axis_is_not_drawn_into_the_names():
    page = str(bars([("a", -0.5, -0.7, -0.2, True)], title="r2"))
    assert "H-" not in page
    assert "stroke-width" not in page
