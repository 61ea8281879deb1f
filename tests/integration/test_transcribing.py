"""CTC and attention learn to write down sounds of letters, in orders that were never heard."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from omnifuse.building import build_from_spec
from omnifuse.data.augment import Augmenter
from omnifuse.data.augment_audio import AudioAugment
from omnifuse.data.bpe import BLANK_ID, SPECIAL_PIECES, TargetTokenizer
from omnifuse.data.pack import Pack
from omnifuse.data.target_text import encode_texts
from omnifuse.presets import PRESETS, ModelSpec, written_encoders
from omnifuse.readout.writing import Writing
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind
from omnifuse.training.batches import make_batch
from omnifuse.training.generate import ctc_frames, score_texts, write_texts

BANDS = 16
SCHEMA = Schema((Field("sound", Modality.AUDIO),), (Target("said", TaskKind.TRANSCRIPTION),))
TEXT = TargetTokenizer((*SPECIAL_PIECES, *"abcd"), units="characters", max_length=8)


class Sounds:
    """What the encoder needs of a preprocessor."""

    num_mels = num_columns = BANDS


def heard(text, draw):
    """Frames of a text: each letter is a band of its own for 8 to 14 frames, with silence around."""
    parts = [np.zeros((draw.integers(2, 8), BANDS))]
    for letter in text:
        frames = np.zeros((draw.integers(8, 15), BANDS))
        frames[:, 2 + 3 * "abcd".index(letter)] = 4.0
        parts += [frames, np.zeros((draw.integers(4, 8), BANDS))]
    frames = np.concatenate(parts)
    return (frames + draw.normal(0, 0.3, frames.shape)).astype(np.float32)


def packed(texts, draw):
    sounds = [heard(text, draw) for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in sounds])])
    return {"sound": Pack({"log_mel": np.concatenate(sounds)}, offsets, np.ones(len(sounds), bool))}


@pytest.fixture(scope="module")
def learnt():
    """A network that heard half of all texts of three letters, and how it does on the other half."""
    draw = np.random.default_rng(0)
    texts = ["".join(letters) for letters in itertools.product("abcd", repeat=3)]
    draw.shuffle(texts)
    train, test = texts[:40] * 2, texts[40:]
    packs = packed(train, draw)
    targets = {"said": torch.from_numpy(encode_texts(train, TEXT))}
    spec = replace(
        ModelSpec(
            dim=32, num_heads=2, encoder_depth=1, dropout=0.0, shallow="none", decoder_depth=1, label_smoothing=0.0
        ),
        encoders=written_encoders(SCHEMA),
    )
    torch.manual_seed(0)
    model = build_from_spec(SCHEMA, {"sound": Sounds(), "said": TEXT}, spec)
    model.initialise(make_batch(packs, np.arange(len(train))))
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(150):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 15) * min(1.0, (150 - step) / 75)
        batch = make_batch(packs, draw.permutation(len(train))[:20], targets=targets)
        optimiser.zero_grad()
        model(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval(), test, packed(test, draw)


def share_right(learnt, **options):
    model, texts, packs = learnt
    found = write_texts([model], packs, np.arange(len(texts)), "said", Writing(**options))
    return np.mean([TEXT.decode(drafts[0].ids) == text for text, drafts in zip(texts, found, strict=True)])


def test_orders_that_were_never_heard_are_written_down(learnt):
    assert share_right(learnt) >= 0.9  # by chance 1 in 64
    # CTC alone, by the same search
    assert share_right(learnt, ctc=1.0, length_power=0.0) >= 0.9


def test_frames_for_a_search_without_torch_hold_the_text(learnt):
    model, texts, packs = learnt
    right = 0
    for text, frames in zip(texts, ctc_frames([model], packs, np.arange(len(texts)), "said"), strict=True):
        best = [int(one) for one, _ in itertools.groupby(frames.argmax(axis=1))]
        right += TEXT.decode(one for one in best if one != BLANK_ID) == text
    assert right >= 0.9 * len(texts)


def test_texts_found_elsewhere_are_scored_as_the_search_scores_them(learnt):
    model, _, packs = learnt
    rows = np.array([3, 0, 5])
    drafts = write_texts([model, model], packs, rows, "said", Writing(num=3, ctc=0.0))
    listed = [[draft.ids for draft in found] for found in drafts]
    listed[1] = []
    scored = score_texts([model, model], packs, rows, "said", listed)
    assert [len(part) for part in scored] == [3, 0, 3]
    for part, found in zip(scored, drafts, strict=True):
        wanted = [draft.log_probability for draft in found][: len(part)]
        np.testing.assert_allclose(part, wanted, atol=1e-4)


def test_speech_is_neither_shifted_nor_cut_short():
    policy = Augmenter.default({"sound": Modality.AUDIO}, transcribed="sound").policy["sound"]
    assert isinstance(policy, AudioAugment)
    assert policy.shift == 0
    assert Augmenter.default({"sound": Modality.AUDIO}).policy["sound"].shift > 0
    assert PRESETS["tiny"].input_options(SCHEMA)["sound"]["max_seconds"] == 30
    other = replace(SCHEMA, targets=(Target("kind", TaskKind.CLASSIFICATION, ("a", "b")),))
    assert PRESETS["tiny"].input_options(other)["sound"]["max_seconds"] == 5
    assert written_encoders(other) == {}
