"""Series encoders: statistics against a slow float64 version, gaps and times that count, tokens that stay few."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omnifuse.encoders.series import MAX_PATCHES, MAX_TOKENS, ConvSeriesEncoder, PatchSeriesEncoder, SeriesStatistics
from omnifuse.tokens import FieldBatch, pad_packed

ENCODERS = {"conv": ConvSeriesEncoder, "patch": PatchSeriesEncoder}


def made(lengths, *, channels=2, seed=0):
    draw = np.random.default_rng(seed)
    total = sum(lengths)
    observed = draw.random((total, channels)) < 0.7
    values = np.where(observed, draw.normal(1, 2, (total, channels)), 0)
    times = np.concatenate([np.zeros(0), *(-np.cumsum(draw.exponential(2, size))[::-1] for size in lengths)])
    arrays = {"values": values.astype(np.float32), "time_s": times.astype(np.float32), "observed": observed}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return FieldBatch(tensors, torch.tensor(lengths), torch.ones(len(lengths), dtype=torch.bool))


def slow_statistics(values, times, observed, step_s):
    """Of one series, channel by channel, in float64."""
    span = times.max() - times.min()
    found = []
    for late in (np.ones(len(times), bool), times >= times.max() - 0.25 * span):
        columns = []
        for channel in range(values.shape[1]):
            seen = late & observed[:, channel]
            known, at = values[seen, channel], (times[seen] - times.min()) / max(span, step_s)
            if not len(known):
                columns.append([0.0] * 7)
                continue
            apart = at - at.mean()
            slope = (apart * (known - known.mean())).sum() / max((apart**2).sum(), 1e-3)
            spread = np.sqrt(max(known.var(), 1e-8))
            columns.append([known.mean(), spread, known.min(), known.max(), known[-1], slope, seen.sum() / late.sum()])
        found += np.array(columns).T.ravel().tolist()
    return [*found, np.log1p(len(times)), np.log1p(span / step_s)]


def test_statistics_are_those_of_a_slow_version():
    lengths = [40, 1, 7, 200]
    batch = made(lengths)
    statistics = SeriesStatistics(2, 2.0)
    padded = [pad_packed(batch.values[name], batch.lengths) for name in ("values", "time_s", "observed")]
    found = statistics.measure(*(item for item, _ in padded), padded[0][1])
    for row, (start, size) in enumerate(zip(np.cumsum(lengths) - lengths, lengths, strict=True)):
        part = [batch.values[name][start : start + size].numpy().astype(float) for name in ("values", "time_s")]
        wanted = slow_statistics(*part, batch.values["observed"][start : start + size].numpy(), 2.0)
        np.testing.assert_allclose(found[row].numpy(), wanted, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [1, 2, 3, 59, 60, 511, 512])
def test_tokens_are_few_and_the_summary_is_of_unit_length(name, size):
    torch.manual_seed(0)
    encoder = ENCODERS[name](dim=16, num_channels=2, step_s=2.0).eval()
    encoder.initialise(made([30, 40, 50, 60]))
    tokens = encoder(made([size]))
    assert 2 <= tokens.values.shape[1] <= 1 + (MAX_TOKENS if name == "conv" else MAX_PATCHES)
    assert bool(tokens.mask.all())
    summary = encoder.summarise(made([size]))
    assert summary.shape == (1, encoder.summary_dim)
    assert float(summary.norm()) < 5
    assert encoder.summarise(made([])).shape == (0, encoder.summary_dim)


@pytest.mark.parametrize("name", ENCODERS)
def test_gaps_times_and_values_all_count(name):
    torch.manual_seed(0)
    encoder = ENCODERS[name](dim=16, num_channels=2, step_s=2.0).eval()
    batch = made([60])
    before = encoder(batch).values

    def after(**changes):
        return encoder(FieldBatch({**batch.values, **changes}, batch.lengths, batch.present)).values

    values, observed, times = (batch.values[key].clone() for key in ("values", "observed", "time_s"))
    shown = torch.nonzero(observed[:, 0])[5]
    values[shown, 0] = 0.0
    observed[shown, 0] = False
    changes = {
        "value 0 is not a gap": (after(values=values), after(values=values, observed=observed)),
        "a value": (before, after(values=values)),
        "the pace of all steps": (before, after(time_s=times * 3)),
        "how long ago it ended": (before, after(time_s=times - 500)),
    }
    for what, (one, two) in changes.items():
        assert not torch.allclose(one, two, atol=1e-4), what


def test_a_unit_of_time_does_not_matter_where_the_usual_step_goes_along():
    batch = made([60])
    for name, build in ENCODERS.items():
        torch.manual_seed(0)
        seconds = build(dim=16, num_channels=2, step_s=2.0).eval()
        torch.manual_seed(0)
        hours = build(dim=16, num_channels=2, step_s=7200.0).eval()
        slower = FieldBatch({**batch.values, "time_s": batch.values["time_s"] * 3600}, batch.lengths, batch.present)
        torch.testing.assert_close(seconds(batch).values, hours(slower).values, atol=1e-4, rtol=1e-4, msg=name)


def test_the_last_patch_ends_with_the_last_step():
    torch.manual_seed(0)
    encoder = PatchSeriesEncoder(dim=8, num_channels=2, max_steps=128, depth=0).eval()
    batch = made([10])
    changed = {**batch.values, "values": batch.values["values"].clone()}
    changed["values"][-1] += 1
    one, two = encoder(batch).values[0], encoder(FieldBatch(changed, batch.lengths, batch.present)).values[0]
    assert encoder.patch == 4
    assert [bool(torch.equal(a, b)) for a, b in zip(one[1:], two[1:], strict=True)] == [True, True, False]
