from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest
from tests.made_video import clip_world, ramp, video

from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.cache import MediaCache
from omnifuse.data.findings import find
from omnifuse.data.infer import infer_schema
from omnifuse.data.media import MediaDoor
from omnifuse.data.pack import build_packs
from omnifuse.data.preprocessors import fit_preprocessors, preprocessors_from_json, preprocessors_to_json
from omnifuse.data.sound_tracks import sound_name
from omnifuse.data.tables import open_table
from omnifuse.data.video import VideoPreprocessor
from omnifuse.data.workers import WorkerPool, decode_once
from omnifuse.errors import InputError, MediaError, MissingDependencyError
from omnifuse.schema import Field, Modality, Schema

DOOR = MediaDoor()


def schema_of(rows, **options):
    given = {"fields": {}, "tasks": {}, "drop": (), "group": None, "time": None, "door": DOOR, **options}
    return infer_schema(open_table(rows), ("goes",), **given)


def test_frames_are_framed_and_times_kept():
    read = VideoPreprocessor(16, 24, num_frames=4)
    arrays = read((ramp(3, 20, 20), np.array([0.0, np.nan, 1.5])))
    assert arrays["pixels"].shape == (3, 16, 24, 3)
    assert arrays["pixels"].dtype == np.uint8
    assert arrays["time_s"].tolist() == [0.0, 0.0, 1.5]
    assert arrays["time_s"].dtype == np.float32
    for name, array in read.empty().items():
        assert array.shape == (0, *arrays[name].shape[1:])
        assert array.dtype == arrays[name].dtype
    assert preprocessors_from_json(preprocessors_to_json({"clip": read})) == {"clip": read}
    for value in ((ramp(3), np.zeros(2)), (ramp(3)[0], np.zeros(3)), (ramp(0), np.zeros(0))):
        with pytest.raises(MediaError, match="expected uint8"):
            read(value)


def test_fit_takes_the_median_size_and_twice_the_longest_duration():
    read = VideoPreprocessor.fit([(480, 640)] * 3, [2.2, 0.0, 7.4], largest=96, num_frames=5)
    assert read == VideoPreprocessor(80, 96, 5, 15.0)
    assert VideoPreprocessor.fit([], []).max_seconds == 60
    assert VideoPreprocessor.fit([], [300.0], max_seconds=20).max_seconds == 20
    assert VideoPreprocessor.fit([], [0.2]).max_seconds == 1
    for options, words in (
        ({"num_frames": 0}, "num_frames of videos must be 1 to 128"),
        ({"max_seconds": 1e9}, "max_seconds of videos"),
        ({"height": 0}, "height and width"),
        ({"fit": "pat"}, "did you mean 'pad'"),
    ):
        with pytest.raises(InputError, match=words):
            VideoPreprocessor.fit([], **options)


def test_sound_of_a_video_is_a_field_of_its_own(tmp_path):
    rows = clip_world(tmp_path, 12, sound="aac", side=16)
    schema = schema_of(rows)
    clip, sound = schema.fields
    assert (clip.name, clip.modality, clip.source) == ("clip", Modality.VIDEO, "clip")
    assert (sound.name, sound.modality, sound.source) == ("clip_sound", Modality.AUDIO, "clip")
    assert sound.reason == "the sound track that 4 of 12 videos looked at in 'clip' have"
    assert sound.missing == pytest.approx(2 / 3)
    assert [(item.name, item.columns) for item in schema.inputs] == [("clip", ("clip",)), ("clip_sound", ("clip",))]
    again = Schema.from_json(schema.to_json())
    assert again.inputs == schema.inputs
    assert again.to_json() == schema.to_json()
    assert Field.from_json({"name": "a", "modality": "text"}).source == "a"
    table = open_table(rows)
    read = fit_preprocessors(table, schema, rows=np.arange(12), door=DOOR)
    assert (read["clip"].height, read["clip"].width, read["clip"].max_seconds) == (16, 16, 2.0)
    assert read["clip_sound"].rate_hz == 16_000
    rows[1]["clip"], rows[2]["clip"] = None, str(tmp_path / "absent.mp4")
    packs, bad = build_packs(open_table(rows), schema, read, door=DOOR)
    assert packs["clip"].present.tolist() == [True, False, False] + [True] * 9
    assert packs["clip"].lengths.tolist() == [8, 0, 0] + [8] * 9
    # Every third video has a sound; to have none is no fault
    assert np.flatnonzero(packs["clip_sound"].present).tolist() == [0, 3, 6, 9]
    assert {(cell.row, cell.field) for cell in bad} == {(2, "clip"), (2, "clip_sound")}


def test_sound_can_be_left_out_and_never_takes_the_name_of_a_column(tmp_path):
    rows = clip_world(tmp_path, 4, sound="aac", side=16)
    assert [item.name for item in schema_of(rows, drop=("clip_sound",)).fields] == ["clip"]
    assert [item.name for item in schema_of(rows, door=None).fields] == ["clip"]
    with pytest.raises(InputError, match="--drop names the column 'clip_sound'"):
        schema_of(rows, door=None, drop=("clip_sound",))
    named = [{**row, "clip_sound": number / 7} for number, row in enumerate(rows)]
    assert [item.name for item in schema_of(named).fields] == ["clip", "clip_sound_", "clip_sound"]
    assert sound_name("a", ["a_sound", "a_sound_"]) == "a_sound__"
    silent = clip_world(tmp_path, 3, seed=5, side=16)
    assert [item.name for item in schema_of(silent).fields] == ["clip"]


def test_video_column_said_to_be_a_sound(tmp_path):
    rows = clip_world(tmp_path, 6, sound="aac", side=16)
    schema = schema_of(rows, fields={"clip": "audio"})
    assert [(item.name, item.modality) for item in schema.inputs] == [("clip", Modality.AUDIO)]
    packs, bad = build_packs(open_table(rows), schema, {"clip": AudioPreprocessor()}, door=DOOR)
    assert packs["clip"].present.tolist() == [True, False, False, True, False, False]
    assert [(cell.row, cell.reason) for cell in bad if cell.row == 1] == [(1, "The video has no sound track.")]


def test_kinds_of_cells():
    for cells in ([ramp(3)] * 3, [(ramp(3), 10.0)] * 3, [video(ramp(3))] * 3):
        rows = [{"clip": cell, "goes": "ab"[number % 2]} for number, cell in enumerate(cells)]
        assert schema_of(rows).fields[0].modality is Modality.VIDEO
    table = pl.DataFrame({"clip": [f"{number}.mp4" for number in range(9)], "goes": list("ababababa")})
    assert (
        infer_schema(open_table(table), ("goes",), fields={}, tasks={}, drop=(), group=None, time=None, door=DOOR)
        .field("clip")
        .reason
        == "100% of the cells name files ending in .mp4, but none of these files is there"
    )


def test_workers_and_cache_hold_both_arrays(tmp_path):
    paths = [row["clip"] for row in clip_world(tmp_path, 3, sound="aac", side=16)]
    cells = [*paths, tmp_path / "none.mp4"]
    for read in (VideoPreprocessor(16, 16, num_frames=3), AudioPreprocessor()):
        here = [decode_once(cell, read, DOOR, None) for cell in cells]
        cache = MediaCache(tmp_path / "cache")
        kept = [decode_once(cell, read, DOOR, cache) for cell in cells for _ in range(2)][1::2]
        with WorkerPool(1) as pool:
            sent = list(pool.decode(cells, read, DOOR))
        for other in (kept, sent):
            assert other[3] == here[3]
            for one, two in zip(here[:3], other[:3], strict=True):
                assert list(one) == list(two)
                for name in one:
                    np.testing.assert_array_equal(one[name], two[name])
    assert len(here[1]["log_mel"]) == 0


def test_findings_look_at_a_video_once(tmp_path):
    rows = clip_world(tmp_path, 8, sound="aac", side=16)
    (tmp_path / "0-3.mp4").write_bytes(b"no video at all")
    rows[5]["clip"] = rows[4]["clip"]
    found = find(open_table(rows), schema_of(rows), door=DOOR)
    assert [item.field for item in found if item.kind == "broken_media"] == ["clip"]
    assert [item.rows for item in found if item.kind == "conflict"] == [(4, 5)]
    pairs = [{"clip": (ramp(20) + number, 10.0), "goes": "ab"[number % 2]} for number in range(4)]
    pairs[3]["clip"][0][5:9] += 1
    assert not [item for item in find(open_table(pairs), schema_of(pairs)) if item.kind in ("duplicate", "conflict")]


def test_without_the_package_videos_are_refused_with_the_line_to_type(tmp_path, monkeypatch):
    rows = clip_world(tmp_path, 4, side=16)
    schema = schema_of(rows)
    monkeypatch.setitem(sys.modules, "av", None)
    for attempt in (
        lambda: schema_of(rows),
        lambda: build_packs(open_table(rows), schema, {"clip": VideoPreprocessor(16, 16)}, door=DOOR),
    ):
        with pytest.raises(MissingDependencyError, match=r"column 'clip'\. .*omnifuse\[video\]"):
            attempt()
    with pytest.raises(MediaError, match="package av, which is absent"):
        DOOR.audio(rows[0]["clip"], 8000)
