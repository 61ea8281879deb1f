"""A table of clips from end to end: frames and sound, holes, broken files, answers and the report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import QUICK
from tests.made_video import clip_world, moving_square

import omnifuse
from omnifuse.encoders import FrameVideoEncoder
from omnifuse.tokens import FieldBatch


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fitted model of 24 clips, every third with sound, and the rows of 6 others."""
    folder = tmp_path_factory.mktemp("clips")
    train = clip_world(folder, 24, sound="aac", side=16)
    for number, row in enumerate(train):
        row["size"] = f"{np.sin(number):.3f}"
    train[7]["clip"] = None
    torch.set_num_threads(1)
    options = {**QUICK, "report_media": "sample", "settings": {"num_frames": "4"}}
    model = omnifuse.fit(train, "goes", out=folder / "run", **options)
    return model, folder, clip_world(folder, 6, seed=1, sound="aac", side=16)


def test_fields_and_preprocessors(world):
    model, folder, _ = world
    assert model.fields == ("clip", "clip_sound", "table")
    again = omnifuse.load(folder / "run")
    assert again.fields == model.fields
    assert again.preprocessors["clip"].num_frames == 4
    assert [item.column for item in again.schema.fields] == ["", "clip", ""]


def test_answers_name_what_was_read_and_what_was_not(world):
    model, folder, rows = world
    (folder / "broken.mp4").write_bytes(b"no video at all")
    rows = [*rows[:3], {"clip": str(folder / "broken.mp4"), "size": "0.5"}, {"clip": None, "size": None}]
    answers = model.predict(rows)
    assert answers[0].modalities_used == ("clip", "clip_sound")
    assert answers[1].modalities_used == ("clip",)
    assert answers[1].warnings == answers[0].warnings
    assert answers[3].modalities_used == ("table",)
    assert any(text.startswith("clip: The content is not MP4") for text in answers[3].warnings)
    assert answers[3].error is None
    assert answers[4].error


def test_every_subset_has_its_score_and_the_first_frame_is_shown(world):
    model, folder, rows = world
    found = model.evaluate(rows)["targets"]["goes"]
    assert found["metrics"]["accuracy"]["value"] >= 0
    assert {"clip", "clip_sound"} <= set(found["subsets"])
    page = (folder / "run/report/report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page
    assert "clip_sound" in page


def test_arrays_are_answered_like_files(world):
    model, _, rows = world
    from omnifuse.data.media import MediaDoor

    clip = MediaDoor().video(rows[1]["clip"], num_frames=64)
    whole, array = (
        model.predict([{"clip": cell, "size": "0.1"}], proba=True)[0].targets["goes"].probabilities
        for cell in (rows[1]["clip"], (clip.pixels, 12.0))
    )
    assert whole["left"] == pytest.approx(array["left"], abs=1e-4)


def clips(count, seed):
    """Half of them go left, half right; with six frames of 100 ms each."""
    draw = np.random.default_rng(seed)
    return [moving_square(1 if number % 2 else -1, draw, count=6, side=16) for number in range(count)]


def batch_of(clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    times = torch.cat([torch.arange(len(clip)) / 10 for clip in clips])
    values = {"pixels": torch.from_numpy(np.concatenate(clips)), "time_s": times}
    return FieldBatch(values, lengths, torch.ones(len(clips), dtype=torch.bool))


def test_direction_of_motion_is_learnt_although_one_frame_cannot_tell():
    """Each frame alone, and all frames in any order, are alike in both classes."""
    torch.manual_seed(0)
    part = FrameVideoEncoder(dim=16, height=16, width=16, depth=1, num_heads=2)
    head = torch.nn.Linear(16, 2)
    train, test = clips(48, seed=0), batch_of(clips(40, seed=1))
    part.initialise(batch_of(train))
    optimiser = torch.optim.AdamW([*part.parameters(), *head.parameters()], lr=4e-3)
    draw = np.random.default_rng(0)
    for _ in range(130):
        rows = draw.permutation(48)[:16]
        answers = head(part(batch_of([train[row] for row in rows])).values.mean(dim=1))
        loss = torch.nn.functional.cross_entropy(answers, torch.from_numpy(rows % 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    part.eval()
    with torch.no_grad():
        whole = head(part(test).values.mean(dim=1)).argmax(dim=1)
        middle = head(part(batch_of([clip[3:4] for clip in clips(40, seed=1)])).values.mean(dim=1)).argmax(dim=1)
    wanted = torch.arange(40) % 2
    assert (whole == wanted).float().mean() > 0.8
    assert (middle == wanted).float().mean() < 0.75
