"""Texts as a pretrained backbone was taught to read them: its own tokenizer, with its special tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from omnifuse.data.backbone import Backbone
from omnifuse.data.text import clean_text
from omnifuse.errors import ArtefactError, InputError


@dataclass(frozen=True)
class PretrainedText:
    """Text to the ids of a backbone's tokenizer.

    Args:
        backbone: What reads the ids.
        tokenizer_json: Content of its `tokenizer.json`.
        max_length: Longest sequence with its special tokens; what is behind is cut before the last of these.
        pad_to: Every sequence is padded to this length with `pad_id`; 0 for none. (SigLIP was trained so, unmasked.)
        pad_id: The id that pads.
        max_chars: Longest text read, in characters; the rest is cut before any work is done on it.
        lowercase: Whether the tokenizer's configuration asks for lower case beside what `tokenizer.json` does.
    """

    backbone: Backbone
    tokenizer_json: str
    max_length: int
    pad_to: int = 0
    pad_id: int = 0
    max_chars: int = 20_000
    lowercase: bool = False

    kind: ClassVar[str] = "text"
    stored_kind: ClassVar[str] = "pretrained-text"
    # A word that is left out of a text is not what the backbone was taught to read
    augmented: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.max_length < 3 or self.max_chars < 1 or not 0 <= self.pad_to <= self.max_length:
            raise InputError(f"max_length {self.max_length}, pad_to {self.pad_to} or max_chars is out of range")

    def __call__(self, value: Any) -> dict[str, np.ndarray]:
        """Token ids of one text.

        Args:
            value: A text; other values are taken as their `str`, bytes as UTF-8.

        Returns:
            ``ids`` int32 (L,), 1 <= L <= max_length.
        """
        text = clean_text(value, self.max_chars)
        ids = self._tokenizer.encode(text.lower() if self.lowercase else text).ids
        return {"ids": np.asarray(ids or [self.pad_id], dtype=np.int32)}

    def empty(self) -> dict[str, np.ndarray]:
        """The arrays of no cell."""
        return {"ids": np.zeros(0, np.int32)}

    def tokens(self, value: Any) -> list[str]:
        """The token texts that belong to the ids of `value`."""
        return [str(self._tokenizer.id_to_token(int(index))) for index in self(value)["ids"]]

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text of token ids."""
        return str(self._tokenizer.decode([int(index) for index in ids]))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_str(self.tokenizer_json)
            tokenizer.enable_truncation(self.max_length)
            tokenizer.no_padding()
            if self.pad_to:
                tokenizer.enable_padding(length=self.pad_to, pad_id=self.pad_id)
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ArtefactError(f"The tokenizer of '{self.backbone.label}' cannot be read: {error}") from error
        return tokenizer

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the tokenizer is a JSON text of its own."""
        return {
            "kind": self.stored_kind,
            "backbone": self.backbone.to_json(),
            "tokenizer": self.tokenizer_json,
            "max_length": self.max_length,
            "pad_to": self.pad_to,
            "pad_id": self.pad_id,
            "max_chars": self.max_chars,
            "lowercase": self.lowercase,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PretrainedText:
        """Inverse of `to_json`.

        Raises:
            ArtefactError: The tokenizer inside is damaged.
        """
        text = cls(
            Backbone.from_json(data["backbone"]),
            str(data["tokenizer"]),
            int(data["max_length"]),
            int(data["pad_to"]),
            int(data["pad_id"]),
            int(data["max_chars"]),
            bool(data["lowercase"]),
        )
        text.vocab_size  # noqa: B018 - reads the tokenizer, so that damage shows now and not at the first row
        return text
