"""Texts for the rows of a table: options of the user to a search, what it found to predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.target_text import END_ID, UNKNOWN_ID, TargetText
from omnifuse.errors import InputError, did_you_mean
from omnifuse.readout.predictions import NOTHING_READABLE, text_answer
from omnifuse.readout.writing import BEAM, GREEDY, Constraint, Draft, Writing
from omnifuse.schema import Hypothesis, Prediction, TaskKind

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.data.decode import Decoded

# Rows that are decoded and written for at a time
CHUNK_ROWS = 128
# How `predict` writes: the likeliest letter each time; what is said with the help of CTC
PLAIN, SPEECH = Writing(method=GREEDY), Writing(method=BEAM)


def written_texts(model: Model, decoded: Decoded) -> dict[str, list[tuple[Hypothesis, ...]]]:
    """Target that is written to the likeliest text of each decoded row."""
    from omnifuse.training.generate import write_texts

    rows = np.arange(decoded.table.num_rows)
    return {
        item.name: [
            hypotheses(drafts, model.preprocessors[item.name])
            for drafts in write_texts(model.members, decoded.packs, rows, item.name, usual_writing(item.kind))
        ]
        for item in model.schema.written
    }


def usual_writing(kind: TaskKind) -> Writing:
    """How `predict` and the scores of a fit write."""
    return SPEECH if kind is TaskKind.TRANSCRIPTION else PLAIN


def hypotheses(drafts: Sequence[Draft], text: TargetText) -> tuple[Hypothesis, ...]:
    """What a search found, as texts; those that read alike are given once."""
    found: dict[str, Hypothesis] = {}
    for draft in drafts:
        words = text.decode(draft.ids)
        length = len(draft.ids) + (1 if draft.ended else 0)
        found.setdefault(words, Hypothesis(words, draft.score, draft.log_probability, draft.ended, length))
    return tuple(found.values())


def generated(
    model: Model,
    source: Any,
    *,
    target: str | None,
    choices: Sequence[str] | None,
    letters: str | None,
    stop: str,
    media_root: Path | None,
    history: Any,
    writing: Mapping[str, Any],
) -> Iterator[list[Prediction]]:
    """As `Model.generate`, chunk after chunk, with bounded memory."""
    from omnifuse.training.generate import write_texts

    name = written_target(model, target)
    text: TargetText = model.preprocessors[name]
    how = writing_of(writing, text, stop)
    constraint = constraint_of(text, choices, letters)
    table = model.opened(source, media_root=media_root, history=history)
    start = 0
    for chunk in table.batches(CHUNK_ROWS):
        decoded = model.decode(chunk, confined=media_root is not None)
        rows = np.arange(chunk.num_rows)
        drafts = write_texts(model.members, decoded.packs, rows, name, how, constraint=constraint)
        yield _predictions(model, decoded, name, [hypotheses(item, text) for item in drafts], start)
        start += chunk.num_rows


def _predictions(
    model: Model, decoded: Decoded, name: str, texts: Sequence[tuple[Hypothesis, ...]], start: int
) -> list[Prediction]:
    table, warnings = decoded.table, decoded.warnings()
    ids = [column for column in model.schema.ids if column in table.columns]
    columns = {column: table.cells(column) for column in ids}
    answers = []
    for row, found in enumerate(texts):
        used = tuple(field for field in model.fields if decoded.packs[field].present[row])
        of_row = {column: columns[column][row] for column in ids}
        answers.append(
            Prediction(
                of_row[ids[0]] if ids else start + row,
                {name: text_answer(found if used else ())},
                used,
                tuple(warnings[row]),
                model_id=model.model_id,
                error=None if used else NOTHING_READABLE,
                ids=of_row,
            )
        )
    return answers


def written_target(model: Model, target: str | None) -> str:
    """The target that is meant.

    Raises:
        InputError: The model writes none of that name.
    """
    names = [item.name for item in model.schema.written]
    if not names:
        answered = ", ".join(item.name for item in model.schema.targets)
        raise InputError(
            "the model writes no texts",
            where=f"it answers {answered}",
            fix="Fit one with --task COLUMN=captioning, transcription or answering",
        )
    if target is not None and target not in names:
        raise InputError(f"the model does not write '{target}'", fix=did_you_mean(target, names))
    return target or names[0]


def writing_of(options: Mapping[str, Any], text: TargetText, stop: str) -> Writing:
    """The options of the user as settings of a search.

    Raises:
        InputError: A name is unknown, a value has no meaning, or a stop character cannot be written.
    """
    known = [item.name for item in fields(Writing) if item.name != "stop"]
    for name in options:
        if name not in known:
            raise InputError(f"there is no option '{name}' of writing", fix=did_you_mean(name, known))
    try:
        return Writing(**options, stop=tuple(_ids(stop, text, "stop")))
    except TypeError as error:
        raise InputError(f"an option of writing has a wrong type ({error})", fix="Give numbers") from None


def constraint_of(text: TargetText, choices: Sequence[str] | None, letters: str | None) -> Constraint | None:
    """What may be written: whole texts, or only some characters.

    Raises:
        InputError: Both are given, none is left, or one holds what cannot be written.
    """
    if choices is not None and letters is not None:
        raise InputError("choices and letters are both given", fix="Give one of them")
    if choices is not None:
        listed = [_ids(choice, text, "a choice") for choice in choices]
        return Constraint.of_texts(listed, text.vocab_size, end=END_ID)
    if letters is not None:
        # A blank stands between words, so it is told by its place there
        blank = text.encode("a a")[1:2] if " " in letters else []
        return Constraint.of_ids([END_ID, *_ids(letters, text, "letters"), *blank], text.vocab_size)
    return None


def _ids(words: str, text: TargetText, what: str) -> list[int]:
    """Ids of a text or of single characters.

    Raises:
        InputError: One cannot be written.
    """
    ids = text.encode(words)
    if UNKNOWN_ID in ids:
        raise InputError(
            f"{what} '{words[:40]}' holds characters that were not in the texts learnt from", fix="Leave them out"
        )
    return ids
