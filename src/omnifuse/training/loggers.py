"""Where curves go: TensorBoard by default, Weights & Biases (offline too), or nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from omnifuse.errors import InputError, MissingDependencyError, did_you_mean


class Logger(Protocol):
    """Takes numbers and sentences by step."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Numbers of one step."""
        ...

    def note(self, text: str, step: int) -> None:
        """A sentence on one step."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class NoLogger:
    """Keeps nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Nothing is kept."""

    def note(self, text: str, step: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is left."""


class TensorBoardLogger:
    """Event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        from lightning.fabric.loggers import TensorBoardLogger as Writer

        self.writer: Any = Writer(str(folder.parent), name=folder.name, version="")

    def log(self, values: dict[str, float], step: int) -> None:
        """Numbers of one step."""
        self.writer.log_metrics(values, step)

    def note(self, text: str, step: int) -> None:
        """A sentence on one step."""
        self.writer.experiment.add_text("notes", text, step)

    def close(self) -> None:
        """Write what is left."""
        self.writer.finalize("success")


class WandbLogger:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in the folder, which is the default here."""

    def __init__(self, folder: Path) -> None:
        import os

        try:
            import wandb
        except ImportError:
            raise MissingDependencyError(
                "--logger wandb needs wandb, which is not installed", fix='Type: pip install "omnifuse[wandb]"'
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.run: Any = wandb.init(project="omnifuse", name=folder.name, dir=str(folder), mode=mode)

    def log(self, values: dict[str, float], step: int) -> None:
        """Numbers of one step."""
        self.run.log(values, step=step)

    def note(self, text: str, step: int) -> None:
        """A sentence on one step."""
        self.run.log({"notes": text}, step=step)

    def close(self) -> None:
        """Write what is left."""
        self.run.finish()


LOGGERS: dict[str, Any] = {"tensorboard": TensorBoardLogger, "wandb": WandbLogger, "none": lambda folder: NoLogger()}


def make_logger(name: str, folder: Path) -> Logger:
    """The logger of that name, writing to the folder.

    Raises:
        InputError: There is no such logger.
        MissingDependencyError: Its package is not installed.
    """
    if name not in LOGGERS:
        raise InputError(f"there is no logger '{name}'", fix=did_you_mean(name, LOGGERS))
    made: Logger = LOGGERS[name](folder)
    return made
