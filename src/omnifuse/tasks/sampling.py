"""Texts that are drawn, or taken greedily, one id after another. Shapes: N texts in the making, V ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omnifuse.data.bpe import END_ID, START_ID
from omnifuse.readout.writing import GREEDY, Draft, Writing
from omnifuse.tasks.beam_search import normalised
from omnifuse.tasks.following import Following
from omnifuse.tasks.scorer import Scorer


def sample_texts(
    scorer: Scorer, rows: Sequence[int], following: Following, writing: Writing, *, max_length: int
) -> list[list[Draft]]:
    """Texts of each row, greedy (the likeliest id each time) or drawn.

    Args:
        scorer: Of as many texts as rows, before their start.
        rows: Numbers of the rows; what is drawn depends on the seed and on them, not on the rows beside.
        following: Which ids may come.
        writing: Method, temperature, top-p, seed.
        max_length: Most ids of a text.

    Returns:
        For each row `writing.num` texts, best first. A text whose log-probability is given is the network's own,
        whatever the temperature.

    References: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration (top-p).
    """
    device, num = scorer.device, writing.num
    draws = None if writing.method == GREEDY else _draws(rows, num, max_length, writing.seed).to(device)
    alive = torch.arange(len(rows) * num, device=device)
    scorer.take(alive // num)
    state = torch.zeros_like(alive)
    ids = torch.full((len(alive), 1), START_ID, dtype=torch.long, device=device)
    totals = torch.zeros(len(alive), device=device)
    found: list[list[Draft]] = [[] for _ in rows]

    def keep(text: Sequence[int], number: int, total: float, *, ended: bool) -> None:
        length = len(text)
        kept = tuple(text[:-1]) if text and text[-1] == END_ID else tuple(text)
        score = normalised(total, length, writing.length_power)
        found[number // num].append(Draft(kept, total, score, ended))

    for length in range(1, max_length + 1):
        if not len(alive):
            break
        logs = scorer.step(ids[:, -1]).masked_fill(~following.allowed(state), -torch.inf)
        chosen = logs.argmax(dim=1) if draws is None else drawn(logs, draws[alive, length - 1], writing)
        totals = totals + logs.gather(1, chosen.unsqueeze(1)).squeeze(1)
        ids = torch.cat([ids, chosen.unsqueeze(1)], dim=1)
        state = following.behind(state, chosen)
        ends = following.ends(chosen)
        if bool(ends.any()):
            for place in ends.nonzero().flatten().tolist():
                keep(ids[place, 1:].tolist(), int(alive[place]), float(totals[place]), ended=True)
            index = (~ends).nonzero().flatten()
            alive, ids, totals, state = alive[index], ids[index], totals[index], state[index]
            scorer.take(index)
    for place in range(len(alive)):
        keep(ids[place, 1:].tolist(), int(alive[place]), float(totals[place]), ended=False)
    return [sorted(drafts, key=lambda draft: -draft.score) for drafts in found]


def drawn(logs: Tensor, draws: Tensor, writing: Writing) -> Tensor:
    """One id a text.

    Args:
        logs: (N, V) log-probabilities, -inf where an id may not come.
        draws: (N,) even in 0 to 1.
        writing: Temperature and top-p.

    Returns:
        (N,) ids, by the inverse of the distribution function over the ids that are kept, likeliest first.
    """
    shares, order = (logs / writing.temperature).softmax(dim=1).sort(dim=1, descending=True, stable=True)
    before = shares.cumsum(dim=1) - shares
    # The likeliest id stays whatever top-p says
    kept = torch.where(before < writing.top_p, shares, 0.0)
    summed = kept.cumsum(dim=1)
    places = torch.searchsorted(summed, (draws * summed[:, -1]).unsqueeze(1), right=True)
    last = (kept > 0).sum(dim=1, keepdim=True) - 1
    return order.gather(1, torch.minimum(places, last)).squeeze(1)


def _draws(rows: Sequence[int], num: int, max_length: int, seed: int) -> Tensor:
    """(rows x num, max_length) even numbers, each text's own by seed, row and number."""
    made = [np.random.default_rng([seed, row, text]).random(max_length) for row in rows for text in range(num)]
    return torch.from_numpy(np.asarray(made, np.float32).reshape(len(rows) * num, max_length))
