"""Texts of packed rows by networks: encoded once, searched in batches. Shapes: B rows, F tokens of a sound, V ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from omnifuse.data.bpe import END_ID, START_ID, TargetTokenizer
from omnifuse.data.pack import Pack
from omnifuse.model import MultimodalModel
from omnifuse.readout.writing import BEAM, SAMPLE, Constraint, Draft, Writing
from omnifuse.tasks import TranscriptionTask
from omnifuse.tasks.beam_search import beam_search
from omnifuse.tasks.following import Following
from omnifuse.tasks.sampling import sample_texts
from omnifuse.tasks.scorer import MeanScorer
from omnifuse.training.batches import make_batch
from omnifuse.training.memory import RowsAtOnce

# Texts in the making at once
TEXTS_AT_ONCE = 256


def writing_task(member: MultimodalModel, target: str) -> torch.nn.Module:
    """The task of a target."""
    return dict(zip(member.targets, member.tasks, strict=True))[target]


@torch.inference_mode()
def write_texts(
    members: Sequence[MultimodalModel],
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    target: str,
    writing: Writing,
    *,
    constraint: Constraint | None = None,
) -> list[list[Draft]]:
    """Texts of rows, by the mean of the members' probabilities at each id.

    Args:
        members: Networks of one architecture, in eval mode.
        packs: Input to decoded arrays; inputs that the networks do not read are ignored.
        rows: Rows to write for.
        target: What is written.
        writing: How.
        constraint: Which ids may follow which.

    Returns:
        For each row its texts, best first.
    """
    used = {name: packs[name] for name in members[0].fields}
    tasks = [writing_task(member, target) for member in members]
    vocabulary: TargetTokenizer = tasks[0].text  # type: ignore[assignment]
    device = next(members[0].parameters()).device
    following = Following(vocabulary.vocab_size, stop=writing.stop, constraint=constraint, device=device)
    max_length = writing.max_length or vocabulary.max_length + 1
    texts_of_row = writing.beams if writing.method == BEAM else writing.num

    def run(at_once: int) -> list[list[Draft]]:
        found: list[list[Draft]] = []
        for start in range(0, len(rows), at_once):
            asked = rows[start : start + at_once]
            batch = make_batch(used, asked).to(device)
            scorers = []
            for member, task in zip(members, tasks, strict=True):
                output = member.read(member.encode(batch), num_rows=batch.size)
                # What is drawn is drawn by the decoder's own probabilities
                ctc = 0.0 if writing.method == SAMPLE else writing.ctc
                scorers.append(task.scorer(output.fused, output.fields, ctc=ctc))  # type: ignore[operator]
            scorer = MeanScorer(scorers)
            if writing.method == BEAM:
                found += beam_search(scorer, batch.size, following, writing, max_length=max_length)
            else:
                numbers = [int(row) for row in asked]
                found += sample_texts(scorer, numbers, following, writing, max_length=max_length)
        return found

    return RowsAtOnce(max(1, TEXTS_AT_ONCE // texts_of_row)).run(len(rows), run)


@torch.inference_mode()
def score_texts(
    members: Sequence[MultimodalModel],
    packs: Mapping[str, Pack],
    rows: np.ndarray,
    target: str,
    texts: Sequence[Sequence[Sequence[int]]],
) -> list[np.ndarray]:
    """How likely the decoders hold texts that something else found, each text read at once.

    Args:
        members: Networks of one architecture, in eval mode.
        packs: Input to decoded arrays.
        rows: (B,) rows.
        target: What is written.
        texts: Of each row, the ids of its texts without the end.

    Returns:
        For each row the log-probabilities of its texts, the end included, by the mean of the members' probabilities at
        each id.

    References: Zhang et al. 2020 (U2): a second pass of attention over what CTC found.
    """
    used = {name: packs[name] for name in members[0].fields}
    device = next(members[0].parameters()).device
    owners = torch.tensor([place for place, found in enumerate(texts) for _ in found], dtype=torch.long, device=device)
    if not len(owners):
        return [np.zeros(0, np.float32) for _ in rows]
    listed = [[*ids, END_ID] for found in texts for ids in found]
    ids = torch.full((len(listed), max(map(len, listed))), -1, dtype=torch.long)
    for number, one in enumerate(listed):
        ids[number, : len(one)] = torch.tensor(one)
    ids = ids.to(device)
    given = torch.cat([torch.full_like(ids[:, :1], START_ID), ids[:, :-1]], dim=1).clamp(min=0)
    batch = make_batch(used, rows).to(device)
    logs = []
    for member in members:
        output = member.read(member.encode(batch), num_rows=batch.size)
        scorer = writing_task(member, target).scorer(output.fused, output.fields, ctc=0.0)  # type: ignore[operator]
        logits, _ = scorer.decoder.read(given, scorer.state.take(owners))
        logs.append(logits.float().log_softmax(dim=2).gather(2, ids.clamp(min=0).unsqueeze(2)).squeeze(2))
    mean = torch.stack(logs).logsumexp(dim=0) - float(np.log(len(logs)))
    totals = torch.where(ids >= 0, mean, 0.0).sum(dim=1).cpu().numpy()
    places = owners.cpu().numpy()
    return [totals[places == place] for place in range(len(texts))]


@torch.inference_mode()
def ctc_frames(
    members: Sequence[MultimodalModel], packs: Mapping[str, Pack], rows: np.ndarray, target: str
) -> list[np.ndarray]:
    """CTC's log-probabilities of each row's sound, for a search without torch: by the mean of the members.

    Args:
        members: Networks of one architecture, in eval mode.
        packs: Input to decoded arrays.
        rows: Rows.
        target: A transcription.

    Returns:
        For each row float32 (F, V), F = 0 where it has no sound; id 0 is the blank.
    """
    used = {name: packs[name] for name in members[0].fields}
    device = next(members[0].parameters()).device
    batch = make_batch(used, rows).to(device)
    logs, lengths = [], torch.zeros(batch.size, dtype=torch.long)
    num_ids = 0
    for member in members:
        task = writing_task(member, target)
        assert isinstance(task, TranscriptionTask), f"{target} is no transcription"
        num_ids = int(task.text.vocab_size)
        found = task.log_probabilities(member.encode(batch))
        if found is not None:
            logs.append(found[0])
            lengths = found[1].cpu()
    if not logs:
        return [np.zeros((0, num_ids), np.float32) for _ in rows]
    mean = torch.stack(logs).logsumexp(dim=0) - float(np.log(len(logs)))
    return [part[: int(count)].cpu().numpy() for part, count in zip(mean, lengths, strict=True)]
