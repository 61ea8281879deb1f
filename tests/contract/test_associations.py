"""What every association promises."""

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

import omnifuse.association
from omnifuse.association import (
    ALIGNMENTS,
    OBJECTIVES,
    BilinearAssociation,
    FactorisedBilinear,
    Items,
    LowRankBilinear,
    MaskedObjective,
    PairLoss,
    Space,
)
from omnifuse.tokens import Tokens

# Scalars of dict[str, Tokens], and layers of two vectors a row
LOSSES = {part: lambda part=part: part(FIELDS, DIM, 8) for part in ALIGNMENTS.values()}
PAIRS = {
    BilinearAssociation: lambda: BilinearAssociation(DIM, 3),
    LowRankBilinear: lambda: LowRankBilinear(DIM, 4, 3),
    FactorisedBilinear: lambda: FactorisedBilinear(DIM, 3, 4),
}

each_loss = pytest.mark.parametrize("part", LOSSES, ids=lambda part: part.__name__)
each_pair = pytest.mark.parametrize("part", PAIRS, ids=lambda part: part.__name__)


def test_no_association_escapes():
    assert public_modules(omnifuse.association) == {
        PairLoss,
        Space,
        MaskedObjective,
        *LOSSES,
        *PAIRS,
        *OBJECTIVES.values(),
    }


@each_loss
def test_losses_are_finite_scalars_that_train_everything(part):
    module = seeded(LOSSES[part])
    loss = module(random_tokens(num_rows=8, seed=1))
    assert loss.shape == ()
    assert bool(loss.isfinite())
    # A bias of a projection moves all rows alike and still turns the unit vectors: it gets a gradient too
    assert_all_trained(module, loss)


@each_loss
def test_losses_take_any_subset_in_any_order(part):
    module, tokens = seeded(LOSSES[part]), random_tokens(num_rows=8, seed=1)
    for size in range(4):
        for names in itertools.combinations(FIELDS, size):
            wanted = module({name: tokens[name] for name in names})
            assert bool(wanted.isfinite())
            for order in itertools.permutations(names):
                torch.testing.assert_close(module({name: tokens[name] for name in order}), wanted)


@each_loss
def test_losses_without_a_pair_are_zero_and_can_be_differentiated(part):
    module, tokens = seeded(LOSSES[part]), random_tokens(num_rows=8, seed=1)
    never = {name: Tokens(item.values, torch.zeros_like(item.mask)) for name, item in tokens.items()}
    apart = {"a": take_rows(tokens, [0, 0, 7, 7])["a"], "b": take_rows(tokens, [7, 7, 0, 0])["b"]}
    once = take_rows(tokens, [0])
    for case in ({}, {"a": tokens["a"]}, never, apart, once, take_rows(tokens, [])):
        loss = module(case)
        assert loss.item() == 0.0
        loss.backward()
        assert all(bool(item.grad.isfinite().all()) for item in module.parameters() if item.grad is not None)


@each_loss
def test_losses_read_neither_padding_nor_rows_without_a_pair(part):
    module, tokens = seeded(LOSSES[part]), random_tokens(num_rows=8, seed=1)
    wanted = module(tokens)
    torch.testing.assert_close(module(padded(tokens)), wanted)
    two = {name: tokens[name] for name in ("a", "b")}
    both = (two["a"].present & two["b"].present).nonzero().flatten().tolist()
    assert 2 <= len(both) < 8
    torch.testing.assert_close(module(take_rows(two, both)), module(two))


@each_loss
def test_losses_round_trip(part):
    tokens = random_tokens(num_rows=8, seed=1)
    assert_round_trip(lambda seed: seeded(LOSSES[part], seed=seed), lambda module: module(tokens))


@each_pair
def test_pairs(part):
    module = seeded(PAIRS[part])
    torch.manual_seed(5)
    first, second = torch.randn(6, DIM), torch.randn(6, DIM)
    found = module(first, second)
    assert found.shape == (6, 3)
    for row in range(6):
        alone = module(first[row : row + 1], second[row : row + 1])
        close(alone[0], found[row])
    assert module(first[:0], second[:0]).shape == (0, 3)
    assert_all_trained(module, (found * torch.randn(6, 3)).sum())
    assert_round_trip(lambda seed: seeded(PAIRS[part], seed=seed), lambda item: item(first, second))


each_objective = pytest.mark.parametrize("part", OBJECTIVES.values(), ids=lambda part: part.__name__)


def unit_vectors(count=12):
    draw = torch.Generator().manual_seed(2)
    return [torch.nn.functional.normalize(torch.randn(count, DIM, generator=draw), dim=1) for _ in range(2)]


@each_objective
def test_objectives_train_vectors_and_everything_of_their_own(part):
    module = seeded(part, DIM)
    first, second = (value.requires_grad_() for value in unit_vectors())
    loss = module(first, second, Items.all_different(12))
    assert loss.shape == ()
    assert_all_trained(module, loss)
    assert all(bool(value.grad.isfinite().all()) and bool(value.grad.any()) for value in (first, second))


@each_objective
def test_objectives_know_no_order_of_the_rows(part):
    module, (first, second) = seeded(part, DIM), unit_vectors()
    order, codes = torch.randperm(12, generator=torch.Generator().manual_seed(0)), torch.arange(12) // 2
    close(
        module(first[order], second[order], Items.joined([codes[order]], 12)),
        module(first, second, Items.joined([codes], 12)),
    )


@each_objective
def test_objectives_round_trip(part):
    first, second = unit_vectors()
    items = Items.all_different(12)

    def build(seed):
        module = seeded(part, DIM, seed=seed)
        with torch.no_grad():
            for value in module.parameters():
                value.add_(torch.randn_like(value) * 0.1)
        return module

    assert_round_trip(build, lambda module: module(first, second, items))


def test_the_space_takes_any_subset_in_any_order():
    space, tokens = seeded(Space, FIELDS, DIM, 8), random_tokens(num_rows=8, seed=1)
    wanted = space(tokens)
    for names in itertools.permutations(FIELDS, 2):
        found = space({name: tokens[name] for name in names})
        assert set(found) == set(names)
        for name, value in found.items():
            close(value, wanted[name])
    close(space(padded(tokens))["a"], wanted["a"])
    assert_all_trained(space, sum((value * torch.randn_like(value)).sum() for value in wanted.values()))


def test_masked_prediction_trains_everything():
    module, tokens = seeded(MaskedObjective, FIELDS, DIM, num_heads=2), random_tokens(num_rows=8, seed=1)
    module.generator = torch.Generator().manual_seed(0)
    losses, known = module(tokens, random_tokens(num_rows=8, seed=2))
    assert losses.shape == known.shape == (8,)
    assert_all_trained(module, losses[known].mean())
    nothing, none = module({}, {})
    assert len(nothing) == len(none) == 0
