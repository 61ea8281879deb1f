"""T40: one corrupt sample among ten thousand costs itself alone, and the accepted share is kept to the cell."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.made_media import encoded

from omnifuse.api.options import FitOptions, silent
from omnifuse.api.prepare import check_bad_cells, prepare, read_schema
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import BadCell, build_packs
from omnifuse.data.preprocessors import fit_preprocessors
from omnifuse.data.tables import open_table
from omnifuse.errors import InputError
from omnifuse.schema import Field, Modality, Schema

ROWS = 10_000
COLUMNS = {"photo": Modality.IMAGE, "when": Modality.DATE, "level": Modality.NUMBER}
SCHEMA = Schema(tuple(Field(name, modality, "as given") for name, modality in COLUMNS.items()), ())


def cells():
    """Ten thousand rows of ten different ones."""
    draw = np.random.default_rng(0)
    kinds = [
        {
            "photo": encoded(Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))),
            "when": f"2026-01-{number + 1:02d}",
            "level": f"{draw.normal():.3f}",
        }
        for number in range(10)
    ]
    return [dict(kinds[row % 10]) for row in range(ROWS)]


def packs_of(rows):
    table = open_table(rows)
    preprocessors = fit_preprocessors(table, SCHEMA, rows=np.arange(10), options={}, door=MediaDoor())
    preprocessors["photo"] = ImagePreprocessor(4, 4)
    return build_packs(table, SCHEMA, preprocessors, door=MediaDoor(), num_workers=0)


def test_t40_one_corrupt_cell_in_10000_of_each_kind_costs_that_cell_alone():
    rows = cells()
    places = {"photo": 7001, "when": 9999, "level": 5000}
    rows[7001]["photo"] = rows[7001]["photo"][:40]
    rows[9999]["when"] = "2026-13-45"
    rows[5000]["level"] = "1.2.3"
    packs, bad = packs_of(rows)
    assert {(cell.field, cell.row) for cell in bad} == set(places.items())
    assert all(cell.reason for cell in bad)
    for name, item in (("photo", packs["photo"]), ("when", packs["when"]), ("level", packs["table"])):
        assert np.flatnonzero(~item.present).tolist() == [places[name]]
        # Every other row is what the same cell gives elsewhere
        first = [item.row(row) for row in range(10, 20)]
        for row in range(0, ROWS, 97):
            assert all(np.array_equal(array, first[row % 10][key]) for key, array in item.row(row).items())


@pytest.mark.parametrize(("share", "most"), [(0.001, 10), (0.01, 100), (0.0, 0), (1.0, ROWS)])
def test_t40_the_accepted_share_is_kept_to_the_cell(share, most):
    # Empty cells are no samples: the share is that of the others
    table = open_table([{"photo": b"x"}] * ROWS + [{"photo": None}] * 500)
    options = FitOptions(("kind",), out="unused", max_bad=share)
    bad = [BadCell(row, "photo", "The picture is cut off.") for row in range(3, most + 3)]
    notes = check_bad_cells(bad, table, SCHEMA, options)
    assert len(notes) == bool(most)
    if most:
        assert notes[0].startswith(f"{most} unreadable cells of 'photo' count as missing (first in row 4: The picture")
    if share < 1:
        with pytest.raises(
            InputError, match=rf"{most + 1} of 10000 cells .*more than {share:.1%}.* row 4: .*--max-bad"
        ):
            check_bad_cells([*bad, BadCell(most + 3, "photo", "The picture is cut off.")], table, SCHEMA, options)


@pytest.mark.parametrize("count", [1, 10, 11])
def test_t40_a_table_of_10000_rows_is_prepared_up_to_a_thousandth_of_bad_cells(count):
    draw = np.random.default_rng(0)
    rows = [{"level": f"{draw.normal():.4f}", "open": str(number % 2)} for number in range(ROWS)]
    for number in range(count):
        rows[5000 + 7 * number]["level"] = "broken"
    table, options = open_table(rows), FitOptions(("open",), out="unused", max_bad=0.001, fields={"level": "number"})

    def prepared():
        return prepare(table, read_schema(table, options), options, input_options={}, listen=silent, cache=None)

    if count > 10:
        with pytest.raises(InputError, match=r"11 of 10000 cells of field 'level' cannot be read, more than 0\.1%"):
            prepared()
        return
    found = prepared()
    assert any(
        f"{count} unreadable cells of 'level' count as missing (first in row 5001" in note for note in found.notes
    )
    # A row of which nothing can be read teaches nothing; the others do
    assert sorted(set(range(ROWS)) - set(found.rows.tolist())) == [5000 + 7 * number for number in range(count)]
