"""A sound that comes in parts of any size gives the same words; each token is read once, with sound behind it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from omnifuse.api import speech_stream
from omnifuse.api.speech_stream import SpeechStream
from omnifuse.data.bpe import BLANK_ID, TargetTokenizer
from omnifuse.errors import InputError
from omnifuse.readout.speech import SpeechOptions, ctc_search
from omnifuse.training import generate

RATE, TOKEN, AHEAD = 1000, 40, 80
TEXT = TargetTokenizer.fit(["a red car", "the blue bus"], units="characters", normaliser="plain")


class Hearing:
    """A sound whose samples are the ids of what is said; the last tokens, with little behind them, are misheard."""

    rate_hz, window_s, frame_s, target, language, notes = RATE, 2.0, TOKEN / RATE, "said", None, ()
    audio, text = SimpleNamespace(hop_s=0.01), TEXT

    def __init__(self, model, *, target, options, speech_only):
        self.options, self.model = SpeechOptions(attention=0.0), SimpleNamespace(members=[])
        self.search, self.longest, self.num_heard = ctc_search(TEXT, None, self.options), 0, 0

    def has_voice(self, samples):
        return bool(np.any(samples > 0))

    def rows(self, sounds, cells, *, confined, root):
        self.longest, self.num_heard = max(self.longest, len(sounds[0])), self.num_heard + 1
        return SimpleNamespace(packs=sounds[0])


def frames(members, samples, rows, target):
    ids = [round(float(samples[at] * 100)) for at in range(0, len(samples), TOKEN)]
    if samples[-1] >= 0:
        # The sound may go on: what is at its end is not to be trusted
        ids[-(AHEAD // TOKEN) :] = [TEXT.encode("z" if "z" in TEXT.pieces else "b")[0]] * (AHEAD // TOKEN)
    logs = np.full((len(ids), TEXT.vocab_size), 1e-4)
    logs[np.arange(len(ids)), np.maximum(ids, 0)] = 1.0
    return [np.log(logs / logs.sum(axis=1, keepdims=True))]


@pytest.fixture
def stream(monkeypatch):
    monkeypatch.setattr(speech_stream, "Listener", Hearing)
    monkeypatch.setattr(generate, "ctc_frames", frames)
    return SpeechStream(SimpleNamespace(), step_s=0.2, ahead_s=AHEAD / RATE + TOKEN / RATE)


def spoken(text, silence=20):
    ids = [one for index in TEXT.encode(text) for one in (index, index, BLANK_ID)]
    ids = [BLANK_ID] * 3 + ids + [BLANK_ID] * silence
    # A negative end says that nothing more comes
    return np.append(np.repeat(np.array(ids, np.float32) / 100, TOKEN), np.float32(-0.01))


@pytest.mark.parametrize("part", [7, 200, 333, 100_000])
def test_parts_of_any_size_give_the_same_words(stream, part):
    text = "a red car the blue bus a car the bus"
    sound = spoken(text)
    found = [stream.push(sound[at : at + part]) for at in range(0, len(sound), part)]
    final = [word for one in found for word in one.final]
    assert final
    found.append(stream.finish())
    final += found[-1].final
    assert [word.text for word in final] == text.split()
    assert [word.start_s for word in final] == sorted(word.start_s for word in final)
    assert found[-1].pending == ()
    assert stream.listener.longest <= 2.5 * RATE
    if part == 200:
        assert any(one.pending for one in found)


def test_silence_is_not_listened_to_and_an_end_in_a_word_keeps_what_was_heard(stream):
    stream.push(np.zeros(5000, np.float32))
    assert stream.listener.num_heard == 0
    sound = spoken("a red car", silence=0)[: -TOKEN * 6]
    final = (*stream.push(sound).final, *stream.finish().final)
    assert [word.text for word in final][:2] == ["a", "red"]
    with pytest.raises(InputError, match="has ended"):
        stream.push(sound)
    with pytest.raises(InputError, match="floats"):
        stream.push(np.zeros((2, 2)))
