"""Sets of tags: levels, rare and unknown ones, and how a column of them is told."""

from __future__ import annotations

import pytest

from omnifuse.data.kinds import judge
from omnifuse.data.preprocessors import preprocessors_from_json, preprocessors_to_json
from omnifuse.data.tags import EMPTY_SET, UNKNOWN_TAG, TagsPreprocessor
from omnifuse.errors import InputError
from omnifuse.schema import Modality


@pytest.fixture(name="fitted")
def _fitted():
    return TagsPreprocessor.fit(["a|b", ["b", "c"], None, "b|rare", {"a"}, "c"])


def ids(preprocessor, cell):
    return preprocessor(cell)["tags"].tolist()


def test_tags_are_a_set_without_order_or_repetition(fitted):
    assert fitted.tags == ("a", "b", "c")
    assert fitted.num_ids == 5
    assert ids(fitted, "c|a") == ids(fitted, ["a", "c", "a"]) == ids(fitted, ("c", "a")) == [2, 4]


def test_rare_unknown_and_no_tags(fitted):
    assert ids(fitted, "rare") == ids(fitted, "new|newer") == [UNKNOWN_TAG]
    assert ids(fitted, "new|b") == [UNKNOWN_TAG, 3]
    assert ids(fitted, []) == ids(fitted, "") == [EMPTY_SET]


def test_the_frequent_ones_are_kept():
    fitted = TagsPreprocessor.fit(["x|y|z", "x|y", "x"], min_count=1, max_tags=2)
    assert fitted.tags == ("x", "y")
    with pytest.raises(InputError, match="at least 1"):
        TagsPreprocessor.fit([], min_count=0)


def test_a_text_taken_for_tags_is_refused(fitted):
    with pytest.raises(InputError, match="300 tags"):
        fitted("|".join(map(str, range(300))))


def test_it_is_stored_as_json(fitted):
    assert preprocessors_from_json(preprocessors_to_json({"topics": fitted})) == {"topics": fitted}


@pytest.mark.parametrize(
    ("cells", "modality"),
    [
        ([["a", "b"], ["b"], ["a", "c"], ["c", "b"]] * 5, Modality.TAGS),
        (["a|b", "b", "a|c", "c|b"] * 5, Modality.TAGS),
        (["red", "green", "blue"] * 5, Modality.CATEGORY),
        # Every part its own: no tags that anything could be learnt of
        ([[f"a{k}", f"b{k}"] for k in range(20)], None),
        ([[1.0, 2.0], [3.0, 4.0]] * 5, Modality.SERIES),
    ],
)
def test_how_a_column_is_told(cells, modality):
    assert judge("topics", cells).modality is modality
