"""Simple models learn what is there, from training rows alone, within their time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tests.column_table import ColumnTable

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.pack import Pack
from omnifuse.evaluation import BaselineData, score, simple_baselines
from omnifuse.evaluation.features import (
    cosine_basis,
    date_features,
    picture_features,
    sound_features,
    table_features,
    video_features,
)
from omnifuse.evaluation.learners import TREES, VECTOR_MACHINE, learn_and_answer
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

CLASSIFICATION, TAGGING, REGRESSION = TaskKind.CLASSIFICATION, TaskKind.TAGGING, TaskKind.REGRESSION
WORDS = ("red", "green", "blue")
NUM_MELS = 12
FIELDS = (
    Field("note", Modality.TEXT),
    Field("photo", Modality.IMAGE),
    Field("sound", Modality.AUDIO),
    Field("weight", Modality.NUMBER),
    Field("shop", Modality.CATEGORY),
    Field("day", Modality.DATE),
)
NAMES = {
    "note: tf-idf + linear",
    "photo: pixels + linear",
    "sound: mfcc + svm",
    "table: linear",
    "table: trees",
    "day: linear",
    "day: trees",
    "all fields: trees",
}


def pack_of(parts):
    """A pack of rows' arrays, None = absent."""
    found = [part for part in parts if part is not None]
    lengths = [0 if part is None else len(next(iter(part.values()))) for part in parts]
    arrays = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return Pack(arrays, np.concatenate([[0], np.cumsum(lengths)]), np.array([part is not None for part in parts]))


def data_of(kind=CLASSIFICATION, rows=90, seed=0, *, informative=True, absent=0.1):
    """Three classes that every field tells apart, with holes in each field."""
    random = np.random.default_rng(seed)
    code = np.arange(rows) % 3
    told = code if informative else random.integers(0, 3, rows)

    def holes(parts):
        return [None if random.random() < absent else part for part in parts]

    texts = holes([f"a {WORDS[c]} thing {random.integers(100)}" for c in told])
    photos = holes([{"pixels": random.integers(0, 60, (1, 16, 16, 3)) + np.array([70 * c, 20, 0])} for c in told])
    photos = [None if part is None else {"pixels": part["pixels"].astype(np.uint8)} for part in photos]
    tone = np.eye(NUM_MELS)[told * 4]
    sounds = [random.normal(size=(random.integers(3, 9), NUM_MELS + 7)) for _ in range(rows)]
    for sound, bands in zip(sounds, tone, strict=True):
        sound[:, :NUM_MELS] += 3 * bands
    cells = [
        {
            "numbers": np.array([[c + 0.2 * random.normal()]], np.float32),
            "categories": np.array([[2 + c]], np.int32),
            "missing": np.zeros((1, 2), bool),
        }
        for c in told
    ]
    days = [{"seconds": np.array([86_400 * (7 * random.integers(500) + c)])} for c in told]
    packs = {
        "note": pack_of([None if text is None else {"ids": np.zeros(3, np.int32)} for text in texts]),
        "photo": pack_of(photos),
        "sound": pack_of(holes([{"log_mel": sound.astype(np.float32)} for sound in sounds])),
        "table": pack_of(holes(cells)),
        "day": pack_of(holes(days)),
    }
    truth = {CLASSIFICATION: code, TAGGING: np.eye(3, dtype=np.float32)[code], REGRESSION: 100.0 + 5 * code}[kind]
    target = Target("colour", kind, () if kind is REGRESSION else WORDS)
    sound = AudioPreprocessor(num_mels=NUM_MELS)
    return BaselineData(ColumnTable(note=texts), Schema(FIELDS, (target,)), {"sound": sound}, packs, target, truth)


def folds_of(rows, num_folds=3):
    fold = np.random.default_rng(1).permutation(rows) % num_folds
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(num_folds)]


@pytest.mark.parametrize("kind", [CLASSIFICATION, TAGGING, REGRESSION])
def test_every_field_is_learnt(kind):
    data = data_of(kind)
    rows = np.arange(90)
    found = simple_baselines(data, folds_of(90), rows, seed=0, seconds=600)
    assert set(found.scores) == {"majority", *NAMES}
    assert found.notes == ()
    metric = {CLASSIFICATION: "roc_auc", TAGGING: "roc_auc", REGRESSION: "r2"}[kind]
    values = {name: score(kind, data.truth, scores, data.target.classes) for name, scores in found.scores.items()}
    for name in NAMES:
        assert values[name][metric] > (0.5 if kind is REGRESSION else 0.85), name
    shape = (90,) if kind is REGRESSION else (90, 3)
    assert all(scores.shape == shape for scores in found.scores.values())
    if kind is CLASSIFICATION:
        assert all(np.allclose(scores.sum(axis=1), 1) for scores in found.scores.values())


def test_nothing_is_learnt_from_noise():
    data = data_of(rows=150, informative=False)
    found = simple_baselines(data, folds_of(150), np.arange(150), seed=0, seconds=600)
    assert set(found.scores) == {"majority", *NAMES}
    for name, scores in found.scores.items():
        assert score(CLASSIFICATION, data.truth, scores, WORDS)["accuracy"] < 0.5, name


def test_labels_of_asked_rows_are_never_read():
    data = data_of()
    train, asked = np.arange(60), np.arange(60, 90)
    first = simple_baselines(data, [(train, asked)], asked, seed=0, seconds=600)
    data.truth[60:] = 0
    second = simple_baselines(data, [(train, asked)], asked, seed=0, seconds=600)
    assert first.scores.keys() == second.scores.keys()
    for name, scores in first.scores.items():
        np.testing.assert_array_equal(scores, second.scores[name], err_msg=name)


def test_scores_follow_the_order_of_rows():
    data = data_of()
    rows = np.arange(90)
    straight = simple_baselines(data, folds_of(90), rows, seed=0, seconds=600).scores["table: linear"]
    turned = simple_baselines(data, folds_of(90), rows[::-1], seed=0, seconds=600).scores["table: linear"]
    np.testing.assert_array_equal(straight, turned[::-1])
    few = simple_baselines(data, folds_of(90), rows[10:20], seed=0, seconds=600).scores["table: linear"]
    np.testing.assert_allclose(few, straight[10:20])


def test_rows_without_the_field_get_the_prior():
    data = data_of()
    train, asked = np.arange(60), np.arange(60, 90)
    found = simple_baselines(data, [(train, asked)], asked, seed=0, seconds=600)
    absent = ~data.packs["table"].present[asked]
    assert absent.any()
    np.testing.assert_allclose(found.scores["table: trees"][absent], 1 / 3)
    np.testing.assert_allclose(found.scores["majority"], 1 / 3)


def test_no_time_gives_majority_and_a_note_each():
    data = data_of()
    found = simple_baselines(data, folds_of(90), np.arange(90), seed=0, seconds=0.0)
    assert set(found.scores) == {"majority"}
    assert len(found.notes) == len(NAMES)
    assert "'table: linear' was left out: it does not fit into the time limit." in found.notes[0]


def test_a_field_that_is_never_there_is_left_out():
    data = data_of()
    pack = data.packs["photo"]
    none = Pack({"pixels": pack.arrays["pixels"][:0]}, np.zeros_like(pack.offsets), np.zeros_like(pack.present))
    data.packs["photo"] = none
    found = simple_baselines(data, folds_of(90), np.arange(90), seed=0, seconds=600)
    assert set(found.scores) == {"majority", *NAMES} - {"photo: pixels + linear"}
    assert "fewer than 5 rows have a label and this field" in found.notes[0]


@pytest.mark.parametrize("hard", ["one class", "unknown labels", "constant fields", "empty texts"])
def test_hard_tables_give_finite_answers(hard):
    data = data_of()
    if hard == "one class":
        data.truth[:] = 1
    elif hard == "unknown labels":
        data.truth[::2] = -1
    elif hard == "empty texts":
        notes = data.table.data["note"]
        notes[:] = [None if text is None else "?!" for text in notes]
    else:
        for pack in data.packs.values():
            for array in pack.arrays.values():
                array[:] = 0
    found = simple_baselines(data, folds_of(90), np.arange(90), seed=0, seconds=600)
    assert set(found.scores) == {"majority", *NAMES}
    for name, scores in found.scores.items():
        assert np.isfinite(scores).all(), name


def test_unasked_rows_are_loud():
    with pytest.raises(AssertionError, match="asked in no split"):
        simple_baselines(data_of(), [(np.arange(60), np.arange(60, 80))], np.arange(60, 90), seed=0)


def test_classes_unseen_in_training_have_little_probability():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60) * 2
    train = random.normal(size=(60, 3)) + labels[:, None]
    for learner in (TREES, VECTOR_MACHINE):
        scores = learn_and_answer(learner, CLASSIFICATION, train, labels, train, num_classes=3, seed=0)
        assert (scores.argmax(axis=1) == labels).mean() > 0.9
        assert scores[:, 1].max() < 0.1


def test_cosine_basis_is_orthonormal():
    basis = cosine_basis(12, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-6)


def test_sound_features_by_hand():
    first = np.array([[1.0, 3.0], [3.0, 5.0]], np.float32)
    pack = pack_of([{"log_mel": first}, None, {"log_mel": first[:1]}])
    found = sound_features(pack, 1)
    # Means of the cepstrum (one band: itself), of prosody and of their changes, then deviations
    np.testing.assert_allclose(found[0], [2, 4, 1, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found[2], [1, 3, 0, 0, 0, 0, 0, 0], atol=1e-6)
    assert np.isnan(found[1]).all()


def test_video_features_tell_a_clip_from_the_same_played_backwards():
    frames = np.stack([np.full((20, 20, 3), level, np.uint8) for level in (0, 50, 100, 250)])
    found = video_features(pack_of([{"pixels": frames}, {"pixels": frames[::-1]}, None, {"pixels": frames[:1]}]))
    assert np.isnan(found[2]).all()
    means, changes = np.split(found, 2, axis=1)
    np.testing.assert_allclose(means[0], means[1], atol=1e-6)
    np.testing.assert_allclose(means[0, :256], 100 / 255, atol=1e-5)
    np.testing.assert_allclose(changes[0], -changes[1], atol=1e-6)
    np.testing.assert_allclose(changes[0, :256], 150 / 255, atol=1e-5)
    assert (changes[3] == 0).all()


def test_picture_features_by_hand():
    picture = np.zeros((1, 32, 48, 3), np.uint8)
    picture[:, :, 24:] = 255
    found = picture_features(pack_of([{"pixels": picture}, None]))
    assert found.shape == (2, 16 * 16 + 64)
    np.testing.assert_allclose(
        found[0, :256].reshape(16, 16), np.repeat([[0.0, 1.0]], 8, axis=1).repeat(16, 0), atol=1e-6
    )
    assert found[0, 256] == found[0, -1] == 0.5
    small = picture_features(pack_of([{"pixels": picture[:, :1, :5]}]))
    assert np.isfinite(small).all()


def test_date_and_table_features_by_hand():
    # 2024-01-01 was a Monday
    dates = date_features(pack_of([{"seconds": np.array([1_704_067_200])}, None]))
    assert dates[0, 0] == pytest.approx(54.0, abs=0.01)
    assert dates[0, 1] == 0.0
    assert np.isnan(dates[1]).all()
    cell = {
        "numbers": np.array([[1.5, 0.0]], np.float32),
        "categories": np.array([[7]], np.int32),
        "missing": np.array([[False, True, False]]),
    }
    numbers, categories = table_features(pack_of([None, cell]))
    np.testing.assert_array_equal(numbers, [[np.nan, np.nan], [1.5, np.nan]])
    assert categories.tolist() == [[1], [7]]


def test_texts_in_chinese_are_learnt():
    texts = ["\u8fd9\u4e2a\u5f88\u597d" if row % 2 else "\u8fd9\u4e2a\u5f88\u574f" for row in range(60)]
    field = Field("note", Modality.TEXT)
    target = Target("y", CLASSIFICATION, ("a", "b"))
    pack = SimpleNamespace(present=np.ones(60, bool))
    data = BaselineData(
        ColumnTable(note=texts), Schema((field,), (target,)), {}, {"note": pack}, target, np.arange(60) % 2
    )
    found = simple_baselines(data, folds_of(60), np.arange(60), seed=0)
    assert set(found.scores) == {"majority", "note: tf-idf + linear"}
    assert score(CLASSIFICATION, data.truth, found.scores["note: tf-idf + linear"], ("a", "b"))["accuracy"] == 1.0
