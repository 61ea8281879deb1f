"""Pictures and sounds as data URIs and texts, small enough for a page."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np

from omnifuse.report.charts import waveform

MAX_PICTURE = 320
MAX_SOUND_S = 6.0


def picture_uri(pixels: np.ndarray) -> str:
    """A picture uint8 (H, W, 3) as a JPEG or PNG data URI, at most 320 pixels long, tiny ones enlarged."""
    from PIL import Image

    image = Image.fromarray(pixels)
    longest = max(image.size)
    if longest > MAX_PICTURE:
        image.thumbnail((MAX_PICTURE, MAX_PICTURE))
    elif longest < 96:
        factor = -(-96 // longest)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    kind = "PNG" if longest < 96 else "JPEG"
    image.save(buffer, kind, **({"quality": 80} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sound_uri(samples: np.ndarray, rate_hz: int) -> dict[str, Any]:
    """A sound float32 (S,) as a playable WAV data URI (at most 6 s) and its waveform."""
    import soundfile

    cut = samples[: int(MAX_SOUND_S * rate_hz)]
    buffer = io.BytesIO()
    soundfile.write(buffer, cut, rate_hz, format="WAV", subtype="PCM_16")
    uri = f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"uri": uri, "wave": waveform(cut)}


def cut_text(text: str, length: int) -> str:
    """A text of at most `length` characters: a longer one ends after a word, with an ellipsis.

    Where that would leave less than half of it, as in a script without spaces, the cut is inside a word.

    Example:
        >>> cut_text("a red brick house", 12) == "a red brick\\u2026"
        True
    """
    if len(text) <= length:
        return text
    words = re.match(r".*\S(?=\s)", text[:length], re.DOTALL)
    kept = words.group() if words and len(words.group()) >= length // 2 else text[: length - 1].rstrip()
    return kept + "\u2026"
