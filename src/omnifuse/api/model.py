"""The trained model in a user's hands: predict, embed, evaluate, save."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnifuse.data.decode import Decoded
from omnifuse.data.tables import Table, open_table
from omnifuse.explain import Explaining, Probe
from omnifuse.readout.raw import RawOutputs
from omnifuse.readout.speech import SpeechLanguage
from omnifuse.readout.target_readout import FUSED, TargetReadout
from omnifuse.schema import Hypothesis, Prediction, Schema

if TYPE_CHECKING:
    from omnifuse.model import Ensemble, MultimodalModel
    from omnifuse.readout.transcript import Transcript
    from omnifuse.search import Hit, Index


class Model(Explaining):
    """A trained model with its preprocessing and calibration.

    Made by `omnifuse.fit` and `omnifuse.load`.

    Attributes:
        schema: Fields, targets and roles.
        readouts: Target name to calibrated readout.
        metrics: What `fit` measured, in the form of `evaluate`.
        model_id: First 12 hex digits of the artefact's digest ("" before it is saved).
        folder: The run folder, where it has one.
        language: Target that is transcribed to what the transcripts of training rows say of those to come.
    """

    def __init__(
        self,
        network: Ensemble,
        *,
        schema: Schema,
        preprocessors: dict[str, Any],
        readouts: dict[str, TargetReadout],
        manifest: dict[str, Any],
        model_id: str = "",
        folder: Path | None = None,
        language: Mapping[str, SpeechLanguage] | None = None,
    ) -> None:
        import torch

        # Convolutions of one row take half the time where their weights need not be put in another order
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.eval()
        self.schema = schema
        self.preprocessors = preprocessors
        self.readouts = readouts
        self.manifest = manifest
        self.model_id = model_id
        self.folder = folder
        self.language = dict(language or {})

    @property
    def members(self) -> list[MultimodalModel]:
        """The networks whose answers are averaged."""
        members: list[MultimodalModel] = list(self.network.members)  # type: ignore[arg-type]
        return members

    def raw(self, decoded: Decoded, *, vectors: bool = False) -> RawOutputs:
        """Raw outputs of the networks for decoded rows; with `vectors` the representations too."""
        from omnifuse.training.predict import run_subsets

        rows = np.arange(decoded.table.num_rows)
        subset = self.fields
        present = np.stack([decoded.packs[name].present for name in subset], axis=1)
        heads = frozenset[str]().union(*(readout.heads(present) for readout in self.readouts.values()))
        raws = run_subsets(self.members, decoded.packs, rows, [subset], batch_size=128, vectors=vectors, heads=heads)
        return raws[subset]

    def written(self, decoded: Decoded) -> dict[str, list[tuple[Hypothesis, ...]]]:
        """Target that is written to the likeliest text of each decoded row."""
        from omnifuse.api.generating import written_texts

        return written_texts(self, decoded)

    def generate(
        self,
        source: Any,
        *,
        target: str | None = None,
        choices: Sequence[str] | None = None,
        letters: str | None = None,
        stop: str = "",
        media_root: Path | None = None,
        history: Any = None,
        **writing: Any,
    ) -> list[Prediction]:
        """Write a text for every row: a caption, a transcript, an answer.

        Args:
            source: As for `predict`.
            target: The target that is written; by default the first one.
            choices: Only these texts may be written, as answers from a list.
            letters: Only these characters may be written.
            stop: Characters that end a text, and stay in it.
            media_root: As for `predict`.
            history: As for `predict`.
            **writing: As for `omnifuse.readout.writing.Writing`: `method` ("beam", "greedy" or "sample"), `beams`,
                `num` texts a row, `length_power`, `temperature`, `top_p`, `seed`, `max_length`, `ctc`.

        Returns:
            One `Prediction` a row, in order, of this target alone: `value` is the best text, `hypotheses` are the
            `num` best ones with their scores. A row with nothing readable has `error` set.

        Raises:
            InputError: The model writes no such target, or an option has no meaning.

        Example:
            >>> model.generate([{"photo": "dog.jpg"}], beams=8, num=3)[0].targets["caption"].value  # doctest: +SKIP
            'a dog runs'
        """
        from omnifuse.api.generating import generated

        chunks = generated(
            self,
            source,
            target=target,
            choices=choices,
            letters=letters,
            stop=stop,
            media_root=media_root,
            history=history,
            writing=writing,
        )
        return [answer for chunk in chunks for answer in chunk]

    def predict_named(
        self, source: Any, labels: str | Sequence[str], *, proba: bool = False, media_root: Path | None = None
    ) -> list[Prediction]:
        """Answer every row by classes that are named by words alone, where the space holds text.

        Args:
            source: As for `predict`.
            labels: Names with commas between, or a list of names.
            proba: Also give the probability of each name.
            media_root: As for `predict`.

        Returns:
            One `Prediction` a row with the target "label"; its confidence is not calibrated.

        Raises:
            InputError: The model has no space that holds text.

        Example:
            >>> model.predict_named("sounds.csv", "a dog barking,glass breaking")  # doctest: +SKIP
        """
        from omnifuse.api.naming import name_rows

        chunks = name_rows(self, source, labels, proba=proba, media_root=media_root)
        return [answer for chunk in chunks for answer in chunk]

    def transcribe(
        self,
        source: Any,
        *,
        target: str | None = None,
        media_root: Path | None = None,
        speech_only: bool = True,
        **options: Any,
    ) -> list[Transcript]:
        """Write down what is said in the sound of every row, however long it is.

        A sound longer than those learnt from is read in overlapping windows, whose words are joined; no more than a
        few windows are in memory.

        Args:
            source: As for `predict`.
            target: The transcript, where the model writes several.
            media_root: As for `predict`.
            speech_only: Leave out windows without a voice.
            **options: As for `omnifuse.readout.speech.SpeechOptions`: `phrases` to listen for, `boost`, `lm_weight`,
                `attention`, `beams`, `num`.

        Returns:
            One `Transcript` a row, in order.

        Raises:
            InputError: The model writes no transcript, or an option has no meaning.

        Example:
            >>> model.transcribe([{"sound": "call.wav"}], phrases=["Torvald"])[0].text  # doctest: +SKIP
            'please tell torvald to bring six boxes'
        """
        from omnifuse.api.transcribing import transcribed

        found = transcribed(
            self, source, target=target, media_root=media_root, speech_only=speech_only, options=options
        )
        return list(found)

    def probe(self, decoded: Decoded, row: int) -> Probe:
        """One decoded row behind the networks' encoders, for an explanation."""
        from omnifuse.training.probe import NetworkProbe

        # Fields are hidden in all ways, so a head counts that any subset weighs
        weighed = {
            head
            for readout in self.readouts.values()
            for subset in readout.subsets.values()
            for head, weight in subset.weights.items()
            if weight > 0
        }
        return NetworkProbe(self.members, self.fields, decoded.packs, row, heads=weighed | {FUSED})

    def evaluate(self, source: Any, *, media_root: Path | None = None, seed: int = 0) -> dict[str, Any]:
        """Scores with intervals, every subset of fields, calibration and cost on a labelled table.

        Returns:
            The dictionary that `omnifuse evaluate --json` prints.
        """
        from omnifuse.api.scoring import evaluate_model

        self.need_target()
        table = source if isinstance(source, Table) else open_table(source, media_root=media_root)
        result = evaluate_model(self, table, confined=media_root is not None, seed=seed)
        del result["scores"], result["intervals"], result["chosen"], result["texts"]
        return result

    def index(self, source: Any, folder: str | Path, *, media_root: Path | None = None, **options: Any) -> Index:
        """Make an index of a table to search, or add the table to one.

        Args:
            source: As for `predict`.
            folder: Of the index; the index in it is added to, where it was made with this model.
            media_root: As for `predict`.
            options: See `omnifuse.search.indexing.index_table`.

        Warns:
            UserWarning: Rows and cells that are not in it.

        Example:
            >>> index = model.index("items.csv", "runs/items")  # doctest: +SKIP
            >>> model.search(index, {"note": "red jacket"}, where="price < 30")  # doctest: +SKIP
        """
        from omnifuse.search.indexing import index_table

        made = index_table(self, source, folder, media_root=media_root, **options)
        for note in made.notes:
            warnings.warn(note, stacklevel=2)
        return made.index

    def search(self, index: Index | str | Path, row: Mapping[str, Any], k: int = 20, **options: Any) -> list[Hit]:
        """The rows of an index that are nearest to a row with holes: a text, a picture, or both.

        Args:
            index: Made with this model.
            row: Column to cell, as many as are known.
            k: How many rows.
            options: `where`, `diversity`, `space`; see `omnifuse.search.asking.ask`.
        """
        from omnifuse.search import Index
        from omnifuse.search.asking import ask

        opened = index if isinstance(index, Index) else Index.open(index)
        return list(ask(self, opened, row, k, **options).hits)

    def save(self, folder: str | Path) -> Path:
        """Write the model folder (`model.json`, `weights.safetensors`, tokenizers, `CARD.md`).

        Returns:
            The folder.
        """
        from omnifuse.api.store import save_model

        return save_model(self, Path(folder))
