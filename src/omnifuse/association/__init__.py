"""Association between fields: bilinear layers, and losses that draw what belongs together."""

from collections.abc import Callable

from torch import nn

from omnifuse.association.bilinear import BilinearAssociation, FactorisedBilinear, LowRankBilinear
from omnifuse.association.contrastive import AlignmentLoss, contrastive_loss
from omnifuse.association.cosine import CosineLoss, cosine_loss
from omnifuse.association.hard_matching import MatchingObjective
from omnifuse.association.info_nce import ContrastiveObjective, info_nce
from omnifuse.association.items import Items
from omnifuse.association.masked import MaskedObjective
from omnifuse.association.matching import MatchingLoss
from omnifuse.association.pairs import PairLoss
from omnifuse.association.sigmoid import SigmoidObjective, sigmoid_loss
from omnifuse.association.space import Space, joined_vector
from omnifuse.association.variance import VarianceObjective, variance_invariance_covariance

# Setting to the loss it builds
ALIGNMENTS: dict[str, type[PairLoss]] = {
    "contrastive": AlignmentLoss,
    "cosine": CosineLoss,
    "matching": MatchingLoss,
}

# Name to the objective between two fields' vectors in the shared space
OBJECTIVES: dict[str, Callable[[int], nn.Module]] = {
    "contrastive": ContrastiveObjective,
    "matching": MatchingObjective,
    "sigmoid": SigmoidObjective,
    "variance": VarianceObjective,
}

__all__ = [
    "ALIGNMENTS",
    "OBJECTIVES",
    "AlignmentLoss",
    "BilinearAssociation",
    "ContrastiveObjective",
    "CosineLoss",
    "FactorisedBilinear",
    "Items",
    "LowRankBilinear",
    "MaskedObjective",
    "MatchingLoss",
    "MatchingObjective",
    "PairLoss",
    "SigmoidObjective",
    "Space",
    "VarianceObjective",
    "contrastive_loss",
    "cosine_loss",
    "info_nce",
    "joined_vector",
    "sigmoid_loss",
    "variance_invariance_covariance",
]
