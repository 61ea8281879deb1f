"""Many frames to few tokens, by each row's own length. Shapes: P rows, F frames, T tokens, D width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from omnifuse.layers.masks import is_exporting


def time_tokens(frames: Tensor, mask: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Mean of neighbouring frames so that at most `limit` tokens a row are left: (P, F, D) to (P, T, D)."""
    if is_exporting():
        return _even_time_tokens(frames, limit)
    if frames.shape[1] <= limit:
        # One frame a token
        return frames * mask.unsqueeze(-1), mask
    lengths = mask.sum(dim=1)
    # Rows are cut by their own length, so the tokens of a row do not depend on its batch mates
    step = torch.div(lengths + limit - 1, limit, rounding_mode="floor").clamp(min=1)
    place = torch.arange(frames.shape[1], device=frames.device)[None, :] // step[:, None]
    num_tokens = int(torch.div(lengths + step - 1, step, rounding_mode="floor").max())
    spread = F.one_hot(place.clamp(max=num_tokens - 1), num_tokens).to(frames.dtype) * mask.unsqueeze(-1)
    counts = spread.sum(dim=1)
    tokens = torch.einsum("pft,pfd->ptd", spread, frames) / counts.clamp(min=1).unsqueeze(-1)
    return tokens, counts > 0


def _even_time_tokens(frames: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The same for rows of one length, in operations that any length goes through: (P, F, D) to (P, T, D)."""
    num_rows, num_frames = frames.shape[:2]
    step = (num_frames + limit - 1) // limit
    num_tokens = (num_frames + step - 1) // step
    places = torch.arange(num_frames, device=frames.device) // step
    spread = (places[None, :] == torch.arange(num_tokens, device=frames.device)[:, None]).to(frames.dtype)
    spread = spread / spread.sum(dim=1, keepdim=True)
    mask = torch.ones((num_rows, num_tokens), dtype=torch.bool, device=frames.device)
    return torch.matmul(spread, frames), mask
