"""Searches equal a dense float64 version: exact, filtered, diverse; duplicates, ranks and geometry by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from omnifuse.search import Index
from omnifuse.search import exact as exact_module
from omnifuse.search.diversity import diverse_order
from omnifuse.search.exact import nearest
from omnifuse.search.geometry import alignment, hubness, modality_gap, occurrences, uniformity
from omnifuse.search.near_duplicates import near_duplicates
from omnifuse.search.retrieval import measured_retrieval, partner_ranks


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def dense(vectors, question, kept):
    scores = vectors.astype(np.float64) @ question.astype(np.float64)
    order = np.lexsort((np.arange(len(scores)), -scores))
    return [row for row in order if kept[row]], scores


@pytest.mark.parametrize("precision", [np.float32, np.float16])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("num_questions", [1, 7])
def test_exact_search_equals_dense_float64(monkeypatch, precision, share, num_questions):
    monkeypatch.setattr(exact_module, "_BYTES_AT_ONCE", 1 << 12)  # many chunks
    draw = np.random.default_rng(3)
    blocks = [unit(draw.normal(size=(count, 24))).astype(precision) for count in (1, 700, 13, 1500)]
    whole = np.concatenate(blocks)
    questions = unit(draw.normal(size=(num_questions, 24))).astype(np.float32)
    kept = draw.random(len(whole)) < share
    scores, numbers = nearest(blocks, questions, 20, None if share == 1.0 else kept)
    for question, score, number in zip(questions, scores, numbers, strict=True):
        rows, truth = dense(whole, question, np.ones(len(whole), bool) if share == 1.0 else kept)
        assert len(number) == min(20, len(rows))
        np.testing.assert_allclose(score, truth[number], atol=1e-6)
        np.testing.assert_allclose(score, truth[rows[:20]], atol=1e-6)


def test_equal_vectors_come_in_their_order():
    vectors = np.ones((5000, 2), np.float32)
    _, (numbers,) = nearest([vectors[:3000], vectors[3000:]], np.ones((1, 2), np.float32), 5)
    assert numbers.tolist() == [0, 1, 2, 3, 4]


def test_a_filtered_search_gives_k_wherever_k_fit(tmp_path):
    draw = np.random.default_rng(0)
    vectors = unit(draw.normal(size=(500, 16)))
    index = Index.create(tmp_path / "idx", {"embedding": 16})
    index.add(range(500), vectors, {"group": [f"g{row % 50}" for row in range(500)]})
    for group in range(50):
        hits = index.search(vectors[0], 10, where=f"group == 'g{group}'")
        rows, _ = dense(vectors, vectors[0], np.arange(500) % 50 == group)
        assert [int(hit.id) for hit in hits] == rows
    assert len(index.search(vectors[0], 10, where="group == 'none'")) == 0


def test_diversity_by_hand():
    draw = np.random.default_rng(1)
    vectors = unit(draw.normal(size=(30, 5)))
    question = unit(draw.normal(size=(1, 5)))[0]
    scores = vectors @ question
    order = np.argsort(-scores)
    taken = [0]
    for _ in range(9):
        worth = {
            place: 0.6 * scores[order[place]] - 0.4 * max(vectors[order[place]] @ vectors[order[one]] for one in taken)
            for place in range(30)
            if place not in taken
        }
        taken.append(max(worth, key=worth.get))
    assert diverse_order(scores[order], vectors[order], 10, 0.4).tolist() == taken
    assert diverse_order(scores[order], vectors[order], 10, 0.0).tolist() == list(range(10))


def test_near_duplicates_are_those_of_all_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr("omnifuse.search.near_duplicates._ROWS_AT_ONCE", 7)
    draw = np.random.default_rng(2)
    vectors = unit(draw.normal(size=(40, 3)))
    index = Index.create(tmp_path / "idx", {"embedding": 3})
    index.add(range(40), vectors, keys=["same" if row in (3, 30, 31) else f"{row}" for row in range(40)])
    index.delete([31])
    found = near_duplicates(index, 0.95, most=1000)
    live = [row for row in range(40) if row != 31]
    truth = {(a, b) for a in live for b in live if a < b and (vectors[a] @ vectors[b] >= 0.95 or {a, b} == {3, 30})}
    assert {(int(pair.first), int(pair.second)) for pair in found.pairs} == truth
    assert found.num_pairs == len(truth)
    assert found.pairs[0].same
    assert found.num_same == 1
    together = {frozenset(map(int, group)) for group in found.groups}
    assert all(any({a, b} <= group for group in together) for a, b in truth)
    assert sum(map(len, together)) == len(set().union(*truth))


def test_geometry_is_that_of_the_papers():
    draw = np.random.default_rng(4)
    ones, others = unit(draw.normal(size=(60, 6))), unit(draw.normal(size=(60, 6)))
    assert alignment(ones, others) == pytest.approx(
        np.mean([np.sum((ones[row] - others[row]) ** 2) for row in range(60)])
    )
    pairs = [np.sum((ones[a] - ones[b]) ** 2) for a in range(60) for b in range(a)]
    assert uniformity(ones) == pytest.approx(np.log(np.mean(np.exp(-2 * np.array(pairs)))))
    assert modality_gap(ones, others) == pytest.approx(np.linalg.norm(ones.mean(0) - others.mean(0)))
    counts = np.zeros(60, int)
    for row in range(60):
        near = [other for other in np.argsort(-(ones @ ones[row])) if other != row][:10]
        counts[near] += 1
    assert occurrences(ones.astype(np.float32)).tolist() == counts.tolist()
    assert hubness(ones.astype(np.float32)) == pytest.approx(stats.skew(counts))


def test_ranks_and_recall_by_hand():
    draw = np.random.default_rng(5)
    searched = unit(draw.normal(size=(50, 8)))
    asked = unit(searched + 0.6 * draw.normal(size=(50, 8)))
    truth = [1 + sum(np.delete(searched @ one, row) > (searched @ one)[row]) for row, one in enumerate(asked)]
    ranks = partner_ranks(asked, searched)
    assert ranks.tolist() == pytest.approx(truth)
    found = measured_retrieval("a", "b", ranks)
    assert found.recall[5].value == np.mean(np.array(truth) <= 5)
    assert found.median_rank.value == np.median(truth)
    assert found.recall[5].low < found.recall[5].value < found.recall[5].high
    # A collapsed space finds nothing: all rows share all ranks
    assert partner_ranks(np.ones((11, 2)), np.ones((11, 2))).tolist() == [6.0] * 11
    # A copy of the partner is the partner
    keys = np.array([0, 0, *range(2, 50)])
    assert partner_ranks(asked, searched, keys)[0] <= ranks[0]
