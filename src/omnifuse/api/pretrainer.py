"""The network of one pretraining, made ready to train on prepared rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from omnifuse.api.member import MEASURED_ROWS, augmenter_of
from omnifuse.api.prepare import Prepared
from omnifuse.api.pretrain_options import PretrainOptions, named_pairs
from omnifuse.building import build_from_spec
from omnifuse.data.augment import Augmenter
from omnifuse.data.identity import content_codes, id_codes, num_repeated
from omnifuse.data.pack import Pack
from omnifuse.errors import InputError
from omnifuse.presets import Preset
from omnifuse.training.batches import BatchSource, make_batch
from omnifuse.training.checkpoint import CheckpointFolder
from omnifuse.training.loggers import make_logger
from omnifuse.training.loop import Trainer
from omnifuse.training.precision import choose_precision
from omnifuse.training.pretraining import ID, MASKED, RECIPES, Pretrainer, Pretraining, code_name, second_view

if TYPE_CHECKING:
    from omnifuse.model import MultimodalModel

# Part of the rows that is held out to measure retrieval, and the least and most rows of it
HELD_SHARE, FEWEST_HELD, MOST_HELD = 0.1, 24, 1000
# Rows that the space's layers are centred and scaled by
SPACE_ROWS = 256
# Two views of a row must differ
LEAST_AUGMENT = 0.5


@dataclass(frozen=True)
class Material:
    """What is learnt from.

    Attributes:
        plan: Objectives, pairs and views.
        codes: Name of codes (see `code_name`) to (R,) int64 of all rows.
        train: Rows to learn from.
        held: Rows to measure by; none of a small table.
        notes: Sentences on what is left out, and on rows that show the same.
    """

    plan: Pretraining
    codes: Mapping[str, np.ndarray]
    train: np.ndarray
    held: np.ndarray
    notes: list[str]


def pretrain_batch_size(num_rows: int) -> int:
    """Rows a step: more than for labels, since every other row of a batch is compared with.

    In a few minutes the number of steps counts for more than their size: of 2,250 pairs of digits that are shown and
    said, four passes of 64 rows found 0.43 of the class right, four of 128 rows 0.27.

    Example:
        >>> [pretrain_batch_size(count) for count in (100, 1000, 10_000, 100_000)]
        [32, 64, 128, 256]
    """
    return 32 if num_rows < 500 else 64 if num_rows < 6000 else 128 if num_rows < 20_000 else 256


def make_material(prepared: Prepared, options: PretrainOptions) -> Material:
    """Find what can be compared, and which rows show the same.

    Raises:
        InputError: A pair names no field or never occurs in two rows, or nothing can be learnt from.
    """
    asked = named_pairs(options.pairs, prepared.schema)
    present = {name: pack.present[prepared.rows] for name, pack in prepared.packs.items()}
    counts = {pair: int((present[pair[0]] & present[pair[1]]).sum()) for pair in asked}
    for (one, two), count in counts.items():
        if count < 2 and options.pairs:
            raise InputError(
                f"--pairs {one}:{two}: " + ("one row has" if count else "no row has") + " both fields",
                where=f"'{one}' is in {int(present[one].sum())} of {len(prepared.rows)} rows, "
                f"'{two}' in {int(present[two].sum())}",
                fix="Name fields that occur together",
            )
    pairs = tuple(pair for pair, count in counts.items() if count >= 2)
    paired = np.zeros(prepared.table.num_rows, bool)
    for one, two in pairs:
        paired |= prepared.packs[one].present & prepared.packs[two].present
    lone = prepared.rows[~paired[prepared.rows]]
    views = _views(prepared, options, lone)
    if not pairs and not views:
        raise InputError("there is nothing to compare", where="no two fields occur together", fix="Give two fields")
    notes = [f"No row has '{name}': its encoder is not trained." for name, found in present.items() if not found.any()]
    learnt_fields = {name for pair in pairs for name in pair} | set(views)
    notes += [
        f"'{name}' stands in no pair: its encoder is not trained."
        for name, found in present.items()
        if found.any() and name not in learnt_fields
    ]
    if len(lone) and pairs:
        learnt = "by two views of what they have" if views else "not"
        notes.append(f"{len(lone)} of {len(prepared.rows)} rows have no pair and are learnt from {learnt}.")
    codes = _codes(prepared, options, learnt_fields)
    notes += _same_words(codes, prepared.rows, options)
    train, held = _divided(prepared, codes, paired, options)
    return Material(Pretraining(options.objective, pairs, views), codes, train, held, notes)


def _views(prepared: Prepared, options: PretrainOptions, lone: np.ndarray) -> tuple[str, ...]:
    """Inputs of which rows are shown twice: all where something is masked, else those of rows without a pair."""
    rows = prepared.rows if MASKED in RECIPES[options.objective] else lone
    policy = _second_policy(prepared, options).policy
    return tuple(
        item.name
        for item in prepared.schema.inputs
        if policy.get(item.name) is not None and int(prepared.packs[item.name].present[rows].sum()) >= 2
    )


def _second_policy(prepared: Prepared, options: PretrainOptions, strength: float = 1.0) -> Augmenter:
    modalities = {item.name: item.modality for item in prepared.schema.inputs}
    if MASKED in RECIPES[options.objective]:
        for name in [name for name in modalities if not getattr(prepared.preprocessors[name], "augmented", True)]:
            del modalities[name]
        return Augmenter.masking(modalities)
    return Augmenter.default(modalities, strength, preprocessors=prepared.preprocessors)


def _codes(prepared: Prepared, options: PretrainOptions, names: set[str]) -> dict[str, np.ndarray]:
    found = {code_name(name): content_codes(prepared.packs[name]) for name in prepared.packs if name in names}
    if options.id is not None:
        found[code_name(ID)] = id_codes(prepared.table.cells(options.id))
    return found


def _same_words(codes: Mapping[str, np.ndarray], rows: np.ndarray, options: PretrainOptions) -> list[str]:
    """How many rows would be taken for strangers of rows that show the same."""
    notes = []
    for name, values in codes.items():
        count = num_repeated(values[rows])
        if count:
            what = (
                f"share their '{options.id}'"
                if name == code_name(ID)
                else f"share their {name[len(code_name('')) :]!r}"
            )
            notes.append(f"{count} rows {what} with others: they count as partners, not as strangers.")
    return notes


def _divided(
    prepared: Prepared, codes: Mapping[str, np.ndarray], paired: np.ndarray, options: PretrainOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows held out: whole groups, or whole ids, of rows that have a pair."""
    keys = prepared.groups if prepared.groups is not None else codes.get(code_name(ID))
    everything = np.arange(prepared.table.num_rows)
    keys = everything if keys is None else np.where(keys < 0, int(keys.max(initial=0)) + 1 + everything, keys)
    rows = prepared.rows
    wanted = min(int(len(rows) * HELD_SHARE), MOST_HELD)
    if wanted < FEWEST_HELD:
        return rows, rows[:0]
    kinds = np.unique(keys[rows[paired[rows]]])
    order = np.random.default_rng([options.seed, 3]).permutation(kinds)
    sizes = np.bincount(np.searchsorted(kinds, keys[rows[np.isin(keys[rows], kinds)]]), minlength=len(kinds))
    grown = np.cumsum(sizes[np.searchsorted(kinds, order)])
    chosen = order[: int(np.searchsorted(grown, wanted, side="right"))]
    held = np.isin(keys[rows], chosen)
    return rows[~held], rows[held]


def prepare_pretrainer(prepared: Prepared, material: Material, preset: Preset, options: PretrainOptions) -> Trainer:
    """Build the network with its objectives and make it ready to train."""
    import torch

    seed = options.seed * 1000
    torch.manual_seed(seed)
    model = build_from_spec(prepared.schema, prepared.preprocessors, preset.model)
    measured = np.random.default_rng(seed).permutation(material.train)[:MEASURED_ROWS]
    model.initialise(make_batch(prepared.packs, measured))
    model.initialise_space(make_batch(prepared.packs, measured[:SPACE_ROWS]))
    learner = Pretrainer(model, material.plan, num_heads=preset.model.num_heads)
    training = preset.training
    packs, change = _with_views(prepared, material, preset, options)
    source = BatchSource(
        packs,
        {name: torch.from_numpy(values) for name, values in material.codes.items()},
        material.train,
        training.batch_size or pretrain_batch_size(len(material.train)),
        seed,
        change,
    )
    # It stands where a network stands: the loop asks a forward, targets and tasks of it, and it has none of the latter
    network = cast("MultimodalModel", learner)
    some = make_batch(packs, measured[: source.batch_size], targets=source.targets)
    precision = choose_precision(training.precision, network, some, by_time=options.epochs is None)
    return Trainer(
        network,
        source,
        training,
        seed=seed,
        place=CheckpointFolder(options.out / "checkpoints" / "pretrain-0"),
        logger=make_logger(options.logger, options.out / "logs" / "pretrain-0"),
        precision=precision,
    )


def _with_views(
    prepared: Prepared, material: Material, preset: Preset, options: PretrainOptions
) -> tuple[dict[str, Pack], Augmenter]:
    """The packs with the second views among them (of the same arrays), and what happens to each."""
    strength = preset.training.augment
    first = augmenter_of(prepared, prepared.schema, preset.training)
    second = _second_policy(prepared, options, max(strength, LEAST_AUGMENT))
    packs, policy = dict(prepared.packs), dict(first.policy if first is not None else {})
    shown = np.ones(prepared.table.num_rows, bool)
    if MASKED not in material.plan.parts:
        for one, two in material.plan.pairs:
            shown &= ~(prepared.packs[one].present & prepared.packs[two].present)
    for name in material.plan.views:
        pack = prepared.packs[name]
        packs[second_view(name)] = replace(pack, present=pack.present & shown)
        policy[second_view(name)] = second.policy[name]
    return packs, Augmenter(policy)
