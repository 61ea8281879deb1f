"""What users get wrong or tables lack: one clear line, the right kind of error, and never a lost row."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.conftest import ONE_LABEL, QUICK, plain_rows, room_rows

import omnifuse
from omnifuse.errors import InputError, MissingDependencyError


def fit(rows, label="kind", *, out, **options):
    return omnifuse.fit(rows, label, out=out, **(QUICK | ONE_LABEL | options))


@pytest.fixture(scope="module")
def rows():
    return plain_rows(40, seed=1)


@pytest.fixture(scope="module")
def model(rows, tmp_path_factory):
    return fit(rows, out=tmp_path_factory.mktemp("plain") / "run", drop=("key", "tags"), label=["kind", "price"])


def changed(rows, **columns):
    return [row | columns for row in rows]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "kidn"}, r"no column 'kidn'|'kidn'.*did you mean 'kind'"),
        ({"label": ()}, r"no label column was given"),
        ({"fusion": "jiont"}, r"no fusion 'jiont'.*did you mean 'joint'"),
        ({"preset": "tyni"}, r"no preset 'tyni'.*did you mean 'tiny'"),
        ({"encoders": {"note": "text-transfomer"}}, r"no encoder 'text-transfomer'.*did you mean 'text-transformer'"),
        ({"encoders": {"note": "image-conv"}}, r"'image-conv' reads image, not text.*text-transformer"),
        ({"encoders": {"nose": "text-transformer"}}, r"names 'nose', which is no input.*did you mean 'note'"),
        ({"settings": {"dropuot": "0.1"}}, r"no setting 'dropuot'.*did you mean 'dropout'"),
        ({"settings": {"dim": "33"}}, r"dim is 33.*num_heads"),
        ({"logger": "tensorbord"}, r"'tensorbord'.*tensorboard"),
        ({"tasks": {"kind": "clasification"}}, r"no task 'clasification'.*did you mean 'classification'"),
        ({"tasks": {"kidn": "classification"}}, r"'kidn'.*did you mean 'kind'"),
        ({"fields": {"note": "txt"}}, r"no modality 'txt'.*did you mean 'text'"),
        ({"fields": {"nose": "text"}}, r"'nose'.*did you mean 'note'"),
        ({"drop": ("nose",)}, r"'nose'.*did you mean 'note'"),
        ({"group": "famly"}, r"'famly'"),
        ({"time": "wen"}, r"'wen'.*did you mean 'when'"),
        ({"minutes": 1.0}, r"--minutes and --epochs were both given"),
        ({"epochs": 0}, r"--epochs is 0"),
        ({"seeds": 0}, r"--seeds is 0"),
        ({"epochs": None, "minutes": -1.0}, r"--minutes is -1"),
        ({"epochs": None, "minutes": math.nan}, r"--minutes is nan"),
        ({"epochs": None, "minutes": math.inf}, r"--minutes is inf"),
        ({"seed": -1}, r"--seed is -1"),
        ({"max_bad": 2.0}, r"--max-bad is 2"),
        ({"report_media": "all"}, r"--report-media is 'all'"),
        ({"tasks": {"note": "regression"}, "label": "note"}, r"label 'note' holds '.*no number"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_its_remedy_before_anything_is_written(rows, tmp_path, options, words):
    options = dict(options)
    label = options.pop("label", "kind")
    with pytest.raises(InputError, match=words):
        fit(rows, label, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["same"] * 40, r"label 'kind' has one class \('same'\)"),
        ([None] * 40, r"every cell of the label 'kind' is missing"),
        (["a"] * 5 + ["b"] * 4 + [None] * 31, r"only 9 rows can be learnt from.*31 rows have no label"),
    ],
    ids=["one class", "no label", "nine labels"],
)
def test_a_useless_label_is_named(rows, tmp_path, values, words):
    with pytest.raises(InputError, match=words):
        fit([row | {"kind": value} for row, value in zip(rows, values, strict=True)], out=tmp_path / "run")


def test_nine_rows_are_too_few(rows, tmp_path):
    with pytest.raises(InputError, match=r"only 9 rows can be learnt from.*at least 10 rows"):
        fit(rows[:9], out=tmp_path / "run")


def test_ten_rows_with_a_class_of_one_row_are_enough(rows, tmp_path):
    ten = [row | {"kind": "rare" if number == 3 else row["kind"]} for number, row in enumerate(rows[:10])]
    model = fit(ten, out=tmp_path / "run")
    assert "rare" in model.schema.targets[0].classes
    assert np.isfinite(model.predict_proba(ten)).all()


def test_rows_with_nothing_readable_are_counted_and_not_learnt_from(rows, tmp_path):
    empty = dict.fromkeys(("note", "size", "weight", "colour", "when"))
    heard = []
    model = fit(
        [row | empty if number < 3 else row for number, row in enumerate(rows)],
        out=tmp_path / "run",
        progress=lambda kind, data: heard.append(data.get("text", "")),
    )
    assert model.manifest["data"] == model.manifest["data"] | {"rows": 40, "learnt_from": 37}
    assert any("3 rows have no readable field and are not learnt from" in text for text in heard)
    assert "3 rows have no readable field" in (tmp_path / "run/report/report.html").read_text()


def test_a_row_with_nothing_readable_has_an_error_and_the_others_an_answer(model, rows):
    empty = dict.fromkeys(("note", "size", "weight", "colour", "when"))
    answers = model.predict([rows[0], rows[1] | empty, rows[2]], proba=True)
    assert [answer.error for answer in answers] == [None, "no field of this row can be read", None]
    assert [answer.targets["kind"].value is None for answer in answers] == [False, True, False]
    assert [answer.row_id for answer in answers] == [0, 1, 2]
    assert np.isfinite(model.predict_proba([rows[1] | empty])).all()
    scores = model.predict_proba([rows[1] | empty], target="kind")[0]
    assert scores == pytest.approx(model.readouts["kind"].prior)


def test_unknown_categories_and_wild_cells_are_answered(model, rows):
    wild = [
        rows[0] | {"colour": "never seen before"},
        rows[0] | {"size": "1e308", "weight": "-1e308"},
        rows[0] | {"size": "not a number"},
        rows[0] | {"when": "the day before yesterday"},
        rows[0] | {"when": "9999-12-31 23:59:59"},
        rows[0] | {"note": "\x00\ud83d\ude00 \u202e" * 50},
        rows[0] | {"note": "a" * 200_000},
        rows[0] | {"size": "inf", "weight": "nan"},
    ]
    answers = model.predict(wild, proba=True)
    assert len(answers) == len(wild)
    for answer in answers:
        assert answer.error is None
        assert sum(answer.targets["kind"].probabilities.values()) == pytest.approx(1)
        assert math.isfinite(answer.targets["price"].value)
    assert any("size" in text and "not a number" in text for text in answers[2].warnings)
    assert any(text.startswith("when:") for text in answers[3].warnings)


def answered(model, table):
    return [answer.targets["price"].value for answer in model.predict(table)]


def test_column_order_and_extra_columns_change_nothing(model, rows):
    expected = answered(model, rows)
    assert answered(model, [dict(reversed(row.items())) for row in rows]) == expected
    assert answered(model, changed(rows, another="x", _target_="os.system")) == expected
    assert (
        answered(model, [{k: v for k, v in row.items() if k not in ("kind", "price", "tags")} for row in rows])
        == expected
    )


def test_an_absent_column_is_missing_and_each_row_says_so(model, rows):
    without = [{name: cell for name, cell in row.items() if name != "note"} for row in rows]
    answers = model.predict(without)
    assert all(answer.warnings == ("column 'note' is absent: treated as missing",) for answer in answers)
    assert all("note" not in answer.modalities_used for answer in answers)
    assert answered(model, changed(rows, note=None)) == answered(model, without)


def test_a_table_with_no_column_of_the_model_is_refused(model):
    with pytest.raises(InputError, match=r"none of the model's fields.*nota"):
        model.predict([{"nota": "x", "b": "y"}])


def test_other_types_of_cell_mean_the_same(model, rows):
    typed = [row | {"size": float(row["size"]), "weight": np.float32(row["weight"])} for row in rows]
    assert answered(model, typed) == pytest.approx(answered(model, rows), rel=1e-4)
    frame = pl.DataFrame(rows).with_columns(pl.col("size").cast(pl.Float64), pl.col("colour").cast(pl.Categorical))
    assert answered(model, frame) == pytest.approx(answered(model, rows), rel=1e-5)


def test_scoring_says_what_is_wrong_with_the_labels(model, rows):
    with pytest.raises(InputError, match=r"no label column 'kind'.*use predict"):
        model.evaluate([{k: v for k, v in row.items() if k != "kind"} for row in rows])
    with pytest.raises(InputError, match=r"no label of 'kind' can be scored.*green.*knows blue, red"):
        model.evaluate(changed(rows, kind="green"))
    result = model.evaluate([*rows, rows[0] | {"kind": "green"}])
    assert result["targets"]["kind"]["unknown"] == {"green": 1}
    with pytest.raises(InputError, match=r"no target 'kidn'.*did you mean 'kind'"):
        model.predict_proba(rows, target="kidn")


def test_a_missing_package_is_named_with_the_line_to_type(rows, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightning" else find(name))
    with pytest.raises(MissingDependencyError, match=r'needs lightning.*pip install "omnifuse\[train\]"') as caught:
        fit(rows, out=tmp_path / "run")
    assert caught.value.exit_code == 3
    with pytest.raises(MissingDependencyError, match="lightning"):
        omnifuse.load(tmp_path)


# Media


@pytest.fixture(scope="module")
def broken_row(rooms, tmp_path_factory):
    path = tmp_path_factory.mktemp("broken") / "broken.png"
    whole = next((rooms.folder / "pictures").glob("*.png")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return str(path)


def break_some(rows, path, count):
    places = [number for number, row in enumerate(rows) if row["picture"]][:count]
    return [row | {"picture": path} if number in places else row for number, row in enumerate(rows)]


MEDIA = {"drop": ("id", "note", "temperature", "co2", "room", "time", "sound"), "label": "event"}


def test_t40_broken_media_above_the_accepted_share_stop_the_fit(rooms, broken_row, tmp_path):
    rows = break_some(room_rows(rooms.train, 40), broken_row, 2)
    with pytest.raises(InputError, match=r"2 of \d+ cells of field 'picture' cannot be read.*row \d+.*--max-bad"):
        fit(rows, out=tmp_path / "run", **MEDIA)


def test_t40_broken_media_below_it_are_counted_and_count_as_missing(rooms, broken_row, tmp_path):
    rows = break_some(room_rows(rooms.train, 40), broken_row, 2)
    heard = []
    model = fit(rows, out=tmp_path / "run", max_bad=0.1, **MEDIA, progress=lambda kind, data: heard.append(data))
    assert any("2 unreadable cells of 'picture' count as missing" in item.get("text", "") for item in heard)
    answers = model.predict(rows)
    bad = [answer for answer in answers if any(text.startswith("picture:") for text in answer.warnings)]
    assert len(bad) == 2
    assert all(answer.error for answer in bad)


def test_media_of_other_sizes_and_rates_are_answered(fitted, rooms):
    rows = room_rows(rooms.train, 4)
    draw = np.random.default_rng(0)
    for size in ((1, 1), (7, 300), (640, 480)):
        rows.append(rows[0] | {"picture": draw.integers(0, 255, (*size, 3)).astype(np.uint8)})
    for rate, seconds in ((8000, 0.02), (44_100, 1.3), (11_025, 30.0), (96_000, 0.5)):
        sound = draw.normal(0, 0.1, int(rate * seconds)).astype(np.float32)
        rows.append(rows[0] | {"sound": (sound, rate)})
    rows.append(rows[0] | {"sound": (np.zeros((8000, 2), np.float32), 8000)})
    answers = fitted.model.predict(rows, proba=True)
    longest = f"{fitted.model.preprocessors['sound'].max_seconds:g}"
    told = {number: answer.warnings for number, answer in enumerate(answers) if answer.warnings}
    assert told == {9: (f"sound: only the first {longest} s are used",)}
    for answer in answers:
        assert answer.error is None
        assert sum(answer.targets["event"].probabilities.values()) == pytest.approx(1)


def test_t12_answers_say_which_media_hold_no_numbers(fitted, rooms):
    rows = room_rows(rooms.train, 3)
    values = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    values[:2] = np.nan
    rows[1]["picture"] = Image.fromarray(values)
    rows[2]["sound"] = (np.where(np.arange(8000) < 7, np.nan, 0.1).astype(np.float32), 8000)
    answers = fitted.model.predict(rows)
    assert [answer.warnings for answer in answers] == [
        (),
        ("picture: 40 of 400 pixels are not finite numbers and count as 0",),
        ("sound: 7 of 8000 samples are not finite numbers and count as 0",),
    ]
    assert all(answer.error is None for answer in answers)


def test_every_cell_of_a_media_column_missing_at_predict(fitted, rooms):
    rows = [row | {"picture": None, "sound": ""} for row in room_rows(rooms.train, 6)]
    answers = fitted.model.predict(rows)
    assert all(answer.error is None for answer in answers)
    assert all(not {"picture", "sound"} & set(answer.modalities_used) for answer in answers)


def test_a_fit_without_a_shallow_head(rows, tmp_path):
    model = fit(rows, out=tmp_path / "run", settings={"shallow": "none"}, drop=("key", "tags"))
    assert not any("shallow" in name for name in model.network.state_dict())
    assert all(answer.error is None for answer in model.predict(rows[:5]))


def test_another_table_is_scored_by_simple_models_too(rows, tmp_path):
    other = plain_rows(30, seed=9, holes=0.2)
    model = fit(rows, out=tmp_path / "run", valid=other, baselines=True, fields={"note": "text"}, drop=("key", "tags"))
    found = model.metrics["targets"]["kind"]["baselines"]
    assert {"majority", "note", "table", "table: linear", "table: trees", "note: tf-idf + linear"} <= set(found)
    assert all(0 <= scores["accuracy"]["value"] <= 1 for scores in found.values())
    # The label is written in the note and shows in the size: whoever answers other rows than asked cannot know it
    assert found["table: linear"]["accuracy"]["value"] > 0.8
    assert found["note: tf-idf + linear"]["accuracy"]["value"] > 0.7


def test_a_fault_of_the_scored_table_is_told_before_the_training(rows, tmp_path):
    with pytest.raises(InputError, match=r"no label column 'kind'"):
        fit(rows, out=tmp_path / "run", valid=[{"note": "red", "size": "1"}])
    assert not list((tmp_path / "run").glob("checkpoints/*"))
