"""What is said in a sound: CTC and attention jointly. Shapes: B rows, F tokens of the sound, T ids, D width, V ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.data.bpe import BLANK_ID, END_ID
from omnifuse.schema import Target, TaskKind
from omnifuse.tasks.ctc_prefix import CTCPrefixScorer
from omnifuse.tasks.heads import TaskOutput, weighted_mean
from omnifuse.tasks.scorer import Scorer, WeightedScorer
from omnifuse.tasks.writer import Writer, WriterOptions, dense_text, id_counts, is_text, nothing_chosen, trimmed
from omnifuse.tokens import Fused, Tokens

# Of CTC in the loss
CTC_SHARE = 0.3


class TranscriptionTask(nn.Module):
    """A CTC head on the sound's own tokens beside a decoder over the fused tokens.

    CTC teaches the encoder where each piece is said, from left to right; the decoder reads every field, so a text of
    context (the sentence before, names, a topic) helps to tell what sounds alike. A search weighs both.

    Args:
        target: Its name.
        dim: D.
        options: Vocabulary, size of the decoder, and the field of the sound, whose encoder gives a token every few
            hundredths of a second.

    References: Graves et al. 2006 (CTC); Watanabe et al. 2017, Hybrid CTC/Attention Architecture.
    """

    kind = TaskKind.TRANSCRIPTION
    num_outputs = 0
    auxiliary = 0.0

    def __init__(self, target: Target, dim: int, options: WriterOptions) -> None:
        super().__init__()
        self.name, self.text, self.sound = target.name, options.text, options.sound
        self.writer = Writer(dim, options)
        self.ctc = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, options.text.vocab_size))

    @staticmethod
    def dense_target(target: Tensor) -> Tensor:
        """(B, 1) number of ids, NaN where missing."""
        return dense_text(target)

    @staticmethod
    def row_counts(target: Tensor) -> Tensor:
        """(B,) how much each row counts in the mean loss: its ids."""
        return id_counts(target)

    def forward(
        self, fused: Fused, tokens: Mapping[str, Tokens], target: Tensor | None = None, weights: Tensor | None = None
    ) -> TaskOutput:
        """The loss where a target is given; arguments as for `CaptioningTask`."""
        output = nothing_chosen(fused)
        if target is None:
            return output
        is_text(target, self.name, fused.pooled.shape[0])
        ids = trimmed(target)
        losses = (1 - CTC_SHARE) * self.writer(fused, ids)
        if self.sound in tokens:
            losses = losses + CTC_SHARE * self._ctc_loss(tokens[self.sound], ids)
        counts = id_counts(target) if weights is None else id_counts(target) * weights
        loss = weighted_mean(losses, counts)
        return replace(output, loss=loss, fused_loss=loss)

    def log_probabilities(self, tokens: Mapping[str, Tokens]) -> tuple[Tensor, Tensor] | None:
        """CTC's (B, F, V) log-probabilities and (B,) numbers of real tokens; None where no row has the sound."""
        if self.sound not in tokens:
            return None
        item = tokens[self.sound]
        return self.ctc(item.values).float().log_softmax(dim=2), item.mask.sum(dim=1)

    def _ctc_loss(self, sound: Tokens, ids: Tensor) -> Tensor:
        """(B,) loss over the number of ids; 0 where text or sound is missing, or the sound too short for the text."""
        logs, lengths = self.ctc(sound.values).float().log_softmax(dim=2), sound.mask.sum(dim=1)
        real = (ids >= 0) & (ids != END_ID)
        counts = real.sum(dim=1)
        usable = (lengths > 0) & (ids >= 0).any(dim=1)
        losses = F.ctc_loss(
            logs.transpose(0, 1),
            torch.where(real, ids, BLANK_ID + 1),
            torch.where(usable, lengths, 1),
            torch.where(usable, counts, 0),
            blank=BLANK_ID,
            reduction="none",
            zero_infinity=True,
        )
        return torch.where(usable, losses / (counts + 1), 0.0)

    def scorer(self, fused: Fused, tokens: Mapping[str, Tokens], *, ctc: float = 0.0) -> Scorer:
        """What a search asks: one text a row, before its start.

        Args:
            fused: The fused tokens.
            tokens: The sound's own tokens are CTC's.
            ctc: Weight of CTC beside the decoder, 0 to 1.
        """
        decoder = self.writer.scorer(fused)
        found = self.log_probabilities(tokens) if ctc > 0 else None
        if found is None:
            return decoder
        return WeightedScorer([(decoder, 1 - ctc), (CTCPrefixScorer(*found), ctc)])
