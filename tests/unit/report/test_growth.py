from __future__ import annotations

import pytest

from omnifuse.report import charts
from omnifuse.report.growth import curve_points, growth_words


def point(rows, value, low=None, high=None):
    return {"rows": rows, "scored": 90, "metrics": {"accuracy": {"value": value, "low": low, "high": high}}}


@pytest.mark.parametrize(
    ("points", "end"),
    [
        ([(10, 0.5, 0.4, 0.6), (20, 0.7, 0.65, 0.75), (40, 0.8, 0.77, 0.83)], "More rows are likely to help"),
        ([(10, 0.5, 0.4, 0.6), (20, 0.8, 0.75, 0.85), (40, 0.8, 0.77, 0.83)], "The last step gave nothing"),
        ([(10, 0.5, 0.4, 0.8), (20, 0.6, 0.5, 0.7), (40, 0.8, 0.77, 0.83)], "cannot tell whether more rows"),
        ([(10, 0.8, 0.77, 0.83), (40, 0.5, 0.4, 0.6)], "The last step gave nothing"),
    ],
)
def test_words_claim_no_more_than_the_intervals_allow(points, end):
    words = growth_words(points, "accuracy", 90)
    assert end in words
    assert words.startswith(f"From 10 to 40 rows accuracy of one network went from {points[0][1]:.1%}")
    assert "the same 90 rows" in words


def test_the_last_step_is_told_with_its_sign():
    assert "from 20 rows, changed it by +10.0%." in growth_words(
        [(20, 0.7, 0.6, 0.8), (40, 0.8, 0.7, 0.9)], "accuracy", 9
    )
    assert "from 20 rows, changed it by -0.200." in growth_words([(20, 0.7, 0.6, 0.8), (40, 0.5, 0.4, 0.6)], "r2", 9)


def test_points_without_a_value_are_left_out_and_one_says_nothing():
    points = curve_points([point(10, None), point(20, 0.5), point(40, 0.6, 0.5, 0.7)], "accuracy")
    assert points == [(20, 0.5, 0.5, 0.5), (40, 0.6, 0.5, 0.7)]
    assert curve_points([point(10, 0.5)], "r2") == []
    assert growth_words(points[:1], "accuracy", 9) == ""


def test_the_chart_shows_every_point_by_doublings():
    chart = str(charts.growth([(10, 0.5, 0.4, 0.6), (20, 0.6, 0.5, 0.7), (40, 0.7, 0.6, 0.8)], title="<b>"))
    places = [float(part.split('"')[0]) for part in chart.split('cx="')[1:]]
    assert len(places) == 3
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert "<b>" not in chart
    heights = [float(part.split('"')[0]) for part in chart.split('cy="')[1:]]
    assert heights == sorted(heights, reverse=True)
