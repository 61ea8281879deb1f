"""Gradient caching: a loss over a large batch whose rows are encoded a few at a time. Shapes: B rows of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Gives tensors (B, ...) of one chunk, always as many
Encode = Callable[[], tuple[Tensor, ...]]


def encode_chunks(chunks: Sequence[Encode], generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Outputs of all chunks, each kind end to end, with the memory of one chunk's activations.

    Each chunk is run without a graph; on the way back it is run again with one, from the same random numbers, and the
    loss's gradients in its outputs go on from there into the weights. The loss over all rows is thereby the exact one,
    at the price of a second forward. A single chunk is run once, with a graph.

    Args:
        chunks: Each runs its rows through the network.
        generator: Source of the network's own random numbers, or None.

    References: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (GradCache,
    arXiv:2101.06983); Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
    """
    if len(chunks) == 1 or not torch.is_grad_enabled():
        found = [chunk() for chunk in chunks]
    else:
        # Of nothing that needs a gradient the result would need none
        mark = torch.zeros((), requires_grad=True)
        found = [_Chunk.apply(mark, chunk, generator) for chunk in chunks]  # type: ignore[no-untyped-call]
    return found[0] if len(found) == 1 else tuple(torch.cat(parts) for parts in zip(*found, strict=True))


class _Chunk(torch.autograd.Function):
    """One chunk; keeps the states of the random generators alone."""

    @staticmethod
    def forward(ctx: Any, mark: Tensor, chunk: Encode, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        ctx.chunk, ctx.generator, ctx.random = chunk, generator, _random_state(generator)
        ctx.half = {
            kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in ("cpu", "cuda")
            if kind == "cpu" or torch.cuda.is_available()
        }
        # What needs no gradient inside (flags, losses of a teacher) must need none outside
        return tuple(output.detach() for output in chunk())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, None, None]:
        after = _random_state(ctx.generator)
        _set_random_state(ctx.random, ctx.generator)
        with torch.enable_grad():
            outputs = _as_before(ctx.chunk, dict(ctx.half))
        pairs = [(output, slope) for output, slope in zip(outputs, slopes, strict=True) if output.requires_grad]
        if pairs:
            torch.autograd.backward([output for output, _ in pairs], [slope for _, slope in pairs])
        _set_random_state(after, ctx.generator)
        return None, None, None


def _as_before(chunk: Encode, half: dict[str, tuple[bool, torch.dtype]]) -> tuple[Tensor, ...]:
    """Run a chunk in the precision of its first run."""
    if not half:
        return chunk()
    kind, (enabled, dtype) = half.popitem()
    with torch.autocast(kind, dtype=dtype, enabled=enabled):
        return _as_before(chunk, half)


_State = tuple[Tensor, Tensor | None, Tensor | None]


def _random_state(generator: torch.Generator | None) -> _State:
    on_card = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return torch.default_generator.get_state(), on_card, None if generator is None else generator.get_state()


def _set_random_state(state: _State, generator: torch.Generator | None) -> None:
    torch.default_generator.set_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
    if generator is not None and state[2] is not None:
        generator.set_state(state[2])
