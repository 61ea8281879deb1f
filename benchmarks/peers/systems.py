"""The systems that are held side by side, what each reads, and how each is installed and called."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parent
OURS = "omnifuse"
LAST_LINES = 400
_FAILED: dict[str, str] = {}


@dataclass(frozen=True)
class System:
    """A system that learns from a table.

    Attributes:
        name: For the results; of a peer, also of its script beside this file.
        packages: What pip installs, pinned; what they need is pinned in NAME.txt beside this file, where there is one.
        reads: Modalities that it takes.
        words: What is fitted, with which settings.
        needed: What it took to run it on a machine without CUDA and without downloads.
    """

    name: str
    packages: tuple[str, ...]
    reads: tuple[str, ...]
    words: str
    needed: str = ""

    @property
    def script(self) -> Path:
        """What the peer's Python runs with a job as its argument."""
        return HOME / f"{self.name}.py"

    @property
    def pins(self) -> Path:
        """Versions of everything that pip installs for it."""
        return HOME / f"{self.name}.txt"

    @property
    def key(self) -> str:
        """A digest of all that decides a peer's answers; runs under another key are measured anew."""
        parts = [path.read_bytes() for path in (self.script, HOME / "common.py", self.pins) if path.exists()]
        return hashlib.sha256(b"".join([*parts, repr(self.packages).encode()])).hexdigest()[:12]


_SCHEMAS = "schemas of two compiled operators of torchvision, whose wheel loads them only with CUDA"
ALL = (
    System(
        OURS,
        (),
        ("image", "audio", "text", "number", "category", "date", "video", "series", "place", "tags"),
        "`omnifuse fit` with the recipe's own command, then `omnifuse predict` for each test table",
    ),
    System(
        "autogluon",
        ("autogluon.multimodal==1.6.3", "torch==2.13.0", "torchvision==0.28.0"),
        ("image", "text", "number", "category"),
        "AutoGluon-Multimodal, preset medium_quality without pretrained weights (FT-Transformer, ELECTRA-Small with a "
        "vocabulary of the training texts, ResNet-18 in place of MobileNetV3, which learns slower from scratch) with "
        "the optimiser settings of its own networks that learn from scratch; greedy soup of its 3 best epochs on rows "
        "that it holds out (ours where there are groups)",
        f"{_SCHEMAS}; a folder on disk in place of a downloaded text model; its text augmentation without synonyms, "
        "for which it would download a dictionary",
    ),
    System(
        "ludwig",
        ("ludwig==0.11.0", "torch==2.13.0", "torchvision==0.28.0", "soundfile==0.14.0"),
        ("image", "audio", "text", "number", "category", "date"),
        "Ludwig, default encoders from scratch (stacked CNN, parallel CNN, embeddings), two layers join them, "
        "default trainer, best epoch on a tenth of the rows",
        f"{_SCHEMAS}; pictures decoded by Pillow, sounds by soundfile and emphasised by torch, since "
        "the wheels of torchvision and torchaudio load theirs only with CUDA; empty media black or silent",
    ),
    System(
        "widedeep",
        ("pytorch-widedeep==1.7.0", "torch==2.13.0", "torchvision==0.28.0"),
        ("image", "text", "number", "category"),
        "pytorch-widedeep: TabMlp, BasicRNN and Vision from scratch, best epoch on a tenth of the rows",
        f"{_SCHEMAS}; empty pictures black with a white dot, since it divides by the brightest pixel; empty numbers "
        "the median",
    ),
)
SYSTEMS = {system.name: system for system in ALL}


def environment(system: System, work: Path) -> Path:
    """The Python of a peer's own environment; made where absent.

    Raises:
        RuntimeError: pip failed; the message holds its last lines.
    """
    if system.name in _FAILED:
        raise RuntimeError(_FAILED[system.name])
    home = work / system.name / "venv"
    python, mark = home / "bin" / "python", home / ".installed"
    pinned = system.pins.read_text(encoding="utf-8") if system.pins.exists() else ""
    wanted = "\n".join([*system.packages, pinned])
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pins = ["--constraint", str(system.pins)] if system.pins.exists() else []
    try:
        _install(python, [*pins, *system.packages])
    except RuntimeError as error:
        _FAILED[system.name] = str(error)
        raise
    mark.write_text(wanted, encoding="utf-8")
    return python


def prepare(system: System, work: Path) -> None:
    """Make a peer's environment before anything is timed; where that fails, its runs will say why."""
    if system.name != OURS:
        with suppress(RuntimeError):
            environment(system, work)


def _install(python: Path, words: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip: {done.stderr.strip()[-LAST_LINES:]}")
