"""Answers of one network on rows that it had not learnt from, for the search and the curve of rows."""

from __future__ import annotations

import numpy as np

from omnifuse.api.prepare import Prepared
from omnifuse.api.scoring import bare_readout, crossfitted_scores, prior_scores
from omnifuse.evaluation import known_rows
from omnifuse.model import MultimodalModel
from omnifuse.schema import TaskKind
from omnifuse.training.predict import run_subsets

LEAST_CHANCE = 1e-6


def unseen_scores(
    prepared: Prepared, member: MultimodalModel, *, learnt: np.ndarray, rows: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Target to calibrated scores of rows; each half is calibrated on the other one.

    Args:
        prepared: The table.
        member: The network.
        learnt: Rows that it learnt from.
        rows: (R,) other rows.
        seed: Of the halves.
    """
    subset = tuple(item.name for item in prepared.schema.inputs)
    raws = run_subsets([member], prepared.packs, rows, [subset])
    halves = np.random.default_rng(seed).permutation(len(rows)) % 2
    found = {}
    for target in prepared.schema.chosen:
        encoded = prepared.targets[target.name]
        bare = bare_readout(target, prepared.schema, encoded, learnt)
        found[target.name] = crossfitted_scores(bare, raws, encoded[rows], halves)[subset]
    return found


def skill(prepared: Prepared, scores: dict[str, np.ndarray], *, learnt: np.ndarray, rows: np.ndarray) -> float:
    """How much of what is unknown the answers explain: 1 is perfect, 0 is no better than class shares or the mean.

    One minus the log loss (classification, tagging) or the squared error (regression) over that of the prior; the mean
    over the targets.

    Args:
        prepared: The table.
        scores: Target to scores of the rows.
        learnt: Rows whose class shares and means are the prior.
        rows: (R,) rows.
    """
    skills = []
    for target in prepared.schema.chosen:
        encoded = prepared.targets[target.name]
        known = known_rows(target.kind, encoded[rows])
        if not known.any():
            continue
        truth = encoded[rows][known]
        prior = prior_scores(bare_readout(target, prepared.schema, encoded, learnt), len(truth))
        own, others = (_loss(target.kind, truth, found) for found in (scores[target.name][known], prior))
        skills.append(1.0 - own / max(others, 1e-12))
    return float(np.mean(skills)) if skills else 0.0


def _loss(kind: TaskKind, truth: np.ndarray, scores: np.ndarray) -> float:
    if kind is TaskKind.REGRESSION:
        return float(np.square(truth - scores).mean())
    chances = np.clip(scores, LEAST_CHANCE, 1 - LEAST_CHANCE)
    if kind is TaskKind.TAGGING:
        return float(-(truth * np.log(chances) + (1 - truth) * np.log(1 - chances)).mean())
    return float(-np.log(chances[np.arange(len(truth)), truth]).mean())
