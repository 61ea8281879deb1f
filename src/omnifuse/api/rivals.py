"""Networks of one task that were taught in different ways: the better one ships, the others are reported beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omnifuse.api.choosing import unlearnt_loss
from omnifuse.api.comparison import Comparison, subset_scores
from omnifuse.api.members import Network
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.simple import Asked
from omnifuse.training.predict import run_subsets


@dataclass(frozen=True)
class Rivals:
    """Networks that learnt from the same labelled rows.

    Attributes:
        networks: Way of teaching to the network.
        losses: The same to the loss of labelled rows that were not learnt from.
    """

    networks: Mapping[str, Network]
    losses: Mapping[str, float]

    @classmethod
    def measured(cls, networks: Mapping[str, Network], prepared: Prepared, partition: Partition) -> Rivals:
        """With their losses: the sum over the targets."""
        losses = {
            name: sum(unlearnt_loss(prepared, partition, network, target) for target in network.schema.chosen)
            for name, network in networks.items()
        }
        return cls(networks, losses)

    @property
    def way(self) -> str:
        """The one that ships: of least loss."""
        return min(self.losses, key=lambda name: self.losses[name])

    @property
    def network(self) -> Network:
        """The network that ships."""
        return self.networks[self.way]

    @property
    def words(self) -> str:
        """Which one ships and why."""
        listed = ", ".join(f"{name} {loss:.4f}" for name, loss in self.losses.items())
        return f"The model is that of {self.way}; loss of labelled rows that were not learnt from: {listed}."

    @property
    def facts(self) -> dict[str, object]:
        """For the manifest."""
        return {"ships": self.way, "loss": {name: round(loss, 6) for name, loss in self.losses.items()}}

    def beside(
        self, comparison: Comparison, prepared: Prepared, partition: Partition, asked: Asked | None
    ) -> Comparison:
        """The comparison with those that do not ship among what the model is held against."""
        for name, network in self.networks.items():
            if name == self.way:
                continue
            fields = tuple(item.name for item in network.schema.inputs)
            scores, readouts = subset_scores(prepared, partition, fields, network)
            if asked is not None:
                rows = np.arange(asked.decoded.table.num_rows)
                raw = run_subsets(network.members, asked.decoded.packs, rows, [fields])[fields]
                scores = {target: readout.scores(raw) for target, readout in readouts.items()}
            for target, values in scores.items():
                comparison.simple[target] = {name: values, **comparison.simple.get(target, {})}
        return comparison
