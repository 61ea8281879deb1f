"""The graphs of a model in memory, as one thing of which single graphs are exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omnifuse.deploy.graph_folder import FUSION_FILE, GraphSignature, load_graphs


@dataclass(frozen=True)
class GraphSet:
    """Graphs and what they take and give.

    Attributes:
        signature: Of all of them.
        contents: File name to the graph.
    """

    signature: GraphSignature
    contents: Mapping[str, bytes]

    @property
    def size_bytes(self) -> int:
        """Of all graphs."""
        return sum(len(content) for content in self.contents.values())

    @property
    def files(self) -> dict[str, str]:
        """File name to what it computes: a field, or "fusion"."""
        return {item.file: name for name, item in self.signature.fields.items()} | {FUSION_FILE: "fusion"}

    def with_graph(self, file: str, content: bytes) -> GraphSet:
        """The same with one graph exchanged."""
        return replace(self, contents={**self.contents, file: content})


def read_graphs(model_folder: Path, model_id: str) -> GraphSet:
    """The graphs of an exported model, every digest checked.

    Raises:
        ArtefactError: As `load_graphs`.
    """
    signature, files = load_graphs(model_folder, model_id)
    return GraphSet(signature, {name: path.read_bytes() for name, path in files.items()})
