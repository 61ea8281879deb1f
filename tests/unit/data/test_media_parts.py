"""Several pictures or sounds in one cell: told, decoded, packed, and read by the encoders as one field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from omnifuse.data.kinds import judge
from omnifuse.data.media import MediaDoor
from omnifuse.data.media_parts import MOST_PARTS, media_parts
from omnifuse.data.pack import build_packs, media_findings
from omnifuse.data.preprocessors import fit_preprocessors
from omnifuse.data.tables import open_table
from omnifuse.encoders import ConvImageEncoder, TransformerImageEncoder
from omnifuse.evaluation.features import picture_features
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind
from omnifuse.tokens import FieldBatch, Tokens, gathered

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("a.png", ["a.png"]),
        ("a.png|b.png", ["a.png", "b.png"]),
        (" a.png | | b.png ", ["a.png", "b.png"]),
        ('["a.png", "b c.png", null]', ["a.png", "b c.png"]),
        ("[odd name].png", ["[odd name].png"]),
        ("[1, 2]", ["[1, 2]"]),
        (["a.png", None, "b.png"], ["a.png", "b.png"]),
        (("a.png",), ["a.png"]),
        (None, []),
        ([], []),
        ("[]", []),
        ("", []),
    ],
    ids=str,
)
def test_what_a_cell_holds(cell, parts):
    assert media_parts(cell) == parts


def test_arrays_and_sounds_with_their_rate_are_one_medium():
    sound = np.zeros(80)
    assert media_parts((sound, 8000)) == [(sound, 8000)]
    assert len(media_parts([(sound, 8000), sound])) == 2
    assert media_parts(PIXELS)[0] is PIXELS


def test_a_column_of_lists_is_told():
    assert judge("views", [["a.png", "b.png"], ["c.jpg"]] * 3).modality is Modality.IMAGE
    assert judge("views", ["a.wav|b.wav", "c.wav"] * 3).modality is Modality.AUDIO
    assert judge("views", ['["a.png"]'] * 3).modality is Modality.IMAGE


@pytest.fixture(name="packed")
def _packed(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    cells = ["0.png|1.png", "2.png", None, "broken.png|3.png", "broken.png|broken.png", "|".join(["1.png"] * 20)]
    rows = [{"views": cell, "label": "ab"[row % 2]} for row, cell in enumerate(cells)]
    schema = Schema((Field("views", Modality.IMAGE),), (Target("label", TaskKind.CLASSIFICATION),))
    table, door = open_table(rows), MediaDoor(root=tmp_path)
    preprocessors = fit_preprocessors(table, schema, rows=np.arange(len(rows)), door=door)
    packs, bad = build_packs(table, schema, preprocessors, door=door)
    return packs, bad


def test_cells_are_packed_with_all_their_pictures(packed):
    packs, bad = packed
    pack = packs["views"]
    assert pack.lengths.tolist() == [2, 1, 0, 1, 0, MOST_PARTS]
    assert [int(view.mean()) for view in pack.row(0)["pixels"]] == [0, 40]
    assert int(pack.row(3)["pixels"].mean()) == 120
    assert [(cell.row, cell.field) for cell in bad] == [(4, "views")]
    assert {(remark.row, remark.kind) for remark in pack.remarks} == {(3, "partly_read_media"), (5, "cut_media")}
    texts = " ".join(finding.text for finding in media_findings(packs))
    assert "1 of 2 media of the cell cannot be read" in texts
    assert f"only the first {MOST_PARTS} media" in texts


def test_simple_models_read_the_mean_of_the_pictures(packed):
    pack = packed[0]["views"]
    found = picture_features(pack)
    assert found.shape[0] == 6
    assert np.isnan(found[[2, 4]]).all()
    assert found[0, 0] == pytest.approx(20 / 255, abs=1e-4)


@pytest.mark.parametrize("kind", [ConvImageEncoder, TransformerImageEncoder])
def test_encoders_put_the_pictures_of_a_row_behind_each_other(kind):
    torch.manual_seed(0)
    options = {"depth": 1, "num_heads": 2} if kind is TransformerImageEncoder else {}
    encoder = kind(dim=16, height=16, width=16, **options).eval()
    pixels = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    there = torch.ones(2, dtype=torch.bool)
    several = encoder(FieldBatch({"pixels": pixels}, torch.tensor([3, 1]), there))
    single = encoder(FieldBatch({"pixels": pixels}, torch.ones(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)))
    count = single.values.shape[1]
    assert several.values.shape[:2] == (2, 3 * count)
    assert several.mask.sum(dim=1).tolist() == [3 * count, count]
    torch.testing.assert_close(several.values[0].detach(), single.values[:3].flatten(0, 1).detach())
    torch.testing.assert_close(several.values[1, :count].detach(), single.values[3].detach())


def test_gathering_keeps_the_masks_of_the_media():
    tokens = Tokens(torch.arange(12.0).reshape(3, 2, 2), torch.tensor([[True, False], [True, True], [False, True]]))
    found = gathered(tokens, torch.tensor([2, 1]))
    assert found.mask.tolist() == [[True, False, True, True], [False, True, False, False]]
    assert gathered(tokens, torch.tensor([1, 1, 1])) is tokens
