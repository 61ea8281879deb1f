"""Texts for the rows of a table: options of the user to a search, what it found to predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.api.transcribing import heard_texts, search_speech
from omnifuse.data.bpe import END_ID, SPACE, UNKNOWN_ID, TargetTokenizer
from omnifuse.errors import InputError, did_you_mean
from omnifuse.readout.predictions import NOTHING_READABLE, text_answer
from omnifuse.readout.speech import SpeechLanguage, SpeechOptions
from omnifuse.readout.writing import GREEDY, Constraint, Draft, Writing
from omnifuse.schema import Hypothesis, Prediction, Target, TaskKind

if TYPE_CHECKING:
    from omnifuse.api.model import Model
    from omnifuse.data.decode import Decoded
    from omnifuse.data.pack import Pack
    from omnifuse.model import MultimodalModel

# Rows that are decoded and written for at a time
CHUNK_ROWS = 128


def written_texts(model: Model, decoded: Decoded) -> dict[str, list[tuple[Hypothesis, ...]]]:
    """Target that is written to the likeliest text of each decoded row."""
    rows = np.arange(decoded.table.num_rows)
    return {
        item.name: usual_texts(
            model.members,
            decoded.packs,
            rows,
            item,
            model.preprocessors[item.name],
            language=model.language.get(item.name),
        )
        for item in model.schema.written
    }


def usual_texts(
    members: Sequence[MultimodalModel],
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    target: Target,
    text: TargetTokenizer,
    *,
    language: SpeechLanguage | None = None,
) -> list[tuple[Hypothesis, ...]]:
    """Texts of packed rows as `predict` and the scores of a fit write them: greedily, transcripts as `transcribe` does.

    Args:
        members: Networks of one architecture.
        packs: Input to decoded arrays.
        rows: Rows.
        target: What is written.
        text: Its vocabulary.
        language: Of a transcript, what is known of others.
    """
    if target.kind is TaskKind.TRANSCRIPTION:
        options = SpeechOptions()
        found = search_speech(members, packs, rows, target.name, text, language=language, options=options)
        return [heard_texts(item) for item in found]
    from omnifuse.training.generate import write_texts

    drafts = write_texts(members, packs, rows, target.name, Writing(method=GREEDY))
    return [hypotheses(item, text) for item in drafts]


def hypotheses(drafts: Sequence[Draft], text: TargetTokenizer) -> tuple[Hypothesis, ...]:
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
    text: TargetTokenizer = model.preprocessors[name]
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


def writing_of(options: Mapping[str, Any], text: TargetTokenizer, stop: str) -> Writing:
    """The options of the user as settings of a search.

    Raises:
        InputError: A name is unknown, a value has no meaning, or a stop character cannot be written.
    """
    known = [item.name for item in fields(Writing) if item.name != "stop"]
    for name in options:
        if name not in known:
            raise InputError(f"there is no option '{name}' of writing", fix=did_you_mean(name, known))
    try:
        _known(text, stop, "stop")
        return Writing(**options, stop=tuple(text.ids_ending(stop)))
    except TypeError as error:
        raise InputError(f"an option of writing has a wrong type ({error})", fix="Give numbers") from None


def constraint_of(text: TargetTokenizer, choices: Sequence[str] | None, letters: str | None) -> Constraint | None:
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
        return _spelling(text, letters)
    return None


def _spelling(text: TargetTokenizer, letters: str) -> Constraint:
    """Only pieces of these characters; without the space among them, at most one word."""
    _known(text, letters, "letters")
    pieces = text.ids_spelling(letters)
    first = [one for one in pieces if text.pieces[one].startswith(SPACE)]
    if " " in letters:
        alone = [one for one, piece in enumerate(text.pieces) if piece == SPACE]
        return Constraint.of_ids([END_ID, *pieces, *alone], text.vocab_size)
    inner = [one for one in pieces if one not in set(first)]
    if not first:
        return Constraint.of_ids([END_ID, *inner], text.vocab_size)
    following = np.full((2, text.vocab_size), -1, np.int32)
    following[0, [*first, *inner]] = following[1, inner] = 1
    following[:, END_ID] = 0
    return Constraint(following)


def _known(text: TargetTokenizer, characters: str, what: str) -> None:
    """Refuse characters that no text held.

    Raises:
        InputError: One cannot be written.
    """
    if text.unknown_characters([character for character in characters if character != " "]):
        raise InputError(
            f"{what} '{characters[:40]}' holds characters that were not in the texts learnt from", fix="Leave them out"
        )


def _ids(words: str, text: TargetTokenizer, what: str) -> list[int]:
    """Ids of a text.

    Raises:
        InputError: It cannot be written.
    """
    ids = text.encode(words)
    if UNKNOWN_ID in ids:
        raise InputError(
            f"{what} '{words[:40]}' holds characters that were not in the texts learnt from", fix="Leave them out"
        )
    return ids
