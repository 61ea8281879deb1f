"""What the writing tasks share: a decoder over the fused tokens, and the loss of a text.

Shapes: B rows, T ids of a text with its end, S fused tokens, D width, V ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.data.bpe import START_ID, UNKNOWN_ID, TargetTokenizer
from omnifuse.layers import TextDecoder
from omnifuse.tasks.heads import TaskOutput
from omnifuse.tasks.scorer import DecoderScorer, Scorer
from omnifuse.tokens import Fused


@dataclass(frozen=True)
class WriterOptions:
    """How a writing task is built.

    Attributes:
        text: The vocabulary.
        num_heads: Heads of attention.
        depth: Blocks of the decoder.
        dropout: Of the decoder.
        label_smoothing: Share of each id that is spread evenly over all ids.
        sound: The field that is transcribed.
    """

    text: TargetTokenizer
    num_heads: int = 4
    depth: int = 2
    dropout: float = 0.0
    label_smoothing: float = 0.0
    sound: str = ""


class Writer(nn.Module):
    """A decoder that reads the fused tokens.

    Args:
        dim: D.
        options: Vocabulary and size.

    References: Szegedy et al. 2016, section 7 (label smoothing); Vaswani et al. 2017.
    """

    def __init__(self, dim: int, options: WriterOptions) -> None:
        super().__init__()
        self.label_smoothing = options.label_smoothing
        self.decoder = TextDecoder(
            vocab_size=options.text.vocab_size,
            dim=dim,
            depth=options.depth,
            num_heads=options.num_heads,
            dropout=options.dropout,
        )

    def forward(self, fused: Fused, target: Tensor) -> Tensor:
        """Mean loss of the ids of each row (B,), 0 for a missing text.

        Args:
            fused: The tokens that are read.
            target: (B, T) int64 ids with the end, -1 behind it; a row of -1 is missing.
        """
        known = target >= 0
        start = torch.full_like(target[:, :1], START_ID)
        given = torch.cat([start, target[:, :-1]], dim=1).clamp(min=0)
        logits = self.decoder(given, fused.tokens, fused.mask).float()
        losses = F.cross_entropy(
            logits.transpose(1, 2), target.clamp(min=0).long(), reduction="none", label_smoothing=self.label_smoothing
        )
        # What was never seen cannot be written, so it is read and not learnt
        learnt = known & (target != UNKNOWN_ID)
        return (losses * learnt).sum(dim=1) / learnt.sum(dim=1).clamp(min=1)

    def scorer(self, fused: Fused) -> Scorer:
        """What a search asks: one text a row, before its start."""
        return DecoderScorer(self.decoder, fused.tokens, fused.mask)


def trimmed(target: Tensor) -> Tensor:
    """(B, T) int64 ids without columns that no row of the batch needs."""
    longest = int((target >= 0).sum(dim=1).max()) if target.numel() else 0
    return target[:, : max(longest, 1)].long()


def id_counts(target: Tensor) -> Tensor:
    """(B,) float32 number of ids of each text, its end among them; 0 where missing: what a row counts in the loss."""
    return (target >= 0).sum(dim=1).float()


def is_text(target: Tensor, name: str, num_rows: int) -> None:
    """Refuse a target of another shape.

    Raises:
        ValueError: It is not (B, T).
    """
    if target.ndim != 2 or target.shape[0] != num_rows:
        raise ValueError(f"the target of '{name}' is {tuple(target.shape)}, expected ({num_rows}, T)")


def nothing_chosen(fused: Fused) -> TaskOutput:
    """Outputs of a task that writes: no class, no number, no head of a field."""
    return TaskOutput(fused.pooled.new_zeros((fused.pooled.shape[0], 0)), {}, {})


def dense_text(target: Tensor) -> Tensor:
    """(B, 1) number of ids, NaN where the text is missing; the end counts, so that an empty text is known."""
    counts = id_counts(target)
    return torch.where(counts > 0, counts, torch.nan).unsqueeze(1)
