"""T18: a sensor whose times are out of order, repeated or full of gaps, or whose unit changes."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from tests.column_table import ColumnTable

from omnifuse.data.findings import find
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

COUNT = 200
START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def sensor(minutes, values=None, **columns):
    draw = np.random.default_rng(0)
    values = draw.normal(20, 2, len(minutes)) if values is None else values
    times = [None if at is None else (START + datetime.timedelta(minutes=at)).isoformat() for at in minutes]
    labels = draw.choice(["on", "off"], len(minutes)).tolist()
    return ColumnTable(time=times, heat=[float(value) for value in values], label=labels, **columns)


def faults(table, group=None):
    field, target = Field("heat", Modality.NUMBER), Target("label", TaskKind.CLASSIFICATION)
    found = find(table, Schema((field,), (target,), time="time", group=group))
    return {(item.kind, item.severity): item for item in found if item.kind in ("time_order", "unit_jump")}, found


def test_t18_time_order():
    assert faults(sensor(range(COUNT)))[0] == {}
    swapped = list(range(COUNT))
    swapped[50], swapped[51] = swapped[51], swapped[50]
    cases = {
        "earlier": (swapped, 51),
        "repeat": ([*range(100), *range(99, COUNT - 1)], 100),
        "gaps": ([at + 500 * (at >= 120) for at in range(COUNT)], 120),
        "read": ([*range(COUNT - 1), 0], COUNT - 1),
    }
    for word, (minutes, row) in cases.items():
        table = sensor(minutes)
        if word == "read":
            table.data["time"][row] = "soon"
        (item,) = faults(table)[0].values()
        assert word in item.text
        assert (item.kind, item.field, item.severity, item.rows) == ("time_order", "time", "info", (row,))


def test_t18_unit_jump():
    values = np.random.default_rng(1).normal(20, 2, COUNT)
    values[87:] *= 1000
    (item,) = faults(sensor(range(COUNT), values))[0].values()
    assert (item.kind, item.field, item.severity) == ("unit_jump", "heat", "warning")
    assert abs(item.rows[0] - 87) <= 10


@pytest.mark.parametrize("values", [np.geomspace(1, 1e4, COUNT), np.r_[np.zeros(100), np.full(100, 50.0)]])
def test_t18_slow_growth_and_a_switch_are_no_unit_jump(values):
    assert faults(sensor(range(COUNT), values))[0] == {}


def test_t18_each_sensor_has_its_own_order_and_scale():
    minutes = [at for at in range(COUNT // 2) for _ in range(2)]
    table = sensor(minutes, np.tile([1.0, 500.0], COUNT // 2), name=["small", "large"] * (COUNT // 2))
    assert faults(table, group="name")[0] == {}
    assert ("time_order", "info") in faults(table)[0]


def test_t18_counters_and_fast_sensors_are_in_order():
    table = sensor(range(COUNT))
    table.data["time"] = list(range(900, 900 + COUNT))
    assert faults(table)[0] == {}
    table.data["time"] = [f"2024-01-01T10:00:{at // 100:02d}.{at % 100:02d}" for at in range(COUNT)]
    assert faults(table)[0] == {}
    table.data["time"] = [int((START + datetime.timedelta(days=at)).strftime("%Y%m%d")) for at in range(COUNT)]
    assert faults(table)[0] == {}
