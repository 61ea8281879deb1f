"""The place encoder sees near and far, and neither the date line nor a pole tears it."""

from __future__ import annotations

import torch

from omnifuse.encoders import PlaceEncoder
from omnifuse.tokens import FieldBatch


def batch_of(*places):
    degrees = torch.tensor(places, dtype=torch.float64)
    return FieldBatch(
        {"degrees": degrees}, torch.ones(len(places), dtype=torch.int64), torch.ones(len(places), dtype=torch.bool)
    )


def encoder(**options):
    torch.manual_seed(0)
    return PlaceEncoder(dim=32, **options).eval()


def distance(first, second, module):
    tokens = module(batch_of(first, second)).values[:, 0]
    return float((tokens[0] - tokens[1]).detach().norm())


def test_nothing_tears_at_the_date_line_or_a_pole():
    globe = encoder(latitude=0.0, longitude=0.0, spread_km=5000.0)
    assert distance((10.0, 179.99999), (10.0, -179.99999), globe) < 1e-2
    polar = encoder(latitude=0.0, longitude=0.0, spread_km=5000.0)
    # Longitude means nothing at a pole
    assert distance((90.0, -0.5), (90.0, 0.5), polar) < 1e-2


def test_streets_of_one_town_are_told_apart():
    town = encoder(latitude=48.1, longitude=11.5, spread_km=3.0)
    near, far = distance((48.1, 11.5), (48.1005, 11.5), town), distance((48.1, 11.5), (48.12, 11.53), town)
    assert near > 0.05
    assert far > near


def test_double_precision_is_kept_down_to_metres():
    yard = encoder(latitude=48.1, longitude=11.5, spread_km=0.05)
    assert distance((48.1, 11.5), (48.1 + 9e-6, 11.5), yard) > 0.05


def test_the_summary_holds_the_offset():
    module = encoder(latitude=0.0, longitude=10.0, spread_km=111.195)
    found = module.summarise(batch_of((1.0, 10.0), (0.0, 11.0), (0.0, 60.0))) * 5**0.5
    torch.testing.assert_close(found[0, 3:], torch.tensor([0.0, 1.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1, 3:], torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)
    # Far away counts as the edge
    assert found[2, 3] == 4.0
