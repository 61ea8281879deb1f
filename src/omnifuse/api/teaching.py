"""What a student learns from: the labels and, beside them, what its teacher answers.

The cross-entropy against a mixture of label and answer is the same mixture of both cross-entropies, so an answer of
the teacher is mixed into the label and the loss stays what it is; so it is with tags, and with the squared error of a
number up to what no weight changes. Since the answers are calibrated, they need no temperature. A row whose label is
missing is learnt from the teacher alone.

References: Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network (with a temperature of 1);
Bucila, Caruana and Niculescu-Mizil 2006, Model Compression.

Shapes: R rows, C classes or tags.
"""

from __future__ import annotations

import numpy as np

from omnifuse.data.tables import Table
from omnifuse.readout.answering import CHUNK_ROWS, Answering
from omnifuse.schema import Target

# Of the mixture; the label has the rest
TEACHER_SHARE = 0.7


def teacher_answers(teacher: Answering, table: Table, *, confined: bool = False) -> dict[str, np.ndarray]:
    """Target to calibrated answers of all rows, (R, C) or for a number (R,); NaN where a row cannot be read.

    Args:
        teacher: A model.
        table: Rows, as they are given to `fit`.
        confined: Refuse media outside the table's folder.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in teacher.readouts}
    for chunk in teacher.opened(table).batches(CHUNK_ROWS):
        decoded = teacher.decode(chunk, confined=confined)
        raw = teacher.raw(decoded)
        unread = ~np.any([pack.present for pack in decoded.packs.values()], axis=0)
        for name, readout in teacher.readouts.items():
            scores = np.array(readout.scores(raw), np.float64)
            scores[unread] = np.nan
            parts[name].append(scores)
    return {name: np.concatenate(found) for name, found in parts.items()}


def taught(target: Target, labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Labels with the teacher's answers mixed in.

    Args:
        target: What is learnt.
        labels: Encoded, as `encode_target` gives them.
        answers: Of the teacher, NaN where it has none.

    Returns:
        Classes and levels: (R, C) shares, all 0 where neither is known. Tags: (R, C) of 0 to 1, and numbers (R,), NaN
        where neither is known.

    Example:
        >>> from omnifuse.schema import TaskKind
        >>> target = Target("y", TaskKind.CLASSIFICATION, ("a", "b"))
        >>> taught(target, np.array([0, -1]), np.array([[0.5, 0.5], [0.2, 0.8]])).astype(float).round(2).tolist()
        [[0.65, 0.35], [0.2, 0.8]]
    """
    if target.kind.chooses_class:
        known = labels >= 0
        hard = np.eye(len(target.classes))[np.maximum(labels, 0)]
        hard[~known] = np.nan
        return np.asarray(np.nan_to_num(_mixed(hard, answers)), np.float32)
    return _mixed(labels.astype(np.float64), answers)


def _mixed(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Both by their shares; one alone where the other is not known."""
    both = (1 - TEACHER_SHARE) * labels + TEACHER_SHARE * answers
    return np.asarray(np.where(np.isnan(labels), answers, np.where(np.isnan(answers), labels, both)))
