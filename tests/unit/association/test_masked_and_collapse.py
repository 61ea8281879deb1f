"""What is hidden is told from the rest alone; a collapse is seen; rows that show the same."""

from __future__ import annotations

import pytest
import torch

from omnifuse.association import Items, MaskedObjective, MatchingObjective, Space, joined_vector
from omnifuse.association.collapse import spread_of
from omnifuse.tokens import Tokens


def tokens(seed=0, rows=6):
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for number, name in enumerate(("a", "b")):
        mask = torch.ones(rows, 3 + number, dtype=torch.bool)
        mask[1, 2:] = False
        found[name] = Tokens(torch.randn(rows, 3 + number, 8, generator=draw), mask)
    found["b"].mask[2] = False
    return found


def objective():
    torch.manual_seed(0)
    made = MaskedObjective(("a", "b"), 8, num_heads=2)
    made.generator = torch.Generator().manual_seed(0)
    return made


def test_hidden_places_are_real_and_leave_something():
    made, masks = objective(), {name: item.mask for name, item in tokens().items()}
    whole = 0
    for _ in range(20):
        hidden = made.hidden(masks)
        left = sum((masks[name] & ~hidden[name]).sum(dim=1) for name in masks)
        assert all(not bool((hidden[name] & ~masks[name]).any()) for name in masks)
        assert bool((left > 0).all())
        whole += int(((hidden["a"] == masks["a"]).all(dim=1) & masks["b"].any(dim=1)).sum())
    assert whole > 0


def test_only_hidden_places_count_and_what_is_hidden_is_not_read():
    made, student, teacher = objective(), tokens(), tokens(seed=1)
    hidden = {name: torch.zeros_like(item.mask) for name, item in student.items()}
    hidden["a"][:, 0] = True
    wanted, known = made.predict(student, teacher, hidden)
    assert known.tolist() == [True] * 6
    other = {name: Tokens(item.values.clone(), item.mask) for name, item in student.items()}
    other["a"].values[:, 0] += 100.0
    torch.testing.assert_close(made.predict(other, teacher, hidden)[0], wanted)
    seen = {name: Tokens(item.values.clone(), item.mask) for name, item in teacher.items()}
    seen["a"].values[:, 1:] += torch.randn(6, 2, 8)
    seen["b"].values[:] += torch.randn(6, 4, 8)
    torch.testing.assert_close(made.predict(student, seen, hidden)[0], wanted)
    seen["a"].values[:, 0] = torch.randn(6, 8)
    assert not torch.allclose(made.predict(student, seen, hidden)[0], wanted)


def test_padding_of_a_field_changes_nothing():
    made, student, teacher = objective(), tokens(), tokens(seed=1)
    hidden = {name: torch.zeros_like(item.mask) for name, item in student.items()}
    hidden["b"][:, 1] = student["b"].mask[:, 1]
    wanted, known = made.predict(student, teacher, hidden)
    assert known.tolist() == [True, True, False, True, True, True]

    def padded(items):
        return {
            name: Tokens(
                torch.cat([item.values, torch.full((6, 2, 8), 7.0)], dim=1),
                torch.cat([item.mask, torch.zeros(6, 2, dtype=torch.bool)], dim=1),
            )
            for name, item in items.items()
        }

    more = {name: torch.cat([item, torch.zeros(6, 2, dtype=torch.bool)], dim=1) for name, item in hidden.items()}
    torch.testing.assert_close(made.predict(padded(student), padded(teacher), more)[0], wanted)


def test_the_predictor_learns_one_field_from_the_other():
    made = objective()
    draw = torch.Generator().manual_seed(2)
    shared = torch.randn(32, 1, 8, generator=draw)
    mask = torch.ones(32, 1, dtype=torch.bool)
    student = {"a": Tokens(shared, mask), "b": Tokens(torch.zeros(32, 1, 8), mask)}
    teacher = {"a": student["a"], "b": Tokens(shared.roll(1, dims=2), mask)}
    hidden = {"a": torch.zeros_like(mask), "b": mask}
    optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = made.predict(student, teacher, hidden)[0].mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_effective_rank_by_hand():
    # Two pairs of opposite vectors: two equal singular values
    corners = torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0]]).repeat(3, 1)
    found = spread_of(corners)
    assert found.effective_rank == pytest.approx(2.0)
    assert not found.collapsed
    line = spread_of(corners[:2].repeat(6, 1))
    assert line.effective_rank == pytest.approx(1.0)
    assert line.collapsed
    assert "has collapsed: its vectors use 1.0 of 4 dimensions" in line.words("photo")


def test_equal_vectors_have_collapsed_and_random_ones_have_not():
    assert spread_of(torch.ones(50, 16) / 4).collapsed
    torch.manual_seed(0)
    even = spread_of(torch.nn.functional.normalize(torch.randn(200, 16), dim=1))
    assert not even.collapsed
    assert even.deviation == pytest.approx(1.0, abs=0.02)
    assert even.effective_rank > 14
    assert not spread_of(torch.ones(1, 16)).collapsed


def test_items_are_the_same_where_any_code_is():
    items = Items.joined([torch.tensor([5, -1, 5, -1]), torch.tensor([0, 1, 2, 1])], 4)
    everything = slice(0, 4)
    assert items.same(everything, everything).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert items.counts(3).tolist() == [2, 2, 2, 2]
    assert items.rows(torch.tensor([True, True, False, True])).counts(8).tolist() == [1, 2, 2]


def test_matching_without_a_stranger_is_finite():
    torch.manual_seed(0)
    judge = MatchingObjective(8)
    items = Items.joined([torch.zeros(3, dtype=torch.int64)], 3)
    loss = judge(torch.randn(3, 8), torch.randn(3, 8), items)
    loss.backward()
    assert bool(loss.isfinite())


def test_the_space_begins_centred():
    torch.manual_seed(0)
    space, item = Space(("a",), 8, 16), Tokens(torch.randn(64, 2, 8) * 0.05 + 3.0, torch.ones(64, 2, dtype=torch.bool))
    before = spread_of(space({"a": item})["a"]).deviation
    space.initialise({"a": item})
    after = spread_of(space({"a": item})["a"])
    assert after.deviation > max(0.9, before)


def test_a_joined_vector_is_the_mean_of_what_is_there():
    one, two = torch.eye(4)[:2], torch.eye(4)[2:]
    flags = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    found = joined_vector({"a": one, "b": two}, flags)
    torch.testing.assert_close(found[0], (one[0] + two[0]) / 2**0.5)
    torch.testing.assert_close(found[1], one[1])
    assert bool(joined_vector({"a": one}, {"a": torch.tensor([True, False])})[1].isnan().all())
