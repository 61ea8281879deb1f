"""Past rows of a table: against a slow version, row by row; nothing of the future, another group, or across a gap."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from omnifuse.data.history import CLOCK, plain_schema, schema_with_history, unread_times, with_history
from omnifuse.data.infer import infer_schema
from omnifuse.data.tables import open_table
from omnifuse.schema import History, Modality, Schema

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def sensors(count=200, *, seed=0, shuffled=True):
    """Two sensors, irregular minutes with gaps, repeated times, holes; in no order."""
    draw = np.random.default_rng(seed)
    minutes = np.cumsum(draw.choice([0, 1, 1, 1, 2, 30], count))
    rows = [
        {
            "when": (START + datetime.timedelta(minutes=int(at))).isoformat(),
            "room": str(draw.choice(["hall", "attic"])),
            "heat": None if draw.random() < 0.1 else f"{draw.normal(20, 2):.3f}",
            "gas": f"{draw.normal(400, 30):.1f}",
            "note": str(draw.choice(["red", "blue"])),
            "price": float(draw.normal()),
            "state": str(draw.choice(["on", "off"])),
        }
        for at in minutes
    ]
    order = draw.permutation(count) if shuffled else np.arange(count)
    return [rows[place] for place in order]


def planned(rows, window=6, group="room", labels=("state", "price")):
    table = open_table(rows)
    schema = infer_schema(table, labels, fields={"gas": "number"}, tasks={}, drop=(), group=group, time="when")
    return table, schema_with_history(table, schema, window)


def slow_past(rows, row, history):
    """Row numbers of the history of a row, found by looking at every row."""

    def at(number):
        return datetime.datetime.fromisoformat(rows[number]["when"]).timestamp()

    mates = [other for other in range(len(rows)) if rows[other]["room"] == rows[row]["room"]]
    earlier = sorted((other for other in mates if at(other) < at(row)), key=at)
    found, before = [], at(row)
    for other in reversed(earlier):
        if before - at(other) > history.gap_s:
            break
        found.append(other)
        before = at(other)
    return found[::-1]


def number(cell):
    return np.nan if cell is None else float(cell)


def test_past_and_differences_are_those_of_a_slow_version():
    rows = sensors()
    table, schema = planned(rows)
    history = schema.history
    assert history.columns == ("heat", "gas")
    assert history.gap_s == 10 * 120
    assert [(column, back) for _, column, back in history.differences] == [("heat", 5), ("gas", 5)]
    made = with_history(table, history)
    pasts = made.cells("history")
    differences = {column: made.cells(name) for name, column, _ in history.differences}
    cut = 0
    for row in range(len(rows)):
        wanted = slow_past(rows, row, history)
        cut += not wanted
        values = np.array([[number(rows[other]["heat"]), number(rows[other]["gas"])] for other in wanted[-6:]])
        if not len(values):
            assert pasts[row] is None
        else:
            found = pasts[row]
            times = [datetime.datetime.fromisoformat(rows[other]["when"]).timestamp() for other in wanted[-6:]]
            np.testing.assert_array_equal(found.times, times)
            assert found.end == datetime.datetime.fromisoformat(rows[row]["when"]).timestamp() > times[-1]
            own = np.array([number(rows[row]["heat"]), number(rows[row]["gas"])])
            for column in np.flatnonzero(np.isnan(own)):
                seen = found.values[~np.isnan(found.values[:, column]), column]
                assert not len(seen) or seen[-1] == 0
            for at in set(times):
                of_one = [place for place, time in enumerate(times) if time == at]
                if times[0] < at:
                    apart = (values - own)[of_one]
                    pairs = zip(found.values[of_one].T, apart.T, own, strict=True)
                    for one, two in ((one, two) for one, two, known in pairs if not np.isnan(known)):
                        np.testing.assert_array_equal(np.sort(one), np.sort(two))
        unique = len({rows[other]["when"] for other in wanted[-5:]}) == len(wanted[-5:])
        if len(wanted) < 5:
            assert all(cells[row] is None for cells in differences.values())
        elif unique and rows[wanted[-5]]["when"] not in {rows[other]["when"] for other in wanted[:-5]}:
            apart = number(rows[row]["gas"]) - number(rows[wanted[-5]]["gas"])
            assert differences["gas"][row] == pytest.approx(apart)
    assert 2 < cut < 150


def test_what_comes_later_changes_nothing_and_targets_are_never_read():
    rows = sensors(120, shuffled=False)
    table, schema = planned(rows)
    assert not {"state", "price"} & {*schema.history.columns, *(item[1] for item in schema.history.differences)}
    before = with_history(table, schema.history)
    changed = [dict(row) for row in rows]
    for row in changed[60:]:
        row |= {"heat": "99", "gas": "-99"}
    for row in changed:
        row |= {"state": "on", "price": 0.0}
    first_changed = changed[60]["when"]
    after = with_history(open_table(changed[:90]), schema.history)
    for column in schema.history.derived:
        for row in range(60):
            if rows[row]["when"] >= first_changed:
                continue
            one, two = before.cells(column, np.array([row]))[0], after.cells(column, np.array([row]))[0]
            if column == "history" and one is not None:
                np.testing.assert_array_equal(one.values, two.values)
            else:
                assert one == two


def test_the_order_of_the_table_and_chunks_change_nothing(tmp_path):
    rows = sensors(90)
    table, schema = planned(rows)
    whole = with_history(table, schema.history)
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    scanned = replace(
        open_table(rows), frame=pl.scan_parquet(tmp_path / "rows.parquet"), objects={}, name="rows.parquet"
    )
    for some in (whole, with_history(scanned, schema.history)):
        start = 0
        for chunk in some.batches(17):
            assert chunk.derived == frozenset(schema.history.derived)
            assert with_history(chunk, schema.history) is chunk
            for column in schema.history.derived:
                assert list(map(str, chunk.cells(column))) == list(
                    map(str, whole.cells(column)[start : start + chunk.num_rows])
                )
            start += chunk.num_rows
        assert start == 90
    turned = with_history(open_table(rows[::-1]), schema.history).cells("history")[::-1]
    for one, two in zip(whole.cells("history"), turned, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one.times, two.times)
            np.testing.assert_array_equal(one.values, two.values)
    assert whole.fingerprint() == table.fingerprint()
    assert whole.select(np.array([5, 3])).cells("history")[1].end == whole.cells("history")[3].end


def test_earlier_rows_of_another_table_are_history():
    rows = sensors(60, shuffled=False)
    table, schema = planned(rows)
    whole = with_history(table, schema.history)
    cut = next(row for row in range(30, 60) if rows[row]["when"] != rows[row - 1]["when"])
    later = with_history(open_table(rows[cut:]), schema.history, open_table(rows[:cut]))
    for column in schema.history.derived:
        one, two = whole.cells(column)[cut:], later.cells(column)
        assert list(map(str, one)) == list(map(str, two))


def test_what_is_missing_is_answered_without():
    rows = sensors(40)
    table, schema = planned(rows)
    rows[3]["when"], rows[4]["when"], rows[5]["room"] = None, "soon", None
    made = with_history(open_table(rows), schema.history)
    assert [made.cells("history")[row] for row in (3, 4, 5)] == [None] * 3
    assert unread_times(made, schema.history) == [
        (3, "the time is missing: answered without history"),
        (4, "'soon' is no time: answered without history"),
    ]
    for absent in ("when", "room"):
        bare = with_history(open_table([{k: v for k, v in row.items() if k != absent} for row in rows]), schema.history)
        assert set(bare.cells("history")) == {None}
        assert {cell for name, *_ in schema.history.differences for cell in bare.cells(name)} == {None}
    odd = with_history(open_table([{**row, "history": "mine"} for row in rows]), schema.history)
    assert "mine" not in odd.cells("history")
    del table


def test_schema_and_its_json():
    rows = sensors(60)
    _, schema = planned(rows, window=60, group=None)
    assert [back for _, _, back in schema.history.differences] == [5, 5, 15, 15, 60, 60]
    assert [(item.name, item.modality) for item in schema.fields if item.name == "history"] == [
        ("history", Modality.SERIES)
    ]
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again.history == schema.history
    plain = plain_schema(schema)
    assert [item.name for item in plain.fields] == ["room", "heat", "gas", "note"]
    assert schema_with_history(open_table(rows), plain, 0) == plain
    assert Schema.from_json({**plain.to_json(), "history": None}).history is None
    with pytest.raises(ValueError, match="a history of 0 rows"):
        History("t", None, 0, (), "", (), (), 600.0)


def test_clock_is_that_of_the_calendar_and_only_where_the_rows_show_it():
    days = [START + datetime.timedelta(hours=7 * step) for step in range(80)]
    rows = [{"when": at.isoformat(), "x": 0.5 * step, "y": "ab"[step % 2]} for step, at in enumerate(days)]
    table = open_table(rows)
    schema = infer_schema(table, ("y",), fields={}, tasks={}, drop=(), group=None, time="when")
    history = schema_with_history(table, schema, 5).history
    assert [what for _, what in history.clock] == list(CLOCK)
    assert history.gap_s == 10 * 7 * 3600
    made = with_history(table, history)
    columns = {what: made.cells(name) for name, what in history.clock}
    np.testing.assert_allclose(columns["hour"], [at.hour for at in days], atol=1e-9)
    assert columns["weekend"] == [float(at.weekday() >= 5) for at in days]
    angle = 2 * np.pi * np.array(columns["hour"]) / 24
    np.testing.assert_allclose(columns["sine of the day"], np.sin(angle), atol=1e-9)
    np.testing.assert_allclose(columns["cosine of the day"], np.cos(angle), atol=1e-9)
    few = open_table(rows[:6])
    assert schema_with_history(few, schema, 5).history.clock == ()
    counted = open_table([{**row, "when": step} for step, row in enumerate(rows)])
    assert schema_with_history(counted, schema, 5).history.clock == ()


def test_wide_tables_get_fewer_differences():
    draw = np.random.default_rng(0)
    for width, wanted in ((10, {5, 15, 60}), (30, {5, 15}), (50, {5}), (80, set())):
        rows = [
            {"t": step, "y": "ab"[step % 2], **{f"x{c}": float(draw.normal()) for c in range(width)}}
            for step in range(30)
        ]
        table = open_table(rows)
        schema = infer_schema(table, ("y",), fields={}, tasks={}, drop=(), group=None, time="t")
        history = schema_with_history(table, schema, 60).history
        assert {back for _, _, back in history.differences} == wanted
        assert len(history.columns) == width
