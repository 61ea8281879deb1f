"""Which models answer: one, or one in production and a canary for a share of the requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omnifuse.errors import InputError
from omnifuse.schema import Prediction
from omnifuse.serve.answerer import Answerer
from omnifuse.serve.answers import is_finite
from omnifuse.serve.columns import Columns, columns_of
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.question import read_question

# Makes the key of a request: a customer, a device; asked for only where several versions answer
Key = Callable[[], str]


@dataclass(frozen=True)
class Version:
    """A model that answers, with what is derived of it.

    Attributes:
        answerer: The model.
        columns: What its rows may hold.
        name: Of the version in a registry; "" where none is followed.
    """

    answerer: Answerer
    columns: Columns
    name: str = ""

    @classmethod
    def of(cls, answerer: Answerer, name: str = "") -> Version:
        """A version of a loaded model."""
        return cls(answerer, columns_of(answerer.schema), name)

    @property
    def model_id(self) -> str:
        """Of the model."""
        return self.answerer.model_id

    @property
    def labels(self) -> dict[str, str]:
        """What every answer says of who gave it."""
        return {"model_id": self.model_id, **({"version": self.name} if self.name else {})}


@dataclass(frozen=True)
class Lineup:
    """The versions that answer at one time.

    Attributes:
        production: Answers all that the canary does not.
        canary: Answers a share of the requests, or None.
        is_canarys: Whether requests with a key are the canary's.
    """

    production: Version
    canary: Version | None = None
    is_canarys: Callable[[str], bool] = lambda _: False

    def of(self, key: Key) -> Version:
        """The version that answers a request."""
        return self.canary if self.canary is not None and self.is_canarys(key()) else self.production

    @property
    def versions(self) -> list[Version]:
        """All of them, that in production first."""
        return [self.production] if self.canary is None else [self.production, self.canary]


def decoded_example(version: Version, limits: ServeLimits) -> Any:
    """A model's own example, decoded as a request is."""
    question = read_question({"rows": [version.answerer.example()]}, version.columns, limits)
    (row,) = version.answerer.decode(question.rows)
    return row


def check_answer(answer: Prediction) -> None:
    """Refuse an answer to an example that is no answer.

    Raises:
        InputError: It holds NaN or infinity.
    """
    if not is_finite(answer.to_json()["targets"]):
        raise InputError("the model answers its own example with something that is no number", fix="Fit it again")


def check_answers(version: Version, limits: ServeLimits) -> None:
    """Have a model answer its own example.

    Raises:
        InputError: It cannot.
    """
    (answer,) = version.answerer.answer([decoded_example(version, limits)])
    check_answer(answer)
