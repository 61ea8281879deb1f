"""Stochastic depth: rows of a batch pass by residual branches at random, the later in the network the oftener."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from omnifuse.layers.dropout import Dropout


class StochasticDepth(Dropout):
    """Drop a residual branch for whole rows in training and scale it up for the others.

    Draws from the network's own `generator` as `Dropout` does, is passed by where nothing is dropped, and does nothing
    in evaluation. The expectation of the branch stays.

    Args:
        p: Share of the rows that pass by the branch.

    Shape: (B, ...) to the same.

    References: Huang et al. 2016, Deep Networks with Stochastic Depth. Changed: a draw a row, not a batch, and scaled
    in training, not in evaluation.
    """

    @property
    def acts(self) -> bool:
        """Whether a call changes anything now."""
        return self.training and self.p > 0

    def mask_shape(self, values: Tensor) -> tuple[int, ...]:
        """One draw a row."""
        return (values.shape[0], *[1] * (values.ndim - 1))


def levels(part: nn.Module) -> list[list[nn.Module]]:
    """The blocks of an encoder, a trunk or a fusion, by how many of the part's own blocks run before them.

    A part whose blocks do not run in the order of their lists says so with a method `blocks_by_level`.
    """
    own = getattr(part, "blocks_by_level", None)
    if own is not None:
        return [list(level) for level in own()]
    found: dict[int, list[nn.Module]] = {}
    for module in part.modules():
        if isinstance(module, nn.ModuleList):
            for place, block in enumerate(module):
                if any(isinstance(child, StochasticDepth) for child in block.children()):
                    found.setdefault(place, []).append(block)
    return [found[place] for place in sorted(found)]


def set_stochastic_depth(stages: Sequence[Iterable[nn.Module]], share: float) -> None:
    """Give each residual block of a network its share, rising in a line from the first block to the last.

    Args:
        stages: Parts that run side by side (the encoders), then those that read them (the trunk, the fusion).
        share: Of the last block: rows that pass by its branches, 0 to 1.

    References: Huang et al. 2016, section 3 (the linear decay rule).
    """
    levelled = [[levels(part) for part in stage] for stage in stages]
    depths = [max((len(part) for part in stage), default=0) for stage in levelled]
    for stage, before in zip(levelled, (sum(depths[:number]) for number in range(len(depths))), strict=True):
        for part in stage:
            for place, blocks in enumerate(part):
                for block in blocks:
                    for child in block.children():
                        if isinstance(child, StochasticDepth):
                            child.p = share * (before + place + 1) / sum(depths)
