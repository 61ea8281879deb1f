"""Searches against brute force over every text of a tiny vocabulary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from omnifuse.data.bpe import END_ID, NUM_SPECIAL, START_ID
from omnifuse.readout.writing import Constraint, Writing
from omnifuse.tasks.beam_search import beam_search
from omnifuse.tasks.following import Following
from omnifuse.tasks.sampling import drawn, sample_texts
from omnifuse.tasks.scorer import MeanScorer, WeightedScorer

LETTERS = (4, 5)
SIZE = NUM_SPECIAL + len(LETTERS)


class TableScorer:
    """Log-probabilities that depend on the row and on all ids so far: a random table, made when asked for."""

    def __init__(self, rows, seed=0):
        self.device, self.seed = torch.device("cpu"), seed
        self.texts = [(row,) for row in rows]
        self.steps, self.asked = 0, 0

    def row(self, text):
        draw = np.random.default_rng([self.seed, *text])
        logits = draw.normal(0, 1.5, SIZE)
        return logits - np.log(np.exp(logits).sum())

    def step(self, ids):
        self.texts = [(*text, int(one)) for text, one in zip(self.texts, ids, strict=True)]
        self.steps, self.asked = self.steps + 1, self.asked + len(self.texts)
        return torch.tensor(np.stack([self.row(text) for text in self.texts]), dtype=torch.float32)

    def take(self, index, *, same_row=False):
        taken = [self.texts[number] for number in index.tolist()]
        if same_row:
            assert [text[0] for text in taken] == [text[0] for text in self.texts]
        self.texts = taken


def brute_force(row, max_length, power, *, texts=None, seed=0, stop=()):
    """(ids, score) of every text, best first."""
    scorer, found = TableScorer([row], seed), []
    for length in range(max_length + 1):
        for text in itertools.product(LETTERS, repeat=length):
            if texts is not None and text not in texts:
                continue
            if any(one in stop for one in text[:-1]):
                continue
            is_stopped = bool(text) and text[-1] in stop
            ended = length < max_length and not is_stopped
            ids = (*text, END_ID) if ended else text
            if length == max_length and not is_stopped and texts is not None:
                continue
            total = sum(scorer.row((row, START_ID, *ids[:place]))[one] for place, one in enumerate(ids))
            found.append((text, total / max(len(ids), 1) ** power))
    return sorted(found, key=lambda item: -item[1])


def searched(rows, writing, max_length, *, constraint=None, scorer=None):
    scorer = scorer or TableScorer(rows)
    following = Following(SIZE, stop=writing.stop, constraint=constraint)
    return beam_search(scorer, len(rows), following, writing, max_length=max_length)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_a_beam_wide_enough_finds_the_best_texts_of_all(power):
    found = searched([3, 8, 1], Writing(beams=64, num=10, length_power=power), 4)
    for row, drafts in zip([3, 8, 1], found, strict=True):
        wanted = brute_force(row, 4, power)[:10]
        assert [draft.ids for draft in drafts] == [ids for ids, _ in wanted]
        np.testing.assert_allclose([draft.score for draft in drafts], [score for _, score in wanted], atol=1e-5)
        assert [draft.ended for draft in drafts] == [len(ids) < 4 for ids, _ in wanted]


@pytest.mark.parametrize("beams", [1, 2, 3, 7, 50, 256])
def test_beams_of_any_width_run_and_rows_do_not_touch_one_another(beams):
    """Wider than the vocabulary of 3 ids that can be written, too."""
    writing = Writing(beams=beams, num=beams)
    together = searched([3, 8, 1, 5], writing, 5)
    for row, drafts in zip([3, 8, 1, 5], together, strict=True):
        alone = searched([row], writing, 5)[0]
        assert [draft.ids for draft in alone] == [draft.ids for draft in drafts]
        assert drafts
        assert [draft.score for draft in drafts] == sorted((draft.score for draft in drafts), reverse=True)
        assert len({draft.ids for draft in drafts}) == len(drafts)
        assert all(one in LETTERS for draft in drafts for one in draft.ids)


def test_one_beam_is_greedy():
    greedy = sample_texts(TableScorer([3, 8, 1]), [3, 8, 1], Following(SIZE), Writing("greedy"), max_length=6)
    beam = searched([3, 8, 1], Writing(beams=1), 6)
    assert [row[0].ids for row in greedy] == [row[0].ids for row in beam]
    scorer = TableScorer([3])
    ids: list[int] = []
    while len(ids) < 6:
        logs = scorer.row((3, START_ID, *ids))
        ids.append(max((END_ID, *LETTERS), key=lambda one: logs[one]))
        if ids[-1] == END_ID:
            break
    assert greedy[0][0].ids == tuple(one for one in ids if one != END_ID)


def test_only_choices_are_written():
    choices = [(4,), (4, 5), (5, 5, 4), ()]
    constraint = Constraint.of_texts(choices, SIZE, end=END_ID)
    found = searched([3, 8], Writing(beams=8, num=8), 6, constraint=constraint)
    for row, drafts in zip([3, 8], found, strict=True):
        wanted = brute_force(row, 6, 1.0, texts=choices)
        assert [draft.ids for draft in drafts] == [ids for ids, _ in wanted]
        assert len(drafts) == 4
    drawn_texts = sample_texts(
        TableScorer([3]),
        [3],
        Following(SIZE, constraint=constraint),
        Writing("sample", num=200),
        max_length=6,
    )
    assert {draft.ids for draft in drawn_texts[0]} == set(choices)


def test_only_some_ids_are_written():
    constraint = Constraint.of_ids([4, END_ID], SIZE)
    found = searched([3], Writing(beams=4, num=4), 5, constraint=constraint)[0]
    assert {one for draft in found for one in draft.ids} == {4}


def test_a_stop_id_ends_a_text_and_stays_in_it():
    found = searched([3, 8], Writing(beams=64, num=6, stop=(5,)), 4)
    for row, drafts in zip([3, 8], found, strict=True):
        wanted = brute_force(row, 4, 1.0, stop=(5,))[:6]
        assert [draft.ids for draft in drafts] == [ids for ids, _ in wanted]
        assert all(5 not in draft.ids[:-1] for draft in drafts)


def test_rows_that_are_done_are_not_computed_any_more():
    class Ending(TableScorer):
        def row(self, text):
            logs = np.full(SIZE, -9.0)
            # Row r ends at length r
            logs[END_ID if len(text) - 1 >= text[0] else 4] = -1e-4
            return logs

    scorer = Ending([1, 2, 30])
    found = searched([1, 2, 30], Writing(beams=1), 40, scorer=scorer)
    assert [len(drafts[0].ids) for drafts in found] == [0, 1, 29]
    assert scorer.steps == 30
    assert scorer.asked == 1 + 2 + 30
    scorer = Ending([1, 2, 30])
    sample_texts(scorer, [1, 2, 30], Following(SIZE), Writing("greedy"), max_length=40)
    assert scorer.asked == 1 + 2 + 30


def test_drawn_ids_have_the_probabilities_asked_for():
    shares = np.array([0.5, 0.25, 0.15, 0.1])
    logs = torch.tensor(np.log(shares), dtype=torch.float32).expand(20_000, 4)
    draws = torch.tensor(np.random.default_rng(0).random(20_000), dtype=torch.float32)

    def counted(**options):
        found = drawn(logs, draws, Writing("sample", **options))
        return np.bincount(found, minlength=4) / 20_000

    np.testing.assert_allclose(counted(), shares, atol=0.015)
    hot = shares**0.5 / (shares**0.5).sum()
    np.testing.assert_allclose(counted(temperature=2.0), hot, atol=0.015)
    np.testing.assert_allclose(counted(top_p=0.7), [2 / 3, 1 / 3, 0, 0], atol=0.015)
    np.testing.assert_allclose(counted(top_p=1e-6), [1, 0, 0, 0])
    np.testing.assert_allclose(counted(temperature=0.01), [1, 0, 0, 0], atol=1e-3)


def test_what_is_drawn_depends_on_seed_and_row_alone():
    writing = Writing("sample", num=3, seed=5)

    def texts(rows, writing=writing):
        found = sample_texts(TableScorer(rows), rows, Following(SIZE), writing, max_length=8)
        return [[draft.ids for draft in drafts] for drafts in found]

    assert texts([3, 8, 1])[1] == texts([8])[0]
    assert texts([3, 8]) == texts([3, 8])
    assert texts([3, 8]) != texts([3, 8], Writing("sample", num=3, seed=6))


def test_an_ensemble_is_the_mean_of_probabilities_and_two_views_a_weighted_sum():
    one, two = TableScorer([3]), TableScorer([3], seed=1)
    logs = np.stack([scorer.row((3, START_ID)) for scorer in (one, two)])
    both = MeanScorer([TableScorer([3]), TableScorer([3], seed=1)]).step(torch.tensor([START_ID]))
    np.testing.assert_allclose(both[0].numpy(), np.log(np.exp(logs).mean(axis=0)), atol=1e-5)
    parts = [(TableScorer([3]), 0.7), (TableScorer([3], seed=1), 0.3)]
    views = WeightedScorer(parts).step(torch.tensor([START_ID]))
    np.testing.assert_allclose(views[0].numpy(), 0.7 * logs[0] + 0.3 * logs[1], atol=1e-5)
