"""A generated world with known truth: sentences of a grammar, spoken by espeak-ng in many voices, rooms and noises.

Some names sound the same and are written in two ways ("karl" and "carl"); only the context beside the sound tells which
one is meant. Others never occur in training and stand in a list of phrases to listen for. Test voices and test
sentences are none of those in training. One seed gives the same bytes with the same version of espeak-ng.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnifuse.errors import InputError, MissingDependencyError

RATE_HZ = 16_000
COLUMNS = ("id", "sound", "context", "transcript")
TRUTH_COLUMNS = ("id", "voice", "words_per_minute", "pitch", "noise", "snr_db", "room_s", "confusable", "rare")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
TRAIN_SPEAKERS = ("m1", "m2", "m3", "m5", "m8", "f1", "f2", "f4", "steph2", "michael", "linda", "john")
TEST_SPEAKERS = ("m4", "m7", "f3", "f5", "belinda", "edward2")

# Both of a pair are spoken as the first is
SAME_SOUND = (
    ("karl", "carl"), ("erik", "eric"), ("anne", "ann"), ("sarah", "sara"), ("mark", "marc"), ("john", "jon"),
    ("kathy", "cathy"), ("bryan", "brian"), ("allan", "alan"), ("phillip", "philip"),
)  # fmt: skip
PLAIN_NAMES = ("peter", "lucy", "robert", "emma", "david", "julia")
RARE_NAMES = ("torvald", "beatrix", "quentin", "zelda", "ingrid", "osgood", "ravenna", "horatio")
_COLOURS = ("red", "green", "blue", "yellow", "black", "white")
_THINGS = ("box", "letter", "key", "ticket", "lamp", "table", "bottle", "camera")
_PLACES = ("kitchen", "garden", "office", "station", "library", "cellar")
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "thirteen", "thirty", "fifteen", "fifty")
_TIMES = ("today", "tomorrow", "on monday", "on friday", "at noon", "in the evening")
_SENTENCES = (
    "send {name} the {colour} {thing}",
    "meet {name} in the {place} {time}",
    "{name} needs {number} keys {time}",
    "the {colour} {thing} in the {place} is for {name}",
    "ask {name} about the {thing}",
    "please tell {name} to bring {number} boxes to the {place}",
    "{name} and {other} are in the {place}",
    "the {thing} costs {number} pounds {time}",
)
NOISES = ("none", "white", "pink", "hum")

# A voice and what it says to samples and rate
Say = Callable[["Speaking", str], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Sentence:
    """What is said.

    Attributes:
        transcript: As it is written.
        spoken: As it is handed to the voice: of names that sound the same, the first.
        context: What is known beforehand: names that may occur, the right ones among them.
        confusable: The words of `transcript` that only the context tells.
        rare: Those that never occur in training.
    """

    transcript: str
    spoken: str
    context: str
    confusable: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speaking:
    """Who speaks, and how.

    Attributes:
        voice: Of espeak-ng, with its variant, which is the speaker.
        words_per_minute: Speed.
        pitch: 0 to 99.
    """

    voice: str
    words_per_minute: int
    pitch: int


def draw_sentence(draw: np.random.Generator, *, rare: bool) -> Sentence:
    """A random sentence.

    Args:
        draw: Randomness.
        rare: Whether its names may be of those that never occur in training.
    """
    pattern = str(draw.choice(_SENTENCES))
    names = _names(draw, rare)
    fill = {
        "colour": str(draw.choice(_COLOURS)),
        "thing": str(draw.choice(_THINGS)),
        "place": str(draw.choice(_PLACES)),
        "number": str(draw.choice(_NUMBERS)),
        "time": str(draw.choice(_TIMES)),
    }
    (written, heard), (other, other_heard) = names[0], names[1]
    used = [name for name, slot in ((written, "{name}"), (other, "{other}")) if slot in pattern]
    twins = {name for pair in SAME_SOUND for name in pair}
    return Sentence(
        pattern.format(name=written, other=other, **fill),
        pattern.format(name=heard, other=other_heard, **fill),
        _context(used, draw),
        tuple(name for name in used if name in twins),
        tuple(name for name in used if name in RARE_NAMES),
    )


def _names(draw: np.random.Generator, rare: bool) -> list[tuple[str, str]]:
    """Two names that sound unlike, each as it is written and as it is spoken."""
    known = [*SAME_SOUND, *SAME_SOUND, *((name, name) for name in PLAIN_NAMES)]
    if rare:
        known += [(name, name) for name in RARE_NAMES]
    found: list[tuple[str, str]] = []
    while len(found) < 2:
        pair = known[int(draw.integers(len(known)))]
        if all(pair[0] != heard for _, heard in found):
            found.append((pair[int(draw.integers(2))], pair[0]))
    return found


def _context(used: list[str], draw: np.random.Generator) -> str:
    """The names of the sentence among others, never both of a pair that sounds the same."""
    listed = list(used)
    others = [pair[int(draw.integers(2))] for pair in SAME_SOUND if not set(pair) & set(used)]
    others += [name for name in PLAIN_NAMES if name not in used]
    listed += [others[number] for number in draw.permutation(len(others))[: 4 - len(used)]]
    return "people: " + ", ".join(listed[number] for number in draw.permutation(len(listed)))


def find_espeak() -> str:
    """The path of espeak-ng.

    Raises:
        MissingDependencyError: It is not installed.
    """
    path = shutil.which("espeak-ng")
    if path is None:
        raise MissingDependencyError("espeak-ng is not installed", fix="Type: apt-get install espeak-ng")
    return path


def say_by_espeak(speaking: Speaking, text: str) -> tuple[np.ndarray, int]:
    """Speech as float32 (S,) and its rate.

    Raises:
        MissingDependencyError: espeak-ng is not installed.
        InputError: It cannot say this, for example since it lacks the voice.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = ["-v", speaking.voice, "-s", str(speaking.words_per_minute), "-p", str(speaking.pitch)]
        done = subprocess.run(
            [find_espeak(), *options, "-w", str(path), "--", text],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode or not path.is_file():
            said = done.stderr.decode("utf-8", "replace").strip()[:200]
            raise InputError(f"espeak-ng cannot speak as '{speaking.voice}': {said or 'no sound came'}")
        with wave.open(str(path), "rb") as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768
            return samples, sound.getframerate()


def in_room(samples: np.ndarray, room_s: float, draw: np.random.Generator) -> np.ndarray:
    """The sound in a room whose echoes fall by 60 dB in `room_s` seconds, float64 of the same length; 0 = no room."""
    if room_s <= 0 or not len(samples):
        return np.asarray(samples, np.float64)
    count = max(2, round(room_s * RATE_HZ))
    time = np.arange(count) / RATE_HZ
    answer = draw.normal(0, 1, count) * 10.0 ** (-3.0 * time / room_s)
    # The first echo comes after 5 ms, and all together are 6 dB below the direct sound
    answer[: round(0.005 * RATE_HZ)] = 0.0
    answer *= 0.5 / max(1e-9, np.sqrt((answer**2).sum()))
    answer[0] = 1.0
    length = 1 << (len(samples) + count - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(answer, length), length)[: len(samples)]


def noise_of(kind: str, count: int, draw: np.random.Generator) -> np.ndarray:
    """Noise of mean power 1, float64 (count,): "white", "pink", "hum" (mains and its harmonics) or "none"."""
    if kind == "none" or not count:
        return np.zeros(count)
    if kind == "hum":
        time = np.arange(count) / RATE_HZ
        base = draw.uniform(48, 62)
        sound = sum(np.sin(2 * np.pi * base * k * time + draw.uniform(0, 6.28)) / k for k in range(1, 12))
    else:
        sound = draw.normal(0, 1, count)
        if kind == "pink":
            spectrum = np.fft.rfft(sound)
            sound = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    return np.asarray(sound / np.sqrt(max(1e-12, float(np.mean(np.square(sound))))))


def with_noise(samples: np.ndarray, kind: str, snr_db: float, draw: np.random.Generator) -> np.ndarray:
    """The sound with noise so many decibels below it."""
    power = float(np.mean(np.square(samples))) if len(samples) else 0.0
    return np.asarray(samples + noise_of(kind, len(samples), draw) * np.sqrt(power) * 10.0 ** (-snr_db / 20))


def generate_speech(
    folder: str | Path, *, num_train: int = 600, num_test: int = 200, seed: int = 0, say: Say | None = None
) -> tuple[Path, Path]:
    """Write the generated world as two tables with their sounds, and its truth.

    Args:
        folder: Made where absent; gets train.csv and test.csv (id, sound, context, transcript), sounds/, phrases.txt
            (the rare names, one a line), and truth_train.csv, truth_test.csv (voice, noise, room, the words that only
            the context tells, and the rare ones).
        num_train: Rows of train.csv.
        num_test: Rows of test.csv, with other voices and sentences.
        seed: One seed gives the same bytes.
        say: What speaks; espeak-ng where not given.

    Returns:
        The paths of train.csv and test.csv.

    Raises:
        MissingDependencyError: espeak-ng is not installed.
    """
    if say is None:
        find_espeak()
    out = Path(folder)
    (out / "sounds").mkdir(parents=True, exist_ok=True)
    (out / "phrases.txt").write_text("\n".join(RARE_NAMES) + "\n", encoding="utf-8")
    known: set[str] = set()
    for offset, (name, num_rows) in enumerate((("train", num_train), ("test", num_test))):
        draw = np.random.default_rng([seed, offset])
        sentences = _sentences(num_rows, draw, known, rare=name == "test")
        known |= {sentence.transcript for sentence in sentences}
        speakers = TRAIN_SPEAKERS if name == "train" else TEST_SPEAKERS
        _write_rows(out, name, sentences, speakers, draw, say or say_by_espeak)
    return out / "train.csv", out / "test.csv"


def _sentences(num: int, draw: np.random.Generator, known: set[str], *, rare: bool) -> list[Sentence]:
    found: list[Sentence] = []
    while len(found) < num:
        sentence = draw_sentence(draw, rare=rare)
        if sentence.transcript not in known:
            found.append(sentence)
    return found


def _write_rows(
    out: Path, name: str, sentences: list[Sentence], speakers: tuple[str, ...], draw: np.random.Generator, say: Say
) -> None:
    import soundfile
    import soxr

    with (
        (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as rows_file,
        (out / f"truth_{name}.csv").open("w", newline="", encoding="utf-8") as truth_file,
    ):
        table = csv.DictWriter(rows_file, COLUMNS, lineterminator="\n")
        truth = csv.DictWriter(truth_file, TRUTH_COLUMNS, lineterminator="\n")
        table.writeheader()
        truth.writeheader()
        for number, sentence in enumerate(sentences):
            row_id = f"{name}-{number:05d}"
            voice = f"{draw.choice(ACCENTS)}+{draw.choice(speakers)}"
            speaking = Speaking(voice, int(draw.integers(130, 200)), int(draw.integers(25, 75)))
            kind, snr_db = str(draw.choice(NOISES)), float(np.round(draw.uniform(8, 30), 1))
            room_s = float(np.round(draw.uniform(0.15, 0.6), 2)) if draw.random() < 0.5 else 0.0
            samples, rate_hz = say(speaking, sentence.spoken)
            sound = soxr.resample(samples.astype(np.float32), rate_hz, RATE_HZ)
            pause = np.zeros(round(float(draw.uniform(0.1, 0.4)) * RATE_HZ), np.float32)
            sound = in_room(np.concatenate([pause, sound, pause]), room_s, draw)
            sound = with_noise(sound, kind, snr_db, draw)
            sound *= draw.uniform(0.1, 0.8) / max(1e-9, float(np.abs(sound).max()))
            path = f"sounds/{row_id}.wav"
            soundfile.write(out / path, sound, RATE_HZ, subtype="PCM_16")
            table.writerow(dict(zip(COLUMNS, (row_id, path, sentence.context, sentence.transcript), strict=True)))
            told = (row_id, voice, speaking.words_per_minute, speaking.pitch, kind, snr_db, room_s,
                    "|".join(sentence.confusable), "|".join(sentence.rare))  # fmt: skip
            truth.writerow(dict(zip(TRUTH_COLUMNS, told, strict=True)))
