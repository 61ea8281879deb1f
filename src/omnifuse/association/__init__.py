"""Association between fields: bilinear layers, and losses that draw what belongs together."""

from omnifuse.association.bilinear import BilinearAssociation, LowRankBilinear
from omnifuse.association.contrastive import AlignmentLoss, contrastive_loss

__all__ = ["AlignmentLoss", "BilinearAssociation", "LowRankBilinear", "contrastive_loss"]
