"""The command line as it is frozen: verbs, JSON forms, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest
from tests.conftest import plain_rows

from omnifuse.cli.fit import print_result
from omnifuse.cli.main import app, run

QUICK = ["--preset", "tiny", "--epochs", "1", "--no-baselines", "--logger", "none", "--report-media", "none"]
VERBS = (
    "demo",
    "inspect",
    "fit",
    "evaluate",
    "predict",
    "embed",
    "explain",
    "caption",
    "transcribe",
    "answer",
    "index",
    "search",
    "report",
    "export",
    "edge",
    "registry",
    "serve",
    "doctor",
    "list",
)
METRIC = {"value", "low", "high"}


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run([str(item) for item in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "rows.csv"
    pl.DataFrame(plain_rows(40, holes=0.1)).write_csv(path)
    return path


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


# Processes: imports and signals


def test_help_and_import_load_no_torch_and_list_the_verbs():
    script = """
import sys, omnifuse
assert "torch" not in sys.modules and "polars" not in sys.modules
from omnifuse.cli.main import run
try:
    run(["--help"])
except SystemExit as end:
    assert not end.code
assert "torch" not in sys.modules and "lightning" not in sys.modules and "sklearn" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(f" {verb} " in done.stdout for verb in VERBS)


def test_inspect_needs_no_torch_at_all(table):
    script = f"""
import sys
sys.modules["torch"] = None
from omnifuse.cli.main import run
run(["inspect", {str(table)!r}, "--label", "kind", "--json"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targets"][0]["name"] == "kind"


def test_the_installed_script_says_one_line_and_exits_2():
    script = os.path.join(os.path.dirname(sys.executable), "omnifuse")
    done = subprocess.run([script, "inspect", "absent.csv"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("omnifuse: error:")
    assert "absent.csv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_interrupting_leaves_no_traceback(table, tmp_path):
    arguments = ["fit", str(table), "--label", "kind", "--out", str(tmp_path / "run")]
    script = f"from omnifuse.cli.main import run; run({arguments!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("training"):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted" in err


def test_the_options_of_fit_are_those_that_are_frozen():
    fit = next(item for item in app.registered_commands if item.name == "fit")
    found = {
        word
        for parameter in inspect.signature(fit.callback).parameters.values()
        for word in getattr(parameter.default, "param_decls", None) or ()
    }
    assert found == {
        "--label", "--out", "--valid", "--preset", "--fusion", "--field", "--encoder", "--task", "--set", "--drop",
        "--group", "--time", "--seed", "--seeds", "--minutes", "--epochs", "--no-baselines", "--logger", "--resume",
        "--max-bad", "--media-root", "--report-media", "--search", "--curve", "--window", "--from", "--allow-download",
        "--shots", "--semi", "--unlabelled", "--teacher", "--fields", "--json",
    }  # fmt: skip


def test_the_journal_of_a_search_and_the_curve_are_printed_as_tables(capsys):
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    trials = [{"trial": 0, "settings": {"dim": "32"}, "score": 0.25, "seconds": 3.0, "state": "done"},
              {"trial": 1, "settings": {"dim": "64"}, "score": None, "seconds": 1.0, "state": "pruned"}]  # fmt: skip
    target = {"task": "classification", "metrics": {"accuracy": score},
              "curve": [{"rows": 11, "scored": 9, "metrics": {"accuracy": score}}]}  # fmt: skip
    search = {"settings": {"dim": "32"}, "score": 0.25, "trials": trials}
    print_result({"artefact": "run/model", "targets": {"kind": target}, "search": search}, Path("run"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["trial", "settings", "score", "seconds"] in lines
    assert ["0", "dim=32", "0.250", "3.0"] in lines
    assert ["1", "dim=64", "pruned", "1.0"] in lines
    assert ["settings:", "--set", "dim=32"] in lines
    assert ["11", "0.500", "(0.400", "to", "0.600)"] in lines


# JSON forms


def test_inspect_json(cli, rooms, table):
    code, out, _ = cli("inspect", rooms.train, "--label", "event", "--json")
    data = json.loads(out)
    assert code == 0
    assert {"fields", "targets", "findings"} <= set(data)
    found = {item["name"]: item["modality"] for item in data["fields"]}
    assert found == {
        "picture": "image", "sound": "audio", "note": "text", "temperature": "number", "co2": "number",
        "room": "category", "time": "date",
    }  # fmt: skip
    for item in data["fields"]:
        assert set(item) == {"name", "modality", "reason", "missing"}
        assert 0 < item["missing"] < 0.3
        assert item["reason"]
    assert data["targets"][0]["classes"] == ["burglary", "fire", "normal", "visitor"]
    # The notes of this table hold the label
    findings = json.loads(cli("inspect", table, "--label", "kind", "--json")[1])["findings"]
    assert ("leak", "note") in {(item["kind"], item["field"]) for item in findings}
    for item in findings:
        assert set(item) == {"kind", "field", "text", "severity", "rows"}


def check_targets(targets, *, baselines):
    for result in targets.values():
        assert {"task", "metrics", "subsets", "baselines", "fusion", "calibration"} <= set(result)
        assert all(set(score) == METRIC for score in result["metrics"].values())
        for score in result["metrics"].values():
            if score["low"] is not None:
                assert score["low"] <= score["value"] <= score["high"]
        if baselines:
            assert "majority" in result["baselines"]
        for scores in result["baselines"].values():
            assert all(set(score) == METRIC for score in scores.values())
        fusion = result["fusion"]
        assert fusion is None or fusion["verdict"] in ("helped", "did not help", "cannot tell")


def test_evaluate_json(cli, fitted, rooms):
    code, out, _ = cli("evaluate", fitted.run, rooms.test, "--json")
    data = json.loads(out)
    assert code == 0
    assert {"rows", "targets", "cost"} <= set(data)
    assert data["rows"] == 40
    assert set(data["cost"]) == {"parameters", "flops", "peak_mb", "samples_per_s"}
    result = data["targets"]["event"]
    assert result["task"] == "classification"
    assert {"accuracy", "balanced_accuracy"} <= set(result["metrics"])
    check_targets(data["targets"], baselines=True)
    assert {"picture", "sound", "note", "time", "table"} <= set(result["subsets"])
    assert "picture+sound+note+time+table" in result["subsets"]
    assert {"picture", "sound", "note", "time", "table"} <= set(result["baselines"])
    assert 0 <= result["calibration"]["ece"] <= 1
    assert {"verdict", "p"} <= set(result["fusion"])


def test_evaluate_is_strict_json_and_the_same_for_run_and_model_folder(cli, fitted, rooms):
    def refuse(name):
        raise AssertionError(name)

    found = []
    for folder in (fitted.run, fitted.run / "model"):
        data = json.loads(cli("evaluate", folder, rooms.test, "--json")[1], parse_constant=refuse)
        found.append(data["targets"])
    assert found[0] == found[1]


def test_fit_json_and_where_words_go(cli, table, tmp_path):
    arguments = ["fit", table, "--label", "kind", "--label", "price", "--drop", "key", "--drop", "tags", *QUICK]
    code, out, err = cli(*arguments, "--out", tmp_path / "run", "--json")
    data = json.loads(out)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert {"artefact", "seconds", "epochs", "steps", "samples_per_s", "targets"} <= set(data)
    assert data["artefact"] == str(tmp_path / "run" / "model")
    assert (data["epochs"], data["steps"]) == (1.0, [2] * 5)
    assert {name: item["task"] for name, item in data["targets"].items()} == {
        "kind": "classification", "price": "regression",
    }  # fmt: skip
    check_targets(data["targets"], baselines=False)
    assert "training 5 networks" in err
    assert "rows/s" in err
    assert "ETA" in err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints", "held_back.safetensors", "model", "report",
    ]  # fmt: skip
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert names == {"model.json", "weights.safetensors", "tokenizer_0.json", "CARD.md"}


def test_fit_for_a_person(cli, table, tmp_path):
    code, out, err = cli(
        "fit", table, "--label", "kind", *QUICK, "--out", tmp_path / "run", "--task", "kind=classification"
    )
    assert code == 0
    assert "accuracy" in out
    assert str(tmp_path / "run" / "model") in out
    assert str(tmp_path / "run" / "report" / "report.html") in out
    assert "accuracy" not in err


def test_the_artefact_holds_no_row_medium_or_path(fitted, rooms):
    content = b"".join(path.read_bytes() for path in (fitted.run / "model").iterdir())
    assert str(rooms.folder).encode() not in content
    for secret in (b"train-0001", b"pictures/", b"sounds/"):
        assert secret not in content


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_predict_columns_in_the_inputs_order(cli, fitted, rooms, tmp_path, suffix):
    out = tmp_path / f"answers.{suffix}"
    code, text, _ = cli("predict", fitted.run, rooms.test, "-o", out, "--proba", "--json")
    assert code == 0
    summary = json.loads(text)
    assert summary == {"out": str(out), "rows": 40, "warnings": 0, "errors": summary["errors"]}
    if suffix == "csv":
        rows = read_csv(out)
    elif suffix == "parquet":
        rows = pyarrow.parquet.read_table(out).to_pylist()
    else:
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    classes = ("burglary", "fire", "normal", "visitor")
    assert list(rows[0]) == [
        "id", "event", "event_confidence", "event_abstained", *(f"event={name}" for name in classes),
        "modalities_used", "warnings", "error",
    ]  # fmt: skip
    assert [row["id"] for row in rows] == [f"test-{number:04d}" for number in range(40)]
    for row in rows:
        chances = [float(row[f"event={name}"]) for name in classes]
        assert sum(chances) == pytest.approx(1)
        assert row["event"] == classes[int(np.argmax(chances))]
        assert float(row["event_confidence"]) == pytest.approx(max(chances))
        assert set(row["modalities_used"].split("+")) <= {"picture", "sound", "note", "time", "table"}


def test_predict_without_id_column_counts_rows(cli, table, tmp_path):
    cli("fit", table, "--label", "tags", "--task", "tags=tagging", "--drop", "key", *QUICK, "--out", tmp_path / "run")
    out = tmp_path / "answers.csv"
    code, text, _ = cli("predict", tmp_path / "run", table, "-o", out)
    assert code == 0
    assert "40 rows" in text
    rows = read_csv(out)
    assert list(rows[0]) == ["row", "tags", "tags_confidence", "tags_abstained", "modalities_used", "warnings", "error"]
    assert [row["row"] for row in rows] == [str(number) for number in range(40)]
    assert {tag for row in rows for tag in row["tags"].split("|")} <= {"", "big", "old"}


def test_a_number_is_answered_with_an_interval(cli, table, tmp_path):
    drop = [word for name in ("key", "tags", "kind", "note", "when") for word in ("--drop", name)]
    code, text, _ = cli("fit", table, "--label", "price", *drop, *QUICK, "--out", tmp_path / "run")
    assert code == 0
    assert "90% intervals hold" in text
    out = tmp_path / "answers.csv"
    assert cli("predict", tmp_path / "run", table, "-o", out)[0] == 0
    rows = read_csv(out)
    assert list(rows[0]) == [
        "row", "price", "price_confidence", "price_abstained", "price_low", "price_high", "modalities_used",
        "warnings", "error",
    ]  # fmt: skip
    told = [row for row in rows if row["price_low"]]
    assert told
    assert all(float(row["price_low"]) < float(row["price"]) < float(row["price_high"]) for row in told)
    data = json.loads(cli("evaluate", tmp_path / "run", table, "--json")[1])
    found = data["targets"]["price"]["interval"]
    assert set(found) == {"level", "coverage", "mean_width", "subsets"}
    assert found["level"] == 0.9
    assert 0 < found["coverage"] <= 1
    assert found["subsets"]["table"]["mean_width"] == found["mean_width"]
    assert "90% intervals hold" in cli("evaluate", tmp_path / "run", table)[1]
    assert "intervals that hold the truth" in (tmp_path / "run" / "report" / "report.html").read_text()


def test_embed(cli, fitted, rooms, tmp_path):
    out = tmp_path / "vectors.parquet"
    code, text, _ = cli("embed", fitted.run, rooms.test, "-o", out, "--json")
    assert code == 0
    table = pyarrow.parquet.read_table(out)
    names = ["id", "embedding", *(f"embedding_{name}" for name in ("picture", "sound", "note", "time", "table"))]
    assert sorted(table.column_names) == sorted(names)
    assert json.loads(text)["rows"] == table.num_rows == 40
    vectors = np.array(table["embedding"].to_pylist())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(40), rel=1e-5)
    frame = pl.read_csv(rooms.test)
    gone = frame["picture"].is_null().to_list()
    assert any(gone)
    assert [cell is None for cell in table["embedding_picture"].to_pylist()] == gone


def test_doctor_and_list_json(cli):
    code, out, _ = cli("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"omnifuse", "python", "processor", "threads", "devices", "packages", "missing"} <= set(found)
    assert found["packages"]["torch"]
    code, out, _ = cli("list", "--json")
    parts = json.loads(out)
    assert code == 0
    assert {"joint", "sum", "mean", "max", "weighted", "concat"} <= set(parts["Fusions"])
    assert {"auto", "tiny", "small", "base"} == set(parts["Presets"])
    assert all(words for part in parts.values() for words in part.values())
    assert "text-transformer" in cli("list")[1]
    assert cli("doctor")[0] == 0


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "{table}"], "--label"),
        (["fit", "{table}", "--label", "kidn"], "did you mean 'kind'"),
        (["fit", "{table}", "--label", "kind", "--field", "note"], "is not NAME=VALUE"),
        (["fit", "{table}", "--label", "kind", "--epochs", "many"], "--epochs"),
        (["fit", "{table}", "--label", "kind", "--epochs", "1", "--minutes", "1"], "both given"),
        (["fit", "{table}", "--label", "kind", "--fusion", "x"], "no fusion 'x'"),
        (["predict", "{tmp}", "{table}", "-o", "{tmp}/x.csv"], "no model in"),
        (["predict", "{run}", "{other}", "-o", "{tmp}/x.csv"], "none of the model's fields"),
        (["predict", "{run}", "{test}", "-o", "{tmp}/x.xlsx"], "x.xlsx"),
        (["predict", "{run}", "{tmp}/gone.csv", "-o", "{tmp}/x.csv"], "gone.csv"),
        (["embed", "{run}", "{test}", "-o", "{tmp}/x.csv"], "Parquet"),
        (["evaluate", "{run}", "{table}"], "event"),
        (["nonsense"], "nonsense"),
        (["inspect", "{table}", "--lable", "x"], "--lable"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else None,
)
def test_wrong_input_exits_2_with_a_remedy_on_stderr(cli, fitted, table, tmp_path, arguments, words):
    other = table.with_name("other.csv")
    other.write_text("a,b\n1,2\n")
    places = {"table": table, "other": other, "tmp": tmp_path, "run": fitted.run, "test": fitted.world.test}
    code, out, err = cli(*(item.format(**places) for item in arguments))
    assert code == 2
    assert out == ""
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_missing_package_exits_3_with_the_line_to_type(cli, table, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    code, out, err = cli("fit", table, "--label", "kind", "--out", tmp_path / "run")
    assert (code, out) == (3, "")
    assert 'pip install "omnifuse[train]"' in err
    assert cli("list")[0] == 3


def test_a_full_disk_exits_3(cli, table, tmp_path, monkeypatch):
    from omnifuse.deploy import artefact

    def full(path, content):
        raise OSError(28, "No space left on device", "/secret/place/model.safetensors")

    monkeypatch.setattr(artefact, "write_atomically", full)
    code, _, err = cli("fit", table, "--label", "kind", *QUICK, "--out", tmp_path / "run")
    assert code == 3
    assert "No space left on device" in err


def test_our_bugs_exit_1_without_traceback(cli, table, monkeypatch):
    from omnifuse.api import inspection

    def broken(*arguments, **options):
        raise KeyError("boom")

    monkeypatch.setattr(inspection, "find", broken)
    code, out, err = cli("inspect", table)
    assert (code, out) == (1, "")
    assert "bug: KeyError" in err
    assert "--debug" in err


def test_version(cli):
    from omnifuse import __version__

    assert cli("--version")[1].strip() == __version__


def test_a_cell_like_a_formula_is_escaped_in_csv(cli, tmp_path):
    rows = [row | {"key": f"=cmd|' /C calc'!A{number}"} for number, row in enumerate(plain_rows(30))]
    table = tmp_path / "rows.csv"
    pl.DataFrame(rows).write_csv(table)
    cli("fit", table, "--label", "kind", *QUICK, "--out", tmp_path / "run", "--drop", "tags", "--drop", "price")
    cli("predict", tmp_path / "run", table, "-o", tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text()
    assert "\n=cmd" not in text
    assert '\n"=cmd' not in text
