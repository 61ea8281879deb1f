"""Operations of each fusion against the formula of its paper, and how they grow with tokens, fields and width."""

from __future__ import annotations

import pytest
import torch

from omnifuse.evaluation import count_flops
from omnifuse.fusion import FUSIONS
from omnifuse.fusion.bottleneck import NUM_BOTTLENECKS
from omnifuse.fusion.latent import NUM_LATENTS
from omnifuse.fusion.low_rank import RANK
from omnifuse.tokens import Tokens

ROWS, HEADS = 3, 2


def products(*shapes):
    """Operations of products of (rows, inner) with (inner, columns)."""
    return sum(2 * rows * inner * columns for rows, inner, columns in shapes)


def self_block(length, dim):
    """Vaswani et al. 2017, table 1: T^2 D for attention, T D^2 for what is projected; an MLP of twice the width."""
    projected = products((length, dim, 3 * dim), (length, dim, dim), (length, dim, 2 * dim), (length, 2 * dim, dim))
    return projected + products((length, dim, length), (length, length, dim))


def cross_block(length, context, dim):
    """The same with queries of one side and keys and values of the other: T S D."""
    projected = products((length, dim, dim), (context, dim, 2 * dim), (length, dim, dim))
    mlp = products((length, dim, 2 * dim), (length, 2 * dim, dim))
    return projected + mlp + products((length, dim, context), (length, context, dim))


def joint(lengths, dim):
    """One block over all tokens, a learned query of each head that pools them, and the short way past the block."""
    length = sum(lengths)
    pool = products((length, dim, HEADS), (HEADS, length, dim), (1, dim, dim))
    return self_block(length, dim) + pool + products((1, dim, dim))


def attention(lengths, dim):
    """Tsai et al. 2019: each field asks the others, here all at once."""
    asked = sum(cross_block(length, sum(lengths) - length, dim) for length in lengths)
    return asked + products((1, dim * len(lengths), dim))


# Fusion to its operations a row, by the lengths of the fields and the width
FORMULAS = {
    "joint": joint,
    "sum": lambda lengths, dim: 0,
    "mean": lambda lengths, dim: 0,
    "max": lambda lengths, dim: 0,
    "weighted": lambda lengths, dim: products((len(lengths), dim, 1), (1, len(lengths), dim)),
    "concat": lambda lengths, dim: products(
        (1, len(lengths) * dim, dim), (1, len(lengths) * dim, 2 * dim), (1, 2 * dim, dim)
    ),
    # Arevalo et al. 2017, section 3.2: one value a field, gates from all fields together
    "gated": lambda lengths, dim: products(
        *[(1, dim, dim)] * len(lengths), (1, len(lengths) * dim, len(lengths) * dim)
    ),
    "attention": attention,
    # Nagrani et al. 2021, section 3.2: the sum over fields of (K + T_m)^2 D
    "bottleneck": lambda lengths, dim: sum(self_block(NUM_BOTTLENECKS + length, dim) for length in lengths),
    # Jaegle et al. 2021, section 3.1: T L D for reading, L^2 D among the latents
    "latent": lambda lengths, dim: cross_block(NUM_LATENTS, sum(lengths), dim) + self_block(NUM_LATENTS, dim),
    # Liu et al. 2018, section 3.2: M R D^2, against D^M for the whole tensor
    "low_rank": lambda lengths, dim: products(*[(1, dim, RANK * dim)] * len(lengths), (1, RANK, dim)),
    "space": lambda lengths, dim: products(*[(1, dim, dim)] * len(lengths)),
}


def operations(name, lengths, dim):
    """Operations a row of a fusion of fields that are all there."""
    fields = {f"f{place}": length for place, length in enumerate(lengths)}
    fusion = FUSIONS[name](dim, tuple(fields), num_heads=HEADS, depth=1).eval()
    tokens = {
        field: Tokens(torch.randn(ROWS, length, dim), torch.ones(ROWS, length, dtype=torch.bool))
        for field, length in fields.items()
    }
    return count_flops(lambda: fusion(tokens)) / ROWS


def test_every_fusion_has_a_formula():
    assert set(FORMULAS) == set(FUSIONS)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(("lengths", "dim"), [((5, 9), 16), ((40, 1, 12, 7), 32)])
def test_operations_are_those_of_the_formula(name, lengths, dim):
    # What is done once for all rows (the query of a pooling) is left out of the formulas
    assert operations(name, lengths, dim) == pytest.approx(FORMULAS[name](lengths, dim), rel=0.005)


@pytest.mark.parametrize(
    ("name", "tokens", "fields"),
    [
        # How many times dearer with 8 times the tokens, and with 8 fields instead of 2 of the same lengths
        ("joint", 64, 16),
        ("attention", 64, 28),
        ("bottleneck", 64, 4),
        ("latent", 8, 4),
        ("low_rank", 1, 4),
        ("weighted", 1, 4),
    ],
)
def test_growth_is_of_the_published_order(name, tokens, fields):
    """Long fields of a narrow width, where the leading term shows."""
    few, dim = (512, 512), 4
    base = operations(name, few, dim)
    assert operations(name, (4096, 4096), dim) / base == pytest.approx(tokens, rel=0.15)
    assert operations(name, few * 4, dim) / base == pytest.approx(fields, rel=0.15)
