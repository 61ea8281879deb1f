"""What every fusion promises."""

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

import omnifuse.fusion
from omnifuse.fusion import FUSIONS
from omnifuse.tokens import Tokens

each_fusion = pytest.mark.parametrize("name", FUSIONS)


def build(name, seed=0, **options):
    given = {"dim": DIM, "fields": FIELDS, "num_heads": 2, "depth": 1, "dropout": 0.0, **options}
    return seeded(FUSIONS[name], seed=seed, **given)


def test_no_fusion_escapes():
    assert public_modules(omnifuse.fusion) == set(FUSIONS.values())


@each_fusion
def test_shapes(name):
    found = build(name).eval()(random_tokens())
    assert found.pooled.shape == (5, DIM)
    assert found.tokens.shape[0] == 5
    assert found.tokens.shape[2] == DIM
    assert found.mask.shape == found.tokens.shape[:2]
    assert found.mask.dtype == torch.bool
    assert bool(found.pooled.isfinite().all())
    assert bool(found.tokens.isfinite().all())
    assert bool(found.mask.any(dim=1).all()), "tasks that read tokens need at least one a row"


@each_fusion
def test_every_parameter_is_trained(name):
    fusion = build(name)
    found = fusion(random_tokens(num_rows=8, seed=1))
    torch.manual_seed(3)
    loss = (found.pooled * torch.randn(found.pooled.shape)).sum()
    loss = loss + (found.tokens * torch.randn(found.tokens.shape) * found.mask.unsqueeze(-1)).sum()
    assert_all_trained(fusion, loss)


@each_fusion
def test_pooled_reads_every_field(name):
    tokens = {key: Tokens(item.values.requires_grad_(), item.mask) for key, item in random_tokens().items()}
    torch.manual_seed(1)
    (build(name)(tokens).pooled * torch.randn(5, DIM)).sum().backward()
    for key, item in tokens.items():
        assert item.values.grad is not None
        rows = item.values.grad.abs().sum(dim=(1, 2)) > 0
        # A maximum passes one field a feature on, so a field may lose in a row, but not in all
        assert bool((rows & ~item.present).any()) is False, f"{key}: an absent row got a gradient"
        assert bool(rows.any()), f"{key} is not read"
        assert bool((item.values.grad[~item.mask] == 0).all())


@each_fusion
def test_any_order(name):
    fusion, tokens = build(name).eval(), random_tokens()
    wanted = fusion(tokens)
    for order in itertools.permutations(FIELDS):
        found = fusion({key: tokens[key] for key in order})
        assert torch.equal(found.pooled, wanted.pooled)
        assert torch.equal(found.tokens, wanted.tokens)
        assert torch.equal(found.mask, wanted.mask)


@each_fusion
@pytest.mark.parametrize("kept", [keep for size in (1, 2) for keep in itertools.combinations(FIELDS, size)])
def test_an_absent_field_is_a_field_absent_in_every_row(name, kept):
    fusion, tokens = build(name).eval(), random_tokens()
    without = fusion({key: tokens[key] for key in kept})
    emptied = {
        key: item if key in kept else Tokens(torch.zeros_like(item.values), torch.zeros_like(item.mask))
        for key, item in tokens.items()
    }
    close(without.pooled, fusion(emptied).pooled)
    assert without.pooled.shape == (5, DIM)
    assert bool(without.pooled.isfinite().all())
    # What is missing shows
    assert not torch.allclose(without.pooled[0], fusion(tokens).pooled[0], atol=1e-4)


@each_fusion
def test_a_row_without_any_field_is_answered(name):
    fusion = build(name).eval()
    rows = random_tokens()
    found = fusion(rows)
    assert bool(found.pooled[-1].isfinite().all())
    empty = {key: Tokens(torch.zeros_like(item.values), torch.zeros_like(item.mask)) for key, item in rows.items()}
    nothing = fusion(empty).pooled
    close(nothing, found.pooled[-1:].expand_as(nothing))


@each_fusion
def test_a_row_is_independent_of_its_mates(name):
    fusion, tokens = build(name).eval(), random_tokens()
    together = fusion(tokens)
    for rows in ([0], [1], [2], [3], [4], [3, 1], [4, 0, 2]):
        some = fusion(take_rows(tokens, rows))
        close(some.pooled, together.pooled[rows])
        for place, row in enumerate(rows):
            close(some.tokens[place][some.mask[place]], together.tokens[row][together.mask[row]])


@each_fusion
def test_padding_is_never_read(name):
    fusion, tokens = build(name).eval(), random_tokens()
    plain, longer = fusion(tokens), fusion(padded(tokens))
    close(longer.pooled, plain.pooled)
    for row in range(5):
        close(longer.tokens[row][longer.mask[row]], plain.tokens[row][plain.mask[row]])


@each_fusion
def test_no_row(name):
    found = build(name).eval()(take_rows(random_tokens(), []))
    assert found.pooled.shape == (0, DIM)


@each_fusion
@pytest.mark.parametrize("fields", [("only",), ("a", "b"), ("x.y", "text", "weight", "a b")])
def test_any_number_and_name_of_fields(name, fields):
    fusion = build(name, fields=fields)
    assert fusion(random_tokens(fields=fields)).pooled.shape == (5, DIM)


@each_fusion
@pytest.mark.parametrize("depth", [0, 2])
def test_any_depth(name, depth):
    found = build(name, depth=depth)(random_tokens()).pooled
    assert bool(found.isfinite().all())


@each_fusion
def test_state_round_trip(name):
    assert_round_trip(lambda seed: build(name, seed), lambda fusion: fusion(random_tokens()).pooled)


@each_fusion
def test_determinism(name):
    one, two = build(name, dropout=0.5).eval(), build(name, dropout=0.5).eval()
    assert torch.equal(one(random_tokens()).pooled, one(random_tokens()).pooled)
    assert torch.equal(one(random_tokens()).pooled, two(random_tokens()).pooled)


@each_fusion
def test_wrong_fields_are_named(name):
    fusion, tokens = build(name), random_tokens()
    with pytest.raises(ValueError, match="no field was handed to the fusion"):
        fusion({})
    with pytest.raises(ValueError, match="no field 'd'"):
        fusion({"d": tokens["a"]})
    with pytest.raises(ValueError, match="different numbers of rows"):
        fusion({"a": tokens["a"], "b": take_rows(tokens, [0])["b"]})
