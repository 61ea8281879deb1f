"""report.html: summary in words, scores, what each field gives, curves, confusion, reliability, worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.files import make_folder, write_atomically
from omnifuse.report import charts
from omnifuse.report.fusions import fusion_cells
from omnifuse.report.growth import curve_points, growth_words
from omnifuse.report.metrics import is_simple, main_metric, metric_words
from omnifuse.schema import TaskKind

# Name, value, interval low and high, whether it is blue
Bar = tuple[str, float, float, float, bool]


@dataclass(frozen=True)
class Example:
    """One mistake as it is shown: media as data URIs (see `report.media`), cells as text."""

    row: str
    answer: str
    truth: str
    confidence: str
    pictures: tuple[str, ...] = ()
    sounds: tuple[dict[str, Any], ...] = ()
    cells: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TargetData:
    """What the page shows of one target.

    Attributes:
        name: Target column.
        result: Its entry of the evaluation (`metrics`, `subsets`, `baselines`, `fusion`, `calibration`).
        confusion: (C, C) counts, rows are the truth; None for regression.
        classes: Names of its rows and columns.
        reliability: (mean confidence, share correct, count) a bin.
        examples: Worst mistakes.
        seeds: Metric to (mean, sd, count) over seeds, where several were run.
        leading: Metrics that stand before the others.
    """

    name: str
    result: dict[str, Any]
    confusion: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    reliability: tuple[tuple[float, float, int], ...] = ()
    examples: tuple[Example, ...] = ()
    seeds: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    leading: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """Everything on the page, as plain values."""

    title: str
    subtitle: str
    summary: tuple[str, ...]
    rows_words: str
    targets: tuple[TargetData, ...]
    curves: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    curves_words: str = "Training loss, running mean, one line a member."
    balancing: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    balancing_words: str = ""
    fields: tuple[dict[str, Any], ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    fusions: dict[str, Any] | None = None
    search: dict[str, Any] = field(default_factory=dict)


def _interval(score: dict[str, Any]) -> str:
    if score.get("low") is None:
        return ""
    return f"[{score['low']:.3f}, {score['high']:.3f}]"


def _tiles(metrics: dict[str, Any], leading: tuple[str, ...]) -> list[dict[str, str]]:
    ordered = sorted(metrics, key=lambda name: leading.index(name) if name in leading else len(leading))
    return [
        {"name": metric_words(name), "value": f"{score['value']:.3f}", "interval": _interval(score)}
        for name in ordered
        if (score := metrics[name]).get("value") is not None
    ]


def _coverage_tiles(interval: dict[str, Any]) -> list[dict[str, str]]:
    """How often a number's interval holds the truth, and how wide it is."""
    if interval.get("coverage") is None:
        return []
    promised = f"promised: {interval['level']:.0%}"
    return [
        {"name": "intervals that hold the truth", "value": f"{interval['coverage']:.1%}", "interval": promised},
        {"name": "mean width of an interval", "value": f"{interval['mean_width']:.4g}", "interval": ""},
    ]


def _bar(name: str, score: dict[str, Any] | float | None, *, strong: bool) -> Bar | None:
    if score is None:
        return None
    if not isinstance(score, dict):
        return (name, float(score), float(score), float(score), strong)
    if score.get("value") is None:
        return None
    value = float(score["value"])
    low, high = score.get("low"), score.get("high")
    return (name, value, value if low is None else float(low), value if high is None else float(high), strong)


def _bars(target: TargetData, metric: str) -> list[Bar]:
    """The model and what it is held against; nothing where there is nothing to hold it against."""
    result = target.result
    own = _bar("all fields", result["metrics"][metric], strong=True)
    listed = [_bar(name, scores.get(metric), strong=False) for name, scores in result.get("baselines", {}).items()]
    others = sorted((row for row in listed if row is not None), key=lambda row: -row[1])
    return [own, *others] if own is not None and others else others


def _subset_bars(target: TargetData, metric: str) -> list[Bar]:
    rows = [_bar(name, scores.get(metric), strong="+" in name) for name, scores in target.result["subsets"].items()]
    kept = [row for row in rows if row is not None]
    return sorted(kept, key=lambda row: -row[1])[:16] if len(kept) > 1 else []


def _chart(rows: list[Bar], metric: str) -> Any:
    return charts.bars(rows, title=metric_words(metric)) if rows else ""


def _legend(rows: list[Bar], blue: str, grey: str) -> str:
    """Says what a colour means, for the colours that are there."""
    here = {row[4] for row in rows}
    return " ".join(
        f"{name}: {said}." for name, said, strong in (("Blue", blue, True), ("Grey", grey, False)) if strong in here
    )


def _grey_words(rows: list[Bar]) -> str:
    kinds = {is_simple(row[0]) for row in rows if not row[4]}
    named = ((False, "networks that were given one field alone"), (True, "simple models"))
    return ", and ".join(said for kind, said in named if kind in kinds)


def _verdict(fusion: dict[str, Any]) -> dict[str, str]:
    verdict = str(fusion.get("verdict", ""))
    kind = {"helped": "helped", "did not help": "not"}.get(verdict, "unsure")
    p = fusion.get("p")
    judged = f"judged by {metric_words(fusion['metric'])}, " if "metric" in fusion else ""
    note = f"against the best single field, {judged}paired over rows, p = {p:.2g}." if p is not None else ""
    return {"verdict": verdict, "verdict_class": kind, "verdict_note": note}


def _target(target: TargetData) -> dict[str, Any]:
    result = target.result
    # Where classes are uneven the page leads with another one than accuracy, and its charts do too
    metric = target.leading[0] if target.leading else main_metric(result["task"], result["metrics"])
    words = metric_words(metric)
    bars, subset_bars = _bars(target, metric), _subset_bars(target, metric)
    seeds: dict[str, Any] = {}
    if target.seeds:
        listed = ", ".join(
            f"{metric_words(name)} {mean:.3f} \u00b1 {sd:.3f}" for name, (mean, sd, _) in target.seeds.items()
        )
        seeds = {"count": next(iter(target.seeds.values()))[2], "text": listed}
    ece = result.get("calibration", {}).get("ece")
    curve = curve_points(result.get("curve", ()), metric)
    return {
        "name": target.name,
        "tiles": _tiles(result["metrics"], target.leading) + _coverage_tiles(result.get("interval") or {}),
        "seeds": seeds,
        **_verdict(result.get("fusion") or {}),
        "bars": _chart(bars, metric),
        "bars_metric": words[:1].upper() + words[1:],
        "bars_legend": _legend(bars, "this model with all fields", _grey_words(bars)),
        "subset_bars": _chart(subset_bars, metric),
        "subset_legend": _legend(subset_bars, "given several fields", "given one field alone"),
        "confusion": charts.confusion(target.confusion, target.classes) if target.confusion is not None else "",
        "reliability": charts.reliability(target.reliability) if target.reliability else "",
        "ece": "-" if ece is None else f"{ece:.3f}",
        "examples": target.examples,
        "is_written": TaskKind(target.result["task"]).writes,
        "growth": charts.growth(curve, title=words) if len(curve) > 1 else "",
        "growth_words": growth_words(curve, metric, result["curve"][0]["scored"]) if curve else "",
    }


def _smooth(values: Sequence[float], count: int = 120) -> tuple[list[float], list[float]]:
    """At most `count` points of running means: (position, mean); steps whose loss is no number are passed over."""
    parts = np.array_split(np.asarray(values, float), min(count, max(len(values), 1)))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    points = [
        (float(end), float(known.mean()))
        for end, part in zip(ends, parts, strict=True)
        if len(known := part[np.isfinite(part)])
    ]
    return [end for end, _ in points], [mean for _, mean in points]


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page; every text in it is escaped and nothing in it runs or loads from a network.

    Args:
        data: What to show.
        path: Where; its folder is made.

    Returns:
        The path.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    curves = [(name, *_smooth(ys)) for name, _, ys in data.curves if ys]
    page = template.render(
        data=data,
        targets=[_target(target) for target in data.targets],
        fusion_rows=[fusion_cells(row) for row in data.fusions["rows"]] if data.fusions else [],
        balancing=charts.lines(data.balancing, title="loss balancing", x_name="step", y_name="weight"),
        curves=charts.lines(curves, title="learning curves", x_name="step", y_name="loss") if curves else "",
    )
    make_folder(path.parent)
    write_atomically(path, page.encode("utf-8"))
    return path
