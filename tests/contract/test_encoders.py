"""What every encoder promises."""

from __future__ import annotations

import pytest
import torch
from tests.contract.parts import (
    DIM,
    ENCODER_CASES,
    FIELDS,
    LENGTHS,
    assert_all_trained,
    assert_round_trip,
    close,
    padded,
    public_modules,
    random_tokens,
    seeded,
    take_rows,
)

import omnifuse.encoders
from omnifuse.encoders import Projectors, SharedTrunk
from omnifuse.tokens import Tokens, scatter

# Built from tokens instead of arrays
TOKEN_PARTS = {
    Projectors: lambda: Projectors(dict.fromkeys(FIELDS, DIM), {"a": "text", "b": "text", "c": "image"}, 8),
    SharedTrunk: lambda: SharedTrunk(DIM, depth=2, num_heads=2),
}

each_encoder = pytest.mark.parametrize("case", ENCODER_CASES.values(), ids=ENCODER_CASES)
MEASURING = {name: case for name, case in ENCODER_CASES.items() if hasattr(case.build(), "initialise")}
each_measuring_encoder = pytest.mark.parametrize("case", MEASURING.values(), ids=MEASURING)
READING_NUMBERS = {
    name: case
    for name, case in ENCODER_CASES.items()
    if any(values.is_floating_point() for values in case.batch().values.values())
}
each_encoder_of_numbers = pytest.mark.parametrize("case", READING_NUMBERS.values(), ids=READING_NUMBERS)
each_token_part = pytest.mark.parametrize("part", TOKEN_PARTS, ids=lambda part: part.__name__)


def test_no_encoder_escapes():
    covered = {type(case.build()) for case in ENCODER_CASES.values()} | set(TOKEN_PARTS)
    assert public_modules(omnifuse.encoders) == covered


@each_encoder
def test_shapes_and_masks(case):
    found = case.build().eval()(case.batch())
    num_rows, num_tokens, dim = found.values.shape
    assert (num_rows, dim) == (len(LENGTHS), DIM)
    assert found.mask.shape == (num_rows, num_tokens)
    assert found.mask.dtype == torch.bool
    assert found.values.dtype == torch.float32
    assert bool(found.mask.any(dim=1).all()), "a present row without a real token"
    assert bool(found.mask.any(dim=0).all()), "a token that no row uses"
    assert bool(found.values.isfinite().all())


@each_encoder
def test_every_parameter_is_trained(case):
    encoder = case.build().train()
    found = encoder(case.batch())
    torch.manual_seed(3)
    loss = (found.values * torch.randn(found.values.shape) * found.mask.unsqueeze(-1)).sum()
    assert_all_trained(encoder, loss)


@each_encoder
def test_a_row_is_independent_of_its_mates(case):
    encoder = case.build().eval()
    together = encoder(case.batch())
    for rows in ([0], [1], [2], [3], [2, 0], [1, 2]):
        some = encoder(case.batch(rows))
        for place, row in enumerate(rows):
            one = some.values[place][some.mask[place]]
            close(one, together.values[row][together.mask[row]])


@each_encoder_of_numbers
def test_no_gradient_from_one_row_to_another(case):
    encoder = case.build().eval()
    for name in [name for name, values in case.batch().values.items() if values.is_floating_point()]:
        batch = case.batch()
        batch.values[name].requires_grad_()
        found = encoder(batch)
        found.values[0][found.mask[0]].sum().backward()
        first = int(batch.lengths[0])
        assert bool((batch.values[name].grad[first:] == 0).all())


@each_encoder
def test_no_present_row(case):
    encoder = case.build().eval()
    found = encoder(case.batch([]))
    assert found.values.shape[0] == found.mask.shape[0] == 0
    assert found.values.shape[2] == DIM
    assert found.values.shape[1] == found.mask.shape[1] >= 1
    spread = scatter(found, torch.zeros(3, dtype=torch.bool))
    assert spread.values.shape[0] == 3
    assert not bool(spread.present.any())


@each_encoder
def test_absent_rows_stay_zero_after_scatter(case):
    encoder = case.build().eval()
    found = encoder(case.batch([3, 0]))
    spread = scatter(found, torch.tensor([False, True, False, True]))
    assert spread.present.tolist() == [False, True, False, True]
    assert bool((spread.values[[0, 2]] == 0).all())
    torch.testing.assert_close(spread.values[[1, 3]], found.values)


@each_encoder
def test_state_round_trip(case):
    batch = case.batch(seed=5)
    assert_round_trip(case.build, lambda encoder: encoder(batch).values)


@each_measuring_encoder
def test_measured_statistics_travel_with_the_state(case):
    encoder = case.build().eval()
    encoder.initialise(case.batch(seed=9))
    other = case.build(seed=1).eval()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(case.batch()).values, other(case.batch()).values)


@each_measuring_encoder
@pytest.mark.parametrize("rows", [[], [1], [0]])
def test_initialise_on_few_rows_stays_finite(case, rows):
    encoder = case.build().eval()
    encoder.initialise(case.batch(rows))
    assert all(bool(value.isfinite().all()) for value in encoder.state_dict().values())
    assert bool(encoder(case.batch()).values.isfinite().all())


@each_encoder
def test_determinism_and_dropout(case):
    encoder = case.build(dropout=0.5).eval()
    assert torch.equal(encoder(case.batch()).values, encoder(case.batch()).values)
    again = case.build(dropout=0.5).eval()
    assert torch.equal(encoder(case.batch()).values, again(case.batch()).values)
    encoder.train()
    torch.manual_seed(0)
    assert not torch.equal(encoder(case.batch()).values, encoder(case.batch()).values)


@each_token_part
def test_token_parts_shapes_subsets_and_order(part):
    module, tokens = seeded(TOKEN_PARTS[part]).eval(), random_tokens()
    whole = module(tokens)
    assert list(whole) == list(tokens)
    for names in (("c", "a"), ("b",), ("c", "b", "a")):
        some = module({name: tokens[name] for name in names})
        assert list(some) == list(names)
        for name, item in some.items():
            assert torch.equal(item.values, whole[name].values)
            assert torch.equal(item.mask, tokens[name].mask)
            assert item.values.shape[:2] == tokens[name].values.shape[:2]
            assert bool((item.values[~item.mask] == 0).all())
    assert module({}) == {}


@each_token_part
def test_token_parts_are_trained(part):
    module = seeded(TOKEN_PARTS[part])
    found = module(random_tokens(seed=2))
    loss = sum((item.values * torch.randn(item.values.shape)).sum() for item in found.values())
    assert_all_trained(module, loss)


@each_token_part
def test_token_parts_see_neither_mates_nor_padding(part):
    module, tokens = seeded(TOKEN_PARTS[part]).eval(), random_tokens()
    together, longer = module(tokens), module(padded(tokens))
    for row in range(5):
        alone = module(take_rows(tokens, [row]))
        for name in FIELDS:
            mask = tokens[name].mask[row]
            wanted = together[name].values[row][mask]
            close(alone[name].values[0][mask], wanted)
            close(longer[name].values[row][: len(mask)][mask], wanted)


@each_token_part
def test_token_parts_round_trip(part):
    tokens = random_tokens()

    def run(module):
        return torch.cat([item.values.flatten() for item in module(tokens).values()])

    assert_round_trip(lambda seed: seeded(TOKEN_PARTS[part], seed=seed), run)


@each_token_part
def test_token_parts_without_rows(part):
    module = TOKEN_PARTS[part]()
    empty = {"a": Tokens(torch.zeros(0, 1, DIM), torch.zeros(0, 1, dtype=torch.bool))}
    assert module(empty)["a"].values.shape[:2] == (0, 1)
