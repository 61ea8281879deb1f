"""Beam search over the texts of many rows at once. Shapes: A rows that are at work, K beams, V ids.

Rows that are done leave the batch, so a short text does not wait for a long one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnifuse.data.bpe import END_ID, START_ID
from omnifuse.readout.writing import Draft, Writing
from omnifuse.tasks.following import Following
from omnifuse.tasks.scorer import Scorer


def normalised(log_probability: float, length: int, power: float) -> float:
    """What texts of different lengths are ordered by: the log-probability over the length to a power.

    References: Wu et al. 2016, equation 14, without its constant 5.
    """
    return float(log_probability / max(length, 1) ** power)


class _Row:
    """What was found for one row."""

    def __init__(self, writing: Writing) -> None:
        self.writing, self.found = writing, list[Draft]()

    def add(self, ids: tuple[int, ...], log_probability: float, length: int, *, ended: bool) -> None:
        score = normalised(log_probability, length, self.writing.length_power)
        self.found.append(Draft(ids, log_probability, score, ended))
        self.found.sort(key=lambda draft: -draft.score)
        del self.found[self.writing.beams :]

    def is_done(self, best: float, length: int) -> bool:
        """Whether no text in the making is as good, at its length now, as the last of those that are kept."""
        full = len(self.found) == self.writing.beams
        return full and normalised(best, length, self.writing.length_power) <= self.found[-1].score


def beam_search(
    scorer: Scorer, num_rows: int, following: Following, writing: Writing, *, max_length: int
) -> list[list[Draft]]:
    """The best texts of each row.

    Args:
        scorer: Of `num_rows` texts before their start.
        num_rows: Rows.
        following: Which ids may come.
        writing: Beams, length power, ids that end a text.
        max_length: Most ids of a text.

    Returns:
        For each row at most `writing.num` texts, best first. Texts that reach `max_length` are given as not ended.

    References: Graves 2012; Wu et al. 2016, section 7. A row is done once it has as many ended texts as beams and none
        in the making is better at its length now.
    """
    beams, device = writing.beams, scorer.device
    rows = [_Row(writing) for _ in range(num_rows)]
    alive = torch.arange(num_rows, device=device)
    scorer.take(alive.repeat_interleave(beams))
    state = torch.zeros(num_rows * beams, dtype=torch.long, device=device)
    ids = torch.full((num_rows * beams, 1), START_ID, dtype=torch.long, device=device)
    # All beams start alike, so only the first of a row counts
    totals = torch.full((num_rows, beams), -torch.inf, device=device)
    totals[:, 0] = 0.0
    for length in range(1, max_length + 1):
        if not len(alive):
            break
        logs = scorer.step(ids[:, -1]).masked_fill(~following.allowed(state), -torch.inf)
        num_ids = logs.shape[1]
        summed = (totals.reshape(-1, 1) + logs).view(len(alive), beams * num_ids)
        # Each beam can end, so twice as many leave as many that go on; there may be fewer than that in all
        best, places = summed.topk(min(2 * beams, beams * num_ids), dim=1)
        parents, chosen = places // num_ids, places % num_ids
        ends = following.ends(chosen)
        _collect(rows, alive, ids, best, parents, chosen, ends, beams, length)
        totals, picks = best.masked_fill(ends, -torch.inf).topk(min(beams, best.shape[1]), dim=1)
        totals, picks = _filled(totals, picks, beams)
        parents, chosen = parents.gather(1, picks), chosen.gather(1, picks)
        source = (torch.arange(len(alive), device=device)[:, None] * beams + parents).flatten()
        ids = torch.cat([ids[source], chosen.reshape(-1, 1)], dim=1)
        state = following.behind(state[source], chosen.flatten())
        scorer.take(source, same_row=True)
        tops = totals[:, 0].tolist()
        going = [
            top > -torch.inf and not rows[row].is_done(top, length)
            for row, top in zip(alive.tolist(), tops, strict=True)
        ]
        if not all(going):
            keep = torch.tensor(going, device=device)
            index = keep.repeat_interleave(beams).nonzero().flatten()
            alive, totals, ids, state = alive[keep], totals[keep], ids[index], state[index]
            scorer.take(index)
    _add_cut(rows, alive, ids, totals, max_length)
    return [row.found[: writing.num] for row in rows]


def _collect(
    rows: list[_Row],
    alive: Tensor,
    ids: Tensor,
    best: Tensor,
    parents: Tensor,
    chosen: Tensor,
    ends: Tensor,
    beams: int,
    length: int,
) -> None:
    """Keep the texts that ended in this step among the best `beams` of their row."""
    ranked = ends & (best > -torch.inf)
    ranked[:, beams:] = False
    if not bool(ranked.any()):
        return
    for place, rank in ranked.nonzero().tolist():
        text = ids[place * beams + int(parents[place, rank]), 1:].tolist()
        last = int(chosen[place, rank])
        text += [] if last == END_ID else [last]
        rows[int(alive[place])].add(tuple(text), float(best[place, rank]), length, ended=True)


def _filled(totals: Tensor, picks: Tensor, beams: int) -> tuple[Tensor, Tensor]:
    """As many as there are beams, where the vocabulary gave fewer."""
    lack = beams - totals.shape[1]
    if lack <= 0:
        return totals, picks
    nothing = totals.new_full((totals.shape[0], lack), -torch.inf)
    return torch.cat([totals, nothing], dim=1), torch.cat([picks, picks.new_zeros((picks.shape[0], lack))], dim=1)


def _add_cut(rows: list[_Row], alive: Tensor, ids: Tensor, totals: Tensor, max_length: int) -> None:
    """Texts that are still in the making at the longest length."""
    if not len(alive):
        return
    texts, sums = ids[:, 1:].view(len(alive), totals.shape[1], -1).tolist(), totals.tolist()
    for row, of_row, values in zip(alive.tolist(), texts, sums, strict=True):
        for text, value in zip(of_row, values, strict=True):
            if value > -torch.inf:
                rows[row].add(tuple(text), value, max_length, ended=False)
