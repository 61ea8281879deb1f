"""What a column holds, judged by its cells."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from PIL import Image

from omnifuse.data.kinds import judge
from omnifuse.schema import Modality

COUNT = 60
draw = np.random.default_rng(0)


def each(make):
    return [make(number) for number in range(COUNT)]


CASES = {
    "image": (each(lambda i: f"pictures/{i}.PNG"), "image", "field"),
    "audio": (each(lambda i: f"{i}.flac"), "audio", "field"),
    "video": (each(lambda i: f"{i}.mp4"), "video", "field"),
    "mostly files": ([*each(lambda i: f"{i}.jpg"), *["?"] * 10], "image", "field"),
    "array": ([np.zeros((4, 5, 3), np.uint8)] * 3, "image", "field"),
    "wave": ([(np.zeros(9), 8000)] * 3, "audio", "field"),
    "samples": ([np.zeros(9)] * 3, "audio", "field"),
    "picture": ([Image.new("L", (2, 2))] * 3, "image", "field"),
    "png bytes": ([b"\x89PNG1234"] * 3, "image", "field"),
    "wav bytes": ([b"RIFF1234WAVE"] * 3, "audio", "field"),
    "webp bytes": ([b"RIFF1234WEBP"] * 3, "image", "field"),
    "odd bytes": ([b"hello"] * 3, None, "drop"),
    "lists": ([[1, 2]] * 3, "series", "field"),
    "lists of rows": ([[[1, None], [3, 4]]] * 3, "series", "field"),
    "lists of texts": ([["a", "b"]] * 3, "tags", "field"),
    "lists of other texts": ([["a", "b"], ["c", "d"]], None, "drop"),
    "series text": (["[1.5, null, 2]", "[[1, 2], [3, 4]]"] * 3, "series", "field"),
    "series dicts": ([{"time": [0, 1], "x": [1, 2]}] * 3, "series", "field"),
    "series dict text": (['{"time": [0, 1], "values": [1, 2]}'] * 3, "series", "field"),
    "series arrays": ([np.array([[20.5, 900.0], [21.0, np.nan]])] * 3, "series", "field"),
    "series files": (each(lambda i: f"{i}.npy"), "series", "field"),
    "series bytes": ([b"\x93NUMPY\x01\x00"] * 3, "series", "field"),
    "texts in brackets": (["[see below]", "[none given]"] * 3, "category", "field"),
    "dicts": ([{"a": 1}] * 3, None, "drop"),
    "nothing": ([None] * 3, None, "drop"),
    "number": (draw.normal(size=COUNT).tolist(), "number", "field"),
    "number texts": ([*draw.normal(size=COUNT).astype(str), None], "number", "field"),
    "mostly numbers": ([*each(lambda i: str(i % 7)), "n/a"], "number", "field"),
    "half numbers": ([*each(lambda i: str(i % 7)), *["low"] * COUNT], "category", "field"),
    "bools": ([True, False, None] * 5, "category", "field"),
    "codes": (each(lambda i: f"{i % 9:03d}"), "category", "field"),
    "dates": (each(lambda i: f"2020-01-{i % 28 + 1:02d} 10:00"), "date", "field"),
    "typed dates": (each(lambda i: datetime.date(2020, 1, i % 28 + 1)), "date", "field"),
    "text": (each(lambda i: f"patient {i} felt quite well today"), "text", "field"),
    "Chinese": (each(lambda i: f"\u4eca\u5929\u5f88\u597d{chr(0x4E00 + i)}"), "text", "field"),
    "Chinese classes": (each(lambda i: ("\u975e\u5e38\u6ee1\u610f", "\u4e0d\u6ee1\u610f")[i % 2]), "category", "field"),
    "few texts": (each(lambda i: ("very good indeed", "rather bad")[i % 2]), "category", "field"),
    "words": (each(lambda i: ("red", "green")[i % 2]), "category", "field"),
    "hashes": (each(lambda i: f"k{i * 7919:x}"), None, "id"),
    "counter": (each(lambda i: i + 100), None, "id"),
    "links": (each(lambda i: f"https://example.org/{i}"), None, "drop"),
}


@pytest.mark.parametrize("name", CASES)
def test_modality_and_role(name):
    cells, modality, role = CASES[name]
    kind = judge("column", cells)
    assert (kind.modality, kind.role) == (modality, role), kind.reason
    assert kind.reason


@pytest.mark.parametrize("name", ["id", "row", "user_id", "patientId", "ID", "index", "Unnamed: 0", "uuid", "study.id"])
def test_names_of_identifiers(name):
    assert judge(name, each(lambda i: f"x {i} y z")).role == "id"
    assert judge(name, [5, 3, 9, 1]).role == "id"


def test_measures_with_such_a_name_are_kept():
    assert judge("body_mass_index", each(lambda i: 20 + i * 7 % 60 / 7)).modality is Modality.NUMBER
    assert judge("body_mass_index", each(lambda i: 15 + i * 7 % 30)).modality is Modality.NUMBER
    assert judge("user_id", each(lambda i: 15 + i * 7 % 30)).role == "group"


@pytest.mark.parametrize("name", ["valid", "paid", "humid", "grid", "turkey", "monkey", "arrow"])
def test_names_that_only_end_alike(name):
    assert judge(name, [1.5, 2.5, 1.5] * 20).role == "field"


def test_repeated_identifiers_ask_for_group():
    kind = judge("patientid", each(lambda i: f"p{i // 4}"))
    assert (kind.modality, kind.role) == (None, "group")
    assert "--group patientid" in kind.reason
    assert judge("house_id", each(lambda i: i % 3)).role == "field"


def test_reasons_say_what_was_seen():
    assert judge("x", ["a.png", "b.jpg"]).reason == "100% of the cells name files ending in .jpg, .png"
    assert "leading zeros" in judge("x", ["01", "02"]).reason
    assert "whole numbers" in judge("x", [3, 1, 2]).reason
    assert "such as '2020-01-01'" in judge("x", ["2020-01-01"] * 3).reason
    assert "4.0 words a cell" in judge("x", each(lambda i: f"a b c {i}")).reason
