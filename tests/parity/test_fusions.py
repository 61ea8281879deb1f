"""Every fusion against values computed by hand; encoders are identities, so tokens are given."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from omnifuse.fusion import FUSIONS
from omnifuse.model import MultimodalModel
from omnifuse.tokens import Batch, FieldBatch, Tokens

FIELDS = ("text", "image", "audio")
# Row 0 has everything, row 1 lacks the image, row 2 has the audio alone
TEXT = Tokens(torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 1.0], [9.0, 9.0]], [[7.0, 7.0], [7.0, 7.0]]]),
              torch.tensor([[True, True], [True, False], [False, False]]))  # fmt: skip
IMAGE = Tokens(torch.tensor([[[10.0, -4.0]], [[0.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([[True], [False], [False]]))
AUDIO = Tokens(torch.tensor([[[0.5, 0.25]], [[1.0, 2.0]], [[-1.0, 3.0]]]), torch.tensor([[True], [True], [True]]))
TOKENS = {"text": TEXT, "image": IMAGE, "audio": AUDIO}
# Means of the real tokens, by hand
MEANS = {"text": [[2.0, 4.0], [5.0, 1.0], None], "image": [[10.0, -4.0], None, None],
         "audio": [[0.5, 0.25], [1.0, 2.0], [-1.0, 3.0]]}  # fmt: skip
ABSENT = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
MARKS = torch.tensor([[0.01, 0.02], [0.03, 0.04], [0.05, 0.06]])


def made(name: str, *, absent: torch.Tensor = ABSENT, depth: int = 1) -> nn.Module:
    torch.manual_seed(0)
    fusion = FUSIONS[name](2, FIELDS, num_heads=1, depth=depth).eval()
    with torch.no_grad():
        fusion.absent.vectors.copy_(absent)
        if hasattr(fusion, "marks"):
            fusion.marks.copy_(MARKS)
    return fusion


def pooled(name: str, tokens=TOKENS, **more) -> torch.Tensor:
    with torch.no_grad():
        return made(name, **more)(tokens).pooled


def near(found: torch.Tensor, wanted) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-5)


def test_the_sum_is_the_additive_model_of_the_figure():
    """M(x, I, A) = M_text(x) + M_image(I) + M_audio(A), row 0; an absent part adds its learned vector."""
    near(
        pooled("sum"),
        [
            [2.0 + 10.0 + 0.5, 4.0 - 4.0 + 0.25],
            [5.0 + 0.3 + 1.0, 1.0 + 0.4 + 2.0],
            [0.1 + 0.3 - 1.0, 0.2 + 0.4 + 3.0],
        ],
    )


def test_the_sum_is_additive_in_each_part():
    """Changing the image changes M by the change of M_image alone, whatever text and audio are."""
    for text, audio in ((TEXT, AUDIO), (Tokens(TEXT.values * -3, TEXT.mask), Tokens(AUDIO.values + 9, AUDIO.mask))):
        before = pooled("sum", {"text": text, "image": IMAGE, "audio": audio})
        after = pooled("sum", {"text": text, "image": Tokens(IMAGE.values + 2, IMAGE.mask), "audio": audio})
        near(after - before, [[2.0, 2.0], [0.0, 0.0], [0.0, 0.0]])


def told(row: int) -> torch.Tensor:
    """What pooling fusions add: marks of the present fields and learned vectors of the absent ones."""
    parts = [MARKS[i] if MEANS[name][row] is not None else ABSENT[i] for i, name in enumerate(FIELDS)]
    return torch.stack(parts).sum(dim=0)


def test_the_mean_of_the_present_fields():
    wanted = [[12.5 / 3, 0.25 / 3], [3.0, 1.5], [-1.0, 3.0]]
    near(pooled("mean"), [[v + float(t) for v, t in zip(line, told(r), strict=True)] for r, line in enumerate(wanted)])


def test_the_maximum_of_the_present_fields():
    wanted = [[10.0, 4.0], [5.0, 2.0], [-1.0, 3.0]]
    near(pooled("max"), [[v + float(t) for v, t in zip(line, told(r), strict=True)] for r, line in enumerate(wanted)])


def test_the_weighted_mean_of_the_present_fields():
    fusion = made("weighted")
    with torch.no_grad():
        fusion.pool.score.weight.copy_(torch.tensor([[0.5, -0.25]]))
        fusion.pool.score.bias.fill_(0.125)
        found = fusion(TOKENS).pooled
    wanted = []
    for row in range(3):
        vectors = torch.tensor([MEANS[name][row] for name in FIELDS if MEANS[name][row] is not None])
        shares = torch.softmax(vectors @ torch.tensor([0.5, -0.25]) + 0.125, dim=0)
        wanted.append((shares[:, None] * vectors).sum(dim=0) + told(row))
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 1])
def test_concatenation_with_the_learned_vector_in_an_absent_place(depth):
    fusion = made("concat", depth=depth)
    flat = torch.tensor(
        [[2.0, 4.0, 10.0, -4.0, 0.5, 0.25], [5.0, 1.0, 0.3, 0.4, 1.0, 2.0], [0.1, 0.2, 0.3, 0.4, -1.0, 3.0]]
    )
    wanted = flat @ fusion.linear.weight.T + fusion.linear.bias
    if depth:
        hidden = F.gelu(flat @ fusion.mlp.inner.weight.T + fusion.mlp.inner.bias, approximate="tanh")
        wanted = wanted + hidden @ fusion.mlp.outer.weight.T + fusion.mlp.outer.bias
    with torch.no_grad():
        torch.testing.assert_close(fusion(TOKENS).pooled, wanted, rtol=1e-5, atol=1e-5)


def test_joint_without_blocks_is_attention_pooling_beside_the_mean():
    """One head of width 2, query, keys, values and norm read off and computed in float64."""
    fusion = made("joint", depth=0)
    state = {name: value.double() for name, value in fusion.state_dict().items()}
    wanted = []
    for row in range(3):
        own, means = [], []
        for index, name in enumerate(FIELDS):
            item = TOKENS[name]
            own += list(item.values[row][item.mask[row]].double())
            if MEANS[name][row] is None:
                own.append(ABSENT[index].double())
            else:
                means.append(torch.tensor(MEANS[name][row], dtype=torch.float64))
        tokens = torch.stack(own)
        normed = F.layer_norm(tokens, (2,), state["norm.weight"], state["norm.bias"])
        keys = normed @ state["pool.keys.weight"].T
        values = normed @ state["pool.values.weight"].T + state["pool.values.bias"]
        shares = torch.softmax(keys @ state["pool.query"][0] / 2**0.5, dim=0)
        mean = torch.stack(means).mean(dim=0)
        short = state["short_way.weight"] @ mean + state["short_way.bias"]
        wanted.append((shares[:, None] * values).sum(dim=0) + short)
    with torch.no_grad():
        torch.testing.assert_close(fusion(TOKENS).pooled.double(), torch.stack(wanted), rtol=1e-4, atol=1e-5)


def by_field(row: int) -> list[torch.Tensor]:
    """The real tokens of each field in float64; the learned vector where the field is absent."""
    found = []
    for index, name in enumerate(FIELDS):
        item = TOKENS[name]
        own = item.values[row][item.mask[row]].double()
        found.append(own if len(own) else ABSENT[index].double()[None])
    return found


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """One head of width 2, a query at a time."""
    out = []
    for query in queries:
        shares = torch.softmax(keys @ query / 2**0.5, dim=0)
        out.append((shares[:, None] * values).sum(dim=0))
    return torch.stack(out)


class Slow:
    """The weights of a fusion in float64, and its blocks written out."""

    def __init__(self, fusion: nn.Module) -> None:
        self.state = {name: value.double() for name, value in fusion.state_dict().items()}

    def linear(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(values, (2,), self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def mlp(self, name: str, values: torch.Tensor) -> torch.Tensor:
        hidden = F.gelu(self.linear(f"{name}.inner", values), approximate="tanh")
        return self.linear(f"{name}.outer", hidden)

    def block(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Self-attention and MLP of one row's tokens."""
        packed = self.linear(f"{name}.attention.queries_keys_values", self.norm(f"{name}.attention_norm", values))
        values = values + self.linear(f"{name}.attention.output", attend(*packed.split(2, dim=1)))
        return values + self.mlp(f"{name}.mlp", self.norm(f"{name}.mlp_norm", values))

    def cross(self, name: str, values: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Attention of one row's tokens to a context, and MLP."""
        queries = self.linear(f"{name}.attention.queries", self.norm(f"{name}.tokens_norm", values))
        packed = self.linear(f"{name}.attention.keys_values", self.norm(f"{name}.context_norm", context))
        values = values + self.linear(f"{name}.attention.output", attend(queries, *packed.split(2, dim=1)))
        return values + self.mlp(f"{name}.mlp", self.norm(f"{name}.mlp_norm", values))


def check(name: str, wanted) -> None:
    """Each row of the fusion against a function of its weights and the row's number."""
    fusion = made(name)
    slow = Slow(fusion)
    with torch.no_grad():
        found = fusion(TOKENS).pooled.double()
        torch.testing.assert_close(found, torch.stack([wanted(slow, row) for row in range(3)]), rtol=1e-4, atol=1e-5)


def vectors_of(row: int) -> list[torch.Tensor]:
    return [tokens.mean(dim=0) for tokens in by_field(row)]


def test_gates_choose_among_the_present_fields_feature_by_feature():
    def wanted(slow: Slow, row: int) -> torch.Tensor:
        vectors = vectors_of(row)
        scores = slow.linear("scores", torch.cat(vectors)).view(3, 2)
        there = [index for index, name in enumerate(FIELDS) if MEANS[name][row] is not None]
        gates = torch.softmax(scores[there], dim=0)
        parts = torch.stack([slow.linear(f"values.{index}", vectors[index]).tanh() for index in there])
        return (gates * parts).sum(dim=0)

    check("gated", wanted)


def test_gates_sum_to_one_over_the_present_fields_and_are_shut_for_absent_ones():
    fusion = made("gated")
    vectors, present = fusion.absent.pooled(TOKENS)
    gates = fusion.gates(vectors, present)
    torch.testing.assert_close(gates.sum(dim=1), torch.ones(3, 2))
    assert not gates[~present].any()


def test_cross_attention_asks_the_other_fields():
    def wanted(slow: Slow, row: int) -> torch.Tensor:
        parts = by_field(row)
        means = []
        for index, own in enumerate(parts):
            context = torch.cat([part for place, part in enumerate(parts) if place != index])
            means.append(slow.norm("norm", slow.cross(f"blocks.{index}.0", own, context)).mean(dim=0))
        return slow.linear("output", torch.cat(means))

    check("attention", wanted)


def test_bottlenecks_are_averaged_over_the_fields():
    def wanted(slow: Slow, row: int) -> torch.Tensor:
        shared, told = slow.state["bottlenecks"], []
        for index, own in enumerate(by_field(row)):
            told.append(slow.block(f"layers.0.{index}", torch.cat([shared, own]))[: len(shared)])
        return slow.norm("norm", torch.stack(told).mean(dim=0)).mean(dim=0)

    check("bottleneck", wanted)


def test_latents_read_all_tokens():
    def wanted(slow: Slow, row: int) -> torch.Tensor:
        latents = slow.cross("reads.0", slow.state["latents"], torch.cat(by_field(row)))
        return slow.norm("norm", slow.block("blocks.0", latents)).mean(dim=0)

    check("latent", wanted)


def test_low_rank_is_the_tensor_product_of_all_fields():
    """The full tensor is built and contracted: equation 3 of the paper against its equation 7."""

    def wanted(slow: Slow, row: int) -> torch.Tensor:
        one = torch.ones(1, dtype=torch.float64)
        extended = [
            torch.cat([slow.norm(f"norms.{index}", vector), one]) for index, vector in enumerate(vectors_of(row))
        ]
        tensor = torch.einsum("i,j,k->ijk", *extended)
        # (M, R, D + 1, O): the factors with the row of the constant
        factors = torch.cat([slow.state["factors"], slow.state["ones"].unsqueeze(2)], dim=2)
        weights = torch.einsum("r,rio,rjo,rko->ijko", slow.state["weights"], *factors)
        return torch.einsum("ijk,ijko->o", tensor, weights) + slow.state["bias"]

    check("low_rank", wanted)


def test_the_space_is_the_mean_direction_of_the_fields_that_are_there():
    def wanted(slow: Slow, row: int) -> torch.Tensor:
        total = torch.zeros(2, dtype=torch.float64)
        for index, name in enumerate(FIELDS):
            if MEANS[name][row] is not None:
                mean = torch.tensor(MEANS[name][row], dtype=torch.float64)
                vector = slow.linear(f"layers.{index}", slow.norm(f"norms.{index}", mean))
                total += vector / vector.norm()
        return total / total.norm()

    check("space", wanted)


@pytest.mark.parametrize("name", list(FUSIONS))
def test_what_lies_under_a_false_mask_is_never_read(name):
    def spoilt(item: Tokens) -> Tokens:
        return Tokens(torch.where(item.mask.unsqueeze(-1), item.values, 1e6), item.mask)

    torch.testing.assert_close(pooled(name), pooled(name, {key: spoilt(item) for key, item in TOKENS.items()}))


@pytest.mark.parametrize("name", list(FUSIONS))
def test_an_absent_field_equals_a_field_of_false_masks_in_any_order(name):
    nothing = Tokens(IMAGE.values, torch.zeros_like(IMAGE.mask))
    full = pooled(name, {"text": TEXT, "image": nothing, "audio": AUDIO})
    torch.testing.assert_close(full, pooled(name, {"audio": AUDIO, "text": TEXT}))


class Given(nn.Module):
    """An encoder that is an identity: the values are the tokens."""

    def forward(self, batch: FieldBatch) -> Tokens:
        values = batch.values["values"]
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))


class Keep(nn.Module):
    """Projectors that are identities."""

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        return tokens


def test_the_additive_model_from_rows_to_the_unified_representation():
    """The whole model with identities around: the representation of a row is the sum of its parts."""
    vectors = {"text": [[1.0, 2.0], [3.0, 4.0]], "image": [[10.0, 20.0], [30.0, 40.0]], "audio": [[0.5, 0.5]]}
    present = {"text": [True, True], "image": [True, True], "audio": [True, False]}
    model = MultimodalModel({name: Given() for name in FIELDS}, Keep(), made("sum"), {}).eval()
    fields = {
        name: FieldBatch(
            {"values": torch.tensor(rows)[:, None]}, torch.ones(len(rows)).long(), torch.tensor(present[name])
        )
        for name, rows in vectors.items()
    }
    output = model(Batch(fields, {}, torch.ones(2), torch.arange(2)))
    near(output.fused.pooled.detach(), [[11.5, 22.5], [33.0 + 0.5, 44.0 + 0.6]])
    assert output.loss is None
