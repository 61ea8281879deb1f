"""Scores, paired intervals, the log of test readings and the page, on cases that can be checked by hand."""

import json

import numpy as np
import pytest
from benchmarks import page, score
from benchmarks.score import Answers, aligned, measures, paired, score_answers
from recipes import all_recipes

RIGHT, WRONG = (0.1, 0.9), (0.9, 0.1)


def answers(rows, truth=None):
    truth = np.ones(len(rows), np.int64) if truth is None else np.asarray(truth)
    return Answers(np.array(rows), truth, ("0", "1"))


def test_measures_by_hand():
    found = measures(answers([RIGHT, WRONG, WRONG, WRONG], [1, 1, 1, 0]))
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["roc_auc"] == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_paired_interval_of_a_binomial():
    """20 of 100 rows are right in ours alone: the difference has the deviation sqrt(.2 * .8 / 100) = .04."""
    ours = answers([RIGHT] * 100)
    plain = answers([RIGHT] * 80 + [WRONG] * 20)
    found = paired([ours], [plain], "accuracy")
    assert found["difference"] == pytest.approx(0.2)
    assert found["low"] == pytest.approx(0.2 - 1.96 * 0.04, abs=0.015)
    assert found["high"] == pytest.approx(0.2 + 1.96 * 0.04, abs=0.015)


def test_paired_takes_the_mean_over_seeds():
    seeds = [answers([RIGHT] * 10), answers([RIGHT] * 6 + [WRONG] * 4)]
    found = paired(seeds, [answers([RIGHT] * 5 + [WRONG] * 5)], "accuracy")
    assert found["difference"] == pytest.approx(0.8 - 0.5)


def test_equal_answers_differ_by_nothing():
    same = answers([RIGHT, WRONG] * 20, [0, 1] * 20)
    assert paired([same, same], [same], "roc_auc") == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_answers_to_other_rows_are_refused():
    with pytest.raises(AssertionError, match="different rows"):
        paired([answers([RIGHT])], [answers([RIGHT], [0])], "accuracy")


def test_aligned_sorts_classes_and_counts_unknown_labels_as_wrong(tmp_path):
    found = aligned(np.array([[0.8, 0.2], [0.3, 0.7]]), ("b", "a"), ["b", "c"])
    assert found.classes == ("a", "b", "c")
    assert found.probabilities.tolist() == [[0.2, 0.8, 0.0], [0.7, 0.3, 0.0]]
    assert measures(found)["accuracy"] == 0.5
    found.save(tmp_path / "x" / "found.npz")
    assert Answers.load(tmp_path / "x" / "found.npz").classes == found.classes


def test_every_reading_of_a_test_table_is_logged(tmp_path):
    recipe = all_recipes()["occupancy"]
    (tmp_path / recipe.pack).mkdir()
    (tmp_path / recipe.pack / "test.csv").write_text("Light,Occupancy\n1,0\n900,1\n", encoding="utf-8")
    for seed in (0, 1):
        found = score_answers(
            recipe, "test.csv", lambda path: np.array([WRONG, RIGHT]), ("0", "1"),
            who="plain", seed=seed, data=tmp_path, work=tmp_path, log=tmp_path / "log.jsonl",
        )  # fmt: skip
    assert measures(found)["accuracy"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["seed"] for line in lines] == [0, 1]
    assert {"time", "tree", "dirty", "recipe", "test", "who", "scores"} <= set(lines[0])
    assert lines[0]["scores"]["accuracy"] == 1.0


def test_source_tree_without_git(monkeypatch):
    monkeypatch.setattr(score, "_git", lambda *words: "")
    assert score.source_tree() == {"tree": "unknown", "dirty": False, "state": "unknown"}


def fake_recipe(**changes):
    run = {"scores": {"test.csv": {"accuracy": 0.9}}, "load_before": [0.5, 0.4, 0.3]}
    test = {
        "rows": 500, "mean": 0.9, "sd": 0.01, "plain": 0.8, "difference": 0.1, "low": 0.05, "high": 0.15,
        "aim": 0.8, "reached": True,
    }  # fmt: skip
    return {
        "command": "omnifuse fit x", "measure": "accuracy", "fields": ["image", "audio"], "holes": 0.0,
        "repository": "github:a/b", "minutes": 6, "tree": "0123456789abcdef", "dirty": False, "seconds": 300.0,
        "hardware": {"processor": "CPU", "cores": 2, "flags": ["avx2"], "accelerator": None, "torch": "2"},
        "runs": [run, run, run], "plain": {"words": "a network", "seconds": 60.0, "seeds": 3},
        "tests": {"test.csv": test},
        **changes,
    }  # fmt: skip


def test_page_and_readmes(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    pack = {"pack": "avmnist", "recipes": {"avmnist": fake_recipe(), "avmnist_image": fake_recipe(dirty=True)}}
    (results / "avmnist.json").write_text(json.dumps(pack), encoding="utf-8")
    english, chinese = tmp_path / "README.md", tmp_path / "README.zh-CN.md"
    english.write_text("before\n<!-- scores -->\nold\n<!-- scores -->\nafter\n", encoding="utf-8")
    chinese.write_text("before\n<!-- scores -->\n<!-- /scores -->\nafter\n", encoding="utf-8")
    assert len(page.write(results, tmp_path)) == 3
    text = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "| test.csv | 500 | 0.900 ± 0.010 | 0.900 0.900 0.900 | 0.800 | +0.100 [+0.050, +0.150] | 1.125 |" in text
    assert "`0123456789ab`" in text
    assert "`0123456789ab with changes`" in text
    assert "omnifuse fit x" in text
    first = english.read_text(encoding="utf-8")
    assert first.startswith("before\n<!-- scores -->\n| data |")
    assert first.endswith("<!-- scores -->\nafter\n")
    assert "old" not in first
    assert "0.900 ± 0.010" in chinese.read_text(encoding="utf-8")
    page.write(results, tmp_path)
    assert english.read_text(encoding="utf-8") == first


def test_page_says_what_holes_cost_and_what_one_field_gives(tmp_path):
    def test_of(mean, plain):
        return {"test.csv": {**fake_recipe()["tests"]["test.csv"], "mean": mean, "plain": plain}}

    run = {**fake_recipe()["runs"][0], "with_only": {"test.csv": {"image": 0.7, "audio": 0.5}}}
    recipes = {
        "digits": fake_recipe(tests=test_of(0.9, 0.8), runs=[run, run]),
        "digits_holes": fake_recipe(tests=test_of(0.8, 0.6), holes=0.5),
    }
    (tmp_path / "digits.json").write_text(json.dumps({"pack": "digits", "recipes": recipes}), encoding="utf-8")
    text = page.page(page.read_results(tmp_path), None)
    assert "omnifuse loses 0.100, a network that reads zeros in their place 0.200; ratio 0.50" in text
    assert "- given only image of test.csv: 0.700" in text
    assert "- given only audio of test.csv: 0.500" in text


def test_page_without_results_and_without_markers(tmp_path):
    (tmp_path / "README.md").write_text("no markers\n", encoding="utf-8")
    assert page.write(tmp_path / "none", tmp_path) == [tmp_path / "docs" / "benchmarks.md"]
    assert "Nothing has been measured yet" in (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "no markers\n"


def test_one_seed_has_no_spread():
    test = {**fake_recipe()["tests"]["test.csv"], "sd": None, "low": None, "high": None}
    table = page.short_table([{"name": "x", **fake_recipe(tests={"test.csv": test})}], "README.md")
    assert "| 0.900 | 0.800 | +0.100 |" in table


def test_page_with_speed():
    speed = {
        "tree": "0123456789abcdef", "dirty": False, "load": [0.1, 0.1, 0.1], "hardware": fake_recipe()["hardware"],
        "results": {"import omnifuse": {"value": 0.12, "unit": "s", "limit": "<= 0.3"}},
    }  # fmt: skip
    assert "| import omnifuse | 0.1200 | s | <= 0.3 |" in page.page([], speed)
