"""CTC's prefix scores against the sum over every alignment, and the joint search against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from omnifuse.data.bpe import BLANK_ID, END_ID, NUM_SPECIAL, START_ID, UNKNOWN_ID
from omnifuse.readout.writing import Writing
from omnifuse.tasks.beam_search import beam_search
from omnifuse.tasks.ctc_prefix import CTCPrefixScorer
from omnifuse.tasks.following import Following

LETTERS = (4, 5)
SIZE = NUM_SPECIAL + 2


def made(num_rows, num_frames, seed=0):
    """Log-probabilities of which blank and letters alone have any."""
    logits = torch.tensor(np.random.default_rng(seed).normal(0, 1.5, (num_rows, num_frames, SIZE)), dtype=torch.float32)
    logits[..., [START_ID, END_ID, UNKNOWN_ID]] = -40.0
    return logits.log_softmax(dim=2)


def collapsed(path):
    return tuple(one for one, _ in itertools.groupby(path) if one != BLANK_ID)


def alignments(logs):
    """Text to probability, by every path through the frames."""
    chances, found = logs.double().exp().numpy(), {}
    for path in itertools.product((BLANK_ID, *LETTERS), repeat=len(chances)):
        text = collapsed(path)
        found[text] = found.get(text, 0.0) + float(np.prod([chances[f, one] for f, one in enumerate(path)]))
    return found


def test_prefix_scores_equal_the_sum_over_all_alignments():
    logs, lengths = made(2, 5), torch.tensor([5, 3])
    texts = [alignments(logs[0]), alignments(logs[1, :3])]
    for prefix in [(), (4,), (4, 4), (4, 5), (5, 5, 4)]:
        scorer = CTCPrefixScorer(logs, lengths)
        totals, found = torch.zeros(2), torch.zeros(2, SIZE)
        for one in (START_ID, *prefix):
            if one != START_ID:
                totals = totals + found[:, one]
            found = scorer.step(torch.full((2,), one))
        for row in range(2):
            for letter in LETTERS:
                ahead = (*prefix, letter)
                wanted = sum(p for text, p in texts[row].items() if text[: len(ahead)] == ahead)
                got = float((totals[row] + found[row, letter]).exp())
                np.testing.assert_allclose(got, wanted, atol=1e-5)
            ended = float((totals[row] + found[row, END_ID]).exp())
            np.testing.assert_allclose(ended, texts[row].get(prefix, 0.0), atol=1e-5)


def test_a_search_by_ctc_alone_finds_the_likeliest_text_of_all():
    logs, lengths = made(3, 5, seed=2), torch.tensor([5, 4, 2])
    writing = Writing(beams=64, num=5, length_power=0.0)
    found = beam_search(CTCPrefixScorer(logs, lengths), 3, Following(SIZE), writing, max_length=7)
    for row, drafts in enumerate(found):
        texts = alignments(logs[row, : int(lengths[row])])
        wanted = sorted(texts.items(), key=lambda item: -item[1])[:5]
        assert [draft.ids for draft in drafts] == [text for text, _ in wanted]
        np.testing.assert_allclose(
            np.exp([draft.log_probability for draft in drafts]), [p for _, p in wanted], atol=1e-5
        )


def test_a_row_without_frames_says_nothing_and_padding_changes_nothing():
    logs = made(2, 4)
    scorer = CTCPrefixScorer(logs, torch.tensor([0, 2]))
    found = scorer.step(torch.tensor([START_ID, START_ID]))
    assert torch.equal(found[0], torch.zeros(SIZE))
    short = CTCPrefixScorer(logs[1:, :2], torch.tensor([2])).step(torch.tensor([START_ID]))
    torch.testing.assert_close(found[1:, [END_ID, *LETTERS]], short[:, [END_ID, *LETTERS]])
