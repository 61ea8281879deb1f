"""Media that were read in part or repaired are said so on every way: in this process, by workers, from the cache."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omnifuse.data import pack as pack_module
from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.cache import MediaCache
from omnifuse.data.decoded import CUT, REPAIRED, DecodedMedium
from omnifuse.data.findings import find
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.pack import Remark, build_packs, media_findings
from omnifuse.data.tables import open_table
from omnifuse.data.workers import decode_cell
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

RATE_HZ = 8000
SOUNDS = AudioPreprocessor(rate_hz=RATE_HZ, max_seconds=0.5)
SCHEMA = Schema((Field("call", Modality.AUDIO),), (Target("label", TaskKind.CLASSIFICATION),))
HOLDS_NO_NUMBERS = "hold samples or pixels that are no numbers"
CUT_REMARK = (CUT, "only the first 0.5 s are used")


def noise(seconds: float, *, bad: int = 0) -> np.ndarray:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)
    samples[:bad] = np.nan
    return samples


def encoded(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.mark.parametrize("form", [encoded, lambda samples: (samples, RATE_HZ)], ids=["file", "array"])
def test_t09_sound_that_is_longer_than_what_is_read_is_remarked(form):
    assert decode_cell(form(noise(0.5)), SOUNDS, MediaDoor()).remarks == ()
    assert decode_cell(form(noise(0.51)), SOUNDS, MediaDoor()).remarks == (CUT_REMARK,)
    assert decode_cell(form(noise(3)), SOUNDS, MediaDoor()).remarks == (CUT_REMARK,)


def test_t09_sound_that_the_door_itself_cuts_is_remarked():
    door = MediaDoor(limits=MediaLimits(max_audio_s=0.25))
    assert decode_cell(encoded(noise(0.2)), SOUNDS, door).remarks == ()
    assert decode_cell(encoded(noise(0.4)), SOUNDS, door).remarks == ((CUT, "only the first 0.25 s are used"),)


@pytest.mark.parametrize("form", [encoded, lambda samples: (samples, RATE_HZ)], ids=["file", "array"])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 16_000])
def test_t12_samples_that_became_0_are_counted(form, rate_hz):
    stereo = np.stack([noise(0.1, bad=3), noise(0.1, bad=5)], axis=1)
    for samples, count in ((noise(0.1, bad=3), 3), (stereo, 5)):
        remarks: list[str] = []
        got = MediaDoor().audio(form(samples), rate_hz, remarks=remarks)
        assert np.isfinite(got).all()
        assert remarks == [f"{count} of 800 samples are not finite numbers and count as 0"]
    clean: list[str] = []
    MediaDoor().audio(form(noise(0.1)), rate_hz, remarks=clean)
    assert clean == []


@pytest.mark.parametrize("remarks", [(), (CUT_REMARK, (REPAIRED, "2 of 9 samples"))])
def test_remarks_are_kept_with_the_arrays(tmp_path, remarks):
    arrays = {"log_mel": np.ones((2, 3), np.float32)}
    MediaCache(tmp_path).put("ab", SOUNDS, DecodedMedium(arrays, remarks))
    known = MediaCache(tmp_path).get("ab", SOUNDS)
    assert known is not None
    assert known.remarks == remarks
    np.testing.assert_array_equal(known["log_mel"], arrays["log_mel"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_remarks_reach_the_pack_on_every_way(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr(pack_module, "MIN_CELLS_FOR_WORKERS", 1)
    for name, samples in (("a", noise(0.2)), ("b", noise(2)), ("c", noise(0.6, bad=2)), ("d", noise(2))):
        (tmp_path / f"{name}.wav").write_bytes(encoded(samples))
    cells = ["a.wav", None, "b.wav", "c.wav", "none.wav", "d.wav"]
    table = open_table([{"call": cell, "label": "x"} for cell in cells], media_root=tmp_path)
    expected = (
        Remark(2, "call", *CUT_REMARK),
        Remark(3, "call", REPAIRED, "2 of 4800 samples are not finite numbers and count as 0"),
        Remark(3, "call", *CUT_REMARK),
        Remark(5, "call", *CUT_REMARK),
    )
    for _ in range(2):
        packs, bad = build_packs(
            table,
            SCHEMA,
            {"call": SOUNDS},
            door=MediaDoor(root=tmp_path),
            num_workers=num_workers,
            cache_dir=tmp_path / "cache",
        )
        assert packs["call"].remarks == expected
        assert [(cell.row, cell.reason) for cell in bad] == [(4, "There is no such file. Read from 'none.wav'.")]
        # The second pass finds everything in the cache, or this fails
        monkeypatch.setattr("omnifuse.data.workers.decode_cell", lambda *given: pytest.fail("decoded again"))
    cut, repaired = media_findings(packs)
    assert (cut.kind, cut.field, cut.severity, cut.rows) == (CUT, "call", "warning", (2, 3, 5))
    assert cut.text == (
        "3 of 4 media in 'call' are longer than what is read of them, the first: only the first 0.5 s are used"
    )
    assert (repaired.kind, repaired.rows) == (REPAIRED, (3,))
    assert repaired.text.startswith(
        "1 of 4 media in 'call' hold samples or pixels that are no numbers, the first: 2 of 4800"
    )


def test_nothing_to_remark_is_no_finding():
    table = open_table([{"call": noise(0.1), "label": "x"}, {"call": None, "label": "y"}])
    packs, _ = build_packs(table, SCHEMA, {"call": SOUNDS}, door=MediaDoor())
    assert packs["call"].remarks == ()
    assert media_findings(packs) == []


def test_t12_inspection_names_media_that_hold_no_numbers():
    cells = [encoded(noise(0.1, bad=number % 2)) for number in range(6)]
    table = open_table([{"call": cell, "label": "x"} for cell in cells])
    found = [item for item in find(table, SCHEMA, door=MediaDoor()) if item.kind == REPAIRED]
    assert [(item.field, item.rows) for item in found] == [("call", (1, 3, 5))]
    assert found[0].text == (
        "3 of 6 files tried in 'call' hold samples or pixels that are no numbers, the first: 1 of 800 samples are not "
        "finite numbers and count as 0"
    )


def float_picture(*, bad: int = 0) -> bytes:
    """A TIFF of floats as Pillow writes it."""
    values = np.random.default_rng(bad).random((6, 5)).astype(np.float32)
    values.flat[:bad] = np.nan
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_t12_pixels_that_became_0_are_remarked_on_every_way(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr(pack_module, "MIN_CELLS_FOR_WORKERS", 1)
    schema = Schema((Field("photo", Modality.IMAGE),), (Target("label", TaskKind.CLASSIFICATION),))
    cells = [float_picture(), float_picture(bad=4), None, float_picture(bad=1)]
    table = open_table([{"photo": cell, "label": "x"} for cell in cells])
    expected = tuple(
        Remark(row, "photo", REPAIRED, f"{bad} of 30 pixels are not finite numbers and count as 0")
        for row, bad in ((1, 4), (3, 1))
    )
    given = {"door": MediaDoor(), "num_workers": num_workers, "cache_dir": tmp_path / "cache"}
    for _ in range(2):
        packs, bad = build_packs(table, schema, {"photo": ImagePreprocessor(16, 16)}, **given)
        assert packs["photo"].remarks == expected
        assert bad == []
        monkeypatch.setattr("omnifuse.data.workers.decode_cell", lambda *given: pytest.fail("decoded again"))
    (found,) = media_findings(packs)
    assert (found.kind, found.field, found.severity, found.rows) == (REPAIRED, "photo", "warning", (1, 3))
    assert found.text == f"2 of 3 media in 'photo' {HOLDS_NO_NUMBERS}, the first: {expected[0].text}"
    (tried,) = (item for item in find(table, schema, door=MediaDoor()) if item.kind == REPAIRED)
    assert tried.text == f"2 of 3 files tried in 'photo' {HOLDS_NO_NUMBERS}, the first: {expected[0].text}"


def test_the_page_of_faults_says_what_the_user_sees():
    page = (Path(__file__).parents[2] / "docs/faults.md").read_text(encoding="utf-8")
    packs, _ = build_packs(
        open_table([{"call": noise(0.6, bad=3), "label": "x"}]), SCHEMA, {"call": SOUNDS}, door=MediaDoor()
    )
    told = [item.text for item in media_findings(packs)]
    assert len(told) == 2
    for text in told:
        assert f"`{text}`" in page
    remarks: list[str] = []
    MediaDoor().image(float_picture(bad=4), remarks=remarks)
    assert f"`1 of 1 media in 'photo' {HOLDS_NO_NUMBERS}, the first: {remarks[0]}`" in page
