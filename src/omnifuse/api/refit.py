"""The linear head once more, from all rows that the published scores are not of.

Above 5,000 rows some are held back to stop by, to calibrate on and to score. Weights and temperatures are fitted, and
the scores measured, with a head that had learnt from none of these. What ships may know more: a linear model has no
training that could go astray, and with more rows it is the same model, only surer. The rows of the published scores
stay unlearnt, so that the shipped model can be scored on them again.

References: Hastie et al. 2009, The Elements of Statistical Learning, section 7.10 (choose on held-out rows, then fit
the chosen model to all).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from torch import Tensor

from omnifuse.api.member import training_targets
from omnifuse.api.members import Network
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.model import MultimodalModel
from omnifuse.training.batches import make_batch
from omnifuse.training.lanes import Halt, available_lanes, side_by_side

REFITTED = ("linear",)


def refit_linear(prepared: Prepared, partition: Partition, network: Network, *, seed: int) -> int:
    """Fit the linear head of each member anew, in place.

    With folds nothing is done: there each row was learnt from by all members but one. Nor is anything where the rows
    that were learnt from are as many as the head takes.

    Args:
        prepared: Packs and targets of all rows.
        partition: Which rows did what.
        network: The members that ship.
        seed: Of the draw where there are more rows than the head takes.

    Returns:
        Number of rows that each head has now learnt from; 0 where nothing was done.
    """
    if partition.fold is not None:
        return 0
    jobs = []
    for number, (model, member) in enumerate(zip(network.members, partition.members, strict=True)):
        found = [heads[name] for heads in model.shallow for name in REFITTED if name in heads]  # type: ignore[index,operator]
        if not found or len(member.train) >= int(found[0].most_rows):
            continue
        known = np.concatenate([member.train, member.stop, partition.calibrate])
        rows = np.sort(np.random.default_rng((seed, number)).permutation(known)[: int(found[0].most_rows)])
        # Numbers stay in the units of the rows that the network learnt from
        targets = training_targets(prepared, network.schema, member.train)
        jobs.append(partial(_refit, model, prepared, rows, targets))
    groups = [jobs] if available_lanes() > 1 else [[job] for job in jobs]
    return max((count for group in groups if group for count in side_by_side(group)), default=0)


def _refit(model: MultimodalModel, prepared: Prepared, rows: np.ndarray, targets: Mapping[str, Tensor], _: Halt) -> int:
    """Refit one member's head; returns the number of rows."""
    packs = {name: prepared.packs[name] for name in model.summarised_fields(REFITTED)}
    batch = make_batch(packs, rows, targets=targets)
    model.refit_shallow(batch.to(next(model.parameters()).device), REFITTED)
    return len(rows)
