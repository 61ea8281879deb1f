"""Charts as inline SVG, drawn here so that the page needs no script and no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777")
_TEXT = 'font-family="system-ui, sans-serif" font-size="11" fill="#475569"'


def _svg(width: int, height: int, body: str, title: str) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg>'
    )


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_TEXT}>{escape(text)}</text>'


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between low and high."""
    span = max(high - low, 1e-9)
    step = 10 ** np.floor(np.log10(span / count))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if span / (step * m) <= count)
    first = np.ceil(low / step - 1e-9) * step
    # The sum with 0 turns -0 into 0
    return [float(np.rint(value / step) * step) + 0.0 for value in np.arange(first, high + step * 1e-6, step)]


def bars(rows: Sequence[tuple[str, float, float, float, bool]], *, title: str, low: float = 0.0) -> Markup:
    """Horizontal bars with intervals.

    Args:
        rows: (name, value, interval low, interval high, emphasised) from top to bottom.
        title: What is measured, for the axis and for screen readers.
        low: Where the axis starts.
    """
    left, right, line = 210, 660, 26
    height = line * len(rows) + 34
    top = max([1e-9, *(max(value, high) for _, value, _, high, _ in rows)])
    scale = (right - left) / max(top - low, 1e-9)
    parts = []
    for tick in _ticks(low, top):
        x = left + (tick - low) * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 26}" stroke="#e2e8f0"/>')
        parts.append(_label(x, height - 12, f"{abs(tick):.3g}" if abs(tick) < 1e-12 else f"{tick:.3g}"))
    for number, (name, value, begin, end, strong) in enumerate(rows):
        y = 6 + number * line
        colour = COLOURS[0] if strong else "#94a3b8"
        width = max((value - low) * scale, 0)
        parts.append(_label(left - 8, y + 14, name, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="18" rx="3" fill="{colour}"/>')
        # Left of the axis there is nothing to see, and no room
        if end > max(begin, low):
            x1, x2 = left + max(begin - low, 0) * scale, left + (end - low) * scale
            parts.append(f'<path d="M{x1:.1f} {y + 9}H{x2:.1f}" stroke="#0f172a" stroke-width="1.5"/>')
            parts.append(f'<path d="M{x1:.1f} {y + 5}v8M{x2:.1f} {y + 5}v8" stroke="#0f172a" stroke-width="1.5"/>')
        parts.append(_label(right + 12, y + 14, f"{value:.3f}", "start"))
    return _svg(720, height, "".join(parts), title)


def lines(
    series: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, title: str, x_name: str, y_name: str
) -> Markup:
    """Line chart of (name, xs, ys); names are listed at the right."""
    left, right, top, bottom = 52, 520, 10, 210
    series = [(name, xs, ys) for name, xs, ys in series if len(xs)]
    if not series:
        return Markup("")
    x_all = np.concatenate([np.asarray(xs, float) for _, xs, _ in series])
    y_all = np.concatenate([np.asarray(ys, float) for _, _, ys in series])
    x_low, x_high, y_low, y_high = x_all.min(), x_all.max(), min(y_all.min(), 0.0), y_all.max()

    def to_x(x: float) -> float:
        return float(left + (x - x_low) / max(x_high - x_low, 1e-9) * (right - left))

    def to_y(y: float) -> float:
        return float(bottom - (y - y_low) / max(y_high - y_low, 1e-9) * (bottom - top))

    parts = []
    for tick in _ticks(y_low, y_high):
        parts.append(f'<line x1="{left}" x2="{right}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}" stroke="#e2e8f0"/>')
        parts.append(_label(left - 6, to_y(tick) + 4, f"{tick:.3g}", "end"))
    parts += [_label(to_x(tick), bottom + 16, f"{tick:.4g}") for tick in _ticks(x_low, x_high, 6)]
    parts.append(_label((left + right) / 2, bottom + 34, x_name))
    parts.append(_label(left, top - 1, y_name, "start"))
    for number, (name, xs, ys) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<rect x="{right + 14}" y="{top + number * 18}" width="10" height="10" fill="{colour}"/>')
        parts.append(_label(right + 30, top + 9 + number * 18, name, "start"))
    return _svg(720, bottom + 42, "".join(parts), title)


def growth(points: Sequence[tuple[int, float, float, float]], *, title: str) -> Markup:
    """Score against the number of rows on a scale of doublings.

    Args:
        points: (rows, value, interval low, interval high), fewest rows first.
        title: What is measured, for the axis and for screen readers.
    """
    left, right, top, bottom = 52, 520, 18, 210
    places = np.log2([rows for rows, _, _, _ in points])
    low, high = min(point[2] for point in points), max(point[3] for point in points)
    parts = [_label(left, top - 7, title, "start"), _label((left + right) / 2, bottom + 34, "rows learnt from")]

    def to_y(value: float) -> float:
        return float(bottom - 8 - (value - low) / max(high - low, 1e-9) * (bottom - top - 16))

    for tick in _ticks(low, high):
        parts.append(f'<line x1="{left}" x2="{right}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}" stroke="#e2e8f0"/>')
        parts.append(_label(left - 6, to_y(tick) + 4, f"{tick:.3g}", "end"))
    span = max(float(places[-1] - places[0]), 1e-9)
    xs = [left + 24 + float(place - places[0]) / span * (right - left - 48) for place in places]
    line = " ".join(f"{x:.1f},{to_y(value):.1f}" for x, (_, value, _, _) in zip(xs, points, strict=True))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.6"/>')
    for x, (rows, value, begin, end) in zip(xs, points, strict=True):
        parts.append(
            f'<path d="M{x:.1f} {to_y(begin):.1f}V{to_y(end):.1f}" stroke="#0f172a" stroke-width="1.2"/>'
            f'<circle cx="{x:.1f}" cy="{to_y(value):.1f}" r="4" fill="{COLOURS[0]}"><title>{rows} rows: {value:.3f}'
            f"</title></circle>"
        )
        parts.append(_label(x, bottom + 16, str(rows)))
    return _svg(720, bottom + 42, "".join(parts), f"{title} by rows learnt from")


def confusion(matrix: np.ndarray, names: Sequence[str]) -> Markup:
    """Confusion matrix (C, C) of counts: rows are the truth, columns the answer."""
    size = len(names)
    cell = 44 if size <= 10 else 26 if size <= 20 else 14
    left = 130
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    parts = []
    for row in range(size):
        if cell >= 14:
            parts.append(_label(left - 6, 28 + row * cell + cell / 2 + 4, _short(names[row], 18), "end"))
        for column in range(size):
            x, y, value = left + column * cell, 28 + row * cell, float(share[row, column])
            colour = "37, 99, 235" if row == column else "220, 38, 38"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="rgba({colour}, {value:.3f})" '
                f'stroke="#e2e8f0"><title>{escape(names[row])} answered {escape(names[column])}: '
                f"{int(matrix[row, column])}</title></rect>"
            )
            if cell >= 26 and matrix[row, column]:
                ink = "#fff" if value > 0.5 else "#0f172a"
                parts.append(
                    f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle" font-size="11" '
                    f'font-family="system-ui, sans-serif" fill="{ink}">{int(matrix[row, column])}</text>'
                )
    if cell >= 26:
        centres = [left + column * cell + cell / 2 for column in range(size)]
        parts += [_label(x, 20, _short(name, cell // 6)) for x, name in zip(centres, names, strict=True)]
    parts.append(_label(left, 9, "answered", "start"))
    parts.append(_label(6, 9, "truth", "start"))
    return _svg(left + size * cell + 10, 34 + size * cell, "".join(parts), "confusion matrix")


def reliability(bins: Sequence[tuple[float, float, int]]) -> Markup:
    """Reliability diagram of (mean confidence, share correct, count); the diagonal is perfect."""
    left, right, top, bottom = 46, 286, 10, 250
    total = max(sum(count for _, _, count in bins), 1)

    def to_x(value: float) -> float:
        return left + value * (right - left)

    def to_y(value: float) -> float:
        return bottom - value * (bottom - top)

    parts = [f'<path d="M{left} {bottom}L{right} {top}" stroke="#94a3b8" stroke-dasharray="4 4"/>']
    parts.append(f'<path d="M{left} {top}V{bottom}H{right}" stroke="#94a3b8" fill="none"/>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_label(to_x(tick), bottom + 15, f"{tick:g}"))
        parts.append(_label(left - 6, to_y(tick) + 4, f"{tick:g}", "end"))
    for confidence, correct, count in bins:
        if count:
            radius = 3 + 14 * float(np.sqrt(count / total))
            parts.append(
                f'<circle cx="{to_x(confidence):.1f}" cy="{to_y(correct):.1f}" r="{radius:.1f}" '
                f'fill="rgba(37,99,235,.55)"><title>{count} rows: confidence {confidence:.2f}, '
                f"correct {correct:.2f}</title></circle>"
            )
    parts.append(_label((left + right) / 2, bottom + 32, "confidence"))
    parts.append(_label(left + 4, top + 4, "share correct", "start"))
    return _svg(310, bottom + 40, "".join(parts), "reliability diagram")


def waveform(samples: np.ndarray, *, width: int = 220, height: int = 48) -> Markup:
    """The envelope of a sound, samples (S,) in -1 to 1."""
    columns = np.array_split(np.asarray(samples, float), width) if len(samples) >= width else [samples]
    peaks = np.array([np.abs(part).max() if len(part) else 0.0 for part in columns])
    peaks = peaks / max(float(peaks.max(initial=0.0)), 1e-9) * (height / 2 - 1)
    path = "".join(f"M{x} {height / 2 - peak:.1f}V{height / 2 + peak:.1f}" for x, peak in enumerate(peaks))
    return _svg(width, height, f'<path d="{path}" stroke="{COLOURS[0]}" stroke-width="1"/>', "waveform")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 1)] + "\u2026"
