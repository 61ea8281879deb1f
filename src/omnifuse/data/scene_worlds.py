"""A generated world with known truth: pictures of coloured shapes, with captions, questions and answers.

A scene has one to three groups of equal shapes, each at a place of its own. The test pictures all show a pair of colour
and shape that no training picture shows, while each colour and each shape alone is common: who has learnt pairs by
heart fails, who sees colours and shapes does not. One seed gives the same bytes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 64
COLUMNS = ("id", "picture", "question", "answer", "caption")
COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "green": (0.1, 0.65, 0.15),
    "blue": (0.15, 0.25, 0.9),
    "yellow": (0.9, 0.85, 0.1),
    "purple": (0.6, 0.15, 0.7),
    "white": (0.95, 0.95, 0.95),
}
SHAPES = {
    "disc": "discs",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
    "ring": "rings",
}
PLACES = ("on the left", "in the middle", "on the right")
COUNTS = ("one", "two", "three")
# Pairs of colour and shape that the training pictures never show: one of each colour, every shape at least once
HELD_OUT = tuple((colour, list(SHAPES)[number % len(SHAPES)]) for number, colour in enumerate(COLOURS))

# (count, colour, shape, place)
Fact = tuple[int, str, str, str]


@dataclass(frozen=True)
class Group:
    """Equal shapes at one place.

    Attributes:
        count: 1 to 3.
        colour: In `COLOURS`.
        shape: In `SHAPES`.
        place: In `PLACES`.
    """

    count: int
    colour: str
    shape: str
    place: str

    @property
    def fact(self) -> Fact:
        """All that is to be said of it."""
        return (self.count, self.colour, self.shape, self.place)

    @property
    def phrase(self) -> str:
        """Such as "two red discs"."""
        return f"{COUNTS[self.count - 1]} {self.colour} {self.shape if self.count == 1 else SHAPES[self.shape]}"


@dataclass(frozen=True)
class Scene:
    """The hidden truth of one picture: its groups from left to right."""

    groups: tuple[Group, ...]

    @property
    def caption(self) -> str:
        """The usual caption."""
        return _joined([f"{group.phrase} {group.place}" for group in self.groups])

    @property
    def references(self) -> tuple[str, ...]:
        """The usual caption first, then others that say the same."""
        reverse = _joined([f"{group.phrase} {group.place}" for group in self.groups[::-1]])
        placed = _joined([f"{group.place} {group.phrase}" for group in self.groups])
        return tuple(dict.fromkeys((self.caption, reverse, placed)))

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All that is to be said."""
        return tuple(group.fact for group in self.groups)


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


_WORDS = {**{shape: shape for shape in SHAPES}, **{many: shape for shape, many in SHAPES.items()}}
_PHRASE = rf"({'|'.join(COUNTS)}) ({'|'.join(COLOURS)}) ({'|'.join(sorted(_WORDS, key=len, reverse=True))})"
_PLACE = rf"({'|'.join(PLACES)})"
_BEHIND = re.compile(rf"\b{_PHRASE} {_PLACE}\b")
_BEFORE = re.compile(rf"\b{_PLACE} {_PHRASE}\b")


def facts_of(caption: str) -> list[Fact]:
    """What a caption says, as far as it keeps to the grammar; order and repetition as in the text.

    Example:
        >>> facts_of("Two red discs on the left, and one blue cross on the right.")
        [(2, 'red', 'disc', 'on the left'), (1, 'blue', 'cross', 'on the right')]
    """
    text = " ".join(re.sub(r"[^a-z ]", " ", caption[:100_000].lower()).split())
    first = text.removeprefix("there is ").removeprefix("there are ")
    if any(first.startswith(place) for place in PLACES):
        found = [(place, *rest) for place, *rest in _BEFORE.findall(first)]
        return [(COUNTS.index(count) + 1, colour, _WORDS[shape], place) for place, count, colour, shape in found]
    return [
        (COUNTS.index(count) + 1, colour, _WORDS[shape], place)
        for count, colour, shape, place in _BEHIND.findall(first)
    ]


def draw_scene(draw: np.random.Generator, *, held_out: bool) -> Scene:
    """A random scene.

    Args:
        draw: Randomness.
        held_out: Whether it shows at least one of the pairs in `HELD_OUT`; without, it shows none.
    """
    places = [place for place in PLACES if draw.random() < 0.6] or [str(draw.choice(PLACES))]
    marked = int(draw.integers(len(places))) if held_out else -1
    groups: list[Group] = []
    for number, place in enumerate(places):
        while True:
            pair = (str(draw.choice(list(COLOURS))), str(draw.choice(list(SHAPES))))
            if number == marked:
                pair = HELD_OUT[int(draw.integers(len(HELD_OUT)))]
            fresh = all((group.colour, group.shape) != pair for group in groups)
            if fresh and (held_out or pair not in HELD_OUT):
                break
        groups.append(Group(int(draw.integers(1, 4)), *pair, place))
    return Scene(tuple(groups))


def draw_picture(scene: Scene, draw: np.random.Generator) -> np.ndarray:
    """uint8 (64, 64, 3): the groups from left to right on a dark shaded ground, sizes and places a bit off, grain."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    pixels = np.repeat((draw.uniform(0.05, 0.25) + draw.uniform(-0.0015, 0.0015) * rows)[..., None], 3, axis=2)
    slot = SIDE / 3
    for group in scene.groups:
        for row in draw.permutation(3)[: group.count]:
            x = (PLACES.index(group.place) + 0.5) * slot + draw.uniform(-1.5, 1.5)
            y = (row + 0.5) * slot + draw.uniform(-1.5, 1.5)
            size = draw.uniform(6.0, 7.5)
            inside = _inside(group.shape, (rows - y) / size, (columns - x) / size)
            pixels[inside] = np.array(COLOURS[group.colour]) * draw.uniform(0.85, 1.0)
    pixels += draw.normal(0, 0.03, pixels.shape)
    return np.asarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _inside(shape: str, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Which points belong to a shape of size 1 around 0."""
    distance = np.hypot(down, across)
    if shape == "disc":
        return np.asarray(distance < 0.95)
    if shape == "ring":
        return np.asarray((distance < 1) & (distance > 0.55))
    if shape == "square":
        return np.asarray(np.maximum(np.abs(down), np.abs(across)) < 0.85)
    if shape == "triangle":
        return np.asarray((down < 0.85) & (down > -1 + 2 * np.abs(across)))
    thin, long = np.minimum(np.abs(down), np.abs(across)), np.maximum(np.abs(down), np.abs(across))
    return np.asarray((thin < 0.3) & (long < 1))


def _ask_colour(scene: Scene, draw: np.random.Generator) -> tuple[str, str] | None:
    group = scene.groups[int(draw.integers(len(scene.groups)))]
    return f"what colour is it {group.place}", group.colour


def _ask_shape(scene: Scene, draw: np.random.Generator) -> tuple[str, str] | None:
    group = scene.groups[int(draw.integers(len(scene.groups)))]
    return f"what shape is {group.place}", group.shape


def _ask_count(scene: Scene, draw: np.random.Generator) -> tuple[str, str] | None:
    there = [group.shape for group in scene.groups]
    shape = str(draw.choice(there if draw.random() < 0.8 else list(SHAPES)))
    total = sum(group.count for group in scene.groups if group.shape == shape)
    words = ("none", *COUNTS, "four", "five", "six", "seven", "eight", "nine")
    return f"how many {SHAPES[shape]} are there", words[total]


def _ask_place(scene: Scene, draw: np.random.Generator) -> tuple[str, str] | None:
    """Of a pair of colour and shape, which is at one place only."""
    group = scene.groups[int(draw.integers(len(scene.groups)))]
    return f"where is the {group.colour} {group.shape}", group.place.split()[-1]


def _ask_whether(scene: Scene, draw: np.random.Generator) -> tuple[str, str] | None:
    """Half of the answers are no; then the colour or the shape alone is often there."""
    there = {(group.colour, group.shape) for group in scene.groups}
    colour, shape = sorted(there)[int(draw.integers(len(there)))]
    if draw.random() < 0.5:
        return f"is there a {colour} {shape}", "yes"
    if draw.random() < 0.5:
        colour = str(draw.choice(list(COLOURS)))
    else:
        shape = str(draw.choice(list(SHAPES)))
    return None if (colour, shape) in there else (f"is there a {colour} {shape}", "no")


_QUESTIONS: tuple[Callable[[Scene, np.random.Generator], tuple[str, str] | None], ...] = (
    _ask_colour,
    _ask_shape,
    _ask_count,
    _ask_place,
    _ask_whether,
)


def ask(scene: Scene, draw: np.random.Generator) -> tuple[str, str]:
    """A question about a scene and its answer, one word."""
    question = _QUESTIONS[int(draw.integers(len(_QUESTIONS)))]
    while True:
        found = question(scene, draw)
        if found is not None:
            return found


def generate_scenes(
    folder: str | Path, *, num_train: int = 1000, num_test: int = 300, seed: int = 0
) -> tuple[Path, Path]:
    """Write the generated world as two tables with their pictures, and its truth.

    Args:
        folder: Made where absent; gets train.csv and test.csv (id, picture, question, answer, caption), pictures/, and
            truth_train.csv, truth_test.csv (all reference captions, "|" between them, and the facts as JSON).
        num_train: Rows of train.csv; none of its pictures shows a pair in `HELD_OUT`.
        num_test: Rows of test.csv; each of its pictures does.
        seed: One seed gives the same bytes.

    Returns:
        The paths of train.csv and test.csv.
    """
    out = Path(folder)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for offset, (name, num_rows) in enumerate((("train", num_train), ("test", num_test))):
        _write_rows(out, name, num_rows, name == "test", np.random.default_rng([seed, offset]))
    return out / "train.csv", out / "test.csv"


def _write_rows(out: Path, name: str, num_rows: int, held_out: bool, draw: np.random.Generator) -> None:
    from PIL import Image

    with (
        (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as rows_file,
        (out / f"truth_{name}.csv").open("w", newline="", encoding="utf-8") as truth_file,
    ):
        table = csv.DictWriter(rows_file, COLUMNS, lineterminator="\n")
        truth = csv.DictWriter(truth_file, ("id", "references", "facts"), lineterminator="\n")
        table.writeheader()
        truth.writeheader()
        for number in range(num_rows):
            row_id = f"{name}-{number:05d}"
            scene = draw_scene(draw, held_out=held_out)
            picture = f"pictures/{row_id}.png"
            Image.fromarray(draw_picture(scene, draw)).save(out / picture)
            question, answer = ask(scene, draw)
            table.writerow(dict(zip(COLUMNS, (row_id, picture, question, answer, scene.caption), strict=True)))
            truth.writerow({"id": row_id, "references": "|".join(scene.references), "facts": json.dumps(scene.facts)})
