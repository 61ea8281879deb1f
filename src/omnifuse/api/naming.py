"""Classes that are named by words alone: the name whose vector is nearest to a row's, where the space holds text.

Shapes: R rows, C names, S width of the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omnifuse.errors import InputError
from omnifuse.readout.answering import CHUNK_ROWS, Answering
from omnifuse.readout.predictions import NOTHING_READABLE
from omnifuse.readout.target_readout import log_softmax
from omnifuse.schema import Modality, Prediction, TargetPrediction

# The column of the answers
NAMED = "label"
# What cosines are multiplied by where the model does not say: that of CLIP before training
USUAL_SCALE = 1 / 0.07


def named_labels(labels: str | Sequence[str]) -> tuple[str, ...]:
    """The names that are asked for.

    Args:
        labels: `"a dog barking,glass breaking"`, or a list, whose names may hold commas.

    Raises:
        InputError: There are fewer than two, or one comes twice.

    Example:
        >>> named_labels("a dog barking, glass breaking")
        ('a dog barking', 'glass breaking')
    """
    names = tuple(name.strip() for name in (labels.split(",") if isinstance(labels, str) else labels))
    names = tuple(name for name in names if name)
    if len(names) < 2:
        raise InputError(
            f"--labels names {len(names)} class{'' if len(names) else 'es'}",
            fix='Name at least two, with commas between: --labels "a dog barking,glass breaking"',
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"--labels names '{twice[0]}' twice", fix="Name each class once")
    return names


def text_fields(model: Answering) -> tuple[str, ...]:
    """The texts that a model holds in one space with its other fields.

    Raises:
        InputError: It has no such space, or no text in it.
    """
    fields = ", ".join(f"'{item.name}' ({item.modality.value})" for item in model.schema.inputs)
    if not int(model.manifest.get("spec", {}).get("space", 0)):
        raise InputError(
            "the model has no space in which names can be compared with rows",
            where=f"it reads {fields}",
            fix="Pretrain one on pairs with text: omnifuse pretrain TABLE --pairs image:text",
        )
    texts = tuple(item.name for item in model.schema.inputs if item.modality is Modality.TEXT)
    if not texts or len(model.schema.inputs) < 2:
        what = "holds nothing but text" if texts else "holds no text"
        raise InputError(
            f"the space of the model {what}, so that classes cannot be named by words",
            where=f"it reads {fields}",
            fix="Pretrain on pairs with text (--pairs image:text), or fit with a few labels: --shots K",
        )
    return texts


def name_rows(
    model: Answering, source: Any, labels: str | Sequence[str], *, proba: bool = False, media_root: Path | None = None
) -> Iterator[list[Prediction]]:
    """Answer rows by names that the model was never taught, in chunks, in the table's order.

    The vector of a row is the mean of all its fields; that of a name is the mean of it as each of the model's texts.
    The confidence is the softmax of the cosines, multiplied as in the pretraining; without labels it is not calibrated.

    Args:
        model: Has a space that holds text.
        source: As for `predict`.
        labels: See `named_labels`.
        proba: Also give the probability of each name.
        media_root: As for `predict`.

    Raises:
        InputError: The labels or the model do not allow it.

    References: Radford et al. 2021, CLIP, section 3.1.
    """
    names, texts = named_labels(labels), text_fields(model)
    scale = float(model.manifest.get("pretraining", {}).get("scale") or USUAL_SCALE)
    asked = model.embed([dict.fromkeys(texts, name) for name in names])["embedding"]
    if unread := [name for name, vector in zip(names, asked, strict=True) if np.isnan(vector).any()]:
        raise InputError(f"the name '{unread[0]}' cannot be read", fix="Name classes by words")
    table = model.opened(source, media_root=media_root)
    done = 0
    for chunk in table.batches(CHUNK_ROWS):
        decoded = model.decode(chunk, confined=media_root is not None)
        pooled = model.raw(decoded, vectors=True).pooled
        assert pooled is not None
        present = {name: pack.present for name, pack in decoded.packs.items()}
        readable = np.any(list(present.values()), axis=0)
        length = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        scores = np.exp(log_softmax(scale * (np.nan_to_num(pooled) / length) @ asked.T.astype(np.float64)))
        ids = [name for name in model.schema.ids if name in chunk.columns]
        columns = {name: chunk.cells(name) for name in ids}
        found = []
        for row, warnings in enumerate(decoded.warnings()):
            own = {name: columns[name][row] for name in ids}
            used = tuple(name for name, there in present.items() if there[row])
            answer = _named(names, scores[row], proba) if readable[row] else TargetPrediction(None, abstained=True)
            error = None if readable[row] else NOTHING_READABLE
            row_id = own[ids[0]] if ids else done + row
            found.append(Prediction(row_id, {NAMED: answer}, used, tuple(warnings), None, model.model_id, error, own))
        yield found
        done += chunk.num_rows


def _named(names: Sequence[str], scores: np.ndarray, proba: bool) -> TargetPrediction:
    best = int(scores.argmax())
    listed = {name: float(score) for name, score in zip(names, scores, strict=True)} if proba else None
    return TargetPrediction(names[best], float(scores[best]), listed)
