"""Places are read as people write them, and refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnifuse.data.infer import infer_schema
from omnifuse.data.place import (
    EARTH_KM,
    PlacePreprocessor,
    distance_km,
    looks_like_place,
    paired,
    parse_place,
    place_columns,
)
from omnifuse.data.preprocessors import preprocessors_from_json, preprocessors_to_json
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError
from omnifuse.schema import Modality, Schema

BERLIN = (52.52, 13.405)


@pytest.mark.parametrize(
    "cell",
    [
        "52.52, 13.405",
        " 52.52;13.405 ",
        "52.52 13.405",
        "(52.52, 13.405)",
        "52.52N 13.405E",
        "13.405E 52.52N",
        "N 52.52 E 13.405",
        "52.52N13.405E",
        "POINT(13.405 52.52)",
        "point ( 13.405 52.52 )",
        "52\u00b031'12\" N, 13\u00b024'18\" E",
        "52\u00b0 31.2' N 13\u00b0 24.3' E",
        (52.52, 13.405),
        ["52.52", "13.405"],
        np.array([52.52, 13.405]),
        (52.52, 13.405, 34.0),
        {"lat": 52.52, "lon": "13.405"},
        {"Latitude": 52.52, "longitude": 13.405},
        {"type": "Point", "coordinates": [13.405, 52.52]},
    ],
    ids=str,
)
def test_what_is_read(cell):
    assert parse_place(cell) == pytest.approx(BERLIN, abs=1e-9)


def test_signs_letters_and_the_date_line():
    assert parse_place("33.9S, 151.2E") == (-33.9, 151.2)
    assert parse_place("-33.9, -70.6") == (-33.9, -70.6)
    assert parse_place("12.5S 70.5W") == (-12.5, -70.5)
    assert parse_place((0, 180)) == (0, -180)
    assert parse_place((0, 270)) == (0, -90)
    assert parse_place((90, 0)) == (90, 0)


@pytest.mark.parametrize(
    "cell",
    ["Paris", "", "52.52", "91.5, 0.0", "0.5, 361", "52.5N 13.4", "52.5N 13.4N", "52\u00b075' N, 13\u00b0 E", "1,2,3,4"]
    + [(1,), (None, 3.0), "x" * 10_000, b"52,13", 5, {"lat": 1}, {"lat": "north", "lon": 3}, float("nan")],
    ids=lambda cell: str(cell)[:20],
)
def test_what_is_no_place_is_refused_with_a_way_out(cell):
    with pytest.raises(InputError, match="Write latitude, then longitude"):
        parse_place(cell)


@given(st.floats(-90, 90), st.floats(-180, 179.999))
def test_what_is_written_in_decimals_comes_back(latitude, longitude):
    assert parse_place(f"{latitude:.6f}, {longitude:.6f}") == pytest.approx((latitude, longitude), abs=1e-6)


@given(st.text(max_size=120))
def test_no_text_breaks_the_reader(text):
    try:
        latitude, longitude = parse_place(text)
    except InputError:
        return
    assert abs(latitude) <= 90
    assert -180 <= longitude < 180


def test_two_whole_numbers_in_a_text_are_not_taken_for_a_place():
    assert not looks_like_place("3, 4")
    assert looks_like_place("3.5, 4")
    assert not looks_like_place(7)


def test_distances_are_great_circles():
    places = np.array([[0, 0], [0, 90], [90, 45], [0, -180]], float)
    quarter = np.pi * EARTH_KM / 2
    np.testing.assert_allclose(distance_km(places, np.zeros(2)), [0, quarter, quarter, 2 * quarter], rtol=1e-9)
    # Berlin to Sydney by the geodesic of WGS 84 is 16,094 km; a sphere errs by up to a half per cent
    assert distance_km(np.array([[-33.8688, 151.2093]]), np.array(BERLIN))[0] == pytest.approx(16_094, rel=0.005)


def test_fitting_finds_the_middle_across_the_date_line():
    fitted = PlacePreprocessor.fit([(10, 179), (10, -179), None, "nowhere"])
    assert fitted.latitude == 10
    assert abs(fitted.longitude) == pytest.approx(180)
    assert fitted.spread_km == pytest.approx(109.5, rel=0.01)
    assert PlacePreprocessor.fit([]) == PlacePreprocessor()
    assert PlacePreprocessor.fit([BERLIN] * 3).spread_km == 0.01
    stored = preprocessors_to_json({"spot": fitted})
    assert preprocessors_from_json(stored) == {"spot": fitted}
    assert fitted("1.5, 2.5")["degrees"].tolist() == [[1.5, 2.5]]


def schema_of(rows, **options):
    given = {"fields": {}, "tasks": {}, "drop": (), "group": None, "time": None, **options}
    return infer_schema(open_table(rows), ("label",), **given)


def test_latitude_and_longitude_columns_become_one_place():
    rows = [
        {"home_lat": 48 + k / 40, "home_lon": 11 + (k % 7) / 9, "height": k * 1.5, "label": "ab"[k % 2]}
        for k in range(40)
    ]
    schema = schema_of(rows)
    (home, table) = schema.inputs
    assert (home.name, home.modality, home.columns) == ("home", Modality.PLACE, ("home_lat", "home_lon"))
    assert table.columns == ("height",)
    assert Schema.from_json(schema.to_json()) == schema
    said = schema_of(rows, fields={"home_lat": "number"})
    assert all(item.modality is Modality.TABLE for item in said.inputs)


def test_numbers_that_are_no_angles_stay_numbers():
    rows = [{"lat": 5000.0 + k, "lon": k * 1.5, "label": "ab"[k % 2]} for k in range(40)]
    assert all(item.modality is Modality.TABLE for item in schema_of(rows).inputs)


def test_names_of_places():
    assert place_columns(["flat", "lon"]) == []
    assert place_columns(["lat", "LONGITUDE"]) == [("lat", "LONGITUDE", "place")]
    assert place_columns(["start lat", "end_lat", "end_lng"]) == [("end_lat", "end_lng", "end")]


def test_half_a_place_is_no_place():
    assert paired([1.0, None, None], [2.0, 3.0, None]) == [(1.0, 2.0), (None, 3.0), None]


def test_a_column_of_texts_is_told():
    rows = [{"spot": f"{48 + k / 10:.4f}, {11 + k / 20:.4f}", "label": "ab"[k % 2]} for k in range(30)]
    assert schema_of(rows).inputs[0].modality is Modality.PLACE
