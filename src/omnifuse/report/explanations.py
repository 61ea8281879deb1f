"""explanations.html: each row with its fields as they were read, coloured by what they did to the answer.

Blue spoke for the answer, red against it; the stronger the colour, the more. Pictures lie under their grid, words and
stretches of time carry their colour, columns have bars.

Shapes: n pictures, H, W pixels, F frames or steps, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from omnifuse.explain import AnswerExplanation, Explanation, FieldParts, Part, Share
from omnifuse.explain.explanation import SHAPLEY, WHAT_IT_IS
from omnifuse.files import make_folder, write_atomically
from omnifuse.report.media import picture_uri
from omnifuse.schema import Modality

FOR, AGAINST = "37, 99, 235", "220, 38, 38"
_STRONGEST = 0.65
_METHODS = {
    SHAPLEY: "Effect of each column, over all combinations of the columns.",
    "occlusion": "What the answer loses when a part is hidden alone.",
}


def write_explanations(explanations: Sequence[Explanation], path: Path, *, title: str) -> Path:
    """Write the page; every text in it is escaped, and nothing in it runs or loads from a network.

    Args:
        explanations: One a row.
        path: Where; its folder is made.
        title: Of the page.

    Returns:
        The path.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("explanations.html").read_text(encoding="utf-8"))
    page = template.render(title=title, what=WHAT_IT_IS, rows=[_row(item) for item in explanations])
    make_folder(path.parent)
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def answer_words(answer: AnswerExplanation) -> tuple[str, str]:
    """What was answered, and how sure; as a heading and as a sentence.

    Example:
        >>> from omnifuse.explain.answered import Answered
        >>> from omnifuse.schema import TaskKind
        >>> red = Answered("kind", "red", TaskKind.CLASSIFICATION, 1, 0.9)
        >>> answer_words(AnswerExplanation(red, 0.0, 2.197, ()))
        ('kind: red', '90% sure; log-odds 2.197, and 0 where nothing is read')
    """
    found = answer.answered
    label = f"{found.label:.4g}" if isinstance(found.label, float) else str(found.label)
    sure = "" if found.confidence is None else f"{found.confidence:.0%} sure; "
    name = "value" if isinstance(found.label, float) else found.unit
    return f"{found.target}: {label}", f"{sure}{name} {answer.value:.4g}, and {answer.prior:.4g} where nothing is read"


def effect_text(effect: float, error: float | None = None) -> str:
    """`+1.25`, with the standard error where there is one.

    Example:
        >>> effect_text(1.25), effect_text(-0.5, 0.02).replace("\u00b1", "+-")
        ('+1.25', '-0.5 +- 0.02')
    """
    return f"{effect:+.3g}" + ("" if error is None else f" \u00b1 {error:.1g}")


def strongest(parts: Iterable[FieldParts], count: int = 5) -> list[tuple[str, Part]]:
    """Field and part of those that moved the answer most, of all fields; parts without any effect are left out."""
    listed = [(item.field, part) for item in parts for part in item.parts if part.effect]
    return sorted(listed, key=lambda pair: -abs(pair[1].effect))[:count]


def _row(item: Explanation) -> dict[str, Any]:
    return {
        "id": item.row_id,
        "error": item.error,
        "warnings": item.warnings,
        "answers": [_answer(answer) for answer in item.answers],
    }


def _answer(answer: AnswerExplanation) -> dict[str, Any]:
    heading, sure = answer_words(answer)
    most_share = max((abs(item.effect) for item in answer.shares), default=0.0)
    most = max((abs(part.effect) for item in answer.parts.values() for part in item.parts), default=0.0)
    return {
        "heading": heading,
        "sure": sure,
        "unit": answer.answered.unit,
        "shares": [_share(item, most_share) for item in answer.shares],
        "fields": [_field(item, most) for item in answer.parts.values()],
    }


def _share(item: Share, most: float) -> dict[str, Any]:
    bar = effect_bar(item.effect, most)
    return {
        "field": item.field,
        "bar": bar,
        "effect": effect_text(item.effect, item.error),
        "share": f"{item.share:.0%}",
    }


def _field(item: FieldParts, most: float) -> dict[str, Any]:
    """What of a field is drawn: one of words, pictures, wave and bars."""
    data: dict[str, Any] = {"name": item.field, "modality": item.modality, "method": _METHODS[item.method]}
    if item.modality == Modality.TEXT:
        return data | {"words": _words(item, most)}
    if item.modality == Modality.IMAGE:
        return data | {"pictures": [_tiled(pixels, parts, most) for pixels, parts in _by_picture(item)]}
    if item.modality == Modality.VIDEO:
        starts = _ends(len(item.seen), len(item.parts))[:-1]
        whole = {"top": 0.0, "left": 0.0, "bottom": 1.0, "right": 1.0}
        frames = [(item.seen[start], Part(part.what, whole, part.effect))
                  for start, part in zip(starts, item.parts, strict=True)]  # fmt: skip
        return data | {"pictures": [_tiled(pixels, [part], most, side=120) for pixels, part in frames]}
    if item.modality in (Modality.AUDIO, Modality.SERIES):
        return data | {"wave": _wave(np.asarray(item.seen), item.parts, most, sound=item.modality == Modality.AUDIO)}
    bars = [
        {"what": part.what, "bar": effect_bar(part.effect, most), "effect": effect_text(part.effect)}
        for part in sorted(item.parts, key=lambda part: -abs(part.effect))
    ]
    return data | {"bars": bars}


def tint(effect: float, most: float) -> str:
    """A colour for an effect, `most` being the largest one; CSS.

    Example:
        >>> tint(-1.0, 2.0)
        'rgba(220, 38, 38, 0.325)'
    """
    strength = _STRONGEST * min(abs(effect) / most, 1.0) if most > 0 else 0.0
    return f"rgba({FOR if effect >= 0 else AGAINST}, {strength:.3f})"


def effect_bar(effect: float, most: float) -> Markup:
    """A bar from the middle, to the right where the effect speaks for the answer."""
    length = 98 * min(abs(effect) / most, 1.0) if most > 0 else 0.0
    left = 100.0 if effect >= 0 else 100.0 - length
    return Markup(
        '<svg viewBox="0 0 200 14" width="200" height="14" role="img" aria-label="{label}">'
        '<path d="M100 0v14" stroke="#94a3b8"/>'
        '<rect x="{left:.1f}" y="2" width="{length:.1f}" height="10" rx="2" fill="rgb({colour})"/></svg>'
    ).format(label=effect_text(effect), left=left, length=length, colour=FOR if effect >= 0 else AGAINST)


def _words(item: FieldParts, most: float) -> list[tuple[str, str, str]]:
    """Text, colour ("" for none) and hint of each piece of a text, in order; nothing of the text is left out."""
    pieces, done = [], 0
    for part in item.parts:
        start, end = part.where["start"], part.where["end"]
        if start > done:
            pieces.append((item.seen[done:start], "", ""))
        pieces.append((item.seen[start:end], tint(part.effect, most), effect_text(part.effect)))
        done = end
    return [*pieces, (item.seen[done:], "", "")] if done < len(item.seen) else pieces


def _by_picture(item: FieldParts) -> list[tuple[np.ndarray, list[Part]]]:
    return [
        (pixels, [part for part in item.parts if part.where["picture"] == number])
        for number, pixels in enumerate(item.seen)
    ]


def _tiled(pixels: np.ndarray, parts: Sequence[Part], most: float, *, side: int = 240) -> Markup:
    """A picture (H, W, 3) under coloured tiles."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    across, down = width * scale, height * scale
    tiles = "".join(
        f'<rect x="{where["left"] * across:.1f}" y="{where["top"] * down:.1f}" '
        f'width="{(where["right"] - where["left"]) * across:.1f}" '
        f'height="{(where["bottom"] - where["top"]) * down:.1f}" fill="{tint(part.effect, most)}">'
        f"<title>{escape(part.what)}: {effect_text(part.effect)}</title></rect>"
        for part in parts
        for where in (part.where,)
    )
    return Markup(
        f'<svg viewBox="0 0 {across:.1f} {down:.1f}" width="{across:.0f}" height="{down:.0f}" role="img" '
        f'aria-label="picture with its regions"><image href="{picture_uri(pixels)}" width="{across:.1f}" '
        f'height="{down:.1f}" preserveAspectRatio="none"/>{tiles}</svg>'
    )


def _ends(count: int, num_parts: int) -> list[int]:
    """As `occlusion` cuts `count` frames into stretches."""
    ends: list[int] = np.linspace(0, count, num_parts + 1).round().astype(int).tolist()
    return ends


def _wave(seen: np.ndarray, parts: Sequence[Part], most: float, *, sound: bool) -> Markup:
    """The envelope of a sound (F,) or the channels of a series (F, C) on coloured stretches."""
    width, height = 600, 90
    count = max(len(seen), 1)
    ends = [end / count * width for end in _ends(len(seen), len(parts))]
    body = "".join(
        f'<rect x="{start:.1f}" y="0" width="{end - start:.1f}" height="{height}" fill="{tint(part.effect, most)}">'
        f"<title>{escape(part.what)}: {effect_text(part.effect)}</title></rect>"
        for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True)
    )
    body += _envelope(seen, width, height) if sound else "".join(_line(one, width, height) for one in seen.T[:8])
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="stretches of time">{body}</svg>'
    )


def _envelope(seen: np.ndarray, width: int, height: int) -> str:
    peaks = np.array([part.max() for part in np.array_split(seen, min(width, len(seen)))])
    peaks = peaks / max(float(peaks.max(initial=0.0)), 1e-9) * (height / 2 - 2)
    xs = (np.arange(len(peaks)) + 0.5) * width / len(peaks)
    path = "".join(f"M{x:.1f} {height / 2 - y:.1f}V{height / 2 + y:.1f}" for x, y in zip(xs, peaks, strict=True))
    return f'<path d="{path}" stroke="#334155" stroke-width="1" pointer-events="none"/>'


def _line(values: np.ndarray, width: int, height: int) -> str:
    """One channel (F,), NaN where not observed."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return ""
    low, high = float(values[known].min()), float(values[known].max())
    ys = height - 4 - (values[known] - low) / max(high - low, 1e-9) * (height - 8)
    xs = (known + 0.5) * width / len(values)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="#334155" stroke-width="1.2" pointer-events="none"/>'
