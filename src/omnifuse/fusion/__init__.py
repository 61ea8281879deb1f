"""Fusions: tokens of any subset of the fields to one unified representation. One file an idea."""

from torch import nn

from omnifuse.fusion.concat import ConcatFusion
from omnifuse.fusion.joint import JointFusion
from omnifuse.fusion.pool import MaxFusion, MeanFusion, WeightedFusion
from omnifuse.fusion.sum import SumFusion

FUSIONS: dict[str, type[nn.Module]] = {
    "joint": JointFusion,
    "sum": SumFusion,
    "mean": MeanFusion,
    "max": MaxFusion,
    "weighted": WeightedFusion,
    "concat": ConcatFusion,
}

__all__ = ["FUSIONS", "ConcatFusion", "JointFusion", "MaxFusion", "MeanFusion", "SumFusion", "WeightedFusion"]
