"""Bodies to questions: JSON, cells and forms, without a server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving import SCHEMA, base64_of, picture

from omnifuse.schema import Field, Modality, Schema, Target, TaskKind
from omnifuse.serve.cells import read_row
from omnifuse.serve.columns import columns_of
from omnifuse.serve.example import example_row
from omnifuse.serve.json_body import is_too_deep, parse_json
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.question import parse_question, read_question
from omnifuse.serve.request_error import RequestError

COLUMNS, LIMITS = columns_of(SCHEMA), ServeLimits()


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(st.recursive(st.text(alphabet='[]{}"\\a') | st.integers(), lambda inner: st.lists(inner) |
                    st.dictionaries(st.text(alphabet='[{"\\'), inner), max_leaves=60))  # fmt: skip
def test_depth_is_that_of_what_is_parsed(value):
    for most in range(5):
        assert is_too_deep(json.dumps(value).encode(), most=most) == (depth_of(value) > most)
    assert parse_json(json.dumps(value).encode(), LIMITS) == value


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[" * 100_000, 413), (b'{"a":' * 100_000, 413), (b'"' + b'\\"' * 1_000_000, 400), (b"1" * 10_000, 400),
     (b"", 400), (b"[1,]", 400), (b'{"a": Infinity}', 400)],
)  # fmt: skip
def test_bad_json_is_refused(body, status):
    with pytest.raises(RequestError) as caught:
        parse_json(body, LIMITS)
    assert caught.value.status == status


def test_too_many_keys_are_refused():
    body = json.dumps({"rows": [{f"k{number}": 1} for number in range(30)]}).encode()
    with pytest.raises(RequestError, match="more than 20 keys"):
        parse_json(body, replace(LIMITS, max_json_keys=20))


def test_columns_are_those_of_the_schema():
    schema = Schema(
        (
            Field("film", Modality.VIDEO), Field("film sound", Modality.AUDIO, column="film"),
            Field("lat", Modality.PLACE, part_of="place"), Field("lon", Modality.PLACE, part_of="place"),
        ),
        (Target("label", TaskKind.CLASSIFICATION),), group="who", time="when", dropped={"junk": "constant"},
    )  # fmt: skip
    columns = columns_of(schema)
    assert columns.fields == {"film": Modality.VIDEO, "lat": Modality.PLACE, "lon": Modality.PLACE}
    assert columns.known == ("film", "lat", "lon", "who", "when")
    assert columns.unused == {"label", "junk"}
    assert example_row(schema) == {"lat": 52.52, "lon": 13.405}
    cells, warnings = read_row({"lat": 1.5, "lon": "2", "film": base64_of(b"abc"), "label": "x"}, columns, LIMITS)
    assert cells == {"lat": 1.5, "lon": "2", "film": b"abc"}
    assert warnings == []


@pytest.mark.parametrize(
    ("field", "value", "cell"),
    [
        ("photo", None, None), ("photo", "", None), ("photo", " ", None), ("photo", b"", None), ("photo", b"x", b"x"),
        ("photo", {"base64": "YWJj"}, b"abc"), ("photo", ["YWJj", {"base64": "YWJj"}, None], [b"abc", b"abc"]),
        ("pulse", [[1, 2]], [[1, 2]]), ("pulse", "[1, 2]", "[1, 2]"), ("pulse", {"time": [0], "a": [1]},
         {"time": [0], "a": [1]}), ("pulse", {"base64": "YWJj"}, b"abc"), ("pulse", "YWJj", b"abc"),
        ("size", "3,5", "3,5"), ("size", 3, 3), ("note", b"caf\xc3\xa9", "caf\xe9"), ("key", 7, 7),
    ],
)  # fmt: skip
def test_values_become_cells(field, value, cell):
    assert read_row({field: value}, COLUMNS, LIMITS) == ({field: cell}, [])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("photo", "/etc/passwd", "opens no path"), ("photo", "http://127.0.0.1/a", "opens no path"),
        ("photo", "data:image/png;base64,YWJj", "opens no path"), ("sound", "..", "opens no path"),
        ("photo", {"path": "/etc/passwd"}, "an object other than"), ("photo", 5, "cannot be a number"),
        ("photo", [["YWJj"]], "a list inside"), ("photo", ["YWJj"] * 17, "at most 16"), ("clip", ["YWJj"], "a list"),
        ("pulse", "/etc/passwd", "opens no path"), ("pulse", "series.csv", "opens no path"),
        ("photo", "====", "base64"),
        ("note", ["a"], "list where a text"), ("size", {"a": 1}, "object where"), ("note", b"\xff", "not UTF-8"),
        ("key", [1], "list where"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_read_are_missing_and_named(field, value, words):
    cells, (warning,) = read_row({field: value, "note": value if field == "note" else "x"}, COLUMNS, LIMITS)
    assert cells[field] is None
    assert warning.startswith(f"{field}: ")
    assert words in warning


def test_no_text_in_a_field_of_files_stays_a_text():
    for field in ("photo", "sound", "clip"):
        for value in ("picture.png", "YWJj", {"base64": "/tmp"}):
            cell = read_row({field: value}, COLUMNS, LIMITS)[0][field]
            assert cell is None or isinstance(cell, bytes)


def test_large_media_are_refused():
    small = replace(LIMITS, max_medium_bytes=1 << 20)
    with pytest.raises(RequestError, match="more than 1 MB") as caught:
        read_row({"photo": "A" * (2 << 20)}, COLUMNS, small)
    assert caught.value.status == 413
    with pytest.raises(RequestError, match="more than 1 MB"):
        read_row({"photo": b"A" * (2 << 20)}, COLUMNS, small)


def test_too_many_rows_are_refused():
    with pytest.raises(RequestError, match="513 rows") as caught:
        read_question({"rows": [{}] * 513}, COLUMNS, LIMITS)
    assert caught.value.status == 413


FORM = "multipart/form-data; boundary=X"


def form(*parts):
    return b"".join(b"--X\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + body + b"\r\n"
                    for head, body in parts) + b"--X--\r\n"  # fmt: skip


def test_several_files_of_one_name_are_several_media():
    pytest.importorskip("python_multipart")
    body = form(*[(b'name="photo"; filename="a.png"', picture())] * 2, (b'name="size"', b"3"))
    question = parse_question(body, FORM, COLUMNS, LIMITS)
    assert question.rows == [{"photo": [picture(), picture()], "size": "3"}]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (form((b'name="note"', b"a"), (b'name="note"', b"b")), FORM, 400, "stands twice"),
        (form((b'filename="x"', b"a")), FORM, 400, "has no name"),
        (form((b'name="note"', b"a"))[:-9], FORM, 400, "ends before|damaged"),
        (b"nonsense", FORM, 400, "damaged|ends before"),
        (form((b'name="note"', b"a")), "multipart/form-data", 400, "no boundary"),
        (form(*[(b'name="note"', b"a")] * 2000), FORM, 413, "more than 1024 parts"),
        (form((b'name="note"' + (b"\r\nX-More: " + b"y" * 1500) * 3, b"a")), FORM, 413, "too many headers"),
        (form((b'name="600.note"', b"a")), FORM, 413, "at most 512 rows"),
        (form((b'name="nota"', b"a")), FORM, 422, "did you mean 'note'"),
        (form((b'name="note"', b"\xff")), FORM, 400, "not UTF-8"),
        (form((b'name="rows"', b'[{"note": "a"}]'), (b'name="note"', b"b")), FORM, 400, "is given twice"),
    ],
)
def test_bad_forms_are_refused(body, kind, status, words):
    pytest.importorskip("python_multipart")
    with pytest.raises(RequestError, match=words) as caught:
        parse_question(body, kind, COLUMNS, LIMITS)
    assert caught.value.status == status
