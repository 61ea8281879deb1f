"""One test per kind of finding, and for each that an honest column is left alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from tests.column_table import ColumnTable

from omnifuse.data.duplicates import Sheet
from omnifuse.data.findings import find, find_leak_columns
from omnifuse.data.leaks import chi_square_p
from omnifuse.data.lookup import left_out
from omnifuse.data.personal import personal_findings
from omnifuse.data.tables import open_table
from omnifuse.errors import MediaError
from omnifuse.schema import Field, Finding, Modality, Schema, Target, TaskKind


class Door:
    """Media are arrays by name; a missing name is a broken file."""

    def __init__(self, **files):
        self.files = files

    def _open(self, cell):
        if cell not in self.files:
            raise MediaError(f"'{cell}' is no picture")
        return self.files[cell]

    def content_key(self, cell):
        return hashlib.sha256(self._open(cell).tobytes()).hexdigest()

    def image(self, cell):
        return self._open(cell)

    def audio(self, cell, rate_hz):
        return self._open(cell)


def schema_of(*, kind=TaskKind.CLASSIFICATION, ids=(), dropped=None, time=None, group=None, **fields):
    items = tuple(Field(name, Modality(modality)) for name, modality in fields.items())
    return Schema(items, (Target("label", kind),), ids, group, time, dropped or {})


def of_kind(found: list[Finding], kind: str, field: str | None = None) -> list[Finding]:
    return [item for item in found if item.kind == kind and field in (None, item.field)]


def draws(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def labels():
    return draws(1).choice(["cat", "dog", "cow"], 400, p=[0.5, 0.3, 0.2]).tolist()


def blurred(labels, share):
    """The label, but a random one in the given share of rows."""
    draw = draws(2)
    return [str(draw.choice(["cat", "dog", "cow"])) if draw.random() < share else label for label in labels]


def coded(labels):
    return [{"cat": 17, "dog": 4, "cow": 9}[label] for label in labels]


def test_missing_is_told_by_share():
    table = ColumnTable(
        few=[1] * 8 + [None] * 2, half=[1] * 5 + [None] * 5, most=[1] + [None] * 9, label=["a", "b"] * 5
    )
    found = of_kind(find(table, schema_of(few="number", half="number", most="number")), "missing")
    assert {(item.field, item.severity) for item in found} == {("half", "info"), ("most", "warning")}
    assert of_kind(found, "missing", "half")[0].rows == (5, 6, 7, 8, 9)


def test_unknown_labels_are_told():
    found = find(ColumnTable(x=[1, 2, 3], label=["a", None, "b"]), schema_of(x="number"))
    assert of_kind(found, "missing", "label")[0].rows == (1,)


def test_constant_column_is_told_and_others_are_not():
    found = find(
        ColumnTable(same=[1, 1.0, "1"], other=[1, 1, 2], label=["a", "b", "a"]),
        schema_of(same="number", other="number"),
    )
    assert [item.field for item in of_kind(found, "constant")] == ["same"]
    assert of_kind(found, "constant")[0].severity == "warning"


def test_identifiers_are_told_and_free_texts_and_measures_are_not():
    count = 60
    table = ColumnTable(
        code=[f"k{i:04d}" for i in range(count)],
        row=list(range(100, 100 + count)),
        note=[f"patient {i} felt well" for i in range(count)],
        weight=draws().normal(70, 9, count).tolist(),
        label=["a", "b"] * (count // 2),
    )
    found = of_kind(find(table, schema_of(code="text", row="number", note="text", weight="number")), "identifier")
    assert {item.field for item in found} == {"code", "row"}


def test_duplicate_and_conflicting_rows():
    table = ColumnTable(x=["a b", "c d", "a b", "c d", "e f"], y=[1, 2, 1, 2, 3], label=["p", "q", "p", "p", "q"])
    found = find(table, schema_of(x="text", y="number"))
    assert of_kind(found, "duplicate")[0].rows == (2,)
    assert of_kind(found, "conflict")[0].rows == (1, 3)
    table = ColumnTable(x=["a b", "c d", None, None], label=["p", "q", "p", "p"])
    found = find(table, schema_of(x="text"))
    assert not of_kind(found, "duplicate")
    assert not of_kind(found, "conflict")


def test_files_of_equal_content_are_duplicates():
    picture = draws().random((16, 16)).astype(np.float32)
    table = ColumnTable(image=["a.png", "b.png", "c.png"], label=["p", "p", "q"])
    door = Door(**{"a.png": picture, "b.png": picture.copy(), "c.png": 1 - picture})
    assert of_kind(find(table, schema_of(image="image"), door=door), "duplicate")[0].rows == (1,)
    assert not of_kind(find(table, schema_of(image="image")), "duplicate")


def test_texts_that_differ_in_marks_alone_are_near_duplicates():
    table = ColumnTable(
        note=["Room 12 is on fire!", "room 7 is on fire", "all is well here", "ok 1", "ok 2"], label=list("abcab")
    )
    found = of_kind(find(table, schema_of(note="text")), "near_duplicate")
    assert [item.rows for item in found] == [(0, 1)]


def test_pictures_that_look_the_same_are_near_duplicates():
    picture = draws().integers(0, 256, (32, 40, 3)).astype(np.uint8)
    changed = picture.copy()
    changed[0, 0] ^= 1
    door = Door(a=picture, b=changed, c=draws(9).integers(0, 256, (32, 40, 3)).astype(np.uint8), tiny=np.zeros((2, 2)))
    table = ColumnTable(image=["a", "b", "c", "tiny", "gone"], label=list("aabbb"))
    found = of_kind(find(table, schema_of(image="image"), door=door), "near_duplicate")
    assert [item.rows for item in found] == [(0, 1)]


@pytest.mark.parametrize("modality", ["number", "category", "text"])
def test_code_of_the_label_is_an_error(labels, modality):
    found = find(ColumnTable(code=coded(labels), label=labels), schema_of(code=modality))
    (leak,) = of_kind(found, "leak")
    assert (leak.field, leak.severity) == ("code", "error")
    assert "--drop code" in leak.text


def test_alternating_labels_do_not_hide_a_leak():
    found = find(ColumnTable(code=[3, 8] * 100, label=["yes", "no"] * 100), schema_of(code="number"))
    assert of_kind(found, "leak", "code")


def test_codes_of_many_small_classes_are_found():
    labels = [f"c{i // 4}" for i in range(200)]
    code = [f"word{(i // 4) * 7}" for i in range(200)]
    assert of_kind(find(ColumnTable(code=code, label=labels), schema_of(code="category")), "leak", "code")


@pytest.mark.parametrize("share", [0.06, 0.15, 0.4])
def test_honest_strong_columns_are_not_leaks(labels, share):
    code = coded(blurred(labels, share))
    measure = [value + draws(3).normal() for value in code]
    table = ColumnTable(code=code, measure=measure, label=labels)
    assert not of_kind(find(table, schema_of(code="category", measure="number")), "leak")


def test_frequent_class_is_no_proof():
    labels = ["usual"] * 396 + ["rare"] * 4
    table = ColumnTable(x=draws().choice(["p", "q"], 400).tolist(), flag=[0] * 396 + [1] * 4, label=labels)
    assert not of_kind(find(table, schema_of(x="category", flag="number")), "leak")


def test_bands_of_a_number_are_found(labels):
    spread = draws(4).random(len(labels))
    table = ColumnTable(score=[value + part for value, part in zip(coded(labels), spread, strict=True)], label=labels)
    assert of_kind(find(table, schema_of(score="number")), "leak", "score")[0].severity == "error"


def test_coarser_label_is_a_warning():
    labels = draws().choice(["anger", "fear", "joy", "pride"], 300).tolist()
    tone = ["bad" if label in ("anger", "fear") else "good" for label in labels]
    (leak,) = of_kind(find(ColumnTable(tone=tone, label=labels), schema_of(tone="category")), "leak")
    assert leak.severity == "warning"


def test_group_that_fixes_the_label_is_judged_on_new_groups():
    people = draws().integers(0, 40, 400)
    labels = ["ill" if draws(int(person)).random() < 0.5 else "well" for person in people]
    table = ColumnTable(height=(people * 1.5).tolist(), person=people.tolist(), label=labels)
    assert of_kind(find(table, schema_of(height="number")), "leak")
    assert not of_kind(find(table, schema_of(height="number", group="person")), "leak")


def test_label_text_in_cells(labels):
    told = [f"A {label.upper()}, seen on day {row}" for row, label in enumerate(labels)]
    untold = [f"an animal or catalogue seen on day {row}" for row in range(len(labels))]
    all_told = [f"cat, dog or cow on day {row}" for row in range(len(labels))]
    table = ColumnTable(told=told, untold=untold, all_told=all_told, label=labels)
    (leak,) = of_kind(find(table, schema_of(told="text", untold="text", all_told="text")), "leak")
    assert (leak.field, leak.severity) == ("told", "error")


def test_label_text_of_several_words_and_in_chinese():
    draw = draws()
    labels = draw.choice(["No Finding", "\u80ba\u708e"], 100).tolist()
    notes = [
        f"day {row}: {label.lower()}." if label[0] == "N" else f"\u60a3\u8005{label}{row}"
        for row, label in enumerate(labels)
    ]
    assert of_kind(find(ColumnTable(note=notes, label=labels), schema_of(note="text")), "leak", "note")


def test_label_of_one_character_must_be_a_whole_part_of_a_path():
    labels = [str(label) for label in draws().integers(0, 10, 300)]
    table = ColumnTable(
        path=[f"train/{label}/{row + 1000}.png" for row, label in enumerate(labels)],
        note=[f"number {label} at place {row}" for row, label in enumerate(labels)],
        label=labels,
    )
    assert {item.field for item in of_kind(find(table, schema_of(path="text", note="text")), "leak")} == {"path"}


def test_label_in_a_file_name_is_an_info(labels):
    table = ColumnTable(image=[f"pictures/{label}_{row}.png" for row, label in enumerate(labels)], label=labels)
    (leak,) = of_kind(find(table, schema_of(image="image")), "leak")
    assert leak.severity == "info"


def test_presence_that_tells_the_label(labels):
    draw = draws()
    told = [draw.normal() if (label == "cat") != (draw.random() < 0.1) else None for label in labels]
    honest = [draw.normal() if draw.random() < 0.6 else None for _ in labels]
    (leak,) = of_kind(
        find(ColumnTable(told=told, honest=honest, label=labels), schema_of(told="number", honest="number")), "leak"
    )
    assert (leak.field, leak.severity) == ("told", "warning")
    assert leak.text.startswith("presence")


def test_unused_columns_are_told_as_info(labels):
    table = ColumnTable(
        key=[f"{label}-{row}" for row, label in enumerate(labels)], code=coded(labels), x=labels[::-1], label=labels
    )
    found = of_kind(find(table, schema_of(x="category", ids=("key",), dropped={"code": "by the user"})), "leak")
    assert {(item.field, item.severity) for item in found} == {("key", "info"), ("code", "info")}
    assert all("is not used; it gives 'label' away" in item.text for item in found)


def test_number_that_is_the_regression_target_in_other_units():
    target = draws().normal(20, 5, 200)
    table = ColumnTable(
        copy=(target * 1.8 + 32).tolist(), close=(target + draws(5).normal(size=200)).tolist(), label=target.tolist()
    )
    (leak,) = of_kind(find(table, schema_of(copy="number", close="number", kind=TaskKind.REGRESSION)), "leak")
    assert (leak.field, leak.severity) == ("copy", "error")


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spoken(count=60):
    numbers = [draws(seed).integers(0, 10, 3 + seed % 4).tolist() for seed in range(count)]
    return numbers, [" ".join(DIGITS[digit] for digit in row) for row in numbers]


def test_columns_that_spell_a_text_to_be_written_are_errors():
    numbers, said = spoken()
    table = ColumnTable(
        code=["".join(map(str, row)) for row in numbers],
        copy=[f"{text.title()}." for text in said],
        number=[int("1" + "".join(map(str, row))) for row in numbers],
        length=[len(row) for row in numbers],
        other=said[1:] + said[:1],
        key=["-".join(map(str, row)) for row in numbers],
        sound=["sounds/" + "_".join(map(str, row)) + ".wav" for row in numbers],
        label=said,
    )
    fields = {"code": "category", "copy": "text", "number": "number", "length": "number", "other": "text"}
    schema = schema_of(kind=TaskKind.TRANSCRIPTION, ids=("key",), **fields, sound="audio")
    found = {item.field: item for item in of_kind(find(table, schema), "leak")}
    assert {name: item.severity for name, item in found.items()} == {
        "code": "error",
        "copy": "error",
        "sound": "info",
        "key": "info",
    }
    assert "spells 'label' word by word for 100.0% of the words" in found["code"].text
    assert "--drop code" in found["code"].text
    assert "file names in 'sound' spell 'label'" in found["sound"].text


def test_texts_of_one_word_are_spelt_by_nothing():
    table = ColumnTable(code=["1 1 1"] * 60, label=["yes yes yes"] * 60)
    assert not of_kind(find(table, schema_of(kind=TaskKind.CAPTIONING, code="text")), "leak")
    few = ColumnTable(code=["1"] * 20, label=DIGITS * 2)
    assert not of_kind(find(few, schema_of(kind=TaskKind.TRANSCRIPTION, code="text")), "leak")


def test_chinese_texts_are_spelt_by_their_characters():
    draw = draws()
    said = ["".join(draw.choice(list("\u4e00\u4e8c\u4e09\u56db"), 5)) for _ in range(60)]
    code = ["".join(str("\u4e00\u4e8c\u4e09\u56db".index(mark)) for mark in text) for text in said]
    found = of_kind(find(ColumnTable(code=code, label=said), schema_of(kind=TaskKind.CAPTIONING, code="text")), "leak")
    assert [item.field for item in found] == ["code"]


def test_codes_of_small_classes_in_few_groups_are_found():
    labels = [f"c{row // 4}" for row in range(200)]
    groups = [row // 4 if row % 20 < 4 else 1000 + row // 2 for row in range(200)]
    table = ColumnTable(code=[row // 4 * 3 for row in range(200)], clip=groups, label=labels)
    assert of_kind(find(table, schema_of(code="number", group="clip")), "leak", "code")


def test_wide_tables_are_sampled_the_more(monkeypatch):
    monkeypatch.setattr("omnifuse.data.duplicates._MOST_CELLS", 4000)
    table = ColumnTable(**{f"x{number}": list(range(2000)) for number in range(3)}, label=["a", "b"] * 1000)
    sheet = Sheet(table, 20_000)
    assert len(sheet.rows) == 1000


def test_a_table_that_can_select_is_read_once():
    table = open_table([{"x": row % 7, "label": "ab"[row % 2]} for row in range(500)])
    sheet = Sheet(table, 50)
    assert sheet.cells("x") == table.cells("x", sheet.rows)
    assert sheet.cells("absent") == [None] * 50


@pytest.mark.parametrize("seed", range(20))
def test_left_out_agrees_with_counting(seed):
    draw = draws(seed)
    codes, labels, units = (draw.integers(0, most, 60) for most in (5, 3, 12))
    right, seen = left_out(codes, labels, units)
    for row in range(60):
        same = codes == codes[row]
        votes = [len(set(units[same & (labels == label)].tolist())) for label in range(3)]
        votes[labels[row]] -= 1
        own = votes.pop(labels[row])
        assert bool(right[row]) == (own > max(votes))
        assert bool(seen[row]) == (own + sum(votes) > 0)


def test_find_leak_columns_takes_any_columns(labels):
    table = ColumnTable(code=coded(labels), x=labels[::-1], label=labels)
    assert [item.field for item in find_leak_columns(table, ["code", "x", "label"], labels)] == ["code"]
    assert find_leak_columns(table, ["code"], labels, sample=100)[0].field == "code"
    assert find_leak_columns(table, ["code"], labels, kind=TaskKind.RETRIEVAL) == []
    assert find_leak_columns(table, ["code"], [None] * 400) == []


def test_chi_square_agrees_with_known_values():
    assert chi_square_p(np.array([[10, 20], [20, 10]])) == pytest.approx(0.0098, rel=0.1)
    assert chi_square_p(np.array([[10, 10], [10, 10]])) == pytest.approx(1.0, abs=0.06)
    assert chi_square_p(np.array([[10, 0], [10, 0]])) == 1.0


def test_rows_and_files_of_the_test_table_in_the_training_table():
    files = {name: draws(seed).random((16, 16)) for seed, name in enumerate(["a", "b", "c"])}
    door = Door(**files, copy=files["a"])
    table = ColumnTable(image=["a", "b"], x=[1, 2], label=["p", "q"])
    test = ColumnTable(image=["c", "copy", "b"], x=[1, 1, 9], label=["p", "p", "q"])
    schema = schema_of(image="image", x="number")
    found = of_kind(find(table, schema, test=test, door=door), "overlap")
    assert {item.field: item.rows for item in found} == {"": (1,), "image": (1, 2)}
    assert not of_kind(find(table, schema, test=ColumnTable(image=["c"], x=[1], label=["p"]), door=door), "overlap")


@pytest.mark.parametrize(("small", "severity"), [(4, "warning"), (10, "info"), (100, None)])
def test_imbalance(small, severity):
    table = ColumnTable(x=list(range(400 + small)), label=["a"] * 400 + ["b"] * small)
    found = of_kind(find(table, schema_of(x="date"), sample=50), "imbalance")
    assert [item.severity for item in found] == ([severity] if severity else [])


def test_broken_media_are_counted_with_the_reason():
    good = draws().random((16, 16))
    table = ColumnTable(image=["a", "x", None, "y"], sound=["s", "s", "s", "s"], label=list("pqpq"))
    found = find(table, schema_of(image="image", sound="audio"), door=Door(a=good, s=good))
    (broken,) = of_kind(found, "broken_media")
    assert (broken.field, broken.rows, broken.severity) == ("image", (1, 3), "warning")
    assert "2 of 3" in broken.text
    assert "'x' is no picture" in broken.text


@pytest.mark.parametrize(
    ("column", "cells", "what"),
    [
        ("contact", ["anna@example.org", "b.c@mail.example.com", "write to x+y@a.de"], "e-mail"),
        ("contact", ["+49 170 1234567", "(030) 123-4567", "555-123-4567"], "phone"),
        ("account", ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606"], "IBAN"),
        ("number", ["123-45-6789", "987-65-4321", "111-22-3333"], "social security"),
        ("origin", ["10.0.0.1", "192.168.1.20", "2001:db8::8a2e:370:7334"], "IP"),
        ("place", ["12 Long Street", "Hauptstrasse 5", "7 Old Mill Road"], "street"),
        ("PatientName", ["x"], "persons"),
        ("date_of_birth", [None], "birth"),
    ],
)
def test_personal_data_is_told(column, cells, what):
    (found,) = personal_findings(column, cells)
    assert found.kind == "personal_data"
    assert found.severity == "info"
    assert what in found.text


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-01-25", "2020-01-26", "2020-01-27"],
        ["2020-01-25 10:11:12", "25.01.2020 17:30", "1/25/2020"],
        ["10:00:01", "10:00:02", "10:00:03"],
        ["1234567", "2345678", "3456789"],
        ["-12.50", "1.75", "123456.75"],
        ["DE00123456789012345678", "AB12CDEFGHIJKLMN", "XX11111111111111"],
        ["the street was empty", "we met at five", "no 5 is alive"],
        ["a" * 100_000, "1 " * 50_000, "@." * 50_000],
        [1, 2, 3],
        ["300.1.1.1", "999.0.0.1", "1.2.3"],
    ],
)
def test_other_cells_are_not_personal(cells):
    assert personal_findings("column", cells) == []


def test_find_looks_at_personal_columns_of_fields_and_ids():
    table = ColumnTable(
        mail=["a@b.de", "c@d.de", "e@f.de"], surname=["p", "q", "r"], x=[1, 2, 4], label=["u", "v", "u"]
    )
    found = of_kind(find(table, schema_of(mail="text", x="number", ids=("surname",))), "personal_data")
    assert {item.field for item in found} == {"mail", "surname"}


def test_large_tables_are_sampled_and_worst_comes_first(labels):
    table = ColumnTable(code=coded(labels) * 5, x=[None] * 2000, label=labels * 5)
    found = find(table, schema_of(code="number", x="number"), sample=300)
    assert [item.severity for item in found] == sorted(
        (item.severity for item in found), key=["error", "warning", "info"].index
    )
    assert found[0].kind == "leak"
    assert all(len(item.rows) <= 20 for item in found)


def test_empty_and_odd_tables_do_not_fail():
    assert find(ColumnTable(x=[], label=[]), schema_of(x="text")) == []
    odd = [np.zeros(3), b"bytes", [1, 2], {"a": 1}, None, 1e300, 10**400, "x" * 100, True, float("inf")] * 5
    table = ColumnTable(x=odd, y=odd[::-1], label=(["a", "b"] * 25))
    find(table, schema_of(x="series", y="category", gone="text"))
    find(ColumnTable(x=[cell for cell in odd if not isinstance(cell, int)]), Schema((), (), time="x"))
