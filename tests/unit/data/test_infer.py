"""From a table to its schema, with every override and every wrong name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from omnifuse.data import infer
from omnifuse.data.infer import infer_schema, infer_target
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError
from omnifuse.schema import Modality, TaskKind

COUNT = 60


def columns(**more):
    draw = np.random.default_rng(0)
    words = np.array(["smoke", "came", "out", "of", "the", "lamp", "near", "a", "quiet", "window"])
    return {
        "id": [f"r{i}" for i in range(COUNT)],
        "note": [" ".join(draw.choice(words, 6)) + f" {i}" for i in range(COUNT)],
        "heat": draw.normal(20, 3, COUNT).round(2).tolist(),
        "town": draw.choice(["Rome", "Oslo"], COUNT).tolist(),
        "day": [f"2024-03-{i % 28 + 1:02d}" for i in range(COUNT)],
        "label": draw.choice(["fire", "normal"], COUNT).tolist(),
        **more,
    }


def schema_of(table, *labels, **options):
    given = {"fields": {}, "tasks": {}, "drop": (), "group": None, "time": None, **options}
    return infer_schema(open_table(table), labels, **given)


def rows(**more):
    return [dict(zip(columns(**more), cells, strict=True)) for cells in zip(*columns(**more).values(), strict=True)]


def label_of(cells, **options):
    return schema_of(pl.DataFrame({"x": [f"{i / 7}" for i in range(len(cells))], "y": cells}), "y", **options).targets[
        0
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "polars", "pandas", "list"])
def test_every_source_gives_the_same_schema(kind, tmp_path):
    frame = pl.DataFrame(columns())
    path = tmp_path / f"x.{kind}"
    if kind in ("csv", "tsv"):
        frame.write_csv(path, separator="," if kind == "csv" else "\t")
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    source = {"polars": frame, "pandas": pd.DataFrame(columns()), "list": rows()}.get(kind, path)
    schema = schema_of(source, "label")
    assert {item.name: item.modality.value for item in schema.fields} == {
        "note": "text",
        "heat": "number",
        "town": "category",
        "day": "date",
    }
    assert schema.ids == ("id",)
    assert "numbers the rows" in schema.dropped["id"]
    (target,) = schema.targets
    assert (target.kind, target.classes) == (TaskKind.CLASSIFICATION, ("fire", "normal"))
    assert all(item.reason for item in (*schema.fields, target))
    assert [item.name for item in schema.inputs] == ["note", "day", "table"]


def test_folder_of_classes(tmp_path):
    for part in ("train", "test"):
        for label in ("03", "3"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (8, 8)).save(tmp_path / part / label / f"{number}.png")
    schema = schema_of(tmp_path, "label")
    assert [(item.name, item.modality) for item in schema.fields] == [("image", Modality.IMAGE)]
    assert schema.targets[0].classes == ("03", "3")


def test_several_columns_of_one_modality():
    table = columns(second=columns()["note"][::-1], left=[np.zeros((9, 9, 3), np.uint8)] * COUNT)
    table["right"] = table["left"]
    schema = schema_of([dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)], "label")
    found = {item.name: item.modality for item in schema.inputs}
    assert [found[name] for name in ("note", "second")] == [Modality.TEXT] * 2
    assert [found[name] for name in ("left", "right")] == [Modality.IMAGE] * 2


def test_shares_of_missing_cells():
    schema = schema_of(pl.DataFrame({"a": ["x y z 1", None, "x y z 2", None], "y": ["p", "q", None, "q"]}), "y")
    assert schema.field("a").missing == 0.5
    assert schema.targets[0].missing == 0.25


def test_several_labels_and_none():
    schema = schema_of(rows(), "label", "heat")
    assert [item.kind for item in schema.targets] == [TaskKind.CLASSIFICATION, TaskKind.REGRESSION]
    assert "heat" not in [item.name for item in schema.fields]
    assert schema_of(rows()).targets == ()


def test_overrides():
    schema = schema_of(
        rows(),
        "label",
        fields={"id": "category", "heat": "category", "town": "text"},
        drop=("note",),
        time="day",
        group="town",
    )
    assert schema.field("id").modality is Modality.CATEGORY
    assert schema.field("heat").reason == "said by --field"
    assert schema.dropped == {"note": "left out by --drop", "day": "it is the time of a row, not a field"}
    assert (schema.group, schema.time) == ("town", "day")
    assert schema_of(rows(), "heat", tasks={"heat": "classification"}).targets[0].kind is TaskKind.CLASSIFICATION


def test_absent_media_are_dropped_unless_they_are_all():
    table = columns(image=[f"pictures/{i}.png" for i in range(COUNT)])
    schema = schema_of(pl.DataFrame(table), "label")
    assert schema.dropped["image"].endswith("none of these files is there")
    alone = schema_of(pl.DataFrame({"image": table["image"], "label": table["label"]}), "label")
    assert alone.field("image").modality is Modality.IMAGE
    odd = [("x" * 5000) + ".png", "a\0b.png"] * (COUNT // 2)
    assert (
        "image" in schema_of([{**row, "image": cell} for row, cell in zip(rows(), odd, strict=True)], "label").dropped
    )


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["03", "3", "03", "10"], "classification", ("03", "10", "3")),
        ([0, 1, 0, 1], "classification", ("0", "1")),
        (["0.0", "1.0", "1.0"], "classification", ("0.0", "1.0")),
        ([0.0, 1.0, None], "classification", ("0", "1")),
        ([True, False], "classification", ("False", "True")),
        (["\u7537", "\u5973"], "classification", ("\u5973", "\u7537")),
        ([" a", "a ", "b"], "classification", ("a", "b")),
        ([str(i) for i in range(20)], "classification", None),
        ([str(i) for i in range(21)], "regression", ()),
        ([0.5, 1.0, 1.0], "regression", ()),
        (["1,5", "2,5", "1"], "regression", ()),
        (["a|b", "b", "c|a"], "tagging", ("a", "b", "c")),
        ([["a"], ["b", "a"], None], "tagging", ("a", "b")),
        ([f"c{i % 30}" for i in range(90)], "classification", None),
    ],
)
def test_rules_of_labels(cells, kind, classes):
    target = label_of(cells)
    assert target.kind.value == kind
    assert classes is None or target.classes == classes


def test_rare_values_decide_too():
    cells = [str(number % 3) for number in range(5000)]
    cells[1::700] = [str(100 + number) for number in range(len(cells[1::700]))]
    cells += [str(200 + number) for number in range(15)]
    assert label_of(cells).kind is TaskKind.REGRESSION


def test_a_label_known_in_rows_that_no_sample_meets():
    cells = [None] * 9000
    cells[4], cells[5] = "a", "b"
    target = label_of(cells)
    assert target.classes == ("a", "b")
    assert target.missing == pytest.approx(8998 / 9000)


def written(**more):
    table = {"text": [f"word {i} and more" for i in range(COUNT)], "heat": [i / 7 for i in range(COUNT)], **more}
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


SOUND, PICTURE = [(np.zeros(9), 8000)] * COUNT, [np.zeros((9, 9, 3), np.uint8)] * COUNT


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"s": SOUND}, "transcription"),
        ({"s": SOUND, "p": PICTURE}, "transcription"),
        ({"p": PICTURE, "q": PICTURE}, "captioning"),
    ],
)
def test_texts_to_write(more, kind):
    schema = schema_of(written(**more), "text")
    assert schema.targets[0].kind.value == kind
    assert schema.written == schema.targets
    assert schema.chosen == ()
    classes = (TaskKind.CLASSIFICATION,)
    with pytest.raises(InputError, match=f"texts to write, not classes. That would be {kind}, which .* not learn"):
        schema_of(written(**more), "text", learnt=classes)


@pytest.mark.parametrize("more", [{}, {"s": SOUND, "t": SOUND}, {"s": SOUND, "t": SOUND, "p": PICTURE}])
def test_texts_that_could_be_anything_ask_for_the_task(more):
    with pytest.raises(InputError, match=r"60 different texts in 60 cells: texts to write.*Say --task text=capt"):
        schema_of(written(**more), "text", learnt=tuple(TaskKind))
    assert schema_of(written(**more), "text", tasks={"text": "classification"}).targets[0].kind == "classification"


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        ([None, None], {}, "every cell of the label 'y' is missing. Give rows with a label"),
        (["", " "], {}, "every cell of the label 'y' is missing"),
        (["a", "a", None], {}, r"label 'y' has one class \('a'\). in <memory>. Give rows of at least two classes"),
        ([1.5, 1.5], {}, "label 'y' has the same value in every row"),
        (["1.5", "x"], {"tasks": {"y": "regression"}}, "label 'y' holds 'x' in row 2, which is no number. Mend"),
        (["|", "|"], {"tasks": {"y": "tagging"}}, "label 'y' has no class"),
        (
            ["a", "b"],
            {"tasks": {"y": "classifcation1"}},
            "there is no task 'classifcation1'. did you mean 'classification'",
        ),
        (["a", "b"], {"tasks": {"y": "retrieval"}}, "there is no task 'retrieval'"),
        (["a", "b"], {"tasks": {"y": "transcription"}}, "y=transcription needs one field of sound, there are 0"),
        (["a", "b"], {"tasks": {"y": "answering"}}, "y=answering needs a field of text that holds the question"),
    ],
)
def test_labels_that_teach_nothing(cells, options, words):
    with pytest.raises(InputError, match=words):
        label_of(cells, **options)


def test_too_many_classes(monkeypatch):
    monkeypatch.setattr(infer, "MAX_CLASSES", 2)
    with pytest.raises(InputError, match=r"label 'y' has 3 classes. At most 2 are learnt"):
        label_of(["a", "b", "c"])


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (("labxel",), {}, "--label names the column 'labxel', which <memory> lacks. did you mean 'label'"),
        (("label",), {"fields": {"hest": "number"}}, "--field names the column 'hest', .* did you mean 'heat'"),
        (("label",), {"drop": ("nota",)}, "--drop names the column 'nota', .* did you mean 'note'"),
        (("label",), {"tasks": {"labell": "tagging"}}, "--task names the column 'labell', .* did you mean 'label'"),
        (("label",), {"group": "towwn"}, "--group names the column 'towwn', .* did you mean 'town'"),
        (("label",), {"time": "days"}, "--time names the column 'days', .* did you mean 'day'"),
        (("label",), {"fields": {"note": "txt"}}, "there is no modality 'txt'. did you mean 'text'"),
        (("label",), {"fields": {"note": "graph"}}, "there is no modality 'graph'"),
        (("label",), {"tasks": {"town": "tagging"}}, "--task names 'town', which is no label. Say --label town"),
        (("label", "label"), {}, "--label names 'label' twice"),
        (("label",), {"group": "label"}, "--group and --label both name 'label'"),
        (("label",), {"time": "label"}, "--time and --label both name 'label'"),
        (("label",), {"drop": ("label",)}, "--drop and --label both name 'label'"),
        (("label",), {"fields": {"label": "text"}}, "--field and --label both name 'label'"),
        (("label",), {"fields": {"note": "text"}, "drop": ("note",)}, "--drop and --field both name 'note'"),
    ],
)
def test_wrong_names(labels, options, words):
    with pytest.raises(InputError, match=words):
        schema_of(rows(), *labels, **options)


def test_nothing_left_to_learn_from():
    with pytest.raises(
        InputError, match=r"no field to learn from. id: its name .*Name one with --field COLUMN=MODALITY"
    ):
        schema_of([{"id": f"r{i}", "label": "ab"[i % 2]} for i in range(30)], "label")


def test_target_alone():
    table = open_table([{"y": "a"}, {"y": "b"}])
    assert infer_target(table, "y", None).classes == ("a", "b")
    with pytest.raises(InputError, match=r"--label names the column 'z'"):
        infer_target(table, "z", None)


def test_large_tables_are_sampled(monkeypatch):
    monkeypatch.setattr(infer, "SAMPLED_CELLS", 50)
    table = open_table(pl.DataFrame({"x": [f"{i % 13}.5" for i in range(5000)], "y": ["a", "b"] * 2500}))
    seen = []
    monkeypatch.setattr(infer, "judge", lambda name, cells: seen.append(len(cells)) or infer.Kind(Modality.NUMBER, "-"))
    infer_schema(table, ("y",), fields={}, tasks={}, drop=(), group=None, time=None)
    assert seen == [50]
