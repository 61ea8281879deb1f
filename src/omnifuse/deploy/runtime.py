"""The exported model without PyTorch: ONNX Runtime runs the graphs, the same preprocessing and readout do the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from omnifuse.data.decode import Decoded
from omnifuse.data.history import plain_schema
from omnifuse.deploy.artefact import find_model_folder, load_artefact
from omnifuse.deploy.description import described
from omnifuse.deploy.graph_folder import FUSION_FILE, load_graphs
from omnifuse.deploy.graph_probe import GraphProbe
from omnifuse.deploy.graph_runner import GraphRunner
from omnifuse.deploy.session import Session
from omnifuse.explain import Explaining
from omnifuse.readout.raw import RawOutputs
from omnifuse.schema import Modality


class Runtime(Explaining):
    """A model folder with graphs, answered by ONNX Runtime.

    Args:
        folder: A run folder or the model folder in it, after `omnifuse export`.
        threads: Of each graph; None leaves it to ONNX Runtime.

    Raises:
        ArtefactError: The folder is absent, damaged or was not exported.
        MissingDependencyError: ONNX Runtime is not installed.

    Example:
        >>> from omnifuse.deploy.runtime import Runtime
        >>> Runtime("runs/demo").predict("rows.csv")  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        artefact = load_artefact(folder)
        found = described(artefact.manifest)
        self.schema, self.preprocessors, self.readouts = found.schema, found.preprocessors, found.readouts
        self.manifest, self.model_id, self.folder = artefact.manifest, artefact.model_id, Path(folder)
        signature, files = load_graphs(find_model_folder(folder), artefact.model_id)
        encoders = {name: files[item.file] for name, item in signature.fields.items()}
        self.graphs = GraphRunner(signature, encoders, files[FUSION_FILE], threads=threads)

    @property
    def columns(self) -> dict[str, Modality]:
        """Column to what it holds; a video with a sound track is a video."""
        found: dict[str, Modality] = {}
        for item in plain_schema(self.schema).fields:
            if found.get(item.source) is not Modality.VIDEO:
                found[item.source] = item.modality
        return found

    def session(
        self, *, window_s: float = 2.0, rates_hz: Mapping[str, int] | None = None, media_root: str | Path | None = None
    ) -> Session:
        """A row whose values come as they are measured; see `Session`.

        Example:
            >>> session = Runtime("runs/demo").session(window_s=2)  # doctest: +SKIP
            >>> session.push({"sound": samples, "temperature": 21.5}, at_s=0.5)  # doctest: +SKIP
            >>> session.predict().targets["event"].value  # doctest: +SKIP
        """
        return Session(self, window_s=window_s, rates_hz=rates_hz, media_root=media_root)

    def raw(self, decoded: Decoded, *, vectors: bool = False) -> RawOutputs:
        """Raw outputs of the graphs for decoded rows; with `vectors` the representations too."""
        return self.graphs.raw(decoded.packs, np.arange(decoded.table.num_rows), vectors=vectors)

    def probe(self, decoded: Decoded, row: int) -> GraphProbe:
        """One decoded row behind the graphs' encoders, for an explanation."""
        return GraphProbe(self.graphs, self.fields, decoded.packs, row)
