"""Every public part by listing, with a factory each: a class without a factory fails, so that none can escape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omnifuse.data.categories import CategoryColumn
from omnifuse.data.numbers import NumberColumn
from omnifuse.data.table import TablePreprocessor
from omnifuse.encoders import ENCODERS, EncoderOptions
from omnifuse.schema import Modality
from omnifuse.tokens import FieldBatch, Tokens

DIM = 16
FIELDS = ("a", "b", "c")
# Lengths of sounds and texts: the shortest possible one, odd ones, and one so long that its tokens are thinned
LENGTHS = (37, 1, 5, 300)
VOCAB_SIZE, NUM_MELS, NUM_COLUMNS = 50, 16, 24
HEIGHT, WIDTH = 24, 32
# Frames of videos: a usual number, one, two, and so many that their tokens are thinned
NUM_FRAMES = (8, 1, 2, 40)


def seeded(build: Callable[..., nn.Module], *given: Any, seed: int = 0, **options: Any) -> nn.Module:
    """A part whose first weights depend on the seed alone."""
    torch.manual_seed(seed)
    return build(*given, **options)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def public_modules(package: ModuleType) -> set[type[nn.Module]]:
    """The nn.Module classes that a package lists in __all__."""
    listed = (getattr(package, name) for name in package.__all__)
    return {item for item in listed if isinstance(item, type) and issubclass(item, nn.Module)}


class _TextStub:
    vocab_size = VOCAB_SIZE
    pieces = tuple(f"word{number}" for number in range(VOCAB_SIZE))


class _ImageStub:
    height, width = HEIGHT, WIDTH


class _VideoStub:
    height, width = HEIGHT, WIDTH


class _AudioStub:
    num_mels, num_columns = NUM_MELS, NUM_COLUMNS


class _SeriesStub:
    num_channels, step_s, max_steps = 3, 60.0, 512


class _DateStub:
    earliest, latest, median = 1_500_000_000, 1_700_000_000, 1_650_000_000


class _PlaceStub:
    latitude, longitude, spread_km = 48.0, 11.0, 250.0


class _TagsStub:
    num_ids = VOCAB_SIZE


def _table_preprocessor() -> TablePreprocessor:
    values = np.random.default_rng(0).normal(size=200).tolist()
    letters = list("abcab" * 40)
    return TablePreprocessor(
        tuple(NumberColumn.fit(name, values) for name in ("x", "y", "z")),
        tuple(CategoryColumn.fit(name, letters) for name in ("k", "l")),
    )


PREPROCESSORS: dict[Modality, Any] = {
    Modality.TEXT: _TextStub(),
    Modality.IMAGE: _ImageStub(),
    Modality.AUDIO: _AudioStub(),
    Modality.VIDEO: _VideoStub(),
    Modality.DATE: _DateStub(),
    Modality.PLACE: _PlaceStub(),
    Modality.TAGS: _TagsStub(),
    Modality.TABLE: _table_preprocessor(),
    Modality.SERIES: _SeriesStub(),
}


def _rows(modality: Modality, seed: int) -> list[dict[str, np.ndarray]]:
    """Four rows as the preprocessor of this modality makes them."""
    draw = np.random.default_rng(seed)
    if modality is Modality.TEXT:
        return [{"ids": draw.integers(0, VOCAB_SIZE, length).astype(np.int32)} for length in LENGTHS]
    if modality is Modality.AUDIO:
        return [{"log_mel": draw.normal(-4, 2, (size, NUM_COLUMNS)).astype(np.float32)} for size in LENGTHS]
    if modality is Modality.IMAGE:
        return [{"pixels": draw.integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)} for _ in LENGTHS]
    if modality is Modality.SERIES:
        return [_series_row(draw, size) for size in LENGTHS]
    if modality is Modality.VIDEO:
        return [
            {
                "pixels": draw.integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8),
                "time_s": np.sort(draw.random(count)).astype(np.float32),
            }
            for count in NUM_FRAMES
        ]
    if modality is Modality.DATE:
        return [{"seconds": draw.integers(-1_000_000_000, 2_000_000_000, 1)} for _ in LENGTHS]
    if modality is Modality.PLACE:
        return [{"degrees": draw.uniform([[-90, -180]], [[90, 180]])} for _ in LENGTHS]
    if modality is Modality.TAGS:
        sizes = (7, 1, 2, 40)
        return [{"tags": np.sort(draw.permutation(VOCAB_SIZE)[:size]).astype(np.int32)} for size in sizes]
    table = PREPROCESSORS[Modality.TABLE]
    cells = [
        {"x": 0.5, "y": -1.0, "z": None, "k": "a", "l": None},
        {"x": None, "y": 0.1, "z": 0.9, "k": None, "l": "b"},
        {"x": 1e9, "y": None, "z": -0.4, "k": "new", "l": "c"},
        {"x": draw.normal(), "y": draw.normal(), "z": draw.normal(), "k": "c", "l": "a"},
    ]
    return [table(row) for row in cells]


def _series_row(draw: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Irregular steps with gaps, and a channel that is never observed."""
    observed = draw.random((size, _SeriesStub.num_channels)) < 0.8
    observed[-1, 0], observed[:, 2] = True, observed[:, 2] & (size > 5)
    values = np.where(observed, draw.normal(0, 2, observed.shape), 0).astype(np.float32)
    time_s = -np.cumsum(draw.exponential(60.0, size))[::-1].astype(np.float32)
    return {"values": values, "time_s": np.ascontiguousarray(time_s), "observed": observed}


def collate(rows: list[dict[str, np.ndarray]], like: dict[str, np.ndarray]) -> FieldBatch:
    """Rows, all present, packed; `like` gives the arrays where there is no row."""
    values = {
        name: torch.from_numpy(np.concatenate([row[name] for row in rows]) if rows else array[:0])
        for name, array in like.items()
    }
    lengths = torch.tensor([len(next(iter(row.values()))) for row in rows], dtype=torch.int64)
    return FieldBatch(values, lengths, torch.ones(len(rows), dtype=torch.bool))


@dataclass(frozen=True)
class EncoderCase:
    """One way to build an encoder."""

    name: str
    gated: bool

    @property
    def modality(self) -> Modality:
        return ENCODERS[self.name].modality

    def build(self, seed: int = 0, dropout: float = 0.0) -> nn.Module:
        """Built and, where it measures training rows, initialised."""
        options = EncoderOptions(DIM, depth=1, num_heads=2, dropout=dropout, gated=self.gated)
        encoder = seeded(ENCODERS[self.name].build, PREPROCESSORS[self.modality], options, seed=seed)
        if hasattr(encoder, "initialise"):
            encoder.initialise(self.batch())
        return encoder

    def batch(self, rows: list[int] | None = None, seed: int = 0) -> FieldBatch:
        """The four rows, or some of them."""
        made = _rows(self.modality, seed)
        return collate(made if rows is None else [made[row] for row in rows], made[0])


_GATED = ("series-patch", "video-frames", "video-spacetime")
ENCODER_CASES = {
    f"{name}{'-gated' if gated else ''}": EncoderCase(name, gated)
    for name in ENCODERS
    for gated in ((False, True) if "transformer" in name or name in _GATED else (False,))
}


def random_tokens(num_rows: int = 5, seed: int = 0, fields: tuple[str, ...] = FIELDS) -> dict[str, Tokens]:
    """Tokens of each field with holes: in row 0 all fields are there, in the last row none, and padding everywhere."""
    draw = torch.Generator().manual_seed(seed)
    tokens = {}
    for number, name in enumerate(fields):
        size = 2 + number
        values = torch.randn(num_rows, size, DIM, generator=draw)
        lengths = torch.randint(1, size + 1, (num_rows,), generator=draw)
        present = torch.rand(num_rows, generator=draw) < 0.7
        present[0], present[-1] = True, False
        mask = (torch.arange(size)[None, :] < lengths[:, None]) & present[:, None]
        tokens[name] = Tokens(values * mask.unsqueeze(-1), mask)
    return tokens


def take_rows(tokens: dict[str, Tokens], rows: list[int]) -> dict[str, Tokens]:
    return {name: Tokens(item.values[rows], item.mask[rows]) for name, item in tokens.items()}


def padded(tokens: dict[str, Tokens], extra: int = 3) -> dict[str, Tokens]:
    """The same tokens with more padding that holds rubbish, and rubbish in the padding that is there."""
    longer = {}
    for name, item in tokens.items():
        values = torch.where(item.mask.unsqueeze(-1), item.values, torch.full_like(item.values, 77.0))
        rubbish = values.new_full((values.shape[0], extra, values.shape[2]), -55.0)
        mask = torch.cat([item.mask, item.mask.new_zeros((values.shape[0], extra))], dim=1)
        longer[name] = Tokens(torch.cat([values, rubbish], dim=1), mask)
    return longer


def hidden_parameters(module: nn.Module) -> list[str]:
    """Tensors that want a gradient, or modules, that sit in plain lists and dicts, where no optimiser finds them."""
    found = []
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            hidden = [
                isinstance(item, nn.Module) or (isinstance(item, Tensor) and item.requires_grad) for item in items
            ]
            if any(hidden):
                found.append(f"{path}.{name}")
    return found


def assert_all_trained(module: nn.Module, loss: Tensor, by_design: tuple[str, ...] = ()) -> None:
    """Every parameter is registered and gets a finite gradient that is not zero.

    Args:
        module: What is trained.
        loss: Scalar that depends on it.
        by_design: Parameters whose gradient is zero in theory, for a reason that the test states.
    """
    assert hidden_parameters(module) == []
    module.zero_grad()
    loss.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite"
        if name not in by_design:
            assert bool((parameter.grad != 0).any()), f"the gradient of {name} is zero"


def assert_round_trip(build: Callable[[int], nn.Module], run: Callable[[nn.Module], Tensor]) -> None:
    """Two modules of different seeds agree once one has taken over the other's state, buffers included."""
    one, two = build(0).eval(), build(1).eval()
    names = [name for name, _ in one.named_parameters()]
    if names:
        assert not torch.equal(run(one), run(two))
    missing = two.load_state_dict(one.state_dict(), strict=True)
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    assert torch.equal(run(one), run(two))
