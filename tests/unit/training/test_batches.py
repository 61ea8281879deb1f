from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from omnifuse.data.pack import Pack
from omnifuse.training.batches import PLENTY_ROWS, BatchSource, make_batch, useful_tokens


def pack(lengths, name="values"):
    lengths = np.asarray(lengths)
    values = np.concatenate([np.full(count, row, np.float32) for row, count in enumerate(lengths)])
    return Pack({name: values}, np.concatenate([[0], np.cumsum(lengths)]), lengths > 0)


def source(num_rows=53, batch_size=8, seed=0, name="values", **more):
    lengths = np.random.default_rng(5).integers(0, 40, num_rows)
    targets = {"y": torch.arange(num_rows)}
    return BatchSource({"note": pack(lengths, name)}, targets, np.arange(num_rows), batch_size, seed, **more)


def test_a_batch_holds_the_present_rows_packed_and_every_target():
    batch = make_batch({"note": pack([2, 0, 3])}, np.array([2, 1, 0]), targets={"y": torch.tensor([7, 8, 9])})
    assert batch.fields["note"].values["values"].tolist() == [2, 2, 2, 0, 0]
    assert batch.fields["note"].lengths.tolist() == [3, 2]
    assert batch.fields["note"].present.tolist() == [True, False, True]
    assert batch.targets["y"].tolist() == [9, 8, 7]
    assert batch.rows.tolist() == [2, 1, 0]
    assert batch.size == 3


def test_no_row_at_all_is_legal():
    batch = make_batch({"note": pack([2, 0])}, np.zeros(0, np.int64))
    assert batch.size == 0
    assert batch.fields["note"].lengths.shape == (0,)


@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_each_epoch_holds_every_row_once(epoch):
    batches = source().order(epoch)
    assert len(batches) == 7
    assert sorted(np.concatenate(batches).tolist()) == list(range(53))
    assert max(map(len, batches)) <= 16


def test_epochs_and_seeds_differ_and_the_same_repeats():
    flat = [np.concatenate(source(seed=seed).order(epoch)).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert flat[0] == flat[3]
    assert flat[0] != flat[1]
    assert flat[0] != flat[2]


def spread_within_batches(made):
    lengths = made.packs["note"].lengths
    return np.mean([lengths[rows].std() for rows in made.order(0)]) / lengths.std()


def test_of_many_texts_those_of_like_length_come_together():
    assert spread_within_batches(source(num_rows=PLENTY_ROWS, batch_size=64, name="ids")) < 0.2


@pytest.mark.parametrize(("num_rows", "name"), [(PLENTY_ROWS - 1, "ids"), (PLENTY_ROWS, "log_mel")])
def test_few_rows_and_sounds_are_batched_at_random(num_rows, name):
    made = source(num_rows=num_rows, batch_size=64, name=name)
    assert spread_within_batches(made) > 0.9
    assert len({len(rows) for rows in made.order(0)}) <= 2


def test_each_row_of_an_epoch_counts_alike_whatever_its_batch():
    rows = 16 * 313
    made = source(num_rows=rows, batch_size=16, name="ids")
    batches = list(made.steps(0, made.steps_per_epoch))
    assert len({batch.size for batch in batches}) > 1
    shares = [made.share(batch) for batch in batches]
    assert np.mean(shares) == pytest.approx(1.0)
    assert [share / batch.size for share, batch in zip(shares, batches, strict=True)] == pytest.approx([1 / 16] * 313)


def test_useful_tokens_are_told_from_padding():
    one_step = make_batch({"picture": pack([1, 1, 1])}, np.arange(3))
    assert useful_tokens(one_step) == (0, 0)
    batch = make_batch({"note": pack([2, 0, 5]), "picture": pack([1, 1, 1])}, np.arange(3))
    assert useful_tokens(batch) == (7, 10)


def test_steps_from_the_middle_equal_steps_from_the_start():
    def noisy(name, packed, draw):
        values = {key: array + draw.normal(size=array.shape).astype(np.float32) for key, array in packed.values.items()}
        return type(packed)(values, packed.lengths, packed.present)

    whole = list(source(change=noisy).steps(0, 16))
    late = list(source(change=noisy).steps(9, 16))
    for first, second in zip(whole[9:], late, strict=True):
        assert torch.equal(first.rows, second.rows)
        assert torch.equal(first.fields["note"].values["values"], second.fields["note"].values["values"])


def test_an_error_in_the_thread_reaches_the_trainer():
    def broken(name, packed, draw):
        raise RuntimeError("bad augmentation")

    with pytest.raises(RuntimeError, match="bad augmentation"):
        next(source(change=broken).steps(0, 3))


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    steps = source().steps(0, 1000)
    next(steps)
    steps.close()
    assert threading.active_count() == before


def test_batches_of_several_threads_are_those_of_one(plain_problem):
    def change(name, packed, draw):
        if "ids" not in packed.values:
            return packed
        return replace(packed, values={"ids": draw.permutation(packed.values["ids"])})

    one, several = (plain_problem.source(change=change, makers=makers) for makers in (1, 3))
    pairs = list(zip(one.steps(1, 8), several.steps(1, 8), strict=True))
    assert len(pairs) == 7
    for first, second in pairs:
        assert torch.equal(first.rows, second.rows)
        for name, item in first.fields.items():
            assert all(torch.equal(value, second.fields[name].values[key]) for key, value in item.values.items())
    # Left before its end it leaves no thread behind
    for _ in several.steps(0, 100):
        break


def test_a_failure_on_one_of_several_threads_is_raised(plain_problem):
    def change(name, packed, draw):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(plain_problem.source(change=change, makers=3).steps(0, 6))
