"""Classes that are named by words alone, on a space that holds text."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import omnifuse
from omnifuse import InputError
from omnifuse.api.naming import named_labels

COLOURS = {"crimson": (220, 60, 50), "emerald": (60, 190, 70), "cobalt": (60, 80, 220)}
QUICK = {"preset": "tiny", "logger": "none"}


def pictures(count, seed):
    draw = np.random.default_rng(seed)
    names = list(COLOURS)
    rows = []
    for number in range(count):
        name = names[number % 3]
        pixels = np.asarray(COLOURS[name]) * draw.uniform(0.6, 1.0) + draw.normal(0, 25, (16, 16, 3))
        rows.append({"photo": np.clip(pixels, 0, 255).astype(np.uint8), "words": f"{name} thing {draw.integers(99)}"})
    return rows


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("space") / "run"
    fields = {"photo": "image", "words": "text"}
    omnifuse.pretrain(pictures(72, 0), out=out, fields=fields, epochs=16, **QUICK)
    return out


def test_pictures_are_named_by_words(space):
    model = omnifuse.load(space)
    rows = pictures(30, 1)
    answers = model.predict_named([{"photo": row["photo"]} for row in rows], list(COLOURS), proba=True)
    right = [a.targets["label"].value == row["words"].split()[0] for a, row in zip(answers, rows, strict=True)]
    # By chance a third
    assert np.mean(right) >= 0.8
    for answer in answers:
        found = answer.targets["label"]
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.confidence == max(found.probabilities.values())
        assert answer.modalities_used == ("photo",)


def test_what_tells_strangers_apart_is_kept(space):
    assert 1 < omnifuse.load(space).manifest["pretraining"]["scale"] <= 100


def test_a_row_without_anything_is_an_error_of_its_own(space):
    found = omnifuse.load(space).predict_named([{"photo": None}, {"photo": pictures(1, 2)[0]["photo"]}], "a,b")
    assert found[0].error == "no field of this row can be read"
    assert found[0].targets["label"].value is None
    assert found[1].error is None


def test_names_are_read():
    assert named_labels(["a, b", "c"]) == ("a, b", "c")
    with pytest.raises(InputError, match="--labels names 1 class"):
        named_labels("one,")
    with pytest.raises(InputError, match="names 'a' twice"):
        named_labels("a,b,a")


def test_a_model_without_text_or_without_a_space_says_so(tmp_path):
    rows = [{"size": number % 7 + 0.5, "note": f"word{number % 5} and more words {number}", "kind": "ab"[number % 2]}
            for number in range(24)]  # fmt: skip
    plain = omnifuse.fit(rows, "kind", out=tmp_path / "a", epochs=1, baselines=False, report_media="none", **QUICK)
    with pytest.raises(InputError, match="has no space in which names"):
        plain.predict_named(rows, "a,b")
    sizes = [{"size": row["size"], "other": row["size"] ** 2} for row in rows]
    mute = omnifuse.pretrain(sizes, out=tmp_path / "b", fields={"size": "number", "other": "number"}, epochs=1, **QUICK)
    with pytest.raises(InputError, match="holds no text"):
        mute.predict_named(sizes, "a,b")


def test_the_command_line(space, tmp_path, capsys):
    import polars as pl
    from PIL import Image

    from omnifuse.cli.main import run

    rows = pictures(3, 4)
    for number, row in enumerate(rows):
        Image.fromarray(row["photo"]).save(tmp_path / f"{number}.png")
    table = tmp_path / "rows.csv"
    table.write_text("photo\n0.png\n1.png\n2.png\n")
    with pytest.raises(SystemExit) as end:
        run(["predict", str(space), str(table), "-o", str(tmp_path / "out.csv"), "--labels", "crimson,emerald,cobalt",
             "--proba", "--json"])  # fmt: skip
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.columns[:6] == ["row", "label", "label_confidence", "label=crimson", "label=emerald", "label=cobalt"]
    with pytest.raises(SystemExit) as end:
        run(["predict", str(space), str(table), "-o", str(tmp_path / "o.csv"), "--labels", "crimson"])
    assert end.value.code == 2
    assert "--labels names 1 class" in capsys.readouterr().err
