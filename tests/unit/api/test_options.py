from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from omnifuse.api.options import FitOptions, as_tuple, need_training
from omnifuse.errors import InputError, MissingDependencyError


def options(**more) -> FitOptions:
    return FitOptions(("y",), Path("out"), **more)


def test_names_come_alone_or_in_rows():
    assert as_tuple(None) == ()
    assert as_tuple("ab") == ("ab",)
    assert as_tuple(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"minutes": 1.0, "epochs": 1}, "both given"),
        ({"minutes": 0.0}, "--minutes is 0"),
        ({"minutes": math.nan}, "--minutes is nan"),
        ({"minutes": math.inf}, "--minutes is inf"),
        ({"epochs": -1}, "--epochs is -1"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"max_bad": -0.1}, "--max-bad is -0.1"),
        ({"max_bad": math.nan}, "--max-bad is nan"),
        ({"report_media": ""}, "--report-media is ''"),
        ({"logger": "x"}, "--logger is 'x'"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(more, words):
    with pytest.raises(InputError, match=words):
        options(**more)


def test_bounds_themselves_are_accepted():
    assert options(max_bad=0.0).max_bad == 0.0
    assert options(max_bad=1.0, epochs=1, seed=0, seeds=1).epochs == 1


@pytest.mark.parametrize("name", ["torch", "lightning", "sklearn"])
def test_what_is_absent_is_named(monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else find(asked))
    with pytest.raises(MissingDependencyError, match=rf"needs {name},"):
        need_training()
