"""An encoder of one's own: a text as the mean of its token embeddings, one token a text."""

import torch
from torch import nn

from omnifuse.tokens import FieldBatch, Tokens


class BagEncoder(nn.Module):
    """Mean of token embeddings."""

    modality = "text"

    def __init__(self, preprocessor, options):
        super().__init__()
        self.dim = options.dim
        self.embeddings = nn.EmbeddingBag(preprocessor.vocab_size, options.dim, mode="mean")

    def forward(self, batch: FieldBatch) -> Tokens:
        starts = torch.cumsum(batch.lengths, 0) - batch.lengths
        values = self.embeddings(batch.values["ids"].long(), starts).unsqueeze(1)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
