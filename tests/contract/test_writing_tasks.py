"""What every task that writes promises."""

from __future__ import annotations

import pytest
import torch
from tests.contract.parts import (
    DIM,
    FIELDS,
    assert_round_trip,
    close,
    hidden_parameters,
    padded,
    random_tokens,
    seeded,
    take_rows,
)

from omnifuse.data.bpe import END_ID, NUM_SPECIAL, SPECIAL_PIECES, START_ID, TargetTokenizer
from omnifuse.readout.writing import Writing
from omnifuse.schema import Target
from omnifuse.tasks import WRITING_TASKS, WriterOptions
from omnifuse.tasks.beam_search import beam_search
from omnifuse.tasks.following import Following
from omnifuse.tokens import Fused, Tokens

NUM_ROWS, MISSING = 6, [1, 4]
TEXT = TargetTokenizer((*SPECIAL_PIECES, *"abc"), units="characters", max_length=12)
TEXTS = ["abba", "c", "", "cab", "a", "bb"]
each_task = pytest.mark.parametrize("kind", WRITING_TASKS, ids=lambda kind: kind.value)


def build(kind, seed=0, **options):
    given = WriterOptions(TEXT, num_heads=2, depth=1, sound="c", **options)
    return seeded(WRITING_TASKS[kind], Target("y", kind), DIM, given, seed=seed)


def inputs(seed=0):
    """Fused tokens and the fields' own; the last row has no field, but fused tokens as a fusion gives them."""
    tokens = random_tokens(num_rows=NUM_ROWS, seed=seed)
    # Sounds long enough for every text
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(9)[None, :] < torch.tensor([9, 7, 9, 6, 5, 0])[:, None]
    tokens["c"] = Tokens(torch.randn(NUM_ROWS, 9, DIM, generator=draw) * mask.unsqueeze(2), mask)
    pooled = torch.randn(NUM_ROWS, DIM, generator=draw)
    joined = torch.cat([pooled.unsqueeze(1), *(tokens[name].values for name in FIELDS)], dim=1)
    there = torch.cat([torch.ones(NUM_ROWS, 1, dtype=torch.bool), *(tokens[name].mask for name in FIELDS)], dim=1)
    return Fused(joined, there, pooled), tokens


def rows_of(given, rows):
    fused, tokens = given
    return Fused(fused.tokens[rows], fused.mask[rows], fused.pooled[rows]), take_rows(tokens, rows)


def target(missing=()):
    ids = torch.full((NUM_ROWS, 6), -1)
    for row, text in enumerate(TEXTS):
        if row not in missing:
            coded = [*TEXT.encode(text), END_ID]
            ids[row, : len(coded)] = torch.tensor(coded)
    return ids.int()


@each_task
def test_without_a_target_nothing_is_computed(kind):
    task = build(kind)
    found = task(*inputs())
    assert (task.kind, task.name, task.num_outputs) == (kind, "y", 0)
    assert found.fused.shape == (NUM_ROWS, 0)
    assert (found.fields, found.loss) == ({}, None)


@each_task
def test_every_parameter_is_trained(kind):
    task, given = build(kind, label_smoothing=0.1), inputs(seed=1)
    found = task(*given, target())
    assert bool(found.loss.isfinite())
    assert found.loss > 0
    assert torch.equal(found.loss, found.fused_loss)
    assert hidden_parameters(task) == []
    found.loss.backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool((parameter.grad != 0).any()), name


@each_task
def test_missing_texts_and_weights(kind):
    task, given = build(kind), inputs()
    known = [row for row in range(NUM_ROWS) if row not in MISSING]
    whole, some = task(*given, target(MISSING)), task(*rows_of(given, known), target()[known])
    close(whole.loss, some.loss)
    weights = torch.ones(NUM_ROWS)
    weights[MISSING] = 0.0
    close(task(*given, target(), weights).loss, whole.loss)
    nothing = task(*given, target(range(NUM_ROWS)))
    assert nothing.loss == 0
    nothing.loss.backward()
    assert all(bool(item.grad.isfinite().all()) for item in task.parameters() if item.grad is not None)


@each_task
def test_the_loss_is_a_mean_over_ids_so_that_parts_add_up(kind):
    task, given = build(kind), inputs()
    counts = task.row_counts(target())
    assert counts.tolist() == [len(text) + 1 for text in TEXTS]
    parts = [[0, 1, 2], [3, 4, 5]]
    losses = [task(*rows_of(given, rows), target()[rows]).loss * counts[rows].sum() / counts.sum() for rows in parts]
    close(torch.stack(losses).sum(), task(*given, target()).loss)
    dense = task.dense_target(target(MISSING))
    assert dense.isnan().flatten().nonzero().flatten().tolist() == MISSING


@each_task
def test_padding_of_texts_and_tokens_changes_nothing(kind):
    task, given = build(kind).eval(), inputs()
    close(task(given[0], padded(given[1]), target()).loss, task(*given, target()).loss)
    longer = torch.cat([target(), torch.full((NUM_ROWS, 3), -1)], dim=1)
    close(task(*given, longer).loss, task(*given, target()).loss)
    fused, tokens = given
    rubbish = torch.where(fused.mask.unsqueeze(2), fused.tokens, 50.0)
    close(task(Fused(rubbish, fused.mask, fused.pooled), tokens, target()).loss, task(*given, target()).loss)


@each_task
def test_a_wrong_target_is_an_error(kind):
    task, given = build(kind), inputs()
    for wrong in (target()[:5], target()[:, 0]):
        with pytest.raises(ValueError, match="expected"):
            task(*given, wrong)


@each_task
@torch.inference_mode()
def test_a_row_is_written_alone_as_among_others(kind):
    task, given = build(kind).eval(), inputs()

    def written(rows):
        scorer = task.scorer(*rows_of(given, rows), ctc=0.4)
        return beam_search(scorer, len(rows), Following(TEXT.vocab_size), Writing(beams=3, num=3), max_length=8)

    together = written(list(range(NUM_ROWS)))
    for row in range(NUM_ROWS):
        (alone,) = written([row])
        assert [draft.ids for draft in alone] == [draft.ids for draft in together[row]]
        assert all(one >= NUM_SPECIAL for draft in alone for one in draft.ids)


@each_task
@torch.inference_mode()
def test_what_a_search_is_told_is_what_the_loss_measures(kind):
    """The decoder's log-probabilities along a text add up to the loss of that text."""
    task, given = build(kind).eval(), inputs()
    losses = task.writer(*_read(task, given[0]), target().long())
    for row, text in enumerate(TEXTS):
        scorer, total = task.scorer(*rows_of(given, [row]), ctc=0.0), 0.0
        last = START_ID
        for one in [*TEXT.encode(text), END_ID]:
            total += float(scorer.step(torch.tensor([last]))[0, one])
            last = one
        close(losses[row] * (len(text) + 1), torch.tensor(-total))


def _read(task, fused):
    """What the decoder of the task reads."""
    state = task.scorer(fused, {}, ctc=0.0).state
    if state.mask.shape[1] == fused.mask.shape[1]:
        return (fused,)
    tokens = torch.cat([fused.pooled.unsqueeze(1), fused.tokens], dim=1)
    return (Fused(tokens, state.mask, fused.pooled),)


@each_task
def test_state_round_trip_and_determinism(kind):
    given = inputs()
    assert_round_trip(lambda seed: build(kind, seed), lambda task: task(*given, target()).loss)
    task = build(kind, dropout=0.5).train()
    assert not torch.equal(task(*given, target()).loss, task(*given, target()).loss)
