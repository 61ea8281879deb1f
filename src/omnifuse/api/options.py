"""What a user can ask of `fit`, checked once at the border."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omnifuse.errors import InputError, MissingDependencyError
from omnifuse.schema.history import MOST_WINDOW

Listener = Callable[[str, dict[str, Any]], None]
SMALL_TABLE_ROWS = 5000
DEFAULT_MINUTES = 6.0
ALL_FUSIONS = "all"
# Past rows that each row gets where a time column is named
DEFAULT_WINDOW = 60
LOGGERS = ("tensorboard", "wandb", "none")


def silent(kind: str, data: dict[str, Any]) -> None:
    """The listener that hears nothing."""


class TableOptions(Protocol):
    """What reading a table asks of the options of a fit, or of a pretraining, which has no labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Target columns."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Column to modality."""
        ...

    @property
    def tasks(self) -> Mapping[str, str]:
        """Label to task kind."""
        ...

    @property
    def drop(self) -> tuple[str, ...]:
        """Columns to leave out."""
        ...

    @property
    def group(self) -> str | None:
        """Column of groups."""
        ...

    @property
    def time(self) -> str | None:
        """Column of times."""
        ...

    @property
    def window(self) -> int:
        """Past rows that each row gets with a time."""
        ...

    @property
    def max_bad(self) -> float:
        """Largest accepted share of unreadable cells of a field."""
        ...

    @property
    def media_root(self) -> Path | None:
        """Folder that media must lie in."""
        ...


@dataclass(frozen=True)
class FitOptions:
    """Options of one fit; names and meaning as on the command line.

    Attributes:
        labels: Target columns, at least one.
        out: Run folder.
        fusion: A fusion; or several with commas between, or "all": each is trained on an equal share of the time.
        window: Past rows that each row gets with `time`; 0 for none.
        minutes: Upper limit for training the model (not the baselines); None takes 6.
        epochs: Fixed number of passes instead of a time limit; gives bit-equal results on one machine.
        search: Minutes in which settings are tried before the model is trained; None for no search.
        curve: Whether the score is also measured for fewer rows.
        allow_download: Whether backbones that are named may be fetched from the hub.
        start: Folder of a pretrained (or fitted) model whose preprocessing and encoders are taken; None for none.
        shots: Labelled rows of each class that are learnt from, on the space of `start`; None for all rows.
        semi: Whether rows of the table whose labels are empty are learnt from.
        more_rows: Whether rows of another table, without labels, are.
        teacher: Folder of a model whose answers are learnt from too; None for none.
        inputs: Inputs (or modalities) that are read; none for all.
        max_bad: Largest share (0 to 1) of unreadable cells of a field that is accepted.
    """

    labels: tuple[str, ...]
    out: Path
    preset: str = "auto"
    fusion: str = "joint"
    fields: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    window: int = DEFAULT_WINDOW
    seed: int = 0
    seeds: int = 1
    minutes: float | None = None
    epochs: int | None = None
    baselines: bool = True
    logger: str = "tensorboard"
    resume: bool = False
    max_bad: float = 0.01
    media_root: Path | None = None
    report_media: str = "sample"
    search: float | None = None
    curve: bool = False
    start: Path | None = None
    allow_download: bool = False
    shots: int | None = None
    semi: bool = False
    more_rows: bool = False
    teacher: Path | None = None
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.labels:
            raise InputError("no label column was given", fix="Say --label COLUMN")
        if self.minutes is not None and self.epochs is not None:
            raise InputError("--minutes and --epochs were both given", fix="Give one of them")
        for name in ("minutes", "epochs", "seeds", "search"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name} is {value}", fix="Give a number above 0")
        if not 0 <= self.window <= MOST_WINDOW:
            raise InputError(f"--window is {self.window}", fix=f"Give a number of rows from 0 to {MOST_WINDOW}")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}", fix="Give a whole number from 0")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad is {self.max_bad}", fix="Give a share between 0 and 1")
        if self.start is not None and self.search is not None:
            raise InputError("--from and --search were both given", fix="The sizes of a pretrained model stand fast")
        if self.shots is not None:
            self._check_shots()
        if self.semi or self.more_rows:
            asked: dict[str, Any] = {"--time": self.time, "--curve": self.curve, "--search": self.search}
            asked |= {"several fusions": self._several, "--shots": self.shots, "--teacher": self.teacher}
            self._refuse("--semi" if self.semi else "--unlabelled", asked)
        if self.teacher is not None:
            asked = {"--curve": self.curve, "--search": self.search is not None}
            self._refuse("--teacher", asked | {"several fusions": self._several, "--shots": self.shots})
        if self.report_media not in ("none", "sample"):
            raise InputError(f"--report-media is '{self.report_media}'", fix="Give none or sample")
        if self.logger not in LOGGERS:
            raise InputError(f"--logger is '{self.logger}'", fix="Give one of " + ", ".join(LOGGERS))

    def _check_shots(self) -> None:
        """Refuse what few labels do not suffice for."""
        if self.shots is not None and self.shots < 2:
            raise InputError(
                f"--shots is {self.shots}",
                where="one row of a class is learnt from, and one is needed to choose and calibrate by",
                fix="Give a whole number from 2",
            )
        if self.start is None:
            raise InputError(
                "--shots learns on the space of a pretrained model, and none was given",
                fix="Say --from DIR; omnifuse pretrain TABLE --drop LABEL --out DIR makes one",
            )
        if len(self.labels) > 1:
            raise InputError("--shots takes one label", fix="Fit a model for each label")
        self._refuse("--shots", {"--time": self.time, "--curve": self.curve, "--fusion": self.fusion != "joint"})

    @property
    def _several(self) -> bool:
        """Whether fusions are compared."""
        return "," in self.fusion or self.fusion == ALL_FUSIONS

    @staticmethod
    def _refuse(option: str, others: Mapping[str, Any]) -> None:
        """Refuse the first of the others that was given beside an option."""
        if wrong := [name for name, said in others.items() if said]:
            raise InputError(f"{option} and {wrong[0]} were both given", fix="Give one of them")


def as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name or several as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def need_training() -> None:
    """Say which line to type where torch and its companions are not installed.

    Raises:
        MissingDependencyError: If torch, lightning or scikit-learn is absent.
    """
    from importlib.util import find_spec

    absent = [name for name in ("torch", "lightning", "sklearn") if find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"training needs {', '.join(absent)}, which is not installed", fix='Type: pip install "omnifuse[train]"'
        )


def fusion_names(option: str) -> tuple[str, ...]:
    """The fusions that an option names, the one to hold the others against first.

    Raises:
        InputError: A name is unknown or comes twice.
    """
    from omnifuse.errors import InputError, did_you_mean
    from omnifuse.fusion import FUSIONS
    from omnifuse.presets import ENSEMBLE_FUSION

    if option == ALL_FUSIONS:
        return (*FUSIONS, ENSEMBLE_FUSION)
    names = tuple(name.strip() for name in option.split(","))
    known = (*FUSIONS, ENSEMBLE_FUSION)
    for name in names:
        if name not in known:
            raise InputError(f"there is no fusion '{name}'", fix=did_you_mean(name, (*known, ALL_FUSIONS)))
    if len(set(names)) < len(names):
        raise InputError(f"--fusion names a fusion twice: {option}", fix="Name each once")
    return names
