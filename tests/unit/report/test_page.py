"""What each field gives: the legend names the bars that are there and no others."""

from __future__ import annotations

import re

import pytest

from omnifuse.report import ReportData, write_report
from omnifuse.report.page import TargetData

SUBSETS = {"image+audio": 0.9, "image": 0.7, "audio": 0.6}
BLUE, GREY = "#2563eb", "#94a3b8"


def section(folder, *, baselines=(), subsets=SUBSETS, accuracy: float | None = 0.9):
    result = {
        "task": "classification",
        "metrics": {"accuracy": {"value": accuracy, "low": None, "high": None}},
        "subsets": {name: {"accuracy": value} for name, value in subsets.items()},
        "baselines": {name: {"accuracy": {"value": 0.5, "low": None, "high": None}} for name in baselines},
    }
    data = ReportData("t", "s", (), "", (TargetData("digit", result),))
    text = write_report(data, folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r"<h2>What each field gives</h2>(.*?)</section>", text, re.S)
    return found[1].split("<h3>") if found else []


@pytest.mark.parametrize(
    ("baselines", "grey"),
    [
        (("image", "audio"), " Grey: networks that were given one field alone."),
        (("majority", "image: pixels + linear"), " Grey: simple models."),
        (("image", "majority"), " Grey: networks that were given one field alone, and simple models."),
    ],
)
def test_legend_names_the_baselines_that_were_trained(tmp_path, baselines, grey):
    chart, _ = section(tmp_path, baselines=baselines)
    assert f'<p class="note">Accuracy. Blue: this model with all fields.{grey}</p>' in chart
    assert (chart.count(BLUE), chart.count(GREY)) == (1, len(baselines))


def test_subsets_have_a_legend_of_their_own(tmp_path):
    lone, chart = section(tmp_path)
    assert "<svg" not in lone, "one bar alone tells nothing"
    assert '<p class="note">Blue: given several fields. Grey: given one field alone.</p>' in chart
    assert (chart.count(BLUE), chart.count(GREY)) == (1, 2)


def test_one_field_has_no_subsets(tmp_path):
    assert section(tmp_path, subsets={"image": 0.9}) == []
    parts = section(tmp_path, subsets={"image": 0.9}, baselines=("majority",))
    assert len(parts) == 1
    assert "given" not in parts[0]


def test_without_a_value_there_is_no_blue_bar(tmp_path):
    assert section(tmp_path, subsets={}, accuracy=None) == []
    (chart,) = section(tmp_path, subsets={}, accuracy=None, baselines=("majority",))
    assert BLUE not in chart
    assert "Blue" not in chart


def test_charts_show_the_metric_that_the_page_leads_with(tmp_path):
    score = {"low": None, "high": None}
    result = {
        "task": "classification",
        "metrics": {"accuracy": {"value": 0.9, **score}, "roc_auc": {"value": 0.8, **score}},
        "subsets": {"image+audio": {"accuracy": 0.9, "roc_auc": 0.8}, "image": {"accuracy": 0.9, "roc_auc": 0.55}},
        "baselines": {"majority": {"accuracy": {"value": 0.5, **score}, "roc_auc": {"value": 0.5, **score}}},
    }
    for leading, words, shown in (((), "Accuracy. Blue", "0.900"), (("roc_auc",), "ROC AUC. Blue", "0.550")):
        data = ReportData("t", "s", (), "", (TargetData("digit", result, leading=leading),))
        text = write_report(data, tmp_path / "report.html").read_text(encoding="utf-8")
        assert words in text
        assert shown in text
