"""Speech to tokens of 40 ms. Shapes: P present rows, F frames, C columns (mel bands first), T tokens, D width."""

from __future__ import annotations

from torch import Tensor, nn

from omnifuse.encoders.audio import BandScale
from omnifuse.layers import ConformerBlock, ConvSubsampling, Dropout, sinusoids
from omnifuse.tokens import FieldBatch, Tokens


class ConformerAudioEncoder(nn.Module):
    """Conformer blocks over a convolutional subsampling by 4: one token for 40 ms. Prefer it for transcription.

    The other encoders sum a sound up in a few tokens, which is enough to name it and too little to write it down.

    Args:
        dim: D.
        num_mels: Mel bands among the columns; prosody is not read.
        num_columns: C.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks.

    References: Gulati et al. 2020, Conformer (arXiv:2005.08100).
    """

    def __init__(
        self, *, dim: int, num_mels: int, num_columns: int, depth: int = 2, num_heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dim, self.num_mels = dim, num_mels
        self.scale = BandScale(num_columns)
        self.subsampling = ConvSubsampling(num_mels, dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(ConformerBlock(dim, num_heads, dropout=dropout) for _ in range(depth))

    def initialise(self, batch: FieldBatch) -> None:
        """Measure training sounds."""
        self.scale.initialise(batch.values["log_mel"].float())

    def forward(self, batch: FieldBatch) -> Tokens:
        """log_mel (sum F, C) to (P, F / 4, D)."""
        frames, mask = batch.unpack(batch.values["log_mel"].float())
        if not frames.shape[0]:
            return Tokens(frames.new_zeros((0, 1, self.dim)), mask.new_zeros((0, 1)))
        tokens: Tensor
        tokens, mask = self.subsampling(self.scale(frames[..., : self.num_mels]), mask)
        tokens = self.dropout(tokens + sinusoids(tokens.shape[1], self.dim).to(tokens))
        for block in self.blocks:
            tokens = block(tokens, mask)
        return Tokens(tokens, mask)
