"""Running the graphs of a model: one row takes short ways, which end where the long ones of many rows do."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tiny_graphs import ENCODER, tiny_model

from omnifuse.data.pack import Pack, PackedRows
from omnifuse.deploy.graph_folder import FUSION_FILE
from omnifuse.deploy.graph_runner import GraphRunner

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def tiny():
    return tiny_model(num_rows=20)


@pytest.fixture(scope="module")
def runner(tiny):
    return GraphRunner(
        tiny.graphs.signature, {"x": tiny.graphs.contents[ENCODER]}, tiny.graphs.contents[FUSION_FILE], threads=1
    )


def with_gap(pack, row):
    """The same rows, one of them without the field."""
    lengths = pack.lengths.copy()
    lengths[row] = 0
    kept = np.repeat(np.arange(len(lengths)) != row, pack.lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Pack({name: array[kept] for name, array in pack.arrays.items()}, offsets, lengths > 0)


def test_a_row_alone_is_answered_as_among_others(runner, tiny):
    together = runner.raw(tiny.packs, np.arange(20), vectors=True)
    for row in range(20):
        alone = runner.raw(tiny.packs, np.array([row]), vectors=True)
        np.testing.assert_allclose(alone.fused["y"][:, 0], together.fused["y"][:, row], atol=1e-5)
        np.testing.assert_allclose(alone.field_pooled["x"][0], together.field_pooled["x"][row], atol=1e-5)


def test_rows_around_a_hole_are_answered_as_without_it(runner, tiny):
    whole = runner.raw(tiny.packs, np.arange(6))
    holed = runner.raw({"x": with_gap(tiny.packs["x"], 2)}, np.arange(6))
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(holed.fused["y"][:, others], whole.fused["y"][:, others], atol=1e-5)
    assert holed.present["x"].tolist() == [True, True, False, True, True, True]


def test_a_row_with_several_media_holds_the_tokens_of_each(runner, tiny):
    pack = tiny.packs["x"]
    two = PackedRows({name: array[:2] for name, array in pack.arrays.items()}, np.array([2]), np.array([True]))
    singles = [runner.encode("x", pack.take(np.array([row]))) for row in (0, 1)]
    both = runner.encode("x", two)
    np.testing.assert_allclose(both.tokens, np.concatenate([item.tokens for item in singles], axis=2), atol=1e-5)
    assert both.mask.shape == (1, 2 * singles[0].mask.shape[1])


def test_what_stands_for_an_absent_field_is_made_once_and_never_changed(runner, tiny):
    empty = PackedRows(tiny.packs["x"].arrays, np.zeros(0, np.int64), np.zeros(1, bool))
    first = runner.encode("x", empty)
    assert runner.encode("x", empty) is first
    with pytest.raises(ValueError, match="read-only"):
        first.tokens[:] = 1
    assert not runner.fuse({"x": first}).present["x"].any()
    assert runner.encode("x", PackedRows(empty.values, empty.lengths, np.zeros(3, bool))).tokens.shape[1] == 3
