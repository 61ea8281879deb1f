"""The page of explanations: everything is drawn, nothing of a table becomes markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.explained import ROW, SumModel

from omnifuse.explain import AnswerExplanation, Explanation, FieldParts, Part, Share
from omnifuse.explain.answered import Answered
from omnifuse.report.explanations import answer_words, strongest, tint, write_explanations
from omnifuse.schema import TaskKind

EVIL = '<script>alert("x")</script>'


def page_of(tmp_path, *explanations):
    path = write_explanations(explanations, tmp_path / "out" / "page.html", title=EVIL)
    return path.read_text(encoding="utf-8")


def check_inert(text):
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"<[^>]+ on\w+=", text)
    assert "default-src 'none'" in text


def test_words_regions_and_columns_are_drawn(tmp_path):
    text = page_of(tmp_path, SumModel().explain({**ROW, "note": f"red {EVIL}"}))
    check_inert(text)
    assert "kind: red" in text
    assert re.search(r'<span style="background: rgba\(37, 99, 235, 0\.650\)" title="\+2">red</span>', text)
    assert "&lt;script&gt;" in text
    assert text.count("<rect") >= 16
    assert "size = 4" in text
    assert 'href="data:image/' in text


def test_sounds_series_and_videos_are_drawn(tmp_path):
    draw = np.random.default_rng(0)
    seconds = [Part(f"{number} s", {"start_s": float(number), "end_s": number + 1.0}, effect)
               for number, effect in enumerate((-0.5, 0.25))]  # fmt: skip
    series = np.where(draw.random((9, 2)) < 0.3, np.nan, draw.normal(size=(9, 2)))
    parts = {
        "sound": FieldParts("sound", "audio", "occlusion", tuple(seconds), seen=draw.random(30)),
        "pulse": FieldParts("pulse", "series", "occlusion", tuple(seconds), seen=series),
        "nothing": FieldParts("nothing", "series", "occlusion", tuple(seconds), seen=np.full((2, 1), np.nan)),
        "clip": FieldParts("clip", "video", "occlusion", tuple(seconds), seen=np.zeros((4, 8, 8, 3), np.uint8)),
        "tags": FieldParts("tags", "tags", "occlusion", (Part(EVIL, {"tag": EVIL}, 0.1),)),
    }
    answered = Answered("price", 3.0, TaskKind.REGRESSION)
    answer = AnswerExplanation(answered, 1.0, 3.0, (Share("sound", -2.0, 1.0, 0.25),), parts)
    text = page_of(tmp_path, Explanation(EVIL, (answer,), warnings=(EVIL,)), Explanation(7, error="no field"))
    check_inert(text)
    assert "rgba(220, 38, 38, 0.650)" in text
    assert "rgba(37, 99, 235, 0.325)" in text
    assert "-2 \u00b1 0.2" in text
    assert text.count("<polyline") == 2
    assert text.count("<image") == 2
    assert "no field" in text
    assert "nan" not in text.lower().replace("data:image", "")


def test_words_for_the_terminal():
    answered = Answered("price", 3.0, TaskKind.REGRESSION)
    assert answer_words(AnswerExplanation(answered, 1.0, 3.0, ())) == (
        "price: 3", "value 3, and 1 where nothing is read"
    )  # fmt: skip
    parts = FieldParts("note", "text", "occlusion", (Part("a", {}, 0.1), Part("b", {}, -3.0), Part("c", {}, 0.0)))
    assert [(name, part.what) for name, part in strongest([parts])] == [("note", "b"), ("note", "a")]


@pytest.mark.parametrize(("effect", "most"), [(0.0, 0.0), (5.0, 2.0)])
def test_colours_stay_colours(effect, most):
    assert tint(effect, most) == f"rgba(37, 99, 235, {'0.650' if effect else '0.000'})"
