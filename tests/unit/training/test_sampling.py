from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import make_problem, plain_rows

from omnifuse.api.member import _balance, sampling_weights
from omnifuse.schema import TaskKind
from omnifuse.training.sampling import draw_rows, label_weights, row_weights

CODES = np.array([0] * 90 + [1] * 9 + [2])


def shares(weights, codes):
    return np.array([weights[codes == code].sum() for code in np.unique(codes)]) / len(codes)


def test_balanced_draws_every_class_alike_and_sqrt_half_way():
    assert shares(label_weights(TaskKind.CLASSIFICATION, CODES, 1.0), CODES) == pytest.approx([1 / 3] * 3)
    roots = np.sqrt([90, 9, 1])
    assert shares(label_weights(TaskKind.CLASSIFICATION, CODES, 0.5), CODES) == pytest.approx(roots / roots.sum())
    assert label_weights(TaskKind.CLASSIFICATION, CODES, 0.0) == pytest.approx(np.ones(100))


def test_levels_are_drawn_as_classes_are():
    as_classes = label_weights(TaskKind.CLASSIFICATION, CODES, 1.0)
    assert label_weights(TaskKind.ORDINAL, CODES, 1.0) == pytest.approx(as_classes)
    assert row_weights([(TaskKind.ORDINAL, CODES)], "balanced") == pytest.approx(as_classes)


def test_rows_without_a_label_weigh_as_the_mean():
    weights = label_weights(TaskKind.CLASSIFICATION, np.array([-1, 0, 0, 0, 1, -1]), 1.0)
    assert weights == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 2, 1])


def test_a_row_of_several_tags_weighs_as_its_rarest_and_none_is_a_class():
    tags = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [np.nan, np.nan]])
    raw = np.array([1 / 3, 1 / 3, 1.0, 1.0])
    assert label_weights(TaskKind.TAGGING, tags, 1.0) == pytest.approx([*(raw / raw.mean()), 1.0])


def test_natural_and_numbers_are_not_weighed():
    assert row_weights([(TaskKind.CLASSIFICATION, CODES)], "natural") is None
    assert row_weights([(TaskKind.REGRESSION, np.arange(4.0))], "balanced") is None
    both = row_weights([(TaskKind.REGRESSION, np.arange(100.0)), (TaskKind.CLASSIFICATION, CODES)], "balanced")
    assert both == pytest.approx(label_weights(TaskKind.CLASSIFICATION, CODES, 1.0))


def test_each_row_is_drawn_its_weight_times_rounded_up_or_down():
    weights = row_weights([(TaskKind.CLASSIFICATION, CODES)], "balanced")
    rows = np.arange(500, 600)
    for seed in range(20):
        drawn = draw_rows(rows, weights, np.random.default_rng(seed))
        counts = np.bincount(drawn - 500, minlength=100)
        assert len(drawn) == 100
        assert np.all((counts == np.floor(weights)) | (counts == np.ceil(weights)))
        classes = np.bincount(CODES[drawn - 500])
        assert classes.min() >= 30
        assert classes.max() <= 38


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    rows = plain_rows(60)
    for number, row in enumerate(rows):
        row["kind"] = "rare" if number % 10 == 0 else "usual"
    return make_problem(rows, ["kind"], tmp_path_factory.mktemp("uneven"), drop=("key", "tags", "price"))


def epoch(problem, sampling, number, seed=0):
    weights = sampling_weights(problem.prepared, problem.prepared.schema, problem.prepared.rows, sampling)
    return problem.source(weights=weights, seed=seed).order(number)


def test_an_epoch_keeps_its_length_and_repeats_by_seed_and_epoch(uneven):
    codes = uneven.prepared.targets["kind"]
    names = uneven.prepared.schema.targets[0].classes
    counts = {}
    for sampling in ("natural", "sqrt", "balanced"):
        batches = epoch(uneven, sampling, 3)
        flat = np.concatenate(batches)
        assert (len(batches), len(flat)) == (len(epoch(uneven, "natural", 3)), len(uneven.prepared.rows))
        assert np.array_equal(flat, np.concatenate(epoch(uneven, sampling, 3)))
        assert not np.array_equal(flat, np.concatenate(epoch(uneven, sampling, 4)))
        assert not np.array_equal(flat, np.concatenate(epoch(uneven, sampling, 3, seed=1)))
        counts[sampling] = int((codes[flat] == names.index("rare")).sum())
    assert counts["natural"] == 6
    assert counts["sqrt"] in (14, 15, 16)
    assert counts["balanced"] == 30


def test_training_can_go_on_at_any_step(uneven):
    weights = sampling_weights(uneven.prepared, uneven.prepared.schema, uneven.prepared.rows, "balanced")
    whole = [batch.rows.tolist() for batch in uneven.source(weights=weights).steps(0, 20)]
    assert [batch.rows.tolist() for batch in uneven.source(weights=weights).steps(11, 20)] == whole[11:]


def test_the_loss_does_not_weigh_again_what_is_drawn_evenly(uneven):
    rows = uneven.prepared.rows
    found = {}
    for sampling in ("natural", "balanced"):
        network = uneven.network()
        drawn = sampling_weights(uneven.prepared, uneven.prepared.schema, rows, sampling)
        _balance(network, uneven.prepared, rows, 1.0, drawn)
        found[sampling] = network.tasks[0].class_weights.tolist()
    assert found["balanced"] == pytest.approx([1.0, 1.0])
    assert sorted(found["natural"]) == pytest.approx([60 / 54 / 2, 5.0])
