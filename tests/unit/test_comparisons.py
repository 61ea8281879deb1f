"""Benchmarks that hold fusions and table encoders side by side: what is run, the gap, the sections of the page."""

import sys
from types import SimpleNamespace

import pytest
from benchmarks import fusions, page, page_fusions, page_tables
from benchmarks.run import read_json
from recipes import all_recipes

import omnifuse
from omnifuse.api.options import fusion_names

HARDWARE = {"processor": "Some", "cores": 2, "torch": "2"}


def row(name, mean, p=None):
    return {"name": name, "mean": mean, "sd": None, "p": p}


def table(*rows):
    return {"metric": "accuracy", "default": rows[0]["name"], "rows": list(rows)}


@pytest.mark.parametrize(
    ("means", "best", "gap", "within"),
    [((0.8, 0.7), "joint", 0.0, True), ((0.8, 0.805), "sum", 0.005, True), ((0.8, 0.82), "sum", 0.02, False)],
)
def test_the_gap_is_that_of_the_best_above_the_default(means, best, gap, within):
    found = fusions.gap(table(row("joint", means[0]), row("sum", means[1]), row("max", None)))
    assert (found["best"], found["within"]) == (best, within)
    assert found["gap"] == pytest.approx(gap)


def test_subjects_have_several_fields_and_each_world_is_one():
    names = fusions.subjects()
    assert {"avmnist", "cxr", "world six", "world xor"} <= set(names)
    assert not {"avmnist_image", "occupancy", "avmnist_hard_filled"} & set(names)
    assert all(len(all_recipes()[name].used) > 1 for name in names if not name.startswith("world "))


def test_each_fusion_and_seed_has_its_minutes(tmp_path, monkeypatch):
    asked = {}

    def fit(train, label, **options):
        asked.update(options, train=train, label=label)
        return SimpleNamespace(manifest={"fusions": table(row("joint", 0.5))})

    monkeypatch.setattr(omnifuse, "fit", fit)
    found = fusions.compare("world xor", tmp_path, minutes=0.5, seeds=2, quick=False)
    assert found["default"] == "joint"
    assert (asked["fusion"], asked["seeds"], asked["label"], asked["baselines"]) == ("all", 2, "label", False)
    assert asked["minutes"] == 0.5 * 2 * len(fusion_names("all"))
    assert len(asked["train"].read_text().splitlines()) == fusions.WORLD_ROWS + 1


def test_a_subject_is_measured_once_for_each_source(tmp_path, monkeypatch):
    calls = []

    def compare(name, work, **options):
        calls.append(name)
        return table(row("joint", 0.5), row("sum", 0.6))

    monkeypatch.setattr(fusions, "compare", compare)
    monkeypatch.setattr(fusions, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["fusions.py", "--subject", "world xor"])
    for state in ("a", "a", "b"):
        monkeypatch.setattr(fusions, "source_tree", lambda state=state: {"tree": state, "dirty": False, "state": state})
        assert fusions.main() == 0
    assert calls == ["world xor"] * 2
    kept = read_json(tmp_path / "fusions.json")["measured"]["world xor"]
    assert (kept["state"], kept["best"], kept["within"]) == ("b", "sum", False)


def entry(**more):
    return {"command": "x: omnifuse fit", "tree": "0" * 40, "dirty": False, "hardware": HARDWARE, **more}


def test_the_page_shows_every_fusion_and_who_is_surely_better():
    rows = table(row("joint", 0.8), row("sum", 0.83, 0.01), row("max", 0.7, 0.4))
    found = {"measured": {"cxr": entry(**rows, **fusions.gap(rows))}}
    text = page_fusions.section(found)
    assert "| cxr | accuracy | 0.800 | 0.830 [0.01] | 0.700 | +0.030 (sum) | no |" in text
    assert text in page.page([], None, {"fusions": found})


def test_the_page_says_where_boosting_is_ahead_beyond_noise():
    ours = {"mean": 0.9, "sd": 0.01, "difference": -0.05, "low": -0.08, "high": -0.02}
    summary = {"mlp": ours, "auto": {**ours, "high": 0.01}, "gradient boosting": {"mean": 0.95, "sd": None}}
    runs = [{"tree": "0" * 40, "dirty": False}]
    data = {"rows": 9, "columns": 2, "measure": "accuracy", "hardware": HARDWARE, "summary": summary, "runs": runs}
    found = {"reference": "gradient boosting", "data": {"wine": data}}
    text = page_tables.section(found)
    assert "| wine | 9 | 2 | accuracy | 0.900 ± 0.010 (-0.050 [-0.080, -0.020]) |" in text
    assert "| 0.950 | mlp |" in text
    assert text in page.page([], None, {"tables": found})
