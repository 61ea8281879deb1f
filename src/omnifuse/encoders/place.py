"""Places to tokens. Shapes: P present rows, S scales, D width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from omnifuse.layers import MLP
from omnifuse.layers.masks import full_mask
from omnifuse.tokens import FieldBatch, Tokens

EARTH_KM = 6371.0088
NUM_SCALES = 10
# From the whole globe down to this part of the training rows' spread
FINEST_SHARE = 0.05
# Offsets from the middle are held at so many spreads
MOST_SPREADS = 4.0


def _east_and_north(latitude: float, longitude: float) -> Tensor:
    """(3, 2) unit vectors that point east and north at a place in degrees."""
    up, along = math.radians(latitude), math.radians(longitude)
    east = [-math.sin(along), math.cos(along), 0.0]
    north = [-math.sin(up) * math.cos(along), -math.sin(up) * math.sin(along), math.cos(up)]
    return torch.tensor([east, north], dtype=torch.float64).T


class PlaceEncoder(nn.Module):
    """A place as a point on the sphere, as waves of many lengths, and as its offset from the middle of training rows.

    Waves of geometric lengths let the network read the continent and the street alike; those along the longitude are
    taken from the point on the sphere, so that nothing tears at the date line or at the poles.

    Args:
        dim: D.
        latitude: Middle of the training rows, degrees.
        longitude: Middle of the training rows, degrees.
        spread_km: Their median distance from it, kilometres.
        dropout: Of the hidden layer.

    References: Mai et al. 2020, Multi-Scale Representation Learning for Spatial Feature Distributions (Space2Vec);
    Mai et al. 2023, Sphere2Vec.
    """

    frequencies: Tensor
    plane: Tensor

    def __init__(
        self,
        *,
        dim: int,
        latitude: float = 0.0,
        longitude: float = 0.0,
        spread_km: float = 1000.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.spread_km = spread_km
        finest = max(FINEST_SHARE * spread_km / EARTH_KM, 1e-6)
        steps = torch.arange(NUM_SCALES) / (NUM_SCALES - 1)
        # Waves a unit of the sphere's radius: lengths fall from the globe to the finest scale
        self.register_buffer("frequencies", torch.exp(steps * math.log(math.pi / finest)).double(), persistent=False)
        self.register_buffer("plane", _east_and_north(latitude, longitude), persistent=False)
        num_features = 3 + 2 + 3 * 2 * NUM_SCALES
        self.summary_dim = 5
        self.mlp = MLP(num_features, 2 * dim, dim, dropout=dropout)
        self.linear = nn.Linear(5, dim)
        self.norm = nn.LayerNorm(dim)

    def _plain(self, degrees: Tensor) -> tuple[Tensor, Tensor]:
        """(P, 2) degrees to the float64 point on the sphere (P, 3) and its offset east and north (P, 2) in spreads."""
        angles = torch.deg2rad(degrees.double())
        latitude, longitude = angles[:, 0], angles[:, 1]
        point = torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()], dim=1)
        # As seen from above the middle: smooth all over the globe
        offset = (point @ self.plane * (EARTH_KM / self.spread_km)).clamp(-MOST_SPREADS, MOST_SPREADS)
        return point, offset

    def summarise(self, batch: FieldBatch) -> Tensor:
        """(P, 5): the point on the sphere and the offset from the middle, about unit length."""
        point, offset = self._plain(batch.values["degrees"])
        return (torch.cat([point, offset], dim=1) / math.sqrt(5)).float()

    def forward(self, batch: FieldBatch) -> Tokens:
        """degrees (P, 2) to (P, 1, D)."""
        point, offset = self._plain(batch.values["degrees"])
        # Double precision: a metre is 1e-7 of the radius
        waves = (point.unsqueeze(-1) * self.frequencies).flatten(1)
        plain = torch.cat([point, offset], dim=1).float()
        numbers = torch.cat([plain, waves.sin().float(), waves.cos().float()], dim=1)
        tokens = self.norm(self.linear(plain) + self.mlp(numbers)).unsqueeze(1)
        return Tokens(tokens, full_mask(tokens))
