"""The linear head learns from all rows but the scored ones, once the scores are measured."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from omnifuse.api.partition import partition
from omnifuse.api.refit import REFITTED, refit_linear
from omnifuse.data.pack import Pack
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

SCHEMA = Schema((Field("note", Modality.TEXT),), (Target("price", TaskKind.REGRESSION),))


class Told:
    """A member that keeps what it is told to learn."""

    def __init__(self, most_rows, *, head="linear"):
        self.shallow, self.rows, self.targets = [{head: SimpleNamespace(most_rows=most_rows)}], None, None

    def summarised_fields(self, names):
        assert names == REFITTED
        return ("note",)

    def parameters(self):
        yield torch.zeros(1)

    def refit_shallow(self, batch, names):
        self.rows, self.targets = batch.rows.tolist(), batch.targets["price"]


def made(count, *members, **more):
    parts = partition(
        np.arange(count), labels=None, groups=None, times=more.get("times"), num_members=len(members), seed=0
    )
    pack = Pack({"ids": np.zeros(count, np.int32)}, np.arange(count + 1), np.ones(count, bool))
    prepared = SimpleNamespace(packs={"note": pack}, targets={"price": np.arange(count, dtype=float)}, taught={})
    return prepared, parts, SimpleNamespace(members=members, schema=SCHEMA)


def test_each_member_learns_from_all_rows_that_are_not_scored():
    members = Told(20_000), Told(20_000)
    prepared, parts, network = made(6000, *members)
    assert refit_linear(prepared, parts, network, seed=0) == 6000 - len(parts.report)
    for member in members:
        assert set(member.rows) == set(range(6000)) - set(parts.report.tolist())
        # Standardised by the rows that the network learnt from
        train = parts.members[0].train
        at = member.rows.index(int(train[0]))
        expected = (train[0] - train.mean()) / train.std()
        assert abs(float(member.targets[at]) - expected) < 1e-5


def test_with_folds_with_enough_rows_and_without_a_line_nothing_is_done():
    for count, member in ((600, Told(20_000)), (6000, Told(1000)), (6000, Told(20_000, head="forest"))):
        assert refit_linear(*made(count, member), seed=0) == 0
        assert member.rows is None


def test_a_head_is_given_no_more_rows_than_it_takes():
    member = Told(4500)
    prepared, parts, network = made(6000, member)
    assert refit_linear(prepared, parts, network, seed=0) == 4500
    again = Told(4500)
    refit_linear(prepared, parts, SimpleNamespace(members=(again,), schema=SCHEMA), seed=0)
    assert again.rows == member.rows
    assert not set(member.rows) & set(parts.report.tolist())
