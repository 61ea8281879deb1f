"""How likely CTC holds each next id, given the ids so far. Shapes: N texts in the making, F frames, V ids.

The probability of a prefix is the sum over all texts that begin with it and all their alignments to the frames.

References: Graves 2008, section 7.5.3 (prefix search); Watanabe et al. 2017, algorithm 2. Changed: all ids of all texts
    at once, and rows without frames say nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from omnifuse.data.bpe import BLANK_ID, END_ID, START_ID

# Instead of minus infinity, whose differences are no numbers
NEVER = -1e30


class CTCPrefixScorer:
    """A `Scorer` of CTC's frames.

    Args:
        logs: (N, F, V) log-probabilities of each frame.
        lengths: (N,) real frames of each row; a row without any gives 0 for every id.
    """

    def __init__(self, logs: Tensor, lengths: Tensor) -> None:
        self.device, self.lengths = logs.device, lengths
        num_frames = logs.shape[1]
        real = torch.arange(num_frames, device=logs.device)[None, :] < lengths[:, None]
        # Behind the last frame only blanks come, for nothing
        blank = torch.full_like(logs[:, :1], NEVER)
        blank[..., BLANK_ID] = 0.0
        self.logs = torch.where(real.unsqueeze(2), logs.float(), blank).clamp(min=NEVER)
        blanks = self.logs[..., BLANK_ID].cumsum(dim=1)
        # (N, F): log-probability that the frames up to this one give the prefix, ending in an id or in a blank
        self.in_id, self.in_blank = torch.full_like(blanks, NEVER), blanks
        self.total = torch.zeros_like(blanks[:, 0])
        self.last = torch.full_like(lengths, START_ID)
        # Of the ids that may come next: (N, F, V) and (N, V)
        self._next: tuple[Tensor, Tensor, Tensor] | None = None

    def step(self, ids: Tensor) -> Tensor:
        """See `Scorer`: what CTC gives each id, in such a way that the sum over a text is its log-probability."""
        if self._next is not None:
            in_id, in_blank, prefix = self._next
            picked = ids[:, None, None].expand(-1, in_id.shape[1], 1)
            self.in_id = in_id.gather(2, picked).squeeze(2)
            self.in_blank = in_blank.gather(2, picked).squeeze(2)
            self.total, self.last = prefix.gather(1, ids.unsqueeze(1)).squeeze(1), ids
        self._next = self._follow()
        found = (self._next[2] - self.total.unsqueeze(1)).clamp(min=NEVER)
        return torch.where((self.lengths > 0).unsqueeze(1), found, 0.0)

    def _follow(self) -> tuple[Tensor, Tensor, Tensor]:
        """For every id that may come: the frames' log-probabilities as above (N, F, V), and the prefix's (N, V)."""
        num_texts, num_frames, num_ids = self.logs.shape
        either = torch.logaddexp(self.in_id, self.in_blank)
        # The same id twice needs a blank between
        same = torch.arange(num_ids, device=self.device)[None, :] == self.last.unsqueeze(1)
        first = (self.last == START_ID).unsqueeze(1)
        in_id = self.logs.new_full((num_texts, num_ids), NEVER)
        in_blank, prefix = in_id.clone(), in_id.clone()
        ids, blanks = [], []
        for frame in range(num_frames):
            if frame:
                before = torch.where(same, self.in_blank[:, frame - 1 : frame], either[:, frame - 1 : frame])
            else:
                before = torch.where(first, 0.0, in_id.new_full((), NEVER)).expand(-1, num_ids)
            now = self.logs[:, frame]
            in_blank, in_id = (
                torch.logaddexp(in_blank, in_id) + now[:, BLANK_ID : BLANK_ID + 1],
                torch.logaddexp(in_id, before) + now,
            )
            prefix = torch.logaddexp(prefix, before + now)
            ids.append(in_id)
            blanks.append(in_blank)
        prefix[:, END_ID] = either[:, -1]
        return torch.stack(ids, dim=1), torch.stack(blanks, dim=1), prefix

    def take(self, index: Tensor, *, same_row: bool = False) -> None:
        """See `Scorer`."""
        if not same_row:
            self.logs, self.lengths = self.logs[index], self.lengths[index]
        self.in_id, self.in_blank = self.in_id[index], self.in_blank[index]
        self.total, self.last = self.total[index], self.last[index]
        if self._next is not None:
            in_id, in_blank, prefix = self._next
            self._next = (in_id[index], in_blank[index], prefix[index])
