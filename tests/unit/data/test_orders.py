"""Levels find their order, or a clear message."""

from __future__ import annotations

import polars as pl
import pytest

from omnifuse.data.infer import infer_target
from omnifuse.data.orders import KNOWN_ORDERS, known_order, order_levels
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError
from omnifuse.schema import TaskKind


def target_of(cells, wanted):
    return infer_target(open_table(pl.DataFrame({"y": cells}, strict=False)), "y", wanted)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "-1", "2.5"], ("-1", "2.5", "9", "10")),
        (["High", "LOW", "Medium"], ("LOW", "Medium", "High")),
        (["often", "never", "always", "rarely", "sometimes"], ("never", "rarely", "sometimes", "often", "always")),
        (["severe", "none", "mild", "moderate"], ("none", "mild", "moderate", "severe")),
        (
            ["Agree", "strongly_agree", "neutral", "Strongly  disagree", "disagree"],
            ("Strongly  disagree", "disagree", "neutral", "Agree", "strongly_agree"),
        ),
        (["XL", "M", "S", "XXL", "L"], ("S", "M", "L", "XL", "XXL")),
        (["B+", "A-", "B", "F", "A", "b-"], ("F", "b-", "B", "B+", "A-", "A")),
        (["large", "small"], ("small", "large")),
        (["low", "severe"], None),
        (["cat", "dog"], None),
        (["low", "Low", "high"], None),
        (["1", "two"], None),
    ],
)
def test_known_orders(names, order):
    assert known_order(names) == order
    assert known_order(names[::-1]) == order


def test_no_known_order_holds_a_level_twice():
    for order in KNOWN_ORDERS:
        assert len(set(order)) == len(order)
        assert known_order(order) == order


def test_a_given_order_may_name_levels_without_rows():
    assert order_levels("y", ["b", "a"], "a < x < b") == ("a", "x", "b")
    assert order_levels("y", ["<5", "5-9", ">9"], "<5<5-9<>9") == ("<5", "5-9", ">9")
    assert order_levels("y", ["low", "high"], "high<low") == ("high", "low")


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (["a", "b"], "a<bb", "the order of 'y' lacks 'b'. --task y=ordinal:a<bb. did you mean 'bb'"),
        (["a", "b"], "a<b<a", "the order of 'y' names 'a' twice"),
        (["a", "b"], "a<<b", "the order of 'y' has an empty level"),
        (["red", "blue"], None, r"order of the levels of 'y' is not known. they are red, blue. .*ordinal:red<blue"),
    ],
)
def test_orders_that_cannot_be(names, given, words):
    with pytest.raises(InputError, match=words):
        order_levels("y", names, given)


def test_targets_of_levels():
    found = target_of(["low", "high", "medium", None], "ordinal")
    assert (found.kind, found.classes) == (TaskKind.ORDINAL, ("low", "medium", "high"))
    assert target_of(["low", "high", "medium"], "ordinal:high<medium<low").classes == ("high", "medium", "low")
    assert target_of([10, 9, 9, 3], "ordinal").classes == ("3", "9", "10")
    with pytest.raises(InputError, match="only ordinal takes an order"):
        target_of(["a", "b"], "classification:a<b")
    with pytest.raises(InputError, match=r"there is no task 'ordinl'. did you mean 'ordinal'"):
        target_of(["a", "b"], "ordinl")


def test_inference_stays_with_classes_and_names_the_order():
    found = target_of(["low", "high", "medium"], None)
    assert found.kind is TaskKind.CLASSIFICATION
    assert found.classes == ("high", "low", "medium")
    assert found.reason == "texts with 3 values; in the order low < medium < high with --task y=ordinal"
    for cells in (["A", "B", "C"], ["low", "high"], ["cat", "dog", "cow"]):
        assert "ordinal" not in target_of(cells, None).reason
