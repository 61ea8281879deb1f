"""The page's first paragraph: what was learnt, how good it is, whether fusing helped, how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnifuse.report.metrics import is_simple, leading_metrics, main_metric, metric_words, value_words
from omnifuse.schema import Schema


def summary_words(
    schema: Schema, results: Mapping[str, Any], counts: Mapping[str, np.ndarray | None]
) -> tuple[str, ...]:
    """Sentences on a fit.

    Args:
        schema: Inputs and targets.
        results: Target to its entry of the evaluation.
        counts: Target to scored rows of each class, None where there are no classes.
    """
    inputs = [f"{item.name} ({item.modality.value})" for item in schema.inputs]
    sentences = [f"The model reads {', '.join(inputs)} and answers {', '.join(item.name for item in schema.targets)}."]
    for target in schema.targets:
        result, found = results[target.name], counts[target.name]
        metric = main_metric(result["task"], result["metrics"])
        if result["metrics"][metric]["value"] is None:
            continue
        leading = leading_metrics(result, found)
        sentences.append(_score_words(target.name, leading, metric, result))
        if metric not in leading and found is not None:
            sentences.append(_rare_words(target.classes, found, metric, result))
        sentences += _fusion_words(leading[0], result)
        for judged in dict.fromkeys((leading[0], metric)):
            sentences += _simple_words(judged, result)
        ece = (result.get("calibration") or {}).get("ece")
        if ece is not None:
            sentences.append(f"Its confidence is off by {ece:.1%} on average: {_trust(ece)}.")
        interval = result.get("interval") or {}
        if interval.get("coverage") is not None:
            sentences.append(
                f"The interval about {target.name} was made to hold {interval['level']:.0%} of the truths; it held "
                f"{interval['coverage']:.1%} of these, and is {interval['mean_width']:.4g} wide on average."
            )
    return tuple(sentences)


def _score_words(target: str, leading: Sequence[str], metric: str, result: Mapping[str, Any]) -> str:
    reached: list[str] = []
    for name in leading:
        score = result["metrics"][name]
        words = f"{metric_words(name)}{'' if reached else f' for {target}'} is {value_words(name, score['value'])}"
        if score["low"] is not None:
            words += f" (95% interval {value_words(name, score['low'])} to {value_words(name, score['high'])})"
        reached.append(words)
    against = f"; {prior}" if metric in leading and (prior := _majority_words(metric, result)) else ""
    return f"On rows it had not learnt from, {' and '.join(reached)}{against}."


def _majority_words(metric: str, result: Mapping[str, Any]) -> str:
    value = result["baselines"].get("majority", {}).get(metric, {}).get("value")
    return "" if value is None else f"always giving the most frequent answer reaches {value_words(metric, value)}"


def _rare_words(classes: Sequence[str], counts: np.ndarray, metric: str, result: Mapping[str, Any]) -> str:
    """Why the main metric does not lead, and what it is all the same."""
    rare = int(np.argmin(counts))
    prior = _majority_words(metric, result)
    return (
        f"Only {counts[rare] / counts.sum():.1%} of these rows are '{classes[rare]}', so {metric_words(metric)} says "
        f"little: it is {value_words(metric, result['metrics'][metric]['value'])}{f', and {prior}' if prior else ''}."
    )


def _trust(ece: float) -> str:
    if ece <= 0.03:
        return "when it says 90%, it is right about 9 times in 10"
    return "take it as a rough guide" if ece <= 0.08 else "do not rely on it with so few rows"


def _fusion_words(leading: str, result: Mapping[str, Any]) -> list[str]:
    """The verdict with the metric that it was judged by; where another one leads, both networks by that one too."""
    fusion = result.get("fusion")
    if not fusion:
        return []
    metric, single = fusion["metric"], result["baselines"].get(fusion["against"], {})
    best = single.get(metric, {}).get("value")
    judged = f"judged by {metric_words(metric)}"
    held = f"the best single field, {fusion['against']}" + ("" if best is None else f" ({value_words(metric, best)})")
    said = {
        "helped": f"Fusing helped, {judged}: the model is better than a network that reads {held} alone.",
        "did not help": f"Fusing did not help, {judged}: a network that reads {held} alone is as good. Consider it.",
    }
    unsure = f"Whether fusing helped cannot be told on {fusion['rows']} rows, {judged}; the comparison is with {held}."
    words = [said.get(fusion["verdict"], unsure)]
    other = single.get(leading, {}).get("value")
    if leading != metric and other is not None:
        own, others = (value_words(leading, value) for value in (result["metrics"][leading]["value"], other))
        words.append(
            f"By {metric_words(leading)} the model reaches {own}, that network {others}; this difference is not tested."
        )
    return words


def _simple_words(metric: str, result: Mapping[str, Any]) -> list[str]:
    """A warning where a simple model is better by this metric."""
    simple = {
        name: scores[metric]["value"]
        for name, scores in result["baselines"].items()
        if is_simple(name) and scores.get(metric, {}).get("value") is not None
    }
    own = result["metrics"][metric]["value"]
    name = max(simple, key=lambda key: simple[key], default="")
    if not simple or simple[name] <= own:
        return []
    return [
        f"Beware: judged by {metric_words(metric)}, the simple model '{name}' reaches "
        f"{value_words(metric, simple[name])}, more than this model ({value_words(metric, own)})."
    ]
