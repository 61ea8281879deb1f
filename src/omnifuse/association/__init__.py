"""Association between fields: bilinear layers, and losses that draw what belongs together."""

from omnifuse.association.bilinear import BilinearAssociation, FactorisedBilinear, LowRankBilinear
from omnifuse.association.contrastive import AlignmentLoss, contrastive_loss
from omnifuse.association.cosine import CosineLoss, cosine_loss
from omnifuse.association.matching import MatchingLoss
from omnifuse.association.pairs import PairLoss

# Setting to the loss it builds
ALIGNMENTS: dict[str, type[PairLoss]] = {
    "contrastive": AlignmentLoss,
    "cosine": CosineLoss,
    "matching": MatchingLoss,
}

__all__ = [
    "ALIGNMENTS",
    "AlignmentLoss",
    "BilinearAssociation",
    "CosineLoss",
    "FactorisedBilinear",
    "LowRankBilinear",
    "MatchingLoss",
    "PairLoss",
    "contrastive_loss",
    "cosine_loss",
]
