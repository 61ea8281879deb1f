"""Parameters, operations, memory and rates, against numbers that are known."""

from __future__ import annotations

import itertools
import time

import torch
from torch import nn

from omnifuse.evaluation import count_flops, count_parameters, measure_rate, peak_memory_mb


def test_parameters_of_shared_layers_count_once():
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 12


def test_flops_of_a_linear_layer():
    layer = nn.Linear(8, 16)
    assert count_flops(lambda: layer(torch.zeros(4, 8))) == 2 * 4 * 8 * 16


def test_flops_of_attention_are_counted():
    query = torch.zeros(1, 2, 10, 8)
    flops = count_flops(lambda: nn.functional.scaled_dot_product_attention(query, query, query))
    assert flops == 2 * (2 * 2 * 10 * 10 * 8)


def test_a_view_of_a_weight_may_be_handed_to_a_module():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.queries, self.layer = nn.Parameter(torch.zeros(4, 8)), nn.Linear(8, 16)

        def forward(self):
            return self.layer(self.queries.expand(3, -1, -1))

    assert count_flops(Learned()) == 2 * 3 * 4 * 8 * 16


def test_peak_memory_is_plausible():
    assert 20 < peak_memory_mb() < 1_000_000


def test_rate_is_the_median(monkeypatch):
    # Two readings a call around one for the limit: durations 1, 1, 9 seconds
    readings = iter([0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 11.0, *itertools.repeat(11.0, 5)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(readings))
    calls = []
    assert measure_rate(lambda: calls.append(1), samples=32, repeats=3, seconds=100.0) == 32.0
    assert len(calls) == 4


def test_a_slow_call_is_measured_once(monkeypatch):
    readings = iter([0.0, 0.0, 50.0, 50.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(readings))
    assert measure_rate(lambda: None, samples=100, seconds=2.0) == 2.0
