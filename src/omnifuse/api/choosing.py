"""`--set table=auto`: the encoder of the table that answers unlearnt rows better, from the table alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from omnifuse.api.budget import Budget
from omnifuse.api.member import Task
from omnifuse.api.members import Network, answers_of_members, restrict, train_members
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.scoring import bare_readout, crossfitted_scores
from omnifuse.evaluation import MAIN_METRIC, score
from omnifuse.presets import AUTO, TABLE_ENCODERS, ModelSpec
from omnifuse.schema import Input, Modality, Target

# Of the model's time, for all candidates together
CHOICE_SHARE = 0.3
# Cuts of the calibration rows where there are no folds
NUM_CUTS = 5


def undecided(spec: ModelSpec, prepared: Prepared) -> Input | None:
    """The table whose encoder is to be chosen, None where nothing is."""
    tables = [item for item in prepared.schema.inputs if item.modality is Modality.TABLE]
    if spec.table != AUTO or not tables or tables[0].name in spec.encoders:
        return None
    return tables[0]


def choose_table(
    prepared: Prepared,
    partition: Partition,
    task: Task,
    *,
    options: FitOptions,
    seconds: float | None,
    listen: Listener,
) -> tuple[str, str]:
    """Train a network on the table alone with each encoder, on the model's own folds, and take the better one.

    Args:
        prepared: The table.
        partition: Which rows are learnt from and answered; rows of the report are not asked where they are cut off.
        task: The model's task.
        options: Of the fit.
        seconds: Time limit of all candidates together, None for none.
        listen: Hears of stages.

    Returns:
        The choice, a key of `TABLE_ENCODERS`, and a sentence that says why.
    """
    table = undecided(task.spec, prepared)
    assert table is not None, "there is nothing to choose"
    listen("stage", {"text": f"choosing the encoder of '{table.name}': {' or '.join(TABLE_ENCODERS.values())}"})
    budget = Budget(seconds, (1.0,) * (len(partition.members) * len(TABLE_ENCODERS)))
    losses = {}
    for choice in TABLE_ENCODERS:
        alone = replace(
            task,
            name=f"{task.name}-table-{choice}",
            spec=replace(task.spec, table=choice, encoders={}),
            schema=restrict(prepared.schema, (table.name,)),
        )
        network = train_members(prepared, partition, alone, options=options, budget=budget, listen=listen)
        losses[choice] = sum(unlearnt_loss(prepared, partition, network, target) for target in alone.schema.chosen)
    best = min(losses, key=lambda name: losses[name])
    listed = ", ".join(f"{TABLE_ENCODERS[name]} {loss:.4f}" for name, loss in losses.items())
    return best, f"The table is read by {TABLE_ENCODERS[best]}; loss of unlearnt rows from the table alone: {listed}."


def unlearnt_loss(prepared: Prepared, partition: Partition, network: Network, target: Target) -> float:
    """Of the calibration rows, from all fields of the network.

    It is the log loss of classes and levels, 1 - F1 of tags, the unexplained share of a number's variance.
    """
    rows = partition.calibrate
    subset = tuple(item.name for item in network.schema.inputs)
    encoded = prepared.targets[target.name]
    folds = partition.fold[rows] if partition.fold is not None else np.arange(len(rows)) % NUM_CUTS
    bare = bare_readout(target, network.schema, encoded, partition.members[0].train)
    raws = answers_of_members(prepared, partition, network, rows, [subset])
    found = crossfitted_scores(bare, raws, encoded[rows], folds, in_time=partition.in_time)[subset]
    values = score(target.kind, encoded[rows], found, target.classes)
    value = values.get("log_loss") if target.kind.chooses_class else values[MAIN_METRIC[target.kind]]
    if value is None:
        return 0.0
    return value if target.kind.chooses_class else 1.0 - value
