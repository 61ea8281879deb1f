"""Published runs, each one `omnifuse fit` on a public data set: what is read, for how long, and how it is scored.

    OMNIFUSE_DATA=FOLDER python -m recipes            lists them
    OMNIFUSE_DATA=FOLDER python -m recipes NAME...    fits them, one seed, into runs/recipes/NAME

Scores with deviation over seeds, hardware and time are in docs/benchmarks.md, which `make bench` writes.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.frames import FRAMES_TABLE, write_with_frames
from recipes.holes import BLANKS, write_with_holes

if TYPE_CHECKING:
    from omnifuse import Model

DATA_VARIABLE = "OMNIFUSE_DATA"
MODULES = ("avmnist", "avmnist_hard", "cxr", "occupancy", "emodb", "esc50", "fire", "nlvr", "meld", "mvsa")
# Texts are no classes, so the pages of benchmarks, which compare answers by class, leave these out
WRITTEN_MODULES = ("yesno", "spoken_digits")
MEASURES = ("accuracy", "balanced_accuracy", "roc_auc", "f1_macro", "f1_weighted")
WRITTEN_MEASURES = ("word_error_rate",)


@dataclass(frozen=True)
class Further:
    """A further metric that is published of the same model, and its mean to reach on each test table."""

    measure: str
    aims: tuple[float, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One published run.

    Attributes:
        name: For the command and the results.
        pack: Folder of the data set within the data folder.
        label: Column to predict.
        fields: Columns that may be read; every other one is dropped, since some hold the answer.
        repository: Where the data set comes from.
        only: The fields that this run reads; empty for all of `fields`.
        group: Column whose groups are never divided between learning and scoring.
        time: Column of times; the networks are held against later rows than they learnt from.
        window: With a time: most rows before a row that it gets; None for the usual number.
        train: Table to learn from.
        tests: Tables to score, read by `benchmarks/score.py` alone.
        minutes: Upper limit for training.
        measure: Name of the metric that is published, and that fields alone and holes are measured by.
        also: Further metrics that are published of the same answers.
        seeds: Number of repetitions.
        aims: Mean of the measure to reach on each test table; empty for that of the plain reference.
        references: Names of further plain references; each measure is held against the one that is best at it.
        clips: Videos of the pack, each with the label of all its frames; the table `FRAMES_TABLE` holds frames of them
            and the rows of the first test table.
        holes: Share of all media cells that is emptied at random, in training and test rows alike.
        fill: Whether an emptied cell holds a black picture or a silent sound instead of nothing.
        task: Of a label that is written, its name; "" for classes.
        settings: Names and values as for `--set`.
    """

    name: str
    pack: str
    label: str
    fields: tuple[str, ...]
    repository: str
    only: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    window: int | None = None
    train: str = "train.csv"
    tests: tuple[str, ...] = ("test.csv",)
    minutes: float = 6.0
    measure: str = "accuracy"
    also: tuple[Further, ...] = ()
    seeds: int = 3
    aims: tuple[float, ...] = ()
    references: tuple[str, ...] = ()
    clips: tuple[tuple[str, str], ...] = ()
    holes: float = 0.0
    fill: bool = False
    task: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for measure, aims in self.measures.items():
            assert len(aims) in (0, len(self.tests)), f"{len(aims)} aims for {len(self.tests)} test tables"
            known = WRITTEN_MEASURES if self.task else MEASURES
            assert measure in known, f"{measure} is none of {known}"
        assert len(self.measures) == 1 + len(self.also), f"{self.name} publishes a metric twice"
        assert self.window is None or self.time, "a window without a time"
        assert set(self.only) <= set(self.fields), f"{self.only} are not all among {self.fields}"
        assert not self.fill or (self.holes and set(self.fields) <= set(BLANKS)), f"nothing can fill {self.fields}"
        assert self.label not in self.fields, f"the label '{self.label}' is among the fields"

    @property
    def measures(self) -> dict[str, tuple[float, ...]]:
        """Every published metric with its aims, the leading one first."""
        return {self.measure: self.aims, **{item.measure: item.aims for item in self.also}}

    @property
    def used(self) -> tuple[str, ...]:
        """The fields that the run reads."""
        return self.only or self.fields

    @property
    def split(self) -> bool:
        """Whether the model is also asked with one of its two fields at a time."""
        return len(self.used) == 2 and not self.holes

    def dropped(self, header: list[str]) -> tuple[str, ...]:
        """Every column but the used fields, the label, the group and the time.

        Raises:
            ValueError: The header lacks one of them.
        """
        kept = (*self.used, self.label, *(name for name in (self.group, self.time) if name))
        absent = [name for name in kept if name not in header]
        if absent:
            raise ValueError(f"{self.pack}/{self.train} has no column {', '.join(absent)}; it has {', '.join(header)}")
        return tuple(name for name in header if name not in kept)


def all_recipes() -> dict[str, Recipe]:
    """Name to recipe, in the order of publication."""
    found: dict[str, Recipe] = {}
    for module in MODULES:
        for recipe in import_module(f"recipes.{module}").RECIPES:
            assert recipe.name not in found, f"two recipes are called {recipe.name}"
            found[recipe.name] = recipe
    return found


def written_recipes() -> dict[str, Recipe]:
    """Name to recipe of those whose label is a text."""
    return {recipe.name: recipe for module in WRITTEN_MODULES for recipe in import_module(f"recipes.{module}").RECIPES}


def whole_of(recipe: Recipe) -> Recipe:
    """The recipe that reads the same fields of the same data set with all their cells."""
    same = (recipe.pack, recipe.used)
    return next(other for other in all_recipes().values() if (other.pack, other.used) == same and not other.holes)


def unfilled(recipe: Recipe) -> Recipe:
    """The recipe whose emptied cells hold nothing, where plain references read zeros; itself but for a filled one."""
    if not recipe.fill:
        return recipe
    same = (recipe.pack, recipe.used, recipe.holes)
    return next(
        other for other in all_recipes().values() if (other.pack, other.used, other.holes) == same and not other.fill
    )


def find_data() -> Path | None:
    """The folder that holds the data sets, or None (and a line that says so) where there is none."""
    value = os.environ.get(DATA_VARIABLE, "")
    if not value:
        print(f"skipped: set {DATA_VARIABLE} to the folder that holds the data sets", file=sys.stderr)
        return None
    if not Path(value).is_dir():
        print(f"skipped: {DATA_VARIABLE} names no folder", file=sys.stderr)
        return None
    return Path(value).resolve()


def pack_folder(recipe: Recipe, data: Path, work: Path) -> Path:
    """The folder of the recipe's tables; the hard digits are made where absent.

    Args:
        recipe: Says which.
        data: Holds the data sets.
        work: Takes what is made.

    Raises:
        FileNotFoundError: The data set is not there.
    """
    given = data / recipe.pack
    if given.is_dir():
        return given
    made = (work / recipe.pack).resolve()
    script = data / "make_avmnist_hard.py"
    if recipe.pack == "avmnist_hard" and script.exists():
        if not (made / "complete").exists():
            packs = [str(data / "avmnist"), str(data / "esc50_fold4_sounds")]
            subprocess.run([sys.executable, str(script), *packs, str(made)], check=True)
            (made / "complete").touch()
        return made
    raise FileNotFoundError(f"{recipe.pack} is not in the data folder; it is made from {recipe.repository}")


def table_path(recipe: Recipe, name: str, data: Path, work: Path) -> Path:
    """Path of a table of the recipe.

    With holes, of a copy whose cells are emptied at random, the same ones each time; `FRAMES_TABLE` is written too.

    Args:
        recipe: Says which.
        name: `train.csv` or one of the tests.
        data: Holds the data sets.
        work: Takes what is made.
    """
    folder = pack_folder(recipe, data, work)
    out = work.resolve() / recipe.name / name
    if recipe.clips and name == FRAMES_TABLE:
        clips = tuple((folder / clip, label) for clip, label in recipe.clips)
        write_with_frames(folder / recipe.tests[0], out, recipe.fields[0], recipe.label, clips)
        return out
    if not recipe.holes:
        return folder / name
    write_with_holes(folder / name, out, recipe.fields, recipe.holes, fill=recipe.fill)
    return out


def read_header(path: Path) -> list[str]:
    """Column names of a CSV file."""
    with open(path, newline="", encoding="utf-8") as handle:
        return next(csv.reader(handle))


def command_of(recipe: Recipe, header: list[str], *, seed: int = 0, minutes: float | None = None) -> str:
    """The line to type that does the same as `fit`."""
    table = f"{recipe.name}/{recipe.train}" if recipe.holes else f"${DATA_VARIABLE}/{recipe.pack}/{recipe.train}"
    words = ["--label", recipe.label]
    if recipe.task:
        words += ["--task", f"{recipe.label}={recipe.task}"]
    for name in recipe.dropped(header):
        words += ["--drop", name]
    if recipe.group:
        words += ["--group", recipe.group]
    if recipe.time:
        words += ["--time", recipe.time]
    if recipe.window is not None:
        words += ["--window", str(recipe.window)]
    for name, value in recipe.settings:
        words += ["--set", f"{name}={value}"]
    words += ["--minutes", f"{minutes or recipe.minutes:g}", "--seed", str(seed), "--no-baselines"]
    return f"omnifuse fit {table} {shlex.join(words)}"


def options_of(recipe: Recipe, table: Path) -> dict[str, Any]:
    """Which columns of its table a recipe reads and how, as arguments of `omnifuse.fit`."""
    return {
        "drop": recipe.dropped(read_header(table)),
        "group": recipe.group,
        "time": recipe.time,
        **({"tasks": {recipe.label: recipe.task}} if recipe.task else {}),
        **({"settings": dict(recipe.settings)} if recipe.settings else {}),
        **({} if recipe.window is None else {"window": recipe.window}),
    }


def fit(
    recipe: Recipe, data: Path, out: Path, seed: int = 0, *, minutes: float | None = None, work: Path | None = None
) -> Model:
    """Fit a recipe exactly as its command would.

    Args:
        recipe: What to fit.
        data: Holds the data sets.
        out: Run folder.
        seed: Of everything random.
        minutes: Another time limit than the recipe's, for a try.
        work: Takes tables that are made for the recipe; `tables/` beside `out` where None.
    """
    import omnifuse

    table = table_path(recipe, recipe.train, data, work or out.parent / "tables")
    return omnifuse.fit(
        table,
        recipe.label,
        out=out,
        seed=seed,
        minutes=minutes or recipe.minutes,
        baselines=False,
        **options_of(recipe, table),
    )
