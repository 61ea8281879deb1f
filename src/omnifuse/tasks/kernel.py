"""A kernel machine in closed form beside the network's heads. Shapes: N training rows, B rows, S features, C outputs.

On a few hundred rows, ridge regression on fixed features (n-gram bags, sound statistics, scaled cells, thumbnails) is
hard to beat. It is fitted at once, before training, and the readout gives it the weight that it earns on rows that
nobody learnt from. Random Fourier features keep it in primal form: no training row is stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from omnifuse.schema import TaskKind
from omnifuse.tasks.summary import Summary

# Half of the Fourier features for each kernel exp(-|x - z|^2 / h)
BANDWIDTHS = (0.5, 2.0)
FOURIER_DIM = 2048
# Most rows that it is fitted to: its time grows with their third power
MOST_ROWS = 2000
# Wider features (bags of n-grams) are used as they are: their products are sharp enough
WIDEST_FOURIER = 2048
STRENGTHS = tuple(10.0 ** (0.5 * step) for step in range(-7, 5))
LOGIT_SCALES = (2.0, 4.0, 8.0, 16.0)


class FieldKernel(nn.Module):
    """One field's features, whose products are its kernel, and their part of the answers.

    Args:
        width: S of the summary.
        num_outputs: C.
    """

    directions: Tensor
    phases: Tensor
    weights: Tensor

    def __init__(self, width: int, num_outputs: int) -> None:
        super().__init__()
        self.fourier = width <= WIDEST_FOURIER
        if self.fourier:
            half = FOURIER_DIM // len(BANDWIDTHS)
            scales = torch.tensor([math.sqrt(2 / h) for h in BANDWIDTHS]).repeat_interleave(half)
            self.register_buffer("directions", torch.randn(width, FOURIER_DIM) * scales)
            self.register_buffer("phases", 2 * math.pi * torch.rand(FOURIER_DIM))
        self.register_buffer("weights", torch.zeros(width + FOURIER_DIM * self.fourier, num_outputs))

    def features(self, summary: Summary) -> Tensor:
        """(B, S') features; zero where the row lacks the field."""
        values = summary.values
        if self.fourier:
            waves = (values @ self.directions + self.phases).cos() * math.sqrt(2 / FOURIER_DIM)
            values = torch.cat([0.5 * values, waves], dim=1)
        return values * summary.present.unsqueeze(1)

    def forward(self, summary: Summary) -> Tensor:
        """(B, C)."""
        return self.features(summary) @ self.weights


class KernelHead(nn.Module):
    """Ridge regression on the sum of the present fields' kernels.

    Args:
        widths: Field to S of its summary.
        num_outputs: C.
        kind: Task: what the answers are turned into (logits, or standardised values).

    Shape: dict of summaries, any subset of the fields, to (B, C).

    References: Rahimi and Recht 2007, Random Features for Large-Scale Kernel Machines; Golub et al. 1979 (choosing the
    ridge by leave-one-out).
    """

    most_rows = MOST_ROWS
    bias: Tensor
    logit_scale: Tensor

    def __init__(self, widths: Mapping[str, int], num_outputs: int, kind: TaskKind) -> None:
        super().__init__()
        self.fields, self.kind = tuple(widths), kind
        self.kernels = nn.ModuleList(FieldKernel(width, num_outputs) for width in widths.values())
        self.register_buffer("bias", torch.zeros(num_outputs))
        self.register_buffer("logit_scale", torch.ones(()))

    def present(self, summaries: Mapping[str, Summary]) -> list[tuple[FieldKernel, Summary]]:
        """The fields that are there, each with its kernel."""
        pairs = zip(self.fields, self.kernels, strict=True)
        return [(kernel, summaries[name]) for name, kernel in pairs if name in summaries]  # type: ignore[misc]

    @torch.no_grad()
    def fit(self, summaries: Mapping[str, Summary], target: Tensor) -> None:
        """Fit to N rows at once.

        Args:
            summaries: Of all fields.
            target: (N, C) shares, tags or standardised values; rows with NaN are left out.
        """
        known = ~target.isnan().any(dim=1)
        wanted = target[known].double()
        parts = [(kernel, kernel.features(summary)[known].double()) for kernel, summary in self.present(summaries)]
        if len(wanted) < 4 or not parts:
            return
        mean = wanted.mean(dim=0)
        gram = torch.stack([part @ part.T for _, part in parts]).sum(dim=0)
        answers, left_out = _ridge(gram, wanted - mean)
        for kernel, part in parts:
            kernel.weights.copy_(part.T @ answers)
        self.bias.copy_(mean)
        self.logit_scale.copy_(torch.tensor(_best_scale(self.kind, mean + left_out, wanted)))

    def forward(self, summaries: Mapping[str, Summary], num_rows: int) -> Tensor:
        """(B, C) logits or standardised values from the fields that are there."""
        answers = self.bias.expand(num_rows, -1)
        for kernel, summary in self.present(summaries):
            answers = answers + kernel(summary)
        if self.kind is TaskKind.REGRESSION:
            return answers
        return self.logit_scale * (answers - (0.5 if self.kind is TaskKind.TAGGING else 0.0))


def _ridge(gram: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Dual coefficients at the ridge of least leave-one-out error, and the leave-one-out answers."""
    values, vectors = torch.linalg.eigh(gram)
    values, turned = values.clamp(min=0), vectors.T @ wanted
    best: tuple[float, Tensor, Tensor] | None = None
    for strength in STRENGTHS:
        shrunk = 1 / (values + strength)
        answers = vectors @ (turned * shrunk.unsqueeze(1))
        own = ((vectors**2) @ (values * shrunk) + 1 / len(wanted)).clamp(max=0.99)
        fitted = vectors @ (turned * (values * shrunk).unsqueeze(1))
        left_out = wanted - (wanted - fitted) / (1 - own).unsqueeze(1)
        error = float(((wanted - left_out) ** 2).mean())
        if best is None or error < best[0]:
            best = (error, answers, left_out)
    assert best is not None
    return best[1], best[2]


def _best_scale(kind: TaskKind, answers: Tensor, wanted: Tensor) -> float:
    """What answers are multiplied by so that they make good logits."""
    if kind is TaskKind.REGRESSION:
        return 1.0

    def loss(scale: float) -> float:
        if kind is TaskKind.TAGGING:
            return float(nn.functional.binary_cross_entropy_with_logits(scale * (answers - 0.5), wanted))
        return float(-(wanted * (scale * answers).log_softmax(dim=1)).sum(dim=1).mean())

    return min(LOGIT_SCALES, key=loss)
