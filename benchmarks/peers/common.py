"""What the scripts of the peers share: the job, the rows held out, the answers, and stand-ins for compiled parts.

Each script runs in the environment of its peer, without omnifuse. Some are named like the package that they run, so
importing this module takes their folder off the search path.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np

_HOME = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place).resolve() != _HOME]

MISSING = "missing"
# Of torchvision's compiled operators, those whose schemas its Python code asks for on import
_SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets) -> Tensor")
_KEPT: list[Any] = []


def read_job() -> dict[str, Any]:
    """The job that the command line names: tables, label, fields with their modality, group, minutes, seed, out."""
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return found


def of_kind(job: dict[str, Any], *kinds: str) -> list[str]:
    """Names of the job's fields that are of one of the kinds."""
    return [name for name, kind in job["fields"].items() if kind in kinds]


def held_out(groups: Sequence[str] | None, num_rows: int, seed: int) -> np.ndarray:
    """(R,) bool: a tenth of the rows, whole groups where there are groups."""
    codes = np.arange(num_rows) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    units = np.random.default_rng(seed).permutation(np.unique(codes))
    return np.isin(codes, units[: max(1, len(units) // 10)])


def write_answers(job: dict[str, Any], test: str, probabilities: Any, classes: Sequence[str]) -> None:
    """Write OUT/TEST.npz: probabilities (R, C) of a test table's rows, and the names of the C classes."""
    found = np.asarray(probabilities, np.float64)
    assert found.ndim == 2, found.shape
    assert found.shape[1] == len(classes), f"{found.shape[1]} columns for {len(classes)} classes"
    names = np.array([str(name) for name in classes], dtype=str)
    np.savez(Path(job["out"]) / f"{Path(test).stem}.npz", probabilities=found, classes=names)


def black_picture(job: dict[str, Any], side: int, *, dot: bool = False) -> str:
    """Path of a black picture, with a white dot for systems that divide by the brightest one, for cells without one."""
    from PIL import Image

    path = Path(job["out"]) / "black.png"
    picture = Image.new("RGB", (side, side))
    if dot:
        picture.putpixel((0, 0), (255, 255, 255))
    picture.save(path)
    return str(path)


def silent_sound(job: dict[str, Any]) -> str:
    """Path of half a second of silence, for systems that cannot do without."""
    import wave

    path = Path(job["out"]) / "silence.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(bytes(8000))
    return str(path)


def middle_side(paths: Sequence[str], seed: int, *, least: int, most: int, sample: int = 100) -> int:
    """The middle of the shorter sides of some of the pictures, px, a multiple of 32 between `least` and `most`."""
    from PIL import Image

    named = [path for path in paths if path]
    sides = []
    for path in np.random.default_rng(seed).permutation(named)[:sample]:
        with Image.open(path) as picture:
            sides.append(min(picture.size))
    middle = int(np.median(sides)) if sides else least
    return int(np.clip(32 * round(middle / 32), least, most))


def torchvision_operators() -> bool:
    """Make `import torchvision` work: True with its compiled operators, False with their schemas alone.

    Wheels built for CUDA cannot load them beside a torch without CUDA, and then torchvision does not import since its
    Python code registers shapes for operators that nobody has declared. Nothing that is run here calls them.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    for library in Path(found.origin).parent.glob("_C*.so") if found and found.origin else ():
        try:
            torch.ops.load_library(str(library))
            return True
        except OSError:
            pass
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        fragment.define(schema)
    _KEPT.append(fragment)
    return False


def decode_picture(data: Any, mode: Any = None, **_: Any) -> Any:
    """What `torchvision.io.decode_image` gives, by Pillow: encoded bytes (N,) uint8 to (C, H, W) uint8."""
    import torch
    from PIL import Image

    wanted = {"GRAY": "L", "GRAY_ALPHA": "LA", "RGB": "RGB", "RGB_ALPHA": "RGBA"}.get(getattr(mode, "name", str(mode)))
    with Image.open(io.BytesIO(bytes(data.numpy()))) as picture:
        if wanted is None and picture.mode not in ("L", "LA", "RGB", "RGBA"):
            wanted = "RGB"
        pixels = np.array(picture.convert(wanted) if wanted else picture)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def load_sound(path: Any, *_: Any, **__: Any) -> tuple[Any, int]:
    """What `torchaudio.load` gives, by soundfile: samples (channels, N) in -1..1, and the rate in Hz."""
    import soundfile
    import torch

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(np.ascontiguousarray(samples.T)), int(rate)


def filter_sound(samples: Any, a: Any, b: Any, clamp: bool = True, **_: Any) -> Any:
    """What `torchaudio.functional.lfilter` gives for taps `b` (K,) along the last axis and no feedback."""
    assert a[0] == 1, "a filter with another gain"
    assert not a[1:].any(), "a filter with feedback"
    count, before = samples.shape[-1], len(b) - 1
    padded = samples.new_zeros((*samples.shape[:-1], before + count))
    padded[..., before:] = samples
    found = sum(tap * padded[..., before - lag : before - lag + count] for lag, tap in enumerate(b))
    return found.clamp(-1, 1) if clamp else found


def stand_in_for_torchaudio() -> None:
    """Give `import torchaudio` the two functions above and no more; its compiled part needs CUDA."""
    sound, functional = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.functional")
    sound.__dict__.update(__version__="2.11.0", __path__=[], load=load_sound, functional=functional)
    functional.__dict__.update(lfilter=filter_sound)
    for module in (sound, functional):
        module.__spec__ = ModuleSpec(module.__name__, None)
    sys.modules.update({"torchaudio": sound, "torchaudio.functional": functional})
