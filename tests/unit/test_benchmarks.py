"""Scores, paired intervals, the log of test readings and the page, on cases that can be checked by hand."""

import json

import numpy as np
import pytest
from benchmarks import page, plain, plain_text, run, score
from benchmarks.losses import losses, rows_of
from benchmarks.plain import read_rows
from benchmarks.references import ELSEWHERE, fit_reference, reference_key, reference_names
from benchmarks.score import Answers, aligned, measures, paired, score_answers
from recipes import all_recipes, table_path

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


def test_page_says_what_one_field_gives(tmp_path):
    run = {**fake_recipe()["runs"][0], "with_only": {"test.csv": {"image": 0.7, "audio": 0.5}}}
    (tmp_path / "digits.json").write_text(
        json.dumps({"pack": "digits", "recipes": {"digits": fake_recipe(runs=[run, run])}}), encoding="utf-8"
    )
    text = page.page(page.read_results(tmp_path), None)
    assert "- given only image of test.csv: 0.700" in text
    assert "- given only audio of test.csv: 0.500" in text
    assert "holes" not in text


HOLES = all_recipes()["avmnist_hard_holes"]


def saved_answers(work, right):
    """Answers of each recipe and fit to ten rows; `right` counts the ones answered rightly, from the first row on."""
    for (name, fit), count in right.items():
        answers([RIGHT] * count + [WRONG] * (10 - count)).save(work / name / f"{fit}-test.npz")


def entry_of(state="now", seeds=(0, 1)):
    runs = [{"seed": seed, "state": state} for seed in seeds]
    return {"runs": runs, "plain": {"key": "k", "seeds": 1}, "tests": {"test.csv": {"rows": 10}}}


def test_losses_by_hand(tmp_path):
    whole, holed = "avmnist_hard", "avmnist_hard_holes"
    saved_answers(tmp_path, {
        (whole, "seed0"): 10, (whole, "seed1"): 9, (whole, "plain-0"): 8,
        (holed, "seed0"): 7, (holed, "seed1"): 4, (holed, "plain-0"): 0,
    })  # fmt: skip
    left = rows_of(HOLES, "test.csv", 10)["left"]
    assert 0 < left.sum() < 10
    found = losses(HOLES, entry_of(), entry_of(), tmp_path)["test.csv"]
    assert found["rows"] == {"all": 10, "left": left.sum()}
    assert found["omnifuse"]["all"] == [0.3, 0.5]
    assert found["plain"]["all"] == [0.8]
    by_hand = [left[7:].sum() / left.sum(), left[4:9].sum() / left.sum()]
    assert found["omnifuse"]["left"] == pytest.approx(by_hand, abs=1e-6)
    assert found["plain"]["left"] == pytest.approx([left[:8].sum() / left.sum()], abs=1e-6)


def test_rows_left_are_those_of_the_table_with_holes(tmp_path):
    (tmp_path / HOLES.pack).mkdir()
    lines = ["image,audio,label", *(f"{number}.png,{number}.wav,1" for number in range(40))]
    (tmp_path / HOLES.pack / "test.csv").write_text("\n".join(lines), encoding="utf-8")
    rows = read_rows(table_path(HOLES, "test.csv", tmp_path, tmp_path / "work"))
    assert rows_of(HOLES, "test.csv", 40)["left"].tolist() == [bool(row["image"] or row["audio"]) for row in rows]


@pytest.mark.parametrize("whole", [{}, entry_of("before"), entry_of(seeds=(0,)), entry_of()])
def test_no_loss_against_another_source_or_without_answers(tmp_path, capsys, whole):
    assert losses(HOLES, entry_of(), whole, tmp_path) == {}
    assert "what its holes cost is not known" in capsys.readouterr().err


def test_page_says_what_holes_cost():
    def loss(every, left):
        return {"all": every, "left": left}

    def recipe(name, own, **changes):
        lost = {"rows": {"all": 500, "left": 376}, "omnifuse": own, "plain": loss([0.4], [0.2])}
        return {"name": name, **fake_recipe(holes=0.5, whole="digits", loss={"test.csv": lost}, **changes)}

    recipes = [
        {"name": "digits", **fake_recipe()},
        recipe("digits_holes", loss([0.1, 0.3], [0.15, 0.15]), minutes=4),
        recipe("digits_filled", loss([0.4, 0.4], [0.3, 0.2]), fill=True),
    ]
    text = page.page(recipes, None)
    assert "50% of all cells removed at random, in training and test rows alike" in text
    assert "(a) over all 500 rows; (b) over the 376 in which at least one cell is left" in text
    assert "accuracy with all cells (6 minutes of training) minus accuracy with holes (4 minutes)" in text
    lines = [line for line in text.splitlines() if line.startswith(("| omnifuse, ", "| plain network"))]
    assert lines == [
        "| omnifuse, told what is missing | 0.200 (0.100 0.300) |  |  | 0.150 (0.150 0.150) |  |  |",
        "| plain network that reads zeros for what is missing "
        "| 0.400 (0.400) | 0.500 | yes | 0.200 (0.200) | 0.750 | no |",
        "| omnifuse, fitted and asked with black pictures and silent sounds "
        "| 0.400 (0.400 0.400) | 0.500 | yes | 0.250 (0.300 0.200) | 0.600 | yes |",
    ]
    assert "image + audio, 50% of the cells black or silent" in text
    assert "digits_filled" not in page.short_table(recipes, "README.md")
    other = recipes[:2] + [{**recipes[2], "dirty": True}]
    assert "fitted and asked with black pictures" not in page.page(other, None)


def test_key_of_a_reference_is_that_of_its_own_file(monkeypatch, tmp_path):
    """Keys of references in plain.py are what they were when the whole file was the key of all."""
    import hashlib

    def digest(module):
        with open(module.__file__, "rb") as handle:
            return hashlib.sha256(handle.read()).hexdigest()[:12]

    assert reference_key("avmnist_hard") == reference_key("emodb") == digest(plain)
    assert reference_key("meld") == reference_key("mvsa_weighted") == digest(plain_text)
    assert len({reference_key(name) for name in ("avmnist", "fire", "meld")}) == 3
    monkeypatch.setattr(plain, "__file__", str(tmp_path / "plain.py"))
    (tmp_path / "plain.py").write_text("changed", encoding="utf-8")
    assert reference_key("avmnist") != digest(plain_text) == reference_key("meld")


def test_every_reference_elsewhere_belongs_to_a_recipe():
    assert set(ELSEWHERE) <= {name for recipe in all_recipes().values() for name in reference_names(recipe)}


def write_texts(folder, header, rows):
    folder.mkdir()
    lines = [header, *rows * 12]
    for name in ("train.csv", "test.csv"):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_references_of_texts_read_signs_and_speakers(tmp_path):
    write_texts(tmp_path / "meld_text", "Utterance,Speaker,Sentiment", [
        "so what !,Ann,positive", "so what ?,Ann,negative", "so what ?,Bob,neutral", "so what !,Bob,neutral",
    ])  # fmt: skip
    found = fit_reference("meld", all_recipes()["meld"], tmp_path, tmp_path / "work")
    assert found.classes == ("negative", "neutral", "positive")
    asked = found.answer(tmp_path / "meld_text" / "test.csv")
    assert asked.argmax(axis=1).tolist() == [2, 0, 1, 1] * 12


def test_weighted_reference_answers_rare_classes(tmp_path):
    common, rare = ["a.jpg,good day,positive"] * 9, ["a.jpg,good night,neutral"]
    write_texts(tmp_path / "mvsa_tweets", "image,text,label", [*common, "a.jpg,good,neutral", *rare])
    table = tmp_path / "mvsa_tweets" / "test.csv"
    shares = [
        (fit_reference(name, all_recipes()["mvsa"], tmp_path, tmp_path).answer(table).argmax(axis=1) == 0).mean()
        for name in ("mvsa", "mvsa_weighted")
    ]
    assert shares[1] >= 2 / 11 - 1e-9
    assert shares[0] <= shares[1]


def saved_tweets(work):
    """Ours right in 8 of 10 rows; references in 7, and in 6 but of both classes alike."""
    truth = [0] * 2 + [1] * 8
    guesses = {
        "seed0": [1, 1] + [1] * 8,
        "plain-0": [1, 1] + [1] * 7 + [0],
        "plain-mvsa_weighted-0": [0, 0] + [0] * 4 + [1] * 4,
    }
    for name, guess in guesses.items():
        answers([RIGHT if item else WRONG for item in guess], truth).save(work / "mvsa" / f"{name}-test.npz")


def test_each_measure_is_held_against_the_reference_that_is_best_at_it(tmp_path):
    saved_tweets(tmp_path)
    recipe = all_recipes()["mvsa"]
    runs = [{"seed": 0, "scores": {"test.csv": {"accuracy": 0.8, "f1_macro": 4 / 9}}}]
    found = run.summary(recipe, runs, tmp_path, 1)["test.csv"]
    assert found["references"] == {"mvsa": 0.7, "mvsa_weighted": 0.6}
    assert (found["mean"], found["plain"], found["aim"], found["reached"]) == (0.8, 0.7, 0.67, True)
    assert found["difference"] == pytest.approx(0.1)
    macro = found["also"]["f1_macro"]
    # Of the first 7 hits of 9 guesses and 8 rows; of the second 2 of 6 and 2, and 4 of 4 and 8
    assert macro["references"] == pytest.approx({"mvsa": (0 + 14 / 17) / 2, "mvsa_weighted": (4 / 8 + 8 / 12) / 2})
    assert macro["plain"] == macro["references"]["mvsa_weighted"]
    assert macro["difference"] == pytest.approx(4 / 9 - macro["plain"])
    assert (macro["aim"], macro["reached"]) == (0.52, False)


def test_references_are_kept_while_their_file_stays(tmp_path, monkeypatch):
    saved_tweets(tmp_path)
    recipe = all_recipes()["mvsa"]
    kept = {"key": reference_key("mvsa_weighted"), "seeds": 1, "words": "w", "seconds": 1.0}
    monkeypatch.setattr(run, "fit_reference", lambda *_: pytest.fail("fitted again"))
    assert run.measure_plain(recipe, "mvsa_weighted", kept, tmp_path, tmp_path, 1) == kept
    with pytest.raises(pytest.fail.Exception, match="fitted again"):
        run.measure_plain(recipe, "mvsa_weighted", {**kept, "key": "other"}, tmp_path, tmp_path, 1)


def test_page_shows_every_measure_and_reference():
    both = {"references": {"tweets": 0.8, "weighted": 0.7}}
    macro = {
        **fake_recipe()["tests"]["test.csv"],
        "mean": 0.5,
        "plain": 0.4,
        "references": {"tweets": 0.3, "weighted": 0.4},
    }
    lead = {**fake_recipe()["tests"]["test.csv"], **both, "also": {"f1_macro": macro}}
    runs = [{"scores": {"test.csv": {"accuracy": 0.9, "f1_macro": 0.5}}, "load_before": [0.5]}]
    further = {"weighted": {"words": "weighted words", "seconds": 2.0, "seeds": 1}}
    recipe = {"name": "tweets", **fake_recipe(tests={"test.csv": lead}, runs=runs, further=further, time="when")}
    text = page.page([recipe], None)
    assert "| test table | rows | f1_macro |" in text
    assert "- plain reference: a network; accuracy 0.800 on test.csv; f1_macro 0.300 on test.csv; 60 s" in text
    assert "- plain reference: weighted words; accuracy 0.700 on test.csv; f1_macro 0.400 on test.csv; 2 s" in text
    assert "- reads: image + audio and what came before" in text
    table = page.short_table([recipe], "README.md")
    assert "| tweets | image + audio and what came before | accuracy | 0.900" in table
    assert "| tweets | image + audio and what came before | f1_macro | 0.500" in table


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


def test_page_with_smaller_graphs():
    form = {"bytes": 4_000_000, "relative_error": 0.0, "ms": {"1": 10.0}, "times_as_fast": {"1": 1.0}}
    int8 = {"bytes": 1_000_000, "relative_error": 0.021, "ms": {"1": 5.0}, "times_as_fast": {"1": 2.0}}
    found = {
        "tree": "0123456789abcdef", "dirty": False, "load": [0.1, 0.1, 0.1], "hardware": fake_recipe()["hardware"],
        "dim": 768, "depth": 12, "tokens": 128, "forms": {"fp32": form, "int8 dynamic": int8},
    }  # fmt: skip
    assert "| int8 dynamic | 1.0 MB | 5.0 ms (2.00 x) | 2.1% |" in page.page([], None, {"compress": found})


def test_page_with_a_graphics_card():
    found = {
        "tree": "0123456789abcdef", "dirty": False, "load": [0.1, 0.1, 0.1],
        "hardware": {**fake_recipe()["hardware"], "accelerator": "card", "accelerator_gib": 79.1, "torch": "2.11"},
        "results": {"training / matrix products": {"value": 0.53, "unit": "ratio", "limit": ">= 0.5", "batch": 256}},
    }  # fmt: skip
    text = page.page([], None, {"gpu": found})
    assert "| training / matrix products | 0.530 | ratio | >= 0.5 | 256 |" in text
    assert ", card, 79.1 GiB; torch 2.11" in text
    assert "On a GPU" not in page.page([], None, {})


def test_answers_keep_the_classes_that_were_answered(tmp_path):
    found = aligned(np.array([[0.6, 0.4], [0.3, 0.7]]), ("b", "a"), ["a", "a"], np.array([1, 1]))
    assert found.chosen.tolist() == [0, 0]
    assert measures(found)["accuracy"] == 1.0
    found.save(tmp_path / "answers.npz")
    assert Answers.load(tmp_path / "answers.npz").chosen.tolist() == [0, 0]
    usual = aligned(found.probabilities[:, ::-1], ("b", "a"), ["a", "a"])
    assert usual.chosen is None
    assert measures(usual)["accuracy"] == 0.5
