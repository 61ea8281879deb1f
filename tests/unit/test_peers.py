"""Other systems beside ours: what they are given, how their answers are scored, and what the page says of them."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from benchmarks import page, page_peers
from benchmarks.peers import common, run
from benchmarks.peers.systems import HOME, OURS, SYSTEMS, System
from PIL import Image
from recipes import Recipe

from omnifuse.schema import Modality

RECIPE = Recipe("lamp", "lamp", "on", ("Light", "image"), "nowhere", group="room", tests=("test.csv",))
ANSWERS = """
import csv, json, sys
import numpy as np
job = json.load(open(sys.argv[1]))
path = job["tests"]["test.csv"]
lights = [float(row["Light"]) for row in csv.DictReader(open(path))]
high = np.array([0.9 if light > 100 else 0.1 for light in lights])
np.savez(job["out"] + "/test.npz", probabilities=np.stack([high, 1 - high], 1), classes=np.array(["yes", "no"]))
"""


class Fake(System):
    """A peer whose script is a file of the test."""

    place: Path

    @property
    def script(self):
        return self.place


def fake(path, words, reads=("number", "image")):
    path.write_text(words, encoding="utf-8")
    system = Fake("fake", ("nothing==1",), reads, "a rule")
    object.__setattr__(system, "place", path)
    return system


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data with the lamp's tables, and a Python that needs no installation."""
    home = tmp_path / "data" / "lamp"
    home.mkdir(parents=True)
    Image.new("L", (8, 8)).save(home / "dark.png")
    rows = [f"{number},{light},dark.png,{room},{on}" for number, (light, room, on) in enumerate(
        [(0, "a", "no"), (900, "b", "yes"), (20, "c", "no"), (300, "d", "yes"), (10, "e", "no"), (800, "f", "yes")]
    )]  # fmt: skip
    (home / "train.csv").write_text("\n".join(["row,Light,image,room,on", *rows]) + "\n", encoding="utf-8")
    (home / "test.csv").write_text(
        "row,Light,image,room,on\n1,500,dark.png,g,yes\n2,3,,g,no\n3,700,dark.png,g,no\n", encoding="utf-8"
    )
    monkeypatch.setattr(run, "environment", lambda system, work: Path(sys.executable))
    return tmp_path / "data"


def run_fake(data, tmp_path, words, **changes):
    system = fake(tmp_path / "fake.py", words, **changes)
    return run.run_system(system, RECIPE, 0, data, tmp_path / "work", tmp_path / "log.jsonl")


def test_modalities_are_those_of_our_own_schema(data):
    assert run.kinds_of(RECIPE, data / "lamp" / "train.csv") == {"Light": "number", "image": "image"}


def test_a_peer_is_run_and_scored(data, tmp_path):
    found = run_fake(data, tmp_path, ANSWERS)
    assert found["scores"]["test.csv"]["accuracy"] == pytest.approx(2 / 3)
    assert found["seconds"] > 0
    assert found["left_out"] == []
    (line,) = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["who"] == "peer fake"


def test_a_peer_sees_its_fields_and_no_label_of_a_test_row(data, tmp_path):
    found = run_fake(data, tmp_path, ANSWERS, reads=("number",))
    assert found["left_out"] == ["image"]
    folder = tmp_path / "work" / "fake" / "lamp" / "seed0"
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    assert job["fields"] == {"Light": "number"}
    with open(job["train"], newline="", encoding="utf-8") as handle:
        assert next(csv.reader(handle)) == ["Light", "on", "room"]
    with open(job["tests"]["test.csv"], newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["Light", "image"]
    assert [row["image"] for row in rows] == [str(data / "lamp" / "dark.png"), "", str(data / "lamp" / "dark.png")]


@pytest.mark.parametrize(
    ("words", "reads", "reason"),
    [
        ("import sys; sys.exit('no such layer')", ("number",), "it failed: no such layer"),
        (ANSWERS.replace("0.9", "np.nan"), ("number",), "test.csv: some of its probabilities are no numbers"),
        (ANSWERS, ("audio",), "it reads none of image, number"),
    ],
)
def test_a_peer_without_answers_has_a_reason(data, tmp_path, words, reads, reason):
    found = run_fake(data, tmp_path, words, reads=reads)
    assert found["reason"] == reason
    assert "scores" not in found
    assert not (tmp_path / "log.jsonl").exists()


def test_a_peer_that_does_not_end_is_stopped(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PATIENCE", 0.0)
    monkeypatch.setattr(run, "START_S", 0.2)
    assert "did not end" in run_fake(data, tmp_path, "import time; time.sleep(60)")["reason"]


def test_answers_of_our_own_command(tmp_path):
    (tmp_path / "answers.csv").write_text("row,on,on=no,on=yes,error\n0,yes,0.2,0.8,\n1,,,,broken\n", encoding="utf-8")
    probabilities, classes = run.read_answers(tmp_path / "answers.csv", "on")
    assert classes == ["no", "yes"]
    assert probabilities.tolist() == [[0.2, 0.8], [0.5, 0.5]]


def test_summary_by_hand(data, tmp_path):
    """Ours right in 2 of 3 rows in 30 s over both seeds, theirs in 2 of 3 and 1 of 3 in 10 and 20 s."""
    runs = {OURS: [], "fake": []}
    for who, right, seconds in ((OURS, (2, 2), (30, 30)), ("fake", (2, 1), (10, 20))):
        for seed in (0, 1):
            high = np.array([0.9 if row < right[seed] else 0.1 for row in range(3)])
            answers = run.Answers(np.stack([1 - high, high], 1), np.ones(3, np.int64), ("no", "yes"))
            answers.save(run.answers_path(who, RECIPE, seed, "test.csv", tmp_path))
            scores = {"test.csv": {"accuracy": right[seed] / 3}}
            runs[who].append({"seed": seed, "seconds": seconds[seed], "scores": scores})
    runs["fake"].append({"seed": 2, "reason": "out of memory"})
    found = run.summary(RECIPE, runs, tmp_path)
    assert found[OURS]["test.csv"] == {"mean": pytest.approx(2 / 3), "sd": 0.0, "seconds": 30.0}
    theirs = found["fake"]["test.csv"]
    assert theirs["mean"] == pytest.approx(0.5)
    assert theirs["sd"] == pytest.approx(1 / 3 / 2**0.5)
    assert theirs["difference"] == pytest.approx(2 / 3 - 0.5)
    assert theirs["low"] <= theirs["difference"] <= theirs["high"]
    assert theirs["ratio"] == 2.0


def test_runs_of_another_script_or_time_are_measured_anew(data, tmp_path):
    system = fake(tmp_path / "fake.py", ANSWERS)
    found = run.run_system(system, RECIPE, 0, data, tmp_path / "work", tmp_path / "log.jsonl")
    assert run.usable(found, system, RECIPE, tmp_path / "work")
    assert not run.usable(found | {"minutes": 1}, system, RECIPE, tmp_path / "work")
    assert not run.usable(found, fake(tmp_path / "fake.py", ANSWERS + "# more"), RECIPE, tmp_path / "work")


def test_rounds_are_kept_and_go_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path / "peers.json")
    monkeypatch.setattr(run, "hardware", lambda: {"processor": "CPU", "cores": 2})
    system, found = fake(tmp_path / "fake.py", ANSWERS), {"systems": {}, "measured": {}}
    monkeypatch.setitem(run.SYSTEMS, "fake", system)
    for seeds in (1, 2, 2):
        run.measure(RECIPE, [system], seeds, found, data, tmp_path / "work", tmp_path / "log.jsonl")
    written = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert [item["seed"] for item in written["measured"]["lamp"]["runs"]["fake"]] == [0, 1]
    assert len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert written["measured"]["lamp"]["summary"]["fake"]["test.csv"]["sd"] == 0.0
    assert "| lamp | test.csv | fake | all | accuracy 0.667 ± 0.000 |" in page_peers.section(written)
    fake(tmp_path / "fake.py", "import sys; sys.exit('broken')")
    run.measure(RECIPE, [system], 1, found, data, tmp_path / "work", tmp_path / "log.jsonl")
    assert [item.get("reason") for item in found["measured"]["lamp"]["runs"]["fake"]] == ["it failed: broken"]


def test_every_peer_has_a_script_and_reads_modalities():
    for name, system in SYSTEMS.items():
        assert set(system.reads) <= {str(kind) for kind in Modality}
        if name == OURS:
            continue
        assert (HOME / f"{name}.py").exists()
        assert system.pins.exists()
        assert all("==" in package for package in system.packages)


# What the scripts share


def test_scripts_find_packages_of_their_own_names():
    assert str(HOME) not in sys.path
    assert HOME.resolve() == common._HOME


def test_held_out_takes_whole_groups():
    groups = [f"p{number // 3}" for number in range(60)]
    out = common.held_out(groups, 60, seed=1)
    assert out.sum() == 6
    assert all(len(set(out[start : start + 3])) == 1 for start in range(0, 60, 3))
    assert np.array_equal(out, common.held_out(groups, 60, seed=1))
    assert not np.array_equal(out, common.held_out(groups, 60, seed=2))
    assert common.held_out(None, 200, seed=0).sum() == 20


def test_pictures_decode_as_pillow_does(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    encoded = torch.frombuffer(bytearray((tmp_path / "x.png").read_bytes()), dtype=torch.uint8)
    assert np.array_equal(common.decode_picture(encoded).numpy(), pixels.transpose(2, 0, 1))
    grey = common.decode_picture(encoded, mode="GRAY").numpy()
    assert np.array_equal(grey[0], np.array(Image.fromarray(pixels).convert("L")))


def test_sounds_load_with_channels_first(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 8000, subtype="FLOAT")
    found, rate = common.load_sound(tmp_path / "x.wav", backend="sox")
    assert rate == 8000
    assert np.array_equal(found.numpy(), samples.T)


def test_filter_emphasises_high_tones():
    samples = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    taps, feedback = (torch.tensor([1.0, tap], dtype=torch.float64) for tap in (-0.97, 0.0))
    found = common.filter_sound(samples, feedback, taps, clamp=False)
    assert found.tolist() == [[1.0, pytest.approx(1.03), pytest.approx(2.06)]]
    assert common.filter_sound(samples, feedback, taps).tolist() == [[1.0, 1.0, 1.0]]
    with pytest.raises(AssertionError, match="feedback"):
        common.filter_sound(samples, taps, taps)


@pytest.mark.parametrize(("side", "found"), [(28, 64), (100, 96), (1000, 224)])
def test_pictures_keep_their_size_within_bounds(tmp_path, side, found):
    Image.new("L", (side, side + 50)).save(tmp_path / "x.png")
    assert common.middle_side([str(tmp_path / "x.png"), ""], 0, least=64, most=224) == found


# The page


def results():
    hardware = {"processor": "CPU", "cores": 2, "flags": [], "accelerator": None}
    done = {"seed": 0, "tree": "0123456789abcdef", "dirty": False, "seconds": 150.0, "scores": {}, "left_out": []}
    entry = {
        "pack": "avmnist", "measure": "accuracy", "minutes": 2.5, "fields": ["image", "audio"], "hardware": hardware,
        "tests": ["test.csv"],
        "runs": {
            "other": [{**done, "left_out": ["audio"]}],
            OURS: [done, done],
            "third": [{"seed": 0, "reason": "it failed:\nno audio"}, {"seed": 1, "reason": "it failed: no audio"}],
        },
        "summary": {
            "other": {
                "test.csv": {
                    "mean": 0.9, "sd": None, "seconds": 300.0, "difference": 0.08, "low": 0.05, "high": 0.1,
                    "ratio": 0.5,
                }
            },
            OURS: {"test.csv": {"mean": 0.98, "sd": 0.01, "seconds": 150.0}},
        },
    }  # fmt: skip
    systems = {
        "other": {
            "words": "a network",
            "needed": "a stand-in",
            "packages": ["other==1.0", "torch==2"],
            "reads": ["image"],
        },
        OURS: {"words": "our command", "needed": "", "packages": [], "reads": ["image", "audio"]},
        "third": {"words": "a forest", "needed": "", "packages": ["third==2"], "reads": ["audio"]},
    }
    return {"systems": systems, "measured": {"avmnist": entry, "avmnist_audio": {**entry, "runs": {
        "third": entry["runs"]["third"]}, "summary": {}}}}  # fmt: skip


def test_page_holds_us_beside_other_systems():
    lines = page_peers.section(results()).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("| recipe |")))
    assert lines[start + 2 : start + 4] == [
        "| avmnist | test.csv | omnifuse | all | accuracy 0.980 ± 0.010 |  | 150 |  |",
        "| avmnist | test.csv | other | all but audio | accuracy 0.900 | +0.080 [+0.050, +0.100] | 300 | 0.50 |",
    ]
    assert "- other: a network; other==1.0, torch==2; 1 seed(s); needed here: a stand-in" in lines
    assert "- omnifuse: our command; 2 seed(s)" in lines
    assert "- third did not run on avmnist, avmnist_audio: it failed: no audio" in lines
    assert sum("third did not run" in line for line in lines) == 1
    assert "- source tree of omnifuse: `0123456789ab`" in lines
    assert "- machine: CPU, 2 cores" in lines


def test_page_without_and_with_peers(tmp_path):
    page.write(tmp_path / "none", tmp_path)
    text = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "Beside other systems" not in text
    (tmp_path / "peers.json").write_text(json.dumps(results()), encoding="utf-8")
    assert page.read_results(tmp_path) == []
    page.write(tmp_path, tmp_path)
    assert "## Beside other systems" in (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_page_of_peers_that_never_ran():
    found = results()
    found["measured"] = {"avmnist_audio": found["measured"]["avmnist_audio"]}
    text = page_peers.section(found)
    assert "| recipe |" not in text
    assert "did not run on avmnist_audio: it failed: no audio" in text
