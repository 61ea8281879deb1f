"""Generated speech: truth, splits and sounds; with espeak-ng itself where it is installed."""

from __future__ import annotations

import csv
import hashlib
import shutil

import numpy as np
import pytest
import soundfile

from omnifuse.data import spoken_worlds
from omnifuse.data.normalisers import normaliser
from omnifuse.data.spoken_worlds import (
    ACCENTS,
    RARE_NAMES,
    RATE_HZ,
    SAME_SOUND,
    TEST_SPEAKERS,
    TRAIN_SPEAKERS,
    Speaking,
    draw_sentence,
    generate_speech,
    in_room,
    noise_of,
    say_by_espeak,
    with_noise,
)
from omnifuse.errors import InputError, MissingDependencyError
from omnifuse.readout.vad import VoiceActivity

TWINS = {name: pair for pair in SAME_SOUND for name in pair}
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def tones(speaking, text):
    """Stands for a voice: one tone a letter."""
    time = np.arange(400) / 8000
    return np.concatenate([0.3 * np.sin(2 * np.pi * 40 * ord(letter) / 4 * time) for letter in text]), 8000


def read(path):
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generate_speech(tmp_path / name, num_train=3, num_test=2, seed=seed, say=tones)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_voices_and_sentences_of_the_test_are_new(tmp_path):
    train, test = generate_speech(tmp_path, num_train=30, num_test=30, say=tones)
    texts = [{row["transcript"] for row in read(path)} for path in (train, test)]
    assert not texts[0] & texts[1]
    voices = [{row["voice"].split("+")[1] for row in read(tmp_path / f"truth_{path.name}")} for path in (train, test)]
    assert voices[0] <= set(TRAIN_SPEAKERS)
    assert voices[1] <= set(TEST_SPEAKERS)
    assert not set(TRAIN_SPEAKERS) & set(TEST_SPEAKERS)
    words = [{word for text in part for word in text.split()} for part in texts]
    assert not words[0] & set(RARE_NAMES)
    assert words[1] & set(RARE_NAMES)
    assert (tmp_path / "phrases.txt").read_text().split() == list(RARE_NAMES)
    for row in read(test):
        sound, rate = soundfile.read(tmp_path / row["sound"])
        assert rate == RATE_HZ
        assert 0.05 < np.abs(sound).max() <= 0.81
        assert len(sound) / rate > 0.05 * len(row["transcript"])


def test_only_the_context_tells_names_that_sound_the_same():
    draw = np.random.default_rng(0)
    spelt, told = [], 0
    for _ in range(600):
        sentence = draw_sentence(draw, rare=True)
        assert normaliser("basic")(sentence.transcript) == sentence.transcript
        listed = sentence.context.removeprefix("people: ").split(", ")
        assert len(set(listed)) == 4
        for word, heard in zip(sentence.transcript.split(), sentence.spoken.split(), strict=True):
            if word in TWINS:
                assert heard == TWINS[word][0]
                assert word in sentence.confusable
                assert word in listed
                assert len(set(TWINS[word]) & set(listed)) == 1
                spelt.append(word == heard)
            else:
                assert word == heard
            told += word in RARE_NAMES
            assert (word in RARE_NAMES) == (word in sentence.rare)
    # Both spellings are equally likely, so the sound tells nothing
    assert np.mean(spelt) == pytest.approx(0.5, abs=0.06)
    assert told > 50


def test_noise_and_rooms_are_as_loud_as_they_say():
    draw = np.random.default_rng(0)
    sound = np.sin(np.arange(RATE_HZ) / 5)
    for kind in ("white", "pink", "hum"):
        assert np.mean(noise_of(kind, 5000, draw) ** 2) == pytest.approx(1)
        rest = with_noise(sound, kind, 10.0, draw) - sound
        assert np.mean(rest**2) == pytest.approx(np.mean(sound**2) / 10, rel=1e-6)
    assert (with_noise(sound, "none", 10.0, draw) == sound).all()
    spectrum = np.abs(np.fft.rfft(noise_of("pink", RATE_HZ, draw))) ** 2
    assert spectrum[100:200].mean() / spectrum[1000:2000].mean() == pytest.approx(10, rel=0.3)
    click = np.zeros(RATE_HZ)
    click[0] = 1
    answer = in_room(click, 0.4, draw)
    echoes = answer[80:]
    assert answer[0] == pytest.approx(1)
    assert np.sum(echoes**2) == pytest.approx(0.25, rel=1e-3)
    # 60 dB in 0.4 s are 30 dB in 0.2 s
    early, late = (np.mean(answer[at : at + 400] ** 2) for at in (400, 3600))
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)
    assert (in_room(click, 0.0, draw) == click).all()
    assert len(in_room(np.zeros(0), 0.4, draw)) == len(with_noise(np.zeros(0), "pink", 3, draw)) == 0


def test_without_espeak_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_worlds.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="apt-get install espeak-ng"):
        generate_speech(tmp_path, num_train=1, num_test=1)
    assert not (tmp_path / "train.csv").exists()


@needs_espeak
def test_espeak_speaks(tmp_path):
    slow, fast = (
        say_by_espeak(Speaking("en-us+f2", speed, 50), "send the red box to the station") for speed in (130, 190)
    )
    assert slow[1] == 22_050
    assert len(slow[0]) > 1.2 * len(fast[0])
    assert (say_by_espeak(Speaking("en-us+f2", 130, 50), "send the red box to the station")[0] == slow[0]).all()
    generate_speech(tmp_path, num_train=4, num_test=2)
    for path in (tmp_path / "sounds").iterdir():
        sound, rate = soundfile.read(path)
        spans = VoiceActivity()(sound, rate)
        assert 0.4 < sum(span.end_s - span.start_s for span in spans) / (len(sound) / rate) <= 1
    with pytest.raises(InputError, match="cannot speak as"):
        say_by_espeak(Speaking("xx", 150, 50), "hello")


@needs_espeak
def test_all_voices_are_there_and_differ():
    spoken = {
        name: say_by_espeak(Speaking(f"en-us+{name}", 160, 50), "hello")[0].tobytes()
        for name in (*TRAIN_SPEAKERS, *TEST_SPEAKERS)
    }
    assert len(set(spoken.values())) == len(spoken)
    accents = {
        say_by_espeak(Speaking(f"{name}+m1", 160, 50), "ask peter about the bottle")[0].tobytes() for name in ACCENTS
    }
    assert len(accents) == len(ACCENTS)
