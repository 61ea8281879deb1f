"""The time to a peer's score: what is planned, what counts as reached, what is kept, and what the page says of it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import page, page_peers
from benchmarks.peers import race, run
from recipes import Recipe

RECIPE = Recipe("lamp", "lamp", "on", ("Light",), "nowhere", tests=("test.csv", "later.csv"))
MACHINE = {"processor": "CPU", "cores": 2, "flags": [], "accelerator": None}
OVERHEAD_S = 10.0
# In place of omnifuse: answers by a rule, and writes down what it was asked
STAND_IN = """
import csv, json, types
import numpy as np
def fit(table, label, **options):
    (options["out"].parent / "asked.json").write_text(json.dumps({"label": label} | options, default=str))
    target = types.SimpleNamespace(classes=("no", "yes"))
    return types.SimpleNamespace(schema=types.SimpleNamespace(targets=(target,)), predict_proba=answer)
def answer(path):
    lights = [float(row["Light"]) if row["Light"] else np.nan for row in csv.DictReader(open(path))]
    return np.array([[1 - light / 1000, light / 1000] for light in lights])
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The lamp's tables, 1 of 4 training rows "yes" and 2 of 4 test rows."""
    home = tmp_path / "data" / "lamp"
    home.mkdir(parents=True)
    (home / "train.csv").write_text("row,Light,on\n1,0,no\n2,900,yes\n3,20,no\n4,5,no\n5,7,\n", encoding="utf-8")
    for name in RECIPE.tests:
        (home / name).write_text("row,Light,on\n1,500,yes\n2,3,no\n3,700,yes\n4,1,no\n", encoding="utf-8")
    monkeypatch.setattr(race, "RESULTS", tmp_path / "race.json")
    monkeypatch.setattr(race, "hardware", lambda: MACHINE)
    return tmp_path / "data"


class Process:
    """In place of a process: takes its minutes and what it needs beside them, and is right in more rows in time."""

    def __init__(self, beside_s=OVERHEAD_S, needed_s=0.0, fails_at=()):
        self.beside_s, self.needed_s, self.fails_at = beside_s, needed_s, fails_at
        self.jobs = []

    def __call__(self, command, minutes, log, *, ours=True):
        job = json.loads(Path(command[-1]).read_text(encoding="utf-8"))
        self.jobs.append(job)
        if len(self.jobs) in self.fails_at:
            raise run.DidNotRunError("it failed: out of memory")
        trained = 60 * job["minutes"]
        high = np.array([0.9, 0.1, 0.9 if trained >= self.needed_s else 0.1, 0.1])
        for test in job["tests"]:
            answers = {"probabilities": np.stack([1 - high, high], 1), "classes": np.array(["no", "yes"])}
            np.savez(Path(job["out"]) / f"{Path(test).stem}.npz", **answers)
        return trained + self.beside_s


def peers(score=1.0, seconds=100.0, num_runs=1):
    done = {"key": "k", "minutes": 1.0, "seconds": seconds, "scores": {"test.csv": {"accuracy": score}}}
    runs = [{"seed": seed, **done} for seed in range(num_runs)]
    return {"hardware": MACHINE, "runs": {"fake": [*runs, {"seed": 9, "reason": "out of memory"}], "never": []}}


def start(data, tmp_path, monkeypatch, process, *, seeds=1, found=None, **changes):
    """What race.json holds of the peer, and the processes that it took."""
    monkeypatch.setattr(race, "timed", process)
    found = {"measured": {}} if found is None else found
    theirs = peers(**changes)
    race.race_all(RECIPE, ["fake", "never"], seeds, theirs, found, data, tmp_path / "work", tmp_path / "log.jsonl")
    if not found["measured"]:
        return None
    assert list(found["measured"]["lamp"]["peers"]) == ["fake"]
    assert json.loads((tmp_path / "race.json").read_text(encoding="utf-8")) == found
    return found["measured"]["lamp"]["peers"]["fake"]


def logged(tmp_path):
    path = tmp_path / "log.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("share", "overhead", "minutes"),
    [(0.5, 10.0, 40 / 60), (0.2, 18.0, 2 / 60), (0.2, 18.1, None), (0.2, 30.0, None), (1.0, 0.0, 100 / 60)],
)
def test_training_gets_what_is_left_of_the_share(share, overhead, minutes):
    assert race.planned_minutes(share, 100.0, overhead) == (None if minutes is None else pytest.approx(minutes))


def test_rival_is_the_mean_of_scored_runs():
    runs = peers(score=0.5, seconds=90.0)["runs"]["fake"] + peers(score=0.7, seconds=100.0)["runs"]["fake"]
    assert race.rival_of(RECIPE, runs) == race.Rival(0.6, 95.0, 2, ["k"], [1.0])
    assert race.rival_of(RECIPE, [{"seed": 0, "reason": "no"}]) is None


def test_majority_is_the_shares_of_labelled_training_rows(data, tmp_path):
    found = race.majority(RECIPE, {}, data, tmp_path / "work", tmp_path / "log.jsonl")
    assert found["shares"] == {"no": 0.75, "yes": 0.25}
    assert found["scores"]["accuracy"] == 0.5
    assert found["scores"]["roc_auc"] == 0.5
    assert found["scores"]["f1_macro"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["scores"]["log_loss"] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2, abs=1e-6)
    (line,) = logged(tmp_path)
    assert (line["who"], line["test"], line["rows"]) == ("majority", "test.csv", 4)
    assert race.majority(RECIPE, found, data, tmp_path / "work", tmp_path / "log.jsonl") is found
    race.majority(RECIPE, found | {"shares": {"no": 1.0}}, data, tmp_path / "work", tmp_path / "log.jsonl")
    assert len(logged(tmp_path)) == 2


def test_shares_grow_until_the_score_is_theirs(data, tmp_path, monkeypatch):
    """10 s beside the training, 25 s of training needed: 20 s of 100 hold 10 s, a third holds 23 s, a half 40 s."""
    process = Process(needed_s=25.0)
    found = start(data, tmp_path, monkeypatch, process)
    assert [60 * job["minutes"] for job in process.jobs] == pytest.approx([3, 10, 70 / 3, 40])
    assert [(item["score"], item["reached"]) for item in found["tries"]] == [(0.75, False), (0.75, False), (1.0, True)]
    assert found["reached"] == {"share": 0.5, "seconds": 50.0, "score": 1.0, "ratio": 0.5}
    who = [line["who"] for line in logged(tmp_path)]
    assert who == ["majority", *(f"omnifuse, {share} of the seconds of fake" for share in ("0.20", "0.33", "0.50"))]
    assert {line["test"] for line in logged(tmp_path)} == {"test.csv"}


def test_the_first_share_may_do(data, tmp_path, monkeypatch):
    process = Process()
    found = start(data, tmp_path, monkeypatch, process, score=0.75)
    assert found["reached"] == {"share": 0.2, "seconds": 20.0, "score": 1.0, "ratio": 0.2}
    assert len(process.jobs) == 2


def test_no_share_may_do(data, tmp_path, monkeypatch):
    found = start(data, tmp_path, monkeypatch, Process(needed_s=1000.0))
    assert [item["share"] for item in found["tries"]] == list(race.SHARES)
    assert found["reached"] is None


def test_a_share_that_holds_no_training_is_not_scored(data, tmp_path, monkeypatch):
    process = Process(beside_s=32.0)
    found = start(data, tmp_path, monkeypatch, process)
    assert found["tries"][:2] == [{"share": share, "refused": "too short"} for share in race.SHARES[:2]]
    assert found["reached"]["share"] == 0.5
    assert len(logged(tmp_path)) == 2


def test_a_late_process_is_planned_anew_and_not_scored(data, tmp_path, monkeypatch):
    """The probe says 10 s, but from 5 s of training on it is 14 s: a fifth of 100 s is late by 4 s, then in time."""

    class Slow(Process):
        def __call__(self, command, minutes, log, *, ours=True):
            return super().__call__(command, minutes, log) + (4.0 if 60 * self.jobs[-1]["minutes"] > 5 else 0.0)

    process, found = Slow(), {"measured": {}}
    mine = start(data, tmp_path, monkeypatch, process, found=found)
    assert [60 * job["minutes"] for job in process.jobs] == pytest.approx([3, 10, 6])
    assert mine["reached"]["seconds"] == 20.0
    assert [item["seconds"] for item in mine["tries"][0]["late"]] == [24.0]
    assert found["measured"]["lamp"]["probe"]["overhead_s"] == 14.0
    assert len(logged(tmp_path)) == 2


def test_a_share_that_is_late_again_is_left(data, tmp_path, monkeypatch):
    class Slower(Process):
        def __call__(self, command, minutes, log, *, ours=True):
            return super().__call__(command, minutes, log) + 3 * (len(self.jobs) - 1)

    found = start(data, tmp_path, monkeypatch, Slower())
    assert found["tries"][0]["refused"] == "late"
    assert [item["seconds"] for item in found["tries"][0]["late"]] == [23.0, 23.0]
    assert "runs" not in found["tries"][0]


@pytest.mark.parametrize(("seconds", "score", "reached"), [
    (20.4, 0.8, True), (20.5, 0.8, False), (20.0, 0.799999, False), (5.0, 0.9, True),
])  # fmt: skip
def test_reached_in_time_and_score(seconds, score, reached):
    theirs = race.Rival(0.8, 100.0, 1, ["k"], [1.0])
    found = race.judged({"share": 0.2, "runs": [{"seconds": seconds, "score": score}]}, theirs)
    assert found["reached"] is reached


def test_means_of_seeds_are_compared():
    theirs = race.Rival(0.8, 100.0, 3, ["k"], [1.0])
    runs = [{"seconds": 10.0, "score": 0.7}, {"seconds": 20.0, "score": 0.9}]
    found = race.judged({"share": 0.2, "runs": runs}, theirs)
    assert (found["seconds"], found["score"], found["reached"]) == (15.0, 0.8, True)


def test_seeds_are_as_many_as_theirs_at_most(data, tmp_path, monkeypatch):
    process = Process()
    found = start(data, tmp_path, monkeypatch, process, seeds=3, num_runs=2)
    assert [job["seed"] for job in process.jobs] == [0, 0, 1]
    assert [item["seed"] for item in found["tries"][0]["runs"]] == [0, 1]


def test_a_peer_that_is_no_better_than_the_majority_is_not_raced(data, tmp_path, monkeypatch):
    process = Process()
    found = start(data, tmp_path, monkeypatch, process, score=0.5)
    assert found["beats_majority"] is False
    assert process.jobs == []


def test_what_is_the_same_is_kept(data, tmp_path, monkeypatch):
    found, process = {"measured": {}}, Process(needed_s=25.0)
    first = start(data, tmp_path, monkeypatch, process, found=found)
    again = Process(needed_s=25.0)
    assert start(data, tmp_path, monkeypatch, again, found=found) == first
    assert again.jobs == []
    assert len(logged(tmp_path)) == 4
    for changes in ({"seconds": 110.0}, {"score": 0.9}, {"num_runs": 2}):
        other = Process()
        start(data, tmp_path, monkeypatch, other, found=found, **changes)
        assert len(other.jobs) == 1, changes
    monkeypatch.setattr(race, "source_tree", lambda: {"tree": "t", "dirty": False, "state": "another"})
    other = Process()
    start(data, tmp_path, monkeypatch, other, found=found, num_runs=2)
    assert len(other.jobs) == 2, "the probe is of another source too"


def test_a_failed_share_is_told_and_tried_anew(data, tmp_path, monkeypatch):
    found = {"measured": {}}
    first = start(data, tmp_path, monkeypatch, Process(fails_at=(2,)), found=found)
    assert first["tries"][0] == {"share": 0.2, "reason": "it failed: out of memory"}
    assert first["reached"]["share"] == 1 / 3
    again = Process()
    assert start(data, tmp_path, monkeypatch, again, found=found)["reached"]["share"] == 0.2
    assert len(again.jobs) == 1


def test_a_failed_probe_ends_the_race(data, tmp_path, monkeypatch):
    found = start(data, tmp_path, monkeypatch, Process(fails_at=(1,)))
    assert (found["reason"], found["tries"]) == ("it failed: out of memory", [])


def test_seconds_of_another_machine_are_not_raced(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race, "hardware", lambda: {**MACHINE, "cores": 64})
    assert start(data, tmp_path, monkeypatch, Process()) is None
    assert "another machine" in capsys.readouterr().err


def test_our_process_answers_every_table_without_labels(data, tmp_path, monkeypatch):
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "omnifuse.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand_in"))
    folder = tmp_path / "out"
    found = race.run_ours(RECIPE, 4, 0.5, folder, data, tmp_path / "work", 10.0)
    assert found["seconds"] > 0
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    assert (asked["label"], asked["drop"], asked["seed"], asked["minutes"]) == ("on", ["row"], 4, 0.5)
    assert asked["baselines"] is False
    assert "window" not in asked
    for test in RECIPE.tests:
        with open(folder / test, newline="", encoding="utf-8") as handle:
            assert next(csv.reader(handle)) == ["Light"]
        probabilities, classes = run.written_answers(folder, test)
        assert classes == ["no", "yes"]
        assert probabilities[:, 1].tolist() == pytest.approx([0.5, 0.003, 0.7, 0.001])


def test_a_past_has_its_group_in_test_tables_too(tmp_path):
    home = tmp_path / "data" / "talk"
    home.mkdir(parents=True)
    for name in ("train.csv", "test.csv"):
        (home / name).write_text("talk,turn,words,mood\n1,1,so it is,good\n1,2,is it so,bad\n", encoding="utf-8")
    recipe = Recipe("talk", "talk", "mood", ("words",), "nowhere", group="talk", time="turn")
    (tmp_path / "out").mkdir()
    tests = run.blind_tests(recipe, home / "train.csv", tmp_path / "data", tmp_path / "work", tmp_path / "out")
    with open(tests["test.csv"], newline="", encoding="utf-8") as handle:
        assert next(csv.reader(handle)) == ["words", "turn", "talk"]


# The page


def results():
    tree = {"tree": "0123456789abcdef", "dirty": False, "state": "0123456789abcdef"}
    done = {"seed": 0, "minutes": 0.4, "seconds": 30.0, "score": 0.8, "load_before": [1.5, 1, 1]}
    theirs = {"score": 0.9, "seconds": 150.0, "num_runs": 1, "keys": ["k"], "minutes": [2.5]}
    base = {**tree, "theirs": theirs, "seeds": 1, "beats_majority": True}
    fifth = {"share": 0.2, "runs": [done], "seconds": 30.0, "score": 0.93, "reached": True}
    third = {"share": 1 / 3, "runs": [done], "seconds": 50.0, "score": 0.91, "reached": True}
    missed = {**third, "score": 0.8, "reached": False}
    quick = {**base, "tries": [fifth], "reached": {"share": 0.2, "seconds": 30.0, "score": 0.93, "ratio": 0.2}}
    slower = {
        **base,
        "tries": [{"share": 0.2, "refused": "too short"}, third],
        "reached": {"share": 1 / 3, "seconds": 50.0, "score": 0.91, "ratio": 0.333},
    }
    failed = {"share": 0.5, "reason": "it failed:\nno memory"}
    never = {**base, "tries": [{"share": 0.2, "refused": "late"}, missed, failed], "reached": None}
    weak = {**base, "theirs": {**theirs, "score": 0.4}, "beats_majority": False, "tries": [], "reached": None}
    entry = {
        "measure": "accuracy", "test": "test.csv", "hardware": MACHINE, "majority": {"scores": {"accuracy": 0.5}},
        "peers": {"quick": quick, "slower": slower, "never": never, "weak": weak},
    }  # fmt: skip
    return {"measured": {"lamp": entry}}


def test_page_holds_the_time_to_their_score():
    lines = page_peers.race_section(results()).splitlines()
    assert "### Time to their score" in lines
    start = lines.index(next(line for line in lines if line.startswith("| recipe | peer |")))
    assert lines[start + 2 : start + 6] == [
        "| lamp | quick | accuracy | 0.900 | 0.500 | 150 | 30 | 0.20 | yes | yes |",
        "| lamp | slower | accuracy | 0.900 | 0.500 | 150 | 50 | 0.33 | yes | no |",
        "| lamp | never | accuracy | 0.900 | 0.500 | 150 | not reached | - | no | no |",
        "",
    ]
    assert lines[start + 6 :] == [
        "- slower on lamp: 0.20 too short; 0.33 0.910 in 50 s",
        "- never on lamp: 0.20 late; 0.33 0.800 in 50 s; 0.50 failed (it failed: no memory)",
        "- weak on lamp is not better than the majority: 0.400 and 0.500",
        "- source tree of omnifuse: `0123456789ab`; 1 run(s) of each share",
        "- machine: CPU, 2 cores; load before each of our runs: 1.5 to 1.5",
    ]


def test_page_without_and_with_a_race(tmp_path):
    (tmp_path / "peers.json").write_text(json.dumps({"systems": {}, "measured": {}}), encoding="utf-8")
    page.write(tmp_path, tmp_path)
    target = tmp_path / "docs" / "benchmarks.md"
    assert "Time to their score" not in target.read_text(encoding="utf-8")
    (tmp_path / "race.json").write_text(json.dumps(results()), encoding="utf-8")
    page.write(tmp_path, tmp_path)
    assert "| lamp | quick | accuracy |" in target.read_text(encoding="utf-8")


def test_page_and_race_allow_the_same():
    assert page_peers.RACE_TOLERANCE == race.TOLERANCE
