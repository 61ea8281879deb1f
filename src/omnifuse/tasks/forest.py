"""A random forest of fixed features beside the network's heads. Shapes: N training rows, B rows, S features, C outputs.

Trees find the few cells and words that decide, whatever their scale. They are grown at once, before training, with as
many candidates a split from each field as its width allows, so that a bag of ten thousand words does not drown a table
of ten columns; the readout gives them the weight that they earn on rows that nobody learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.layers.masks import is_exporting
from omnifuse.schema import TaskKind
from omnifuse.tasks.summary import Summary

NUM_TREES = 200
MOST_LEAVES, MOST_DEPTH = 64, 12
NUM_NODES = 2 * MOST_LEAVES - 1
# Most rows that it is grown on: with more, 64 leaves a tree are too coarse
MOST_ROWS = 2000
# Principal components of a thumbnail that the trees read: a split on one pixel says next to nothing
NUM_COMPONENTS = 8
# Each node keeps a number an output: with more the forest would weigh more than the network
MOST_OUTPUTS = 64
FEW_ROWS = 4


class ForestHead(nn.Module):
    """A random forest on the fixed features of the present fields; an absent field reads as zeros.

    Args:
        widths: Field to S of its summary.
        num_outputs: C.
        kind: Task: what the leaves' means are turned into (logits, or standardised values).
        thumbnails: Field to how much of its summary, from the start, is a thumbnail: the trees read its first
            principal components, and the rest as it is.

    Shape: dict of summaries, any subset of the fields, to (B, C). Rows without any of the fields get the mean.

    References: Breiman 2001, Random Forests; scikit-learn grows the trees.
    """

    most_rows, most_outputs = MOST_ROWS, MOST_OUTPUTS
    feature: Tensor
    threshold: Tensor
    left: Tensor
    leaves: Tensor
    bias: Tensor
    seed: Tensor

    def __init__(
        self, widths: Mapping[str, int], num_outputs: int, kind: TaskKind, thumbnails: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.kind, self.fields = kind, tuple(widths)
        self.thumbnails = {name: width for name, width in (thumbnails or {}).items() if name in widths and width}
        self.widths = {
            name: width - self.thumbnails.get(name, 0) + min(self.thumbnails.get(name, 0), NUM_COMPONENTS)
            for name, width in widths.items()
        }
        for number, width in enumerate(self.thumbnails.values()):
            self.register_buffer(f"centre_{number}", torch.zeros(width))
            self.register_buffer(f"axes_{number}", torch.zeros(width, min(width, NUM_COMPONENTS)))
        nodes = NUM_TREES * NUM_NODES
        # A node sends a row to `left`, or to the one after it where the row's value is above the threshold; a leaf
        # sends it to itself
        self.register_buffer("feature", torch.zeros(nodes, dtype=torch.int32))
        self.register_buffer("threshold", torch.full((nodes,), math.inf))
        self.register_buffer("left", torch.arange(nodes, dtype=torch.int32))
        start = {TaskKind.TAGGING: 0.5, TaskKind.REGRESSION: 0.0}.get(kind, 1 / num_outputs)
        self.register_buffer("leaves", torch.full((nodes, num_outputs), start))
        self.register_buffer("bias", torch.full((num_outputs,), start))
        if kind is TaskKind.REGRESSION:
            # Mean squares of a leaf's rows, and of all rows
            self.register_buffer("squares", torch.ones(nodes))
            self.register_buffer("square", torch.ones(()))
        # Drawn when the head is built, so that growing repeats
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("roots", torch.arange(0, nodes, NUM_NODES), persistent=False)

    def _columns(self, summaries: Mapping[str, Summary], num_rows: int) -> Tensor:
        """(B, sum S) features, zero where a field is absent."""
        like = next(iter(summaries.values())).values
        parts = [
            self._read(name, summaries[name]) if name in summaries else like.new_zeros((num_rows, width))
            for name, width in self.widths.items()
        ]
        return torch.cat(parts, dim=1)

    def _read(self, name: str, summary: Summary) -> Tensor:
        """(B, S) what the trees read of a field."""
        if name not in self.thumbnails:
            return summary.values
        number, width = list(self.thumbnails).index(name), self.thumbnails[name]
        found = (summary.values[:, :width] - self.get_buffer(f"centre_{number}")) @ self.get_buffer(f"axes_{number}")
        found = torch.where(summary.present.unsqueeze(1), found, 0.0)
        return torch.cat([found, summary.values[:, width:]], dim=1)

    def _find_components(self, summaries: Mapping[str, Summary]) -> None:
        """The directions in which thumbnails differ most, over the rows that have one."""
        for number, (name, width) in enumerate(self.thumbnails.items()):
            if name not in summaries or not bool(summaries[name].present.any()):
                continue
            rows = summaries[name].values[summaries[name].present][:, :width].double()
            centre = rows.mean(dim=0)
            # Of the two matrices with these eigenvectors the smaller one
            rows = rows - centre
            if len(rows) < rows.shape[1]:
                values, vectors = torch.linalg.eigh(rows @ rows.T)
                axes = rows.T @ vectors / values.clamp(min=1e-12).sqrt()
                axes = torch.where(values > 1e-9 * values[-1].clamp(min=1e-12), axes, 0.0)
            else:
                axes = torch.linalg.eigh(rows.T @ rows)[1]
            found = self.get_buffer(f"axes_{number}")
            axes = axes.flip(1)[:, : found.shape[1]]
            found.zero_()[:, : axes.shape[1]] = axes.to(found)
            self.get_buffer(f"centre_{number}").copy_(centre)

    @torch.no_grad()
    def fit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        """Grow on N rows at once.

        Args:
            summaries: Of all fields.
            target: (N, C) shares, tags or standardised values; rows with NaN are left out.
        """
        known = ~target.isnan().any(dim=1)
        own = {name: item for name, item in summaries.items() if name in self.widths}
        if int(known.sum()) < 4 or not own:
            return
        from sklearn.ensemble import RandomForestRegressor

        self._find_components({name: Summary(item.values[known], item.present[known]) for name, item in own.items()})
        wanted = target[known].double().cpu().numpy()
        features = self._columns(own, len(target))[known].float().cpu().numpy()
        columns = _copies(self.widths, features.min(axis=0) < features.max(axis=0))
        features = features[:, columns]
        # The squared error of shares is the Gini impurity, so one forest serves every task; of the shares up to each
        # level it is the ranked probability score, which knows that levels lie beside one another
        grown = wanted.cumsum(axis=1)[:, :-1] if self.kind is TaskKind.ORDINAL else wanted
        forest = RandomForestRegressor(
            NUM_TREES,
            max_features="sqrt",
            max_leaf_nodes=MOST_LEAVES,
            max_depth=MOST_DEPTH,
            min_samples_leaf=3 if self.kind is TaskKind.REGRESSION else 1,
            random_state=int(self.seed),
        )
        forest.fit(features, grown if grown.shape[1] > 1 else grown[:, 0])
        self.threshold.fill_(math.inf)
        self.left.copy_(torch.arange(len(self.left)))
        for number, tree in enumerate(forest.estimators_):
            self._take(number * NUM_NODES, tree.tree_, columns)
        self.bias.copy_(torch.from_numpy(wanted.mean(axis=0)))
        if self.kind is TaskKind.REGRESSION:
            self.get_buffer("square").fill_(float((wanted**2).mean()))
        if self.kind is not TaskKind.REGRESSION:
            # No leaf is surer than one more row could make it
            middle = 1 / target.shape[1] if self.kind.chooses_class else 0.5
            for item in (self.leaves, self.bias):
                item.mul_(len(wanted)).add_(1.0).div_(len(wanted) + 1 / middle)

    def _take(self, start: int, tree: Any, columns: np.ndarray) -> None:
        """Write one tree's nodes, level by level, so that siblings are neighbours."""
        order, place = [0], 0
        while place < len(order):
            node = order[place]
            if tree.children_left[node] >= 0:
                self.left[start + place] = start + len(order)
                order += [int(tree.children_left[node]), int(tree.children_right[node])]
            place += 1
        nodes, inner = np.array(order), tree.children_left[order] >= 0
        end = start + len(nodes)
        # Rounded down, the threshold parts 32-bit features as the double does
        double = np.where(inner, tree.threshold[nodes], np.inf)
        single = double.astype(np.float32)
        single = np.where(single > double, np.nextafter(single, np.float32(-np.inf)), single)
        self.threshold[start:end] = torch.from_numpy(single)
        self.feature[start:end] = torch.from_numpy(columns[np.where(inner, tree.feature[nodes], 0)].astype(np.int32))
        values = tree.value[nodes, :, 0]
        if self.kind is TaskKind.ORDINAL:
            values = np.diff(values, axis=1, prepend=0.0, append=1.0)
        self.leaves[start:end] = torch.from_numpy(values).to(self.leaves)
        if self.kind is TaskKind.REGRESSION:
            squares = tree.impurity[nodes] + values[:, 0] ** 2
            self.get_buffer("squares")[start:end] = torch.from_numpy(squares).to(self.leaves)

    def _leaf(self, features: Tensor) -> Tensor:
        """(B, sum S) to the number of each tree's leaf (B, trees)."""
        node = self.get_buffer("roots").expand(features.shape[0], -1)
        if not is_exporting() and len(features) <= FEW_ROWS:
            # Few large operations beat many small ones: every node is asked, whether the row comes by or not
            following = (self.left + (features[:, self.feature] > self.threshold)).long()
            for _ in range(MOST_DEPTH):
                node = following.gather(1, node)
            return node
        for _ in range(MOST_DEPTH):
            above = features.gather(1, self.feature[node].long()) > self.threshold[node]
            node = (self.left[node] + above).long()
        return node

    def forward(self, summaries: Mapping[str, Summary], num_rows: int) -> Tensor:
        """(B, C) logits or standardised values from the fields that are there."""
        return self.answer(summaries, num_rows)[0]

    def answer(self, summaries: Mapping[str, Summary], num_rows: int) -> tuple[Tensor, Tensor | None]:
        """(B, C) logits or standardised values, and of values the spread (B,).

        The spread is the deviation of the training rows that lie in a row's leaves, as in a quantile regression forest
        (Meinshausen 2006).
        """
        own = {name: item for name, item in summaries.items() if name in self.widths}
        means = self.bias.expand(num_rows, -1)
        node, there = None, None
        if own:
            node = self._leaf(self._columns(own, num_rows))
            there = torch.stack([item.present for item in own.values()]).any(dim=0)
            means = torch.where(there.unsqueeze(1), self.leaves[node].mean(dim=1), means)
        if self.kind is TaskKind.REGRESSION:
            squares = self.get_buffer("square").expand(num_rows)
            if node is not None and there is not None:
                squares = torch.where(there, self.get_buffer("squares")[node].mean(dim=1), squares)
            return means, (squares - means[:, 0] ** 2).clamp(min=0).sqrt()
        return (means.log() if self.kind.chooses_class else means.logit()), None


def _copies(widths: Mapping[str, int], varying: np.ndarray) -> np.ndarray:
    """Columns as the trees see them: those that vary, and of narrow fields repeated, so that the square root of a
    field's width is its share of the candidates. Searching columns that never vary for a split takes most of the time
    of a bag of words."""
    parts, start = [], 0
    for width in widths.values():
        parts.append(start + np.flatnonzero(varying[start : start + width]))
        start += width
    widest = max(len(part) for part in parts)
    if not widest:
        return np.zeros(1, np.int64)
    return np.concatenate([np.tile(part, max(1, round(math.sqrt(widest / len(part))))) for part in parts if len(part)])
