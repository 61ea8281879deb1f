"""What a student learns from: labels and the answers of its teacher, of every kind of target."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omnifuse.api.teaching import TEACHER_SHARE, taught, teacher_answers
from omnifuse.schema import Target, TaskKind

CLASSES = Target("kind", TaskKind.CLASSIFICATION, ("a", "b", "c"))
LEVELS = Target("level", TaskKind.ORDINAL, ("low", "mid", "high"))
TAGS = Target("tags", TaskKind.TAGGING, ("big", "old"))
PRICE = Target("price", TaskKind.REGRESSION)
NAN = np.nan


@pytest.mark.parametrize("target", [CLASSES, LEVELS])
def test_shares_of_classes_add_up_where_anything_is_known(target):
    answers = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [NAN] * 3, [NAN] * 3])
    found = taught(target, np.array([0, -1, 2, -1]), answers)
    np.testing.assert_allclose(found[0], (1 - TEACHER_SHARE) * np.array([1, 0, 0]) + TEACHER_SHARE * answers[0])
    np.testing.assert_allclose(found[1:], [answers[1], [0, 0, 1], [0, 0, 0]])
    assert found.dtype == np.float32


def test_tags_and_numbers_are_mixed_and_stay_missing_where_neither_is_known():
    found = taught(TAGS, np.array([[1.0, 0.0], [NAN, NAN]]), np.array([[0.5, 0.5], [0.9, 0.2]]))
    np.testing.assert_allclose(found, [[1 - TEACHER_SHARE / 2, TEACHER_SHARE / 2], [0.9, 0.2]])
    found = taught(PRICE, np.array([10.0, NAN, 4.0, NAN]), np.array([20.0, 5.0, NAN, NAN]))
    np.testing.assert_allclose(found, [10 + 10 * TEACHER_SHARE, 5.0, 4.0, NAN])


def test_mixing_into_the_label_is_mixing_the_losses():
    draw = np.random.default_rng(0)
    answers = draw.dirichlet(np.ones(3), 20)
    labels, logs = draw.integers(0, 3, 20), np.log(draw.dirichlet(np.ones(3), 20))
    both = -(taught(CLASSES, labels, answers) * logs).sum(axis=1)
    hard, soft = -logs[np.arange(20), labels], -(answers * logs).sum(axis=1)
    np.testing.assert_allclose(both, (1 - TEACHER_SHARE) * hard + TEACHER_SHARE * soft, rtol=1e-5)


def test_what_a_network_gets():
    torch = pytest.importorskip("torch")
    from omnifuse.api.member import training_targets
    from omnifuse.tasks import TASKS

    targets = (CLASSES, TAGS, PRICE)
    labels = {"kind": np.array([0, 1, -1]), "tags": np.array([[1.0, 0.0]] * 3), "price": np.array([2.0, 4.0, NAN])}
    answers = {"kind": np.full((3, 3), 1 / 3), "tags": np.full((3, 2), 0.5), "price": np.array([2.0, 4.0, 3.0])}
    schema = SimpleNamespace(targets=targets)
    plain = training_targets(SimpleNamespace(targets=labels, taught={}), schema, np.arange(3))
    found = training_targets(SimpleNamespace(targets=labels, taught=answers), schema, np.arange(3))
    assert plain["kind"].tolist() == [0, 1, -1]
    assert {item.dtype for item in found.values()} == {torch.float32}
    # In the units of the labels
    np.testing.assert_allclose(plain["price"], [-1.0, 1.0, NAN])
    np.testing.assert_allclose(found["price"], [-1.0, 1.0, 0.0], atol=1e-6)
    task = TASKS[TaskKind.CLASSIFICATION](CLASSES, 8, ("x",))
    assert task.soft_target(found["kind"])[1].tolist() == [True, True, True]
    np.testing.assert_allclose(task.dense_target(found["kind"]).sum(dim=1), 1.0, rtol=1e-5)


def test_a_teacher_answers_every_row_but_those_it_cannot_read():
    from tests.explained import ROW, SumModel

    class Teacher(SumModel):
        def raw(self, decoded, *, vectors=False):
            from omnifuse.readout.raw import concatenate

            ones = [self.probe(decoded, row)._raw([self.probe(decoded, row).rows]) for row in range(2)]
            return concatenate(ones)

    found = teacher_answers(Teacher("kind", "price"), _table([ROW, {"note": None, "size": None}]))
    assert found["kind"].shape == (2, 2)
    np.testing.assert_allclose(found["kind"][0].sum(), 1.0)
    assert np.isnan(found["kind"][1]).all()
    assert np.isnan(found["price"]).tolist() == [False, True]


def _table(rows):
    from omnifuse.data.tables import open_table

    return open_table(rows)
