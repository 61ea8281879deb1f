"""Subtitles from words with times: SubRip (SRT) and WebVTT, in lines and lengths that can be read.

References: W3C WebVTT; BBC subtitle guidelines (two lines, 37 to 42 characters a line, cues of 1 to 7 seconds).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from omnifuse.errors import InputError
from omnifuse.readout.words import Word, text_of

# The end of a sentence is a good place to cut, a comma a tolerable one
_SENTENCE, _CLAUSE = (".", "!", "?", "\u3002", "\uff01", "\uff1f"), (",", ";", ":", "\uff0c")


@dataclass(frozen=True)
class Cue:
    """One subtitle: its lines and when they are shown."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class SubtitleLayout:
    """How words are put into cues.

    Args:
        line_chars: Longest line; a longer word has a line of its own.
        num_lines: Most lines of a cue.
        longest_s: Longest cue; a longer word has a cue of its own.
        shortest_s: Shorter cues stay on the screen for so long, where the next one leaves time.
        pause_s: A pause of this length starts a new cue.
    """

    line_chars: int = 42
    num_lines: int = 2
    longest_s: float = 7.0
    shortest_s: float = 1.0
    pause_s: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.line_chars < 1 or self.num_lines < 1 or not 0 <= self.shortest_s <= self.longest_s:
            raise InputError(
                f"subtitles of {self.num_lines} lines of {self.line_chars} characters and {self.shortest_s} to "
                f"{self.longest_s} seconds cannot be made"
            )

    def cues(self, words: Sequence[Word]) -> list[Cue]:
        """The cues of some words.

        Args:
            words: In order of time.

        Returns:
            Cues in order, none overlapping; every word is in one of them.
        """
        groups: list[list[Word]] = []
        for word in words:
            if not groups or self._breaks(groups[-1], word):
                groups.append([])
            groups[-1].append(word)
        cues = []
        for number, group in enumerate(groups):
            start, end = group[0].start_s, max(word.end_s for word in group)
            end = max(end, start + self.shortest_s)
            if number + 1 < len(groups):
                end = min(end, max(groups[number + 1][0].start_s, start))
            cues.append(Cue(start, end, tuple(self._lines(group))))
        return cues

    def _lines(self, words: Sequence[Word]) -> list[str]:
        return textwrap.wrap(text_of(words), self.line_chars, break_long_words=False, break_on_hyphens=False)

    def _breaks(self, words: Sequence[Word], word: Word) -> bool:
        """Whether a word starts a new cue."""
        last = words[-1]
        longer = [*words, word]
        if word.start_s - last.end_s >= self.pause_s or word.end_s - words[0].start_s > self.longest_s:
            return True
        if len(self._lines(longer)) > self.num_lines:
            return True
        filled = len(text_of(words)) / (self.line_chars * self.num_lines)
        return (last.text.endswith(_SENTENCE) and filled > 0.3) or (last.text.endswith(_CLAUSE) and filled > 0.7)


def as_srt(words: Sequence[Word], layout: SubtitleLayout | None = None) -> str:
    """Words as SubRip.

    Args:
        words: In order of time.
        layout: Of the cues; the usual one where not given.

    Example:
        >>> print(as_srt([Word("hello", 0.5, 1.0), Word("there", 1.0, 2.25)]), end="")
        1
        00:00:00,500 --> 00:00:02,250
        hello there
    """
    blocks = []
    for number, cue in enumerate((layout or SubtitleLayout()).cues(words), start=1):
        # An arrow in a text would be read as a time
        lines = "\n".join(line.replace("-->", "->") for line in cue.lines)
        blocks.append(f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{lines}\n")
    return "\n".join(blocks)


def as_vtt(words: Sequence[Word], layout: SubtitleLayout | None = None) -> str:
    """Words as WebVTT.

    Args:
        words: In order of time.
        layout: Of the cues; the usual one where not given.
    """
    blocks = ["WEBVTT\n"]
    for cue in (layout or SubtitleLayout()).cues(words):
        lines = "\n".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in cue.lines)
        blocks.append(f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{lines}\n")
    return "\n".join(blocks)


def _clock(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    milliseconds = max(0, round(seconds * 1000))
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{mark}{rest:03d}"
