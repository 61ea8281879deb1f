"""Generated worlds with known truth: which field carries what, when which is missing, and how good any model can be.

A world has hidden bits. Each field shows one of them in its own manner, rightly with a known probability, or shows
noise. The label follows from the bits by a rule, so how much each subset of fields can tell is known exactly: the
yardstick for fusion, for answers with missing fields, and for explanations.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.data.world_cells import RENDERERS
from omnifuse.errors import InputError, did_you_mean

RULES = ("parity", "majority", "number")
MISSING = ("random", "by_bit", "by_category")
MOST_BITS = 6
# A cell that goes missing "by_bit" or "by_category" does so this many times as often on one side as on the other
_LOPSIDED = 3.0


@dataclass(frozen=True)
class WorldField:
    """One column of a world.

    Attributes:
        name: In `world_cells.RENDERERS`, perhaps with a number behind it: "picture", "picture2".
        bit: Number of the hidden bit that it shows; None = noise, it tells nothing.
        reliability: Chance that it shows the bit rightly, 0.5 to 1.
        missing: Share of its cells that are empty, 0 to 0.9.
        mechanism: Why they are: "random"; "by_bit", more often where the bit it shows is 1 (missing not at random);
            "by_category", more often where the world's first category shows 1 (missing at random).
    """

    name: str
    bit: int | None
    reliability: float = 1.0
    missing: float = 0.0
    mechanism: str = "random"

    @property
    def kind(self) -> str:
        """Name of its renderer."""
        return self.name.rstrip("0123456789_")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.kind not in RENDERERS:
            raise InputError(f"there is no field of a world '{self.name}'", fix=did_you_mean(self.kind, RENDERERS))
        if not 0.5 <= self.reliability <= 1 or not 0 <= self.missing <= 0.9:
            raise InputError(
                f"field '{self.name}' has reliability {self.reliability} and missing {self.missing}",
                fix="Give a reliability from 0.5 to 1 and a missing share from 0 to 0.9",
            )
        if self.mechanism not in MISSING:
            raise InputError(
                f"field '{self.name}' is missing by '{self.mechanism}'", fix=did_you_mean(self.mechanism, MISSING)
            )


@dataclass(frozen=True)
class World:
    """Fields and the rule that makes the label of the bits.

    Attributes:
        fields: The columns.
        rule: "parity" (odd or even number of ones: no subset of bits tells anything), "majority" (each bit tells a
            little), or "number" (the bits as a binary number: each bit is a part of the label).
    """

    fields: tuple[WorldField, ...]
    rule: str = "parity"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.rule not in RULES:
            raise InputError(f"there is no rule '{self.rule}'", fix=did_you_mean(self.rule, RULES))
        names = [item.name for item in self.fields]
        if len(set(names)) < len(names):
            raise InputError("two fields of the world have the same name", fix="Put a number behind one")
        bits = {item.bit for item in self.fields if item.bit is not None}
        if bits != set(range(len(bits))) or not 1 <= len(bits) <= MOST_BITS:
            raise InputError(
                f"the fields show the bits {sorted(bits)}", fix=f"Count from 0, at most {MOST_BITS}, without a gap"
            )

    @property
    def num_bits(self) -> int:
        """Number of hidden bits."""
        return 1 + max(item.bit for item in self.fields if item.bit is not None)

    def label(self, bits: Sequence[int]) -> str:
        """The label of some bits."""
        if self.rule == "parity":
            return "odd" if sum(bits) % 2 else "even"
        if self.rule == "majority":
            return "most" if 2 * sum(bits) > self.num_bits else "few"
        return "n" + str(sum(bit << place for place, bit in enumerate(bits)))

    def best_accuracy(self, names: Sequence[str]) -> float:
        """Expected accuracy of the best possible model that is given these fields, all there.

        Args:
            names: Of fields.
        """
        given = [item for item in self.fields if item.name in set(names) and item.bit is not None]
        total = 0.0
        for shown in itertools.product((0, 1), repeat=len(given)):
            total += max(self._joint(given, shown).values())
        return total

    def posterior(self, shown: Mapping[str, int], *, whole: bool = False) -> dict[str, float]:
        """Label to its probability, given what some fields show (whether or not that is right).

        Args:
            shown: Field to the bit that it shows; fields that are missing are left out.
            whole: Whether `shown` is all of a row of the world: then that the others are missing tells something too.
        """
        if whole:
            joint = self._row_joint(shown)
        else:
            given = [item for item in self.fields if item.name in shown and item.bit is not None]
            joint = self._joint(given, [shown[item.name] for item in given])
        total = sum(joint.values())
        return {label: share / total for label, share in sorted(joint.items())}

    def _joint(self, given: Sequence[WorldField], shown: Sequence[int]) -> dict[str, float]:
        """Label to the probability of it together with what is shown; bits are fair coins."""
        found: dict[str, float] = {}
        for bits in itertools.product((0, 1), repeat=self.num_bits):
            chance = 0.5**self.num_bits
            for item, value in zip(given, shown, strict=True):
                chance *= _shows_chance(item, bits, value)
            label = self.label(bits)
            found[label] = found.get(label, 0.0) + chance
        return found

    def _row_joint(self, shown: Mapping[str, int]) -> dict[str, float]:
        """As `_joint`, with the probability that just these fields are there."""
        category = self.category
        found: dict[str, float] = {}
        for bits in itertools.product((0, 1), repeat=self.num_bits):
            label = self.label(bits)
            known = category is None or category.name in shown
            for side in (shown[category.name] if category is not None and known else 0,) if known else (0, 1):
                chance = 0.5**self.num_bits
                for item in self.fields:
                    values = (0, 1) if item.name not in shown else (shown[item.name],)
                    if item is category:
                        values = (side,)
                    gone = item.name not in shown
                    chance *= sum(
                        _shows_chance(item, bits, value) * _missing_chance(item, value, side, gone) for value in values
                    )
                found[label] = found.get(label, 0.0) + chance
        return found

    @property
    def category(self) -> WorldField | None:
        """The field that "by_category" looks at."""
        return next((item for item in self.fields if item.kind == "category"), None)


def _shows_chance(item: WorldField, bits: Sequence[int], value: int) -> float:
    """Probability that a field shows this bit."""
    if item.bit is None:
        return 0.5
    return item.reliability if bits[item.bit] == value else 1 - item.reliability


def _missing_chance(item: WorldField, value: int, category: int, gone: bool) -> float:
    """Probability that a field is missing (or, where it is not gone, that it is there)."""
    side = {"random": None, "by_bit": value, "by_category": category}[item.mechanism]
    share = item.missing
    if side is not None:
        # The two sides' shares differ by a factor and have the wanted mean
        low = 2 * item.missing / (1 + _LOPSIDED)
        share = min(low * _LOPSIDED, 1.0) if side else low
    return share if gone else 1 - share


# Ready-made worlds: each names what it tests
WORLDS: dict[str, World] = {
    "xor": World((WorldField("picture", 0), WorldField("sound", 1))),
    "six": World(
        (
            WorldField("picture", 0, 0.95, 0.1),
            WorldField("sound", 1, 0.95, 0.1),
            WorldField("note", 2, 0.95, 0.1),
            WorldField("series", 0, 0.8, 0.1, "by_category"),
            WorldField("number", 1, 0.8, 0.1, "by_bit"),
            WorldField("place", 2, 0.8, 0.1),
            WorldField("date", None),
            WorldField("category", None),
            WorldField("tags", None, missing=0.2),
        ),
        "number",
    ),
    "redundant": World(
        (
            WorldField("picture", 0, 0.85, 0.2),
            WorldField("sound", 0, 0.85, 0.2),
            WorldField("note", 0, 0.85, 0.2),
            WorldField("series", 0, 0.85, 0.2),
        )
    ),
    "media": World(
        (
            WorldField("clip", 0, 0.95, 0.1),
            WorldField("views", 1, 0.95, 0.1),
            WorldField("sound", 2, 0.95, 0.1),
            WorldField("series", None),
        ),
        "number",
    ),
}


def generate_world(
    folder: str | Path,
    world: World | str,
    *,
    num_train: int = 600,
    num_test: int = 300,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write a generated world as two tables with their media, and its truth.

    Args:
        folder: Made where absent; gets train.csv, test.csv, folders of media, truth.json (what each field carries, the
            best possible accuracy of each field and of all) and truth_train.csv, truth_test.csv (the hidden bits, what
            each field showed, before cells were emptied, and the best possible answer to the row as it stands).
        world: A world, or the name of one in `WORLDS`.
        num_train: Rows of train.csv.
        num_test: Rows of test.csv, drawn independently.
        seed: One seed gives the same bytes.

    Returns:
        The paths of train.csv and test.csv.

    Raises:
        InputError: There is no such world.
    """
    if isinstance(world, str):
        if world not in WORLDS:
            raise InputError(f"there is no world '{world}'", fix=did_you_mean(world, WORLDS))
        world = WORLDS[world]
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for offset, (name, num_rows) in enumerate((("train", num_train), ("test", num_test))):
        _write_rows(out, name, num_rows, world, np.random.default_rng([seed, offset]))
    (out / "truth.json").write_text(json.dumps(_truth(world), indent=1) + "\n", encoding="utf-8")
    return out / "train.csv", out / "test.csv"


def _truth(world: World) -> dict[str, Any]:
    names = [item.name for item in world.fields]
    return {
        "rule": world.rule,
        "fields": [asdict(item) for item in world.fields],
        "best_accuracy": {name: world.best_accuracy([name]) for name in names}
        | {"+".join(names): world.best_accuracy(names)},
    }


def _write_rows(out: Path, name: str, num_rows: int, world: World, draw: np.random.Generator) -> None:
    columns = [item.name for item in world.fields]
    bit_names = [f"bit{number}" for number in range(world.num_bits)]
    truth_columns = ["id", *bit_names, *(f"{column}_shows" for column in columns), "best_answer", "best_confidence"]
    with (
        (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as rows_file,
        (out / f"truth_{name}.csv").open("w", newline="", encoding="utf-8") as truth_file,
    ):
        table = csv.DictWriter(rows_file, ["id", *columns, "label"], lineterminator="\n")
        truth = csv.DictWriter(truth_file, truth_columns, lineterminator="\n")
        table.writeheader()
        truth.writeheader()
        for number in range(num_rows):
            row_id = f"{name}-{number:05d}"
            bits = draw.integers(0, 2, world.num_bits).tolist()
            shows = {item.name: _shown(item, bits, draw) for item in world.fields}
            row = {
                item.name: RENDERERS[item.kind](shows[item.name], draw, out, f"{item.name}-{row_id}")
                for item in world.fields
            }
            empty = _emptied(world, shows, draw)
            left = {field: bit for field, bit in shows.items() if field not in empty}
            posterior = world.posterior(left, whole=True)
            best = max(posterior, key=lambda label: posterior[label])
            table.writerow(
                {"id": row_id, **{k: "" if k in empty else v for k, v in row.items()}, "label": world.label(bits)}
            )
            truth.writerow(
                {
                    "id": row_id,
                    **dict(zip(bit_names, bits, strict=True)),
                    **{f"{field}_shows": bit for field, bit in shows.items()},
                    "best_answer": best,
                    "best_confidence": f"{posterior[best]:.6f}",
                }
            )


def _shown(item: WorldField, bits: Sequence[int], draw: np.random.Generator) -> int:
    if item.bit is None:
        return int(draw.integers(2))
    return int(bits[item.bit] if draw.random() < item.reliability else 1 - bits[item.bit])


def _emptied(world: World, shows: Mapping[str, int], draw: np.random.Generator) -> set[str]:
    """Names of the fields whose cells go missing in this row."""
    category = 0 if world.category is None else shows[world.category.name]
    chances = {item.name: _missing_chance(item, shows[item.name], category, True) for item in world.fields}
    return {name for name, chance in chances.items() if draw.random() < chance}
