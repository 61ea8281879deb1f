"""Sounds to tokens. Shapes: P present rows, F frames, C columns (mel bands, then prosody), T tokens, D width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnifuse.encoders.sound_texture import SoundTexture
from omnifuse.layers import MLP, ConvBlock, Dropout, GatedBlock, TransformerBlock, sinusoids
from omnifuse.layers.convolution import rectify
from omnifuse.layers.time_tokens import time_tokens
from omnifuse.tokens import FieldBatch, Tokens

NUM_CEPSTRA = 20
MAX_TOKENS = 16
PATCH, PATCH_STEP = 7, 4
# Share of the texture in the squared length of the summary; the rest is the statistics'
TEXTURE_SHARE = 1 / 3


class BandScale(nn.Module):
    """Columns to about mean 0 and deviation 1, by statistics of the training sounds."""

    mean: Tensor
    scale: Tensor

    def __init__(self, num_columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_columns))
        self.register_buffer("scale", torch.ones(num_columns))

    def initialise(self, frames: Tensor) -> None:
        """Measure (N, C) training frames."""
        if frames.shape[0] > 1:
            self.mean.copy_(frames.mean(dim=0))
            self.scale.copy_(frames.std(dim=0).clamp(min=1e-2))

    def forward(self, frames: Tensor) -> Tensor:
        """(..., C) to the same; of fewer columns, the first are meant."""
        width = frames.shape[-1]
        return (frames - self.mean[:width]) / self.scale[:width]


class SoundStatistics(nn.Module):
    """Statistics over time of cepstra and prosody: what classical recognisers of emotion and events use.

    Mean, deviation and mean absolute step of 20 mel-frequency cepstra; mean, deviation and three quantiles of each
    prosody column; the logarithm of the length. Standardised by the training sounds.

    Args:
        num_mels: Mel bands among the columns.
        num_columns: C.

    References: Davis and Mermelstein 1980 (cepstra); Eyben et al. 2016, eGeMAPS (functionals of prosody).
    """

    cosines: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, num_mels: int, num_columns: int) -> None:
        super().__init__()
        self.num_mels = num_mels
        bands = (torch.arange(num_mels) + 0.5) * math.pi / num_mels
        count = min(NUM_CEPSTRA, num_mels)
        cosines = torch.cos(torch.arange(count)[:, None] * bands) * math.sqrt(2.0 / num_mels)
        self.register_buffer("cosines", cosines.T.contiguous(), persistent=False)
        self.width = 4 * count + 5 * (num_columns - num_mels) + 1
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))

    def measure(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(P, F, C) and (P, F) to raw statistics (P, S)."""
        real = mask.unsqueeze(-1)
        weights = real.float()
        count = weights.sum(dim=1).clamp(min=1)
        cepstra, prosody = frames[..., : self.num_mels] @ self.cosines, frames[..., self.num_mels :]
        both, num_cepstra = torch.cat([cepstra, prosody], dim=2), cepstra.shape[2]
        mean = (both * weights).sum(dim=1) / count
        square = (((both - mean.unsqueeze(1)) * weights) ** 2).sum(dim=1)
        spread = (square / count).clamp(min=1e-8).sqrt()
        steps = (cepstra[:, 1:] - cepstra[:, :-1]).abs() * weights[:, 1:]
        speed = steps.sum(dim=1) / (count - 1).clamp(min=1)
        top = cepstra.masked_fill(~real, -1e4).amax(dim=1) if frames.shape[1] else cepstra.sum(dim=1)
        parts = [mean[:, :num_cepstra], spread[:, :num_cepstra], speed, top]
        if prosody.shape[-1]:
            parts += [mean[:, num_cepstra:], spread[:, num_cepstra:], *_quantiles(prosody, mask)]
        parts.append(count.squeeze(-1).log().unsqueeze(-1))
        return torch.cat(parts, dim=1)

    def initialise(self, frames: Tensor, mask: Tensor) -> None:
        """Measure (P, F, C) training sounds."""
        if frames.shape[0] > 1:
            found = self.measure(frames, mask)
            self.mean.copy_(found.mean(dim=0))
            self.scale.copy_(found.std(dim=0).clamp(min=1e-3))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(P, F, C) and (P, F) to (P, S), limited to 5 deviations."""
        return ((self.measure(frames, mask) - self.mean) / self.scale).clamp(-5, 5)


def _quantiles(values: Tensor, mask: Tensor) -> list[Tensor]:
    """Quantiles 0.1, 0.5 and 0.9 over the real frames: three times (P, C)."""
    ordered = values.masked_fill(~mask.unsqueeze(-1), math.inf).sort(dim=1).values
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    found = []
    for share in (0.1, 0.5, 0.9):
        index = (last.float() * share).round().long()[:, None, None].expand(-1, 1, values.shape[2])
        found.append(ordered.gather(1, index).squeeze(1))
    return found


class ConvAudioEncoder(nn.Module):
    """A residual convolutional net over the spectrogram, beside a token of statistics. The default.

    Args:
        dim: D.
        num_mels: Mel bands among the columns.
        num_columns: C.
        dropout: Of channels inside the blocks, and of the statistics.
    """

    def __init__(self, *, dim: int, num_mels: int, num_columns: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.num_mels = dim, num_mels
        self.scale = BandScale(num_columns)
        widths = [max(dim // 2, 16), dim]
        # Large steps at once: maps of few channels and many places cost the most time and give the least
        self.stem = nn.Linear(PATCH * PATCH, widths[0])
        self.blocks = nn.ModuleList(
            [
                ConvBlock(widths[0], widths[0], stride=(1, 2), dropout=dropout),
                ConvBlock(widths[0], widths[1], stride=(2, 2), dropout=dropout),
            ]
        )
        bands = (num_mels + PATCH_STEP - 1) // PATCH_STEP
        for _ in self.blocks:
            bands = (bands + 1) // 2
        self.flatten = nn.Linear(widths[1] * bands, dim)
        self.norm = nn.LayerNorm(dim)
        self.statistics = SoundStatistics(num_mels, num_columns)
        self.texture = SoundTexture(num_mels)
        self.summary_dim = self.statistics.width + self.texture.width
        self.statistics_dropout = Dropout(dropout)
        self.statistics_token = MLP(self.statistics.width, dim, dim, dropout=dropout)
        self.statistics_norm = nn.LayerNorm(dim)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure training sounds."""
        frames = batch.values["log_mel"].float()
        self.scale.initialise(frames)
        padded, mask = batch.unpack(frames)
        self.statistics.initialise(padded, mask)
        self.texture.initialise(padded, mask)

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, summary_dim): standardised statistics over time, then the texture; together about unit length."""
        frames, mask = batch.unpack(batch.values["log_mel"].float())
        statistics = self.statistics(frames, mask) * math.sqrt((1 - TEXTURE_SHARE) / self.statistics.width)
        return torch.cat([statistics, self.texture(frames, mask) * math.sqrt(TEXTURE_SHARE)], dim=1)

    def forward(self, batch: FieldBatch) -> Tokens:
        """log_mel (sum F, C) to (P, T, D); the first token holds the statistics."""
        frames, mask = batch.unpack(batch.values["log_mel"].float())
        if not frames.shape[0]:
            return Tokens(frames.new_zeros((0, 1, self.dim)), mask.new_zeros((0, 1)))
        numbers = self.statistics(frames, mask)
        whole = self.statistics_norm(self.statistics_token(self.statistics_dropout(numbers))).unsqueeze(1)
        over_time, kept = self._over_time(frames, mask)
        tokens, token_mask = time_tokens(over_time, kept, MAX_TOKENS)
        ones = token_mask.new_ones((token_mask.shape[0], 1))
        return Tokens(torch.cat([whole, tokens], dim=1), torch.cat([ones, token_mask], dim=1))

    def _over_time(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(P, F, C) to (P, F / 8, D)."""
        scaled = self.scale(frames[..., : self.num_mels]) * mask.unsqueeze(-1)
        padded = F.pad(scaled, (PATCH // 2, PATCH // 2, PATCH // 2, PATCH // 2))
        # (P, F / 4, bands / 4, 7, 7): a matrix product, since gradients of a convolution of one channel are slow
        patches = padded.unfold(1, PATCH, PATCH_STEP).unfold(2, PATCH, PATCH_STEP)
        kept = mask[:, ::PATCH_STEP]
        maps = rectify(self.stem(patches.flatten(3)), kept[:, :, None, None]).permute(0, 3, 1, 2)
        for block in self.blocks:
            kept = kept[:, :: int(block.stride[0])]  # type: ignore[index]
            maps = block(maps, kept[:, None, :, None])
        # (P, D, F / 8, bands) -> (P, F / 8, D * bands)
        return self.norm(self.flatten(maps.permute(0, 2, 1, 3).flatten(2))), kept


class TransformerAudioEncoder(nn.Module):
    """A transformer over a convolutional stem that makes one token of 40 ms; prefer it for long or plentiful sounds.

    Args:
        dim: D.
        num_mels: Mel bands among the columns.
        num_columns: C.
        depth: Blocks.
        num_heads: Heads of attention.
        dropout: Of the blocks.
        gated: Use `GatedBlock` instead of `TransformerBlock`.

    References: Radford et al. 2023, Whisper, section 2.2 (the stem), with a stride of 4.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_mels: int,
        num_columns: int,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.scale = BandScale(num_columns)
        self.stem = nn.ModuleList([nn.Conv1d(num_columns, dim, 3, 2, 1), nn.Conv1d(dim, dim, 3, 2, 1)])
        block = GatedBlock if gated else TransformerBlock
        self.blocks = nn.ModuleList(block(dim, num_heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def initialise(self, batch: FieldBatch) -> None:
        """Measure training sounds."""
        self.scale.initialise(batch.values["log_mel"].float())

    def forward(self, batch: FieldBatch) -> Tokens:
        """log_mel (sum F, C) to (P, F / 4, D)."""
        frames, mask = batch.unpack(batch.values["log_mel"].float())
        if not frames.shape[0]:
            return Tokens(frames.new_zeros((0, 1, self.dim)), mask.new_zeros((0, 1)))
        values = (self.scale(frames) * mask.unsqueeze(-1)).transpose(1, 2)
        for layer in self.stem:
            mask = mask[:, ::2]
            values = F.gelu(layer(values), approximate="tanh") * mask.unsqueeze(1)
        tokens = values.transpose(1, 2)
        tokens = tokens + 0.1 * sinusoids(tokens.shape[1], self.dim).to(tokens)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return Tokens(self.norm(tokens), mask)
