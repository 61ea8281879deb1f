"""Label cells to numbers."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.data.targets import class_text, encode_target, tag_texts, unknown_classes
from omnifuse.schema import Target, TaskKind


def target(kind, *classes):
    return Target("y", kind, classes)


def test_class_texts_are_exact():
    assert [class_text(cell) for cell in ("03", " a b ", 3.0, None, True)] == ["03", "a b", "3", None, "True"]


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("a|b", ("a", "b")),
        ("a; b ,a", ("a", "b")),
        (["b", "a", "b", None], ("b", "a")),
        ((1, 2.0), ("1", "2")),
        (np.array(["x", "y"]), ("x", "y")),
        (3, ("3",)),
        ([], ()),
        ("|", ()),
        (None, None),
    ],
)
def test_tags(cell, tags):
    assert tag_texts(cell) == tags


def test_classification():
    goal = target(TaskKind.CLASSIFICATION, "03", "3")
    encoded = encode_target(["3", "03", None, "4", 3], goal)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == [1, 0, -1, -1, 1]
    assert unknown_classes(["3", "4", "4", None], goal) == {"4": 2}


def test_tagging():
    goal = target(TaskKind.TAGGING, "a", "b")
    encoded = encode_target(["b|a", "c", None, [], ["a"]], goal)
    assert encoded.dtype == np.float32
    assert np.array_equal(encoded, [[1, 1], [0, 0], [np.nan, np.nan], [0, 0], [1, 0]], equal_nan=True)
    assert unknown_classes(["b|c", None, "c"], goal) == {"c": 2}


def test_regression():
    goal = target(TaskKind.REGRESSION)
    assert np.array_equal(encode_target(["1,5", None, "x", 2], goal), [1.5, np.nan, np.nan, 2], equal_nan=True)
    assert unknown_classes(["x"], goal) == {}
