"""Fusions: tokens of any subset of the fields to one unified representation. One file an idea."""

from torch import nn

from omnifuse.fusion.attention import AttentionFusion
from omnifuse.fusion.bottleneck import BottleneckFusion
from omnifuse.fusion.concat import ConcatFusion
from omnifuse.fusion.gated import GatedFusion
from omnifuse.fusion.joint import JointFusion
from omnifuse.fusion.latent import LatentFusion
from omnifuse.fusion.low_rank import LowRankFusion
from omnifuse.fusion.pool import MaxFusion, MeanFusion, WeightedFusion
from omnifuse.fusion.space import SpaceFusion
from omnifuse.fusion.sum import SumFusion

FUSIONS: dict[str, type[nn.Module]] = {
    "joint": JointFusion,
    "sum": SumFusion,
    "mean": MeanFusion,
    "max": MaxFusion,
    "weighted": WeightedFusion,
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "attention": AttentionFusion,
    "bottleneck": BottleneckFusion,
    "latent": LatentFusion,
    "low_rank": LowRankFusion,
    "space": SpaceFusion,
}

__all__ = [
    "FUSIONS",
    "AttentionFusion",
    "BottleneckFusion",
    "ConcatFusion",
    "GatedFusion",
    "JointFusion",
    "LatentFusion",
    "LowRankFusion",
    "MaxFusion",
    "MeanFusion",
    "SpaceFusion",
    "SumFusion",
    "WeightedFusion",
]
