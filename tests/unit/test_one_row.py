"""Short ways of one row give what the long ways of many rows give."""

from __future__ import annotations

import math

import torch

from omnifuse.encoders.text import NgramBag


def measured_bag():
    torch.manual_seed(0)
    bag = NgramBag(vocab_size=20, dim=6, num_buckets=50)
    bag.initialise(torch.tensor([1, 2, 3, 2, 2, 5, 7]), torch.tensor([4, 1, 2]))
    return bag


def test_the_bag_of_one_text_is_that_among_others():
    bag, texts = measured_bag(), ([1, 2, 3, 2], [2], [5, 7, 5, 7, 5])
    ids, lengths = torch.tensor([number for text in texts for number in text]), torch.tensor([4, 1, 5])
    together = bag(ids, lengths)
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(bag(torch.tensor(text), torch.tensor([len(text)]))[0], row, atol=1e-6, rtol=1e-5)


def test_frequencies_are_counts_by_rarity():
    bag = measured_bag()
    found = bag.frequencies(torch.tensor([2, 2, 9]), torch.tensor([3]))
    grams, _ = bag.grams(torch.tensor([2, 2, 9]), torch.tensor([3]))
    wanted = torch.zeros(70)
    for gram in grams.tolist():
        wanted[gram] = math.log1p(grams.tolist().count(gram)) * float(bag.inverse_frequency[gram])
    torch.testing.assert_close(found[0], wanted / wanted.norm())
