"""Short ways of one row give what the long ways of many rows give."""

from __future__ import annotations

import math

import torch

from omnifuse.encoders.text import NgramBag
from omnifuse.tokens import FieldBatch


def batch_of(*texts):
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.tensor([number for text in texts for number in text])
    return FieldBatch({"ids": ids}, lengths, torch.ones(len(texts), dtype=torch.bool))


def measured_bag():
    torch.manual_seed(0)
    bag = NgramBag(vocab_size=20, dim=6, num_buckets=50)
    bag.initialise(torch.tensor([1, 2, 3, 2, 2, 5, 7]), torch.tensor([4, 1, 2]))
    return bag


def test_the_bag_of_one_text_is_that_among_others():
    bag, texts = measured_bag(), ([1, 2, 3, 2], [2], [5, 7, 5, 7, 5])
    together = bag(batch_of(*texts))
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(bag(batch_of(text))[0], row, atol=1e-6, rtol=1e-5)


def test_frequencies_are_counts_by_rarity():
    bag = measured_bag()
    found = bag.frequencies(batch_of([2, 2, 9]))
    grams, _ = bag.grams(torch.tensor([2, 2, 9]), torch.tensor([3]))
    wanted = torch.zeros(70)
    for gram in grams.tolist():
        wanted[gram] = math.log1p(grams.tolist().count(gram)) * float(bag.inverse_frequency[gram])
    singles, pairs = wanted[:20], wanted[20:]
    wanted = torch.cat([singles / singles.norm(), pairs / pairs.norm()]) / math.sqrt(2)
    torch.testing.assert_close(found[0], wanted)
