"""Series to arrays: order, gaps, means and scale against values that were worked out by hand or slowly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.decoded import TIME_ORDER, UNIT_JUMP, UNREAD
from omnifuse.data.media import MediaDoor
from omnifuse.data.media_series import RawSeries
from omnifuse.data.pack import build_packs, media_findings
from omnifuse.data.preprocessors import fit_preprocessors, preprocessors_from_json, preprocessors_to_json
from omnifuse.data.series import SeriesPreprocessor
from omnifuse.data.series_order import thinned_steps
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError, MediaError
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

PLAIN = SeriesPreprocessor(("x",), (0.0,), (1.0,))


def raw(values, times=None, **more):
    matrix = np.asarray(values, np.float64)
    return RawSeries(matrix.reshape(len(matrix), -1), None if times is None else np.asarray(times, float), **more)


def test_arrays_and_their_meaning():
    found = PLAIN(raw([1, np.nan, 3], [100, 101, 105]))
    assert {name: (array.dtype.str, array.shape) for name, array in found.items()} == {
        "values": ("<f4", (3, 1)),
        "time_s": ("<f4", (3,)),
        "observed": ("|b1", (3, 1)),
    }
    assert found["values"][:, 0].tolist() == [1, 0, 3]
    assert found["observed"][:, 0].tolist() == [True, False, True]
    assert found["time_s"].tolist() == [-5, -4, 0]
    assert PLAIN(raw([1, 2]))["time_s"].tolist() == [-1, 0]
    assert PLAIN(raw([1, 2], [0, 10], end=70.0))["time_s"].tolist() == [-70, -60]
    assert {name: array.shape for name, array in PLAIN.empty().items()} == {
        "values": (0, 1),
        "time_s": (0,),
        "observed": (0, 1),
    }


def test_scale_is_the_middle_and_the_quartiles_of_the_training_rows():
    draw = np.random.default_rng(0)
    series = [raw(draw.normal([5, -300], [2, 40], (200, 2)), np.arange(200) * 30.0) for _ in range(20)]
    fitted = SeriesPreprocessor.fit(series)
    everything = np.concatenate([item.values for item in series])
    np.testing.assert_allclose(fitted.medians, np.median(everything, axis=0))
    quartiles = np.quantile(everything, [0.25, 0.75], axis=0)
    np.testing.assert_allclose(fitted.scales, (quartiles[1] - quartiles[0]) / 1.349)
    assert fitted.step_s == 30
    assert (fitted.channels, fitted.named) == (("channel 1", "channel 2"), False)
    assert preprocessors_from_json(json.loads(json.dumps(preprocessors_to_json({"s": fitted}))))["s"] == fitted
    wild = fitted(raw([[1e300, -1e300]] * 2))["values"]
    assert np.abs(wild).max() <= 8
    assert wild[0, 0] > 7


def test_order_of_steps_and_of_steps_of_one_time_change_nothing():
    draw = np.random.default_rng(1)
    times = np.repeat(np.arange(30.0), draw.integers(1, 5, 30))
    values = draw.normal(size=(len(times), 2)) * 1e3
    values[draw.random(values.shape) < 0.2] = np.nan
    fitted = SeriesPreprocessor(("x", "y"), (0.0, 0.0), (1e3, 1e3))
    first = fitted(RawSeries(values, times))
    assert len(first["time_s"]) == 30
    wanted = [
        np.nanmean(values[times == at], axis=0) for at in (3.0, 4.0) if not np.isnan(values[times == at]).all(0).any()
    ]
    assert wanted
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(times))
        again = fitted(RawSeries(values[order], times[order]))
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])


def test_t18_what_is_wrong_with_times_and_units_is_said():
    def told(*given):
        return list(PLAIN(raw(*given)).remarks)

    assert told(range(30), range(30)) == []
    assert told([1, 2, 3], [0, 2, 1]) == [(TIME_ORDER, "1 of 3 steps are earlier than the step before and were sorted")]
    assert PLAIN(raw([1, 2, 3], [0, 2, 1]))["values"][:, 0].tolist() == [1, 3, 2]
    assert told([1, 2, 4], [0, 1, 1]) == [(TIME_ORDER, "1 of 3 steps repeat the time of another; their mean is taken")]
    assert PLAIN(raw([1, 2, 4], [0, 1, 1]))["values"][:, 0].tolist() == [1, 3]
    gap = [*range(10), *range(100, 110)]
    assert told(range(20), gap) == [(TIME_ORDER, "1 gaps are more than 10 times the usual step, the longest 91 s")]
    assert PLAIN(raw(range(20), gap))["time_s"].tolist() == [at - 109.0 for at in gap]
    assert told([1, 2, 3], [0, np.nan, 1]) == [
        (TIME_ORDER, "1 of 3 steps have a time that cannot be read and are left out")
    ]
    (jump,) = told([20.0 + (at % 3) for at in range(30)] + [20_000.0 + at for at in range(30)])
    assert jump[0] == UNIT_JUMP
    assert "channel 1 becomes more than 20 times larger or smaller about step 31" in jump[1]
    swinging = np.sin(np.arange(60.0)) * np.repeat([0.01, 5.0], 30)
    assert told(swinging) == []
    with pytest.raises(MediaError, match="No time of the series can be read"):
        told([1, 2], [np.nan, np.nan])


def test_long_series_become_means_over_equal_stretches_and_gaps_stay():
    times = np.r_[np.arange(0, 500), np.arange(1500, 2000)].astype(float)
    values = np.random.default_rng(2).normal(size=(1000, 2))
    values[100:140, 1] = np.nan
    found, at = thinned_steps(values, times, 50)
    width = 1999 / 50
    stretch = np.minimum((times / width).astype(int), 49)
    wanted = [np.nanmean(values[stretch == number], axis=0) for number in np.unique(stretch) if number != 3]
    keep = [place for place, number in enumerate(np.unique(stretch)) if number != 3]
    np.testing.assert_allclose(found[keep], wanted)
    assert len(at) == len(np.unique(stretch)) < 50
    assert np.diff(at).max() > 900
    assert thinned_steps(values, times, 1000)[0] is values
    arrays = SeriesPreprocessor(("x", "y"), (0.0, 0.0), (1.0, 1.0), max_steps=50)(RawSeries(values, times))
    assert len(arrays["time_s"]) == len(at)
    assert PLAIN(raw(np.ones(2000), np.r_[np.zeros(1), 1e-300 * np.arange(1, 2000)])).keys() == arrays.keys()


def test_channels_are_told_by_their_names():
    fitted = SeriesPreprocessor.fit([raw([[1, 2]], channels=("a", "b")), raw([[3, 4]], channels=("a", "b"))])
    assert (fitted.channels, fitted.named) == (("a", "b"), True)
    turned = fitted(raw([[2, 1]], channels=("b", "a")))
    straight = fitted(raw([[1, 2]], channels=("a", "b")))
    np.testing.assert_array_equal(turned["values"], straight["values"])
    np.testing.assert_array_equal(fitted(raw([[1, 2]]))["values"], straight["values"])
    part = fitted(raw([[5, 1]], channels=("c", "a")))
    assert part["observed"].tolist() == [[True, False]]
    assert part.remarks == ((UNREAD, "channels that the model does not know are left out: c"),)
    with pytest.raises(MediaError, match="has the channels c, expected a, b"):
        fitted(raw([[1]], channels=("c",)))
    with pytest.raises(MediaError, match="has 3 channels, expected 2"):
        fitted(raw([[1, 2, 3]]))
    with pytest.raises(MediaError, match="Nothing was observed"):
        fitted(raw([[1, np.nan]], channels=("c", "a")))


def test_nothing_to_learn_from_and_wrong_options():
    assert SeriesPreprocessor.fit([]).num_channels == 1
    assert PLAIN([1, None, 3])["observed"][:, 0].tolist() == [True, False, True]
    with pytest.raises(InputError, match="max_steps must be 2 to 65536, received 1"):
        SeriesPreprocessor.fit([], max_steps=1)
    with pytest.raises(InputError, match="above 0"):
        SeriesPreprocessor(("x",), (0.0,), (0.0,))
    with pytest.raises(InputError, match="1 channels have 2 medians"):
        SeriesPreprocessor(("x",), (0.0, 1.0), (1.0,))


def test_a_column_of_series_is_packed_counted_and_never_loses_a_row(tmp_path):
    (tmp_path / "a.csv").write_text("time,x\n0,1\n2,3\n1,2\n")
    cells = ["a.csv", None, {"time": [0, 1], "x": [5, "hot"]}, "missing.csv", [1.0, 2.0, 3.0], "[1, 2, null]"]
    table = open_table([{"s": cell, "y": "ab"[row % 2]} for row, cell in enumerate(cells)], media_root=tmp_path)
    schema = Schema((Field("s", Modality.SERIES),), (Target("y", TaskKind.CLASSIFICATION, ("a", "b")),))
    door = MediaDoor(root=tmp_path)
    fitted = fit_preprocessors(table, schema, rows=np.arange(6), options={"s": {"max_steps": 8}}, door=door)
    assert fitted["s"].max_steps == 8
    packs, bad = build_packs(table, schema, fitted, door=door)
    assert packs["s"].present.tolist() == [True, False, True, False, True, True]
    assert packs["s"].lengths.tolist() == [3, 0, 2, 0, 3, 3]
    assert [(cell.row, cell.field) for cell in bad] == [(3, "s")]
    assert "There is no such file. Read from 'missing.csv'" in bad[0].reason
    assert {(item.kind, item.rows) for item in media_findings(packs)} == {(TIME_ORDER, (0,)), (UNREAD, (2,))}
    taken = packs["s"].take(np.array([4, 1, 0]))
    assert taken.values["time_s"].tolist() == [-2, -1, 0, -2, -1, 0]
