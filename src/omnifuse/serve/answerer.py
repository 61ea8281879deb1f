"""What the server asks of a model: a small protocol, so that any runtime can stand behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from omnifuse.schema import Prediction, Schema

Cells = dict[str, Any]


class Answerer(Protocol):
    """A model that answers rows.

    `decode` is called from several threads at once, `answer`, `embed` and `explain` from one thread. The decoded rows
    of several requests are answered together, in any mixture, and each answer depends on its own row alone.
    """

    @property
    def schema(self) -> Schema:
        """Fields, targets and roles."""

    @property
    def model_id(self) -> str:
        """Stands in every prediction."""

    def example(self) -> dict[str, Any]:
        """One row as a client would send it, in plain JSON."""

    def values(self) -> Mapping[str, Sequence[str]]:
        """Column to the values of it that the model learnt, for the columns that have such."""

    def decode(self, rows: Sequence[Cells], history: Sequence[Cells] | None = None) -> Sequence[Any]:
        """Preprocess rows.

        Args:
            rows: Column to cell; columns may be absent. Media are bytes or arrays, never paths.
            history: Earlier rows, which are not answered.

        Returns:
            One decoded row for each, of a form that only the answerer knows.

        Raises:
            InputError: The request as a whole cannot be read, such as a history of a model that reads none.
        """

    def answer(self, decoded: Sequence[Any]) -> list[Prediction]:
        """One prediction a decoded row, in order, with the probability of each class."""

    def embed(self, decoded: Sequence[Any]) -> list[dict[str, list[float] | None]]:
        """`embedding` and `embedding_<field>` of each decoded row, None where the field is absent."""

    def explain(self, decoded: Sequence[Any], *, parts: bool) -> list[dict[str, Any]]:
        """What carried the answers to each decoded row, in plain JSON; with `parts`, inside of each field too."""
