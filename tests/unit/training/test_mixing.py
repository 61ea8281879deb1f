"""Mixup by hand."""

from __future__ import annotations

import numpy as np
import torch

from omnifuse.tokens import Batch, FieldBatch, Tokens
from omnifuse.training.mixing import cut_pictures, mix_soft_targets, mix_tokens, mixup_pairs


def test_pairs_are_a_permutation_and_a_row_stays_mainly_itself():
    partner, weight = mixup_pairs(np.random.default_rng(0), 500, 0.3)
    assert sorted(partner.tolist()) == list(range(500))
    assert partner.dtype == torch.int64
    assert weight.shape == (500,)
    assert weight.dtype == torch.float32
    assert bool(((weight >= 0.5) & (weight <= 1)).all())
    again = mixup_pairs(np.random.default_rng(0), 500, 0.3)
    assert torch.equal(again[0], partner)
    assert torch.equal(again[1], weight)


def test_alpha_says_how_much_is_mixed():
    little, much = (mixup_pairs(np.random.default_rng(0), 2000, alpha)[1].mean().item() for alpha in (0.1, 5.0))
    assert little > 0.9
    assert much < 0.7


def tokens_by_hand():
    values = torch.tensor([[[1.0], [2.0], [9.0]], [[10.0], [9.0], [9.0]], [[9.0], [9.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    return Tokens(values, mask)


def test_tokens_by_hand():
    # Row 0 takes from 1, row 1 from 2 (which lacks the field), row 2 from 0
    mixed = mix_tokens({"a": tokens_by_hand()}, torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.6, 0.9]))["a"]
    wanted_mask = [[True, True, False], [True, False, False], [True, True, False]]
    assert mixed.mask.tolist() == wanted_mask
    # Both real: 0.75 * 1 + 0.25 * 10; one alone stays whole, whatever the weight; padding becomes 0
    wanted = torch.tensor([[3.25, 2.0, 0.0], [10.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    torch.testing.assert_close(mixed.values[..., 0], wanted)


def test_weight_one_and_partner_oneself_change_no_real_token():
    tokens = tokens_by_hand()
    same = mix_tokens({"a": tokens}, torch.arange(3), torch.tensor([0.5, 0.7, 1.0]))["a"]
    assert torch.equal(same.mask, tokens.mask)
    torch.testing.assert_close(same.values[tokens.mask], tokens.values[tokens.mask])
    kept = mix_tokens({"a": tokens}, torch.tensor([1, 2, 0]), torch.ones(3))["a"]
    torch.testing.assert_close(kept.values[tokens.mask], tokens.values[tokens.mask])


def test_fields_are_mixed_alike_and_gradients_reach_both_rows():
    values = torch.randn(2, 1, 3, requires_grad=True)
    mask = torch.ones(2, 1, dtype=torch.bool)
    tokens = {"a": Tokens(values, mask), "b": Tokens(values * 2, mask)}
    mixed = mix_tokens(tokens, torch.tensor([1, 0]), torch.tensor([0.7, 0.7]))
    torch.testing.assert_close(mixed["b"].values, 2 * mixed["a"].values)
    mixed["a"].values[0].sum().backward()
    torch.testing.assert_close(values.grad[:, 0, 0], torch.tensor([0.7, 0.3]))
    assert mix_tokens({}, torch.tensor([1, 0]), torch.tensor([0.7, 0.7])) == {}


def test_half_precision_stays():
    tokens = {"a": Tokens(torch.ones(2, 1, 3, dtype=torch.bfloat16), torch.ones(2, 1, dtype=torch.bool))}
    assert mix_tokens(tokens, torch.tensor([1, 0]), torch.tensor([0.7, 0.7]))["a"].values.dtype == torch.bfloat16


def test_targets_by_hand():
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mixed = mix_soft_targets(targets, torch.tensor([1, 1]), torch.tensor([0.75, 0.6]))
    torch.testing.assert_close(mixed, torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(2))


def picture_batch(present, lengths=None):
    """Row r's picture is full of r."""
    there = torch.tensor(present)
    rows = torch.arange(len(present))[there].to(torch.uint8)
    pixels = rows[:, None, None, None].expand(-1, 10, 20, 3).clone()
    lengths = torch.ones(len(rows), dtype=torch.int64) if lengths is None else torch.tensor(lengths)
    field = FieldBatch({"pixels": pixels}, lengths, there)
    return Batch({"view": field}, {}, torch.ones(len(present)), torch.arange(len(present)))


def test_pictures_are_cut_by_the_share_that_is_told():
    batch, partner = picture_batch([True, True, True, False]), torch.tensor([1, 2, 3, 0])
    areas = set()
    for seed in range(20):
        mixed, weight, names = cut_pictures(batch, partner, np.random.default_rng(seed))
        assert names == {"view"}
        pixels = mixed.fields["view"].values["pixels"][..., 0]
        for row in (0, 1):
            kept = (pixels[row] == row).float().mean()
            assert bool(((pixels[row] == row) | (pixels[row] == row + 1)).all())
            torch.testing.assert_close(kept, weight[row])
        # The partner of row 2 has no picture
        assert bool((pixels[2] == 2).all())
        assert 0.5 <= float(weight[0]) <= 1
        areas.add(round(float(weight[0]), 3))
    assert len(areas) > 10
    assert bool((batch.fields["view"].values["pixels"][0] == 0).all())


def test_where_no_picture_can_be_cut_nothing_is_mixed():
    several = picture_batch([True, True], lengths=[1, 1])
    several.fields["view"] = FieldBatch(several.fields["view"].values, torch.tensor([2]), torch.tensor([True, False]))
    mixed, weight, names = cut_pictures(several, torch.tensor([1, 0]), np.random.default_rng(0))
    assert names == set()
    assert weight.tolist() == [1.0, 1.0]
    assert mixed.fields["view"] is several.fields["view"]


def test_cut_pictures_keep_their_tokens_and_other_fields_are_mixed():
    tokens = {"view": tokens_by_hand(), "note": tokens_by_hand()}
    partner, weight = torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.6, 0.9])
    mixed = mix_tokens(tokens, partner, weight, whole={"view"})
    # Row 0 and its partner have the picture: cut already. Row 2 lacks it and takes its partner's
    torch.testing.assert_close(mixed["view"].values[0, :, 0], torch.tensor([1.0, 2.0, 0.0]))
    torch.testing.assert_close(mixed["view"].values[2, :, 0], torch.tensor([1.0, 2.0, 0.0]))
    torch.testing.assert_close(mixed["note"].values, mix_tokens(tokens, partner, weight)["note"].values)


def test_without_mixup_the_pairs_mix_nothing():
    assert mixup_pairs(np.random.default_rng(0), 4, 0.0)[1].tolist() == [1.0] * 4
