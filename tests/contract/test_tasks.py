"""What every task promises."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.contract.parts import (
    DIM,
    FIELDS,
    assert_all_trained,
    assert_round_trip,
    close,
    padded,
    public_modules,
    random_tokens,
    seeded,
    take_rows,
)

import omnifuse.tasks
from omnifuse.data.infer import TRAINABLE
from omnifuse.schema import Target, TaskKind
from omnifuse.tasks import TASKS, WRITING_TASKS
from omnifuse.tokens import Fused, Tokens

CLASSES = ("a", "b", "c")
NUM_ROWS = 8
NAN = float("nan")
# Of each kind: the target as the schema has it, labels of all rows, the missing label, outputs, and labels that no
# task can learn from. A kind without a line here fails.
TARGETS = {
    TaskKind.CLASSIFICATION: Target("y", TaskKind.CLASSIFICATION, CLASSES),
    TaskKind.TAGGING: Target("y", TaskKind.TAGGING, CLASSES),
    TaskKind.REGRESSION: Target("y", TaskKind.REGRESSION),
    TaskKind.ORDINAL: Target("y", TaskKind.ORDINAL, CLASSES),
}
LABELS = {
    TaskKind.CLASSIFICATION: torch.tensor([0, 1, 2, 2, 1, 0, 0, 1]),
    TaskKind.TAGGING: (torch.arange(24).reshape(8, 3) % 5 < 2).float(),
    TaskKind.REGRESSION: torch.tensor([-1.5, 0.25, 9.0, -0.5, 1.0, 0.0, -4.0, 2.0]),
    TaskKind.ORDINAL: torch.tensor([0, 1, 2, 2, 1, 0, 0, 1]),
}
MISSING = {TaskKind.CLASSIFICATION: -1, TaskKind.TAGGING: NAN, TaskKind.REGRESSION: NAN, TaskKind.ORDINAL: -1}
OUTPUTS = {TaskKind.CLASSIFICATION: 3, TaskKind.TAGGING: 3, TaskKind.REGRESSION: 1, TaskKind.ORDINAL: 3}
WRONG = {
    TaskKind.CLASSIFICATION: [torch.full((8,), 3), LABELS[TaskKind.CLASSIFICATION][:7], torch.ones(8, 4)],
    TaskKind.TAGGING: [LABELS[TaskKind.TAGGING][:7], torch.ones(8, 4), torch.ones(8)],
    TaskKind.REGRESSION: [LABELS[TaskKind.REGRESSION][:7]],
    TaskKind.ORDINAL: [torch.full((8,), 3), LABELS[TaskKind.ORDINAL][:7], torch.ones(8, 4)],
}
MISFIT = (RuntimeError, ValueError, IndexError)
each_task = pytest.mark.parametrize("kind", TASKS, ids=lambda kind: kind.value)


def build(kind, seed=0, fields=FIELDS, **options):
    return seeded(TASKS[kind], TARGETS[kind], DIM, fields, seed=seed, **options)


def inputs(seed=0):
    """The representation and the tokens of eight rows; the last row has no field."""
    draw = torch.Generator().manual_seed(seed + 100)
    pooled = torch.randn(NUM_ROWS, DIM, generator=draw)
    tokens = random_tokens(num_rows=NUM_ROWS, seed=seed)
    return Fused(pooled.unsqueeze(1), torch.ones(NUM_ROWS, 1, dtype=torch.bool), pooled), tokens


def rows_of(given, rows):
    fused, tokens = given
    return Fused(fused.tokens[rows], fused.mask[rows], fused.pooled[rows]), take_rows(tokens, rows)


def with_missing(kind, rows):
    labels = LABELS[kind].clone()
    labels[rows] = MISSING[kind]
    return labels


def gradients(task, loss):
    task.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in task.named_parameters()
    }


def test_no_task_escapes():
    assert set(TASKS) == set(TARGETS) == set(LABELS) == set(MISSING) == set(OUTPUTS) == set(WRONG)
    listed = {part for part in public_modules(omnifuse.tasks) if hasattr(part, "dense_target")}
    # Those that write have a contract of their own, see test_writing_tasks
    assert listed == set(TASKS.values()) | set(WRITING_TASKS.values())
    assert set(TASKS) | set(WRITING_TASKS) == set(TRAINABLE)
    assert all(WRITING_TASKS[kind].kind is kind and kind.writes for kind in WRITING_TASKS)
    assert all(TASKS[kind].kind is kind for kind in TASKS)


@each_task
def test_shapes(kind):
    task, (fused, tokens) = build(kind).eval(), inputs()
    found = task(fused, tokens)
    assert task.num_outputs == OUTPUTS[kind]
    assert task.name == "y"
    assert found.fused.shape == (NUM_ROWS, OUTPUTS[kind])
    assert list(found.fields) == list(found.present) == list(FIELDS)
    for name in FIELDS:
        assert found.fields[name].shape == (NUM_ROWS, OUTPUTS[kind])
        assert found.present[name].dtype == torch.bool
        assert torch.equal(found.present[name], tokens[name].present)
        assert bool(found.fields[name].isfinite().all())
    assert found.loss is None
    assert found.fused_loss is None
    learnt = task(fused, tokens, LABELS[kind])
    assert torch.equal(learnt.fused, found.fused)
    assert learnt.loss.shape == learnt.fused_loss.shape == ()


@each_task
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_parameter_is_trained(kind, smoothing):
    task, (fused, tokens) = build(kind, label_smoothing=smoothing), inputs(seed=1)
    found = task(fused, tokens, LABELS[kind])
    assert bool(found.loss.isfinite())
    assert found.loss > found.fused_loss > 0
    # A shift of all scores alike changes no attention
    by_design = tuple(name for name, _ in task.named_parameters() if name.endswith("keys.bias"))
    assert_all_trained(task, found.loss, by_design)


@each_task
def test_the_auxiliary_loss_is_the_mean_of_the_fields_losses(kind):
    given = inputs()
    plain, half, whole = (build(kind, auxiliary=weight)(*given, LABELS[kind]) for weight in (0.0, 0.5, 1.0))
    assert torch.equal(plain.loss, plain.fused_loss)
    assert torch.equal(plain.fused_loss, whole.fused_loss)
    close(half.loss, (plain.loss + whole.loss) / 2)
    assert whole.loss > plain.loss


@each_task
@pytest.mark.parametrize("missing", [[0], [7, 2], [1, 3, 4, 5, 6]])
def test_rows_without_a_label_add_nothing(kind, missing):
    """Whatever they hold, loss and gradients are the same to the last bit, and those of the other rows alone."""
    task, labels = build(kind), with_missing(kind, missing)
    fused, tokens = inputs()
    found = task(fused, tokens, labels)
    wanted = gradients(task, found.loss)
    pooled = fused.pooled.clone()
    pooled[missing] = torch.randn(len(missing), DIM, generator=torch.Generator().manual_seed(9)) * 1e3
    other = {name: Tokens(item.values.clone(), item.mask) for name, item in tokens.items()}
    for item in other.values():
        item.values[missing] *= -50.0
    again = task(Fused(pooled.unsqueeze(1), fused.mask, pooled), other, labels)
    assert torch.equal(again.loss, found.loss)
    assert torch.equal(again.fused_loss, found.fused_loss)
    for name, value in gradients(task, again.loss).items():
        assert torch.equal(value, wanted[name]), name

    kept = [row for row in range(NUM_ROWS) if row not in missing]
    alone = task(*rows_of((fused, tokens), kept), LABELS[kind][kept])
    torch.testing.assert_close(alone.loss, found.loss, rtol=1e-6, atol=0)
    for name, value in gradients(task, alone.loss).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-7)
    assert not torch.equal(task(fused, tokens, LABELS[kind]).loss, found.loss)


@each_task
def test_without_any_label_the_loss_is_zero_and_nothing_is_learnt(kind):
    task, given = build(kind), inputs()
    labels = with_missing(kind, list(range(NUM_ROWS)))
    for loss in (task(*given, labels).loss, task(*rows_of(given, []), LABELS[kind][:0]).loss):
        assert loss.item() == 0.0
        found = gradients(task, loss)
        assert found
        assert not any(bool(value.any()) for value in found.values())


@each_task
def test_an_absent_field_is_left_out_of_answers_and_loss(kind):
    task, (fused, tokens) = build(kind), inputs()
    whole = task(fused, tokens, LABELS[kind])
    for size in range(len(FIELDS)):
        for names in itertools.combinations(FIELDS, size):
            found = task(fused, {name: tokens[name] for name in names}, LABELS[kind])
            assert set(found.fields) == set(found.present) == set(names)
            assert torch.equal(found.fused, whole.fused)
            assert torch.equal(found.fused_loss, whole.fused_loss)
            assert all(torch.equal(found.fields[name], whole.fields[name]) for name in names)
            if not names:
                assert torch.equal(found.loss, found.fused_loss)


@each_task
def test_a_field_is_not_learnt_from_rows_that_lack_it(kind):
    """The loss of its head is that of the rows that have it."""
    task, (fused, tokens) = build(kind, auxiliary=1.0), inputs()
    there = tokens["a"].present.nonzero().flatten().tolist()
    assert 0 < len(there) < NUM_ROWS
    whole = task(fused, {"a": tokens["a"]}, LABELS[kind])
    some = task(*rows_of((fused, {"a": tokens["a"]}), there), LABELS[kind][there])
    torch.testing.assert_close(whole.loss - whole.fused_loss, some.loss - some.fused_loss)
    never = Tokens(tokens["a"].values, torch.zeros_like(tokens["a"].mask))
    nothing = task(fused, {"a": never}, LABELS[kind])
    assert torch.equal(nothing.loss, nothing.fused_loss)
    assert all(bool(value.isfinite().all()) for value in gradients(task, nothing.loss).values())


@each_task
def test_one_field_alone_has_no_head_of_its_own(kind):
    task, (fused, tokens) = build(kind, fields=("a",)), inputs()
    found = task(fused, {"a": tokens["a"]}, LABELS[kind])
    assert found.fields == {}
    assert torch.equal(found.loss, found.fused_loss)


@each_task
def test_row_weights(kind):
    """One everywhere is none, zero leaves a row out, two counts it twice, and the scale does not matter."""
    task, given = build(kind), inputs()
    labels = LABELS[kind]
    plain = task(*given, labels).loss
    torch.testing.assert_close(task(*given, labels, torch.ones(NUM_ROWS)).loss, plain)
    torch.testing.assert_close(task(*given, labels, torch.full((NUM_ROWS,), 3.0)).loss, plain)
    out = torch.ones(NUM_ROWS)
    out[[2, 5]] = 0.0
    assert torch.equal(task(*given, labels, out).loss, task(*given, with_missing(kind, [2, 5])).loss)
    double = torch.ones(NUM_ROWS)
    double[0] = 2.0
    rows = [0, *range(NUM_ROWS)]
    torch.testing.assert_close(task(*given, labels, double).loss, task(*rows_of(given, rows), labels[rows]).loss)
    assert not torch.isclose(task(*given, labels, double).loss, plain)


@each_task
def test_a_missing_label_with_a_weight_stays_missing(kind):
    task, given = build(kind), inputs()
    labels = with_missing(kind, [1, 4])
    heavy = torch.ones(NUM_ROWS)
    heavy[[1, 4]] = 100.0
    assert torch.equal(task(*given, labels, heavy).loss, task(*given, labels, torch.ones(NUM_ROWS)).loss)


@each_task
def test_dense_target(kind):
    """(B, C) of finite numbers, a row of NaN where the label is missing: what heads fitted in closed form take."""
    found = build(kind).dense_target(with_missing(kind, [1, 4]))
    assert found.shape == (NUM_ROWS, OUTPUTS[kind])
    assert found.dtype == torch.float32
    assert found.isnan().all(dim=1).nonzero().flatten().tolist() == [1, 4]
    assert found.isnan().any(dim=1).nonzero().flatten().tolist() == [1, 4]
    known = [0, 2, 3, 5, 6, 7]
    labels = LABELS[kind][known]
    if kind.chooses_class:
        assert torch.equal(found[known], torch.eye(3)[labels])
    else:
        assert torch.equal(found[known], labels.reshape(len(known), -1))


@each_task
def test_a_wrong_target_is_an_error(kind):
    task, given = build(kind), inputs()
    assert bool(task(*given, LABELS[kind]).loss.isfinite())
    for wrong in WRONG[kind]:
        # Torch's own words: the border has checked what users give, see test_targets
        with pytest.raises(MISFIT, match=r"size|Class values|Dimension out of range|expected"):
            task(*given, wrong)


@each_task
def test_a_row_is_independent_of_its_mates_and_of_padding(kind):
    task, given = build(kind).eval(), inputs()
    together, longer = task(*given), task(given[0], padded(given[1]))
    for name in FIELDS:
        there = together.present[name]
        assert torch.equal(longer.present[name], there)
        close(longer.fields[name][there], together.fields[name][there])
    for rows in ([0], [7], [3, 1]):
        some = task(*rows_of(given, rows))
        close(some.fused, together.fused[rows])
        for name in FIELDS:
            close(some.fields[name], together.fields[name][rows])


@each_task
def test_state_round_trip_and_determinism(kind):
    given = inputs()
    assert_round_trip(lambda seed: build(kind, seed), lambda task: task(*given).fused)
    task = build(kind, dropout=0.5).eval()
    assert torch.equal(task(*given).fused, task(*given).fused)
    task.train()
    assert not torch.equal(task(*given).fused, task(*given).fused)
