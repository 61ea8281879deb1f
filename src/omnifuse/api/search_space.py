"""The settings that `--search` tries, and between which limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omnifuse.presets import Preset

FUSIONS_TRIED = ("joint", "concat", "gated", "attention")
SHALLOW_TRIED = ("none", "linear", "kernel+forest")
DEEPEST, NARROWEST, WIDEST = 4, 16, 256


@dataclass(frozen=True)
class Dimension:
    """One setting: a range (on a log scale or not), or a closed list.

    Attributes:
        name: As in `--set NAME=VALUE`.
        low: Smallest value.
        high: Largest value.
        log: Whether steps are factors.
        choices: Values instead of a range.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str, ...] = ()

    def suggest(self, trial: Any) -> str:
        """The value that an optuna trial takes, as it is typed."""
        if self.choices:
            return str(trial.suggest_categorical(self.name, self.choices))
        return f"{trial.suggest_float(self.name, self.low, self.high, log=self.log):.4g}"

    def nearest(self, value: Any) -> Any:
        """The value of the preset as far as it lies within."""
        if self.choices:
            return str(value) if str(value) in self.choices else self.choices[0]
        return min(max(float(value), self.low), self.high)


def search_space(preset: Preset, *, fixed: Collection[str], num_inputs: int) -> tuple[Dimension, ...]:
    """The dimensions around a preset.

    Args:
        preset: Where the search starts.
        fixed: Settings that the user has chosen, which are left alone.
        num_inputs: With one input there is nothing to fuse and no field to hide.
    """
    model, training = preset.model, preset.training
    widths = [width for width in (model.dim // 2, model.dim, 2 * model.dim) if width % model.num_heads == 0]
    widths = [width for width in widths if NARROWEST <= width <= WIDEST or width == model.dim]
    depths = [depth for depth in range(model.encoder_depth - 1, model.encoder_depth + 2) if 1 <= depth <= DEEPEST]
    space = [
        Dimension("learning_rate", training.learning_rate / 5, training.learning_rate * 3, log=True),
        Dimension("dropout", 0.0, 0.4),
        Dimension("weight_decay", 1e-3, 0.5, log=True),
        Dimension("augment", 0.0, 1.5),
        Dimension("auxiliary", 0.0, 1.0),
        Dimension("shallow", choices=_with(SHALLOW_TRIED, model.shallow)),
        Dimension("encoder_depth", choices=_with([str(depth) for depth in depths], str(model.encoder_depth))),
        Dimension("dim", choices=_with([str(width) for width in widths], str(model.dim))),
    ]
    if num_inputs > 1:
        space += [
            Dimension("modality_dropout", 0.0, 0.5),
            Dimension("fusion", choices=_with(FUSIONS_TRIED, model.fusion)),
        ]
    return tuple(item for item in space if item.name not in fixed)


def _with(known: Sequence[str], own: str) -> tuple[str, ...]:
    return tuple(known) if own in known else (own, *known)


def starting_point(preset: Preset, space: Sequence[Dimension]) -> dict[str, Any]:
    """The preset's own values, which the first trial takes."""
    values: Mapping[str, Any] = asdict(preset.training) | asdict(preset.model)
    return {item.name: item.nearest(values[item.name]) for item in space}
