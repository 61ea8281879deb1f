"""Scores of targets that are written: on held-out rows of a fit, and on rows of a table that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.generating import usual_texts
from omnifuse.data.bpe import TargetTokenizer
from omnifuse.data.target_text import written_notes
from omnifuse.evaluation import references_of, written_details, written_scores
from omnifuse.readout.predictions import text_answer
from omnifuse.readout.speech import SpeechLanguage
from omnifuse.schema import Modality, Schema, Target, TaskKind

if TYPE_CHECKING:
    from omnifuse.api.members import Network
    from omnifuse.api.model import Model
    from omnifuse.api.partition import Partition
    from omnifuse.api.prepare import Prepared
    from omnifuse.data.decode import Decoded
    from omnifuse.data.tables import Table
    from omnifuse.model import MultimodalModel

# A fit writes for at most so many held-out rows, drawn evenly
MOST_ROWS = 1000
_PLAIN = (str, int, float, type(None))


@dataclass(frozen=True)
class WrittenRows:
    """What was written for R rows.

    Attributes:
        rows: Their numbers in the table.
        truths: Their own texts, None where missing.
        answers: What was written.
        references: Of each row its own text and those of rows that show the same; none where missing.
        confidences: Geometric mean of the probabilities of each text's ids.
        result: What `evaluate --json` says of the target.
    """

    rows: np.ndarray
    truths: list[str | None]
    answers: list[str]
    references: list[tuple[str, ...]]
    confidences: list[float]
    result: dict[str, Any]


def score_held_out(prepared: Prepared, partition: Partition, network: Network, *, seed: int) -> dict[str, WrittenRows]:
    """Target that is written to its scores on rows that the writing network had not learnt from.

    With folds each row is written for by its own fold's member alone, with separate cuts by all of them.

    Args:
        prepared: The table.
        partition: Which member writes for which row.
        network: The members.
        seed: Of the bootstrap.
    """
    asked = partition.report
    if len(asked) > MOST_ROWS:
        asked = asked[np.linspace(0, len(asked) - 1, MOST_ROWS).astype(np.int64)]
    parts: list[tuple[Sequence[MultimodalModel], np.ndarray]] = [(network.members, asked)]
    if partition.fold is not None:
        pairs = zip(network.members, partition.members, strict=True)
        parts = [([member], np.intersect1d(asked, rows.out)) for member, rows in pairs]
    rows = np.concatenate([of_part for _, of_part in parts])
    found = {}
    for target in prepared.schema.written:
        text = prepared.preprocessors[target.name]
        answers: list[tuple[str, float]] = []
        for members, of_part in parts:
            # The transcripts of rows that are scored are not known to the language model either
            others = np.setdiff1d(prepared.rows, of_part)
            language = speech_language(prepared, target, others)
            answers += _answers(members, prepared.packs, of_part, target, text, language)
        cells = prepared.table.cells(target.name, rows)
        groups = prepared.groups[rows] if prepared.groups is not None else None
        shown = _shown(prepared.table, prepared.schema, rows)
        found[target.name] = _scored(target, text, rows, cells, answers, seed=seed, groups=groups, shown=shown)
    return found


def speech_language(prepared: Prepared, target: Target, rows: np.ndarray) -> SpeechLanguage | None:
    """What the transcripts of some rows say of others; None for a target that is no transcript."""
    if target.kind is not TaskKind.TRANSCRIPTION:
        return None
    sound = next(item for item in prepared.schema.inputs if item.modality is Modality.AUDIO)
    frames = prepared.packs[sound.name].lengths[rows]
    longest_s = float(max(frames, default=1)) * float(prepared.preprocessors[sound.name].hop_s)
    text = prepared.preprocessors[target.name]
    return SpeechLanguage.fit(prepared.table.cells(target.name, rows), text, longest_s=max(longest_s, 0.1))


def score_model(model: Model, decoded: Decoded, *, seed: int) -> dict[str, WrittenRows]:
    """Target that is written to its scores on all rows of a decoded table with labels."""
    found = {}
    rows = np.arange(decoded.table.num_rows)
    for target in model.schema.written:
        text = model.preprocessors[target.name]
        cells = decoded.table.cells(target.name)
        answers = _answers(model.members, decoded.packs, rows, target, text, model.language.get(target.name))
        shown = _shown(decoded.table, model.schema, rows)
        found[target.name] = _scored(target, text, rows, cells, answers, seed=seed, groups=None, shown=shown)
        notes = written_notes(target.name, cells, text)
        if notes:
            found[target.name].result["notes"] = notes
    return found


def _shown(table: Table, schema: Schema, rows: np.ndarray) -> list[tuple[Any, ...]]:
    """Of each row a sign of its fields: a picture that stands in several rows has all their captions as references."""
    columns = [table.cells(item.source, rows) for item in schema.fields if item.source in table.columns]
    # An array or bytes is taken for its row's own
    return [
        tuple(columns[n][row] if isinstance(columns[n][row], _PLAIN) else (row,) for n in range(len(columns)))
        for row in range(len(rows))
    ]


def _answers(
    members: Sequence[MultimodalModel],
    packs: Any,
    rows: np.ndarray,
    target: Target,
    text: TargetTokenizer,
    language: SpeechLanguage | None,
) -> list[tuple[str, float]]:
    """Text and confidence of each row."""
    found = [text_answer(item) for item in usual_texts(members, packs, rows, target, text, language=language)]
    return [(str(item.value or ""), float(item.confidence or 0.0)) for item in found]


def _scored(
    target: Target,
    text: TargetTokenizer,
    rows: np.ndarray,
    cells: Sequence[Any],
    answers: Sequence[tuple[str, float]],
    *,
    seed: int,
    groups: np.ndarray | None,
    shown: Sequence[Any],
) -> WrittenRows:
    truths = [None if cell is None else text.normalise(cell) for cell in cells]
    texts = [answer for answer, _ in answers]
    result = {
        "task": target.kind.value,
        "metrics": written_scores(target.kind, truths, texts, seed=seed, groups=groups, shown=shown),
        "details": written_details(target.kind, truths, texts, [int(row) for row in rows]),
        "rows": sum(truth is not None for truth in truths),
        "subsets": {},
        "baselines": {},
        "fusion": {},
        "calibration": {},
    }
    given = iter(references_of(truths, shown))
    references = [() if truth is None else next(given) for truth in truths]
    return WrittenRows(rows, truths, texts, references, [sure for _, sure in answers], result)
