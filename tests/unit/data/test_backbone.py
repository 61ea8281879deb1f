"""Names of backbones, their folders, and what is refused of them before anything is loaded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.backbone import Backbone, parse_request, weights_file, weights_of_file
from omnifuse.data.backbone_folder import find_folder, open_folder, preprocessor_of
from omnifuse.data.preprocessors import preprocessors_from_json
from omnifuse.data.pretrained_image import Framing, PretrainedImage
from omnifuse.errors import ArtefactError, InputError, MediaError
from omnifuse.schema import Modality

DIGEST = "0" * 64
BACKBONE = Backbone("vit", {"image_size": 32, "patch_size": 8}, DIGEST, 32, "tiny")


def _folder(path, *, weights="model.safetensors", **config):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "vit", **config}))
    if weights:
        (path / weights).write_bytes(b"\x80\x04canary.")
    return path


@pytest.mark.parametrize(
    ("text", "source", "revision", "tuning"),
    [
        ("hf:clip", "clip", None, "frozen"),
        ("hf:owner/name@v1:lora", "owner/name", "v1", "lora"),
        ("hf:/data/a@b/clip:full", "/data/a@b/clip", None, "full"),
        ("hf:C:/clip", "C:/clip", None, "frozen"),
        ("hf:./clip:frozen", "./clip", None, "frozen"),
    ],
)
def test_names_are_read(text, source, revision, tuning):
    found = parse_request(text)
    assert (found.source, found.revision, found.tuning) == (source, revision, tuning)


@pytest.mark.parametrize("text", ["hf:", "hf::lora", "hf:@v1", "hf:name@"])
def test_a_name_of_nothing_is_refused(text):
    with pytest.raises(InputError, match="names no backbone"):
        parse_request(text)


def test_what_is_kept_of_a_name_holds_no_path():
    assert parse_request("hf:/home/somebody/models/clip:lora").label == "clip"
    assert parse_request("hf:owner/name@v1").label == "owner/name@v1"
    assert Backbone("vit", {}, DIGEST, 8, "clip", "lora").name == "hf:clip:lora"
    assert weights_of_file(weights_file(DIGEST)) == DIGEST
    assert weights_of_file("weights.safetensors") is None


def test_nothing_is_fetched_without_leave(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    pytest.importorskip("huggingface_hub")
    with pytest.raises(InputError, match=r"is not on this machine.*--allow-download"):
        find_folder(parse_request("hf:nobody/nothing-of-that-name"))
    with pytest.raises(InputError, match="there is no folder"):
        find_folder(parse_request(f"hf:{tmp_path}/absent"), allow_download=True)
    with pytest.raises(InputError, match="has no revision"):
        find_folder(parse_request(f"hf:{tmp_path}@v1"))


def test_weights_that_can_run_code_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"only as pytorch_model.bin, which can run code"):
        open_folder(_folder(tmp_path / "a", weights="pytorch_model.bin"), "a", Modality.IMAGE)
    with pytest.raises(InputError, match="has no weights"):
        open_folder(_folder(tmp_path / "b", weights=""), "b", Modality.IMAGE)


def test_code_in_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="brings code of its own"):
        open_folder(_folder(tmp_path, auto_map={"AutoModel": "evil.Model"}), "a", Modality.IMAGE)


@pytest.mark.parametrize(
    ("model_type", "modality", "words"),
    [
        ("vit", Modality.TEXT, "cannot read text. it reads image. Known for text: bert"),
        ("gpt2", Modality.TEXT, "its model_type is 'gpt2'"),
        ("vit", Modality.TABLE, "cannot read table"),
    ],
)
def test_other_architectures_are_refused(tmp_path, model_type, modality, words):
    with pytest.raises(InputError, match=words):
        open_folder(_folder(tmp_path, model_type=model_type), "a", modality)


def test_a_folder_without_description_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no config.json"):
        open_folder(tmp_path, "a", Modality.IMAGE)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json of the backbone 'a' is damaged"):
        open_folder(tmp_path, "a", Modality.IMAGE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"has no preprocessor_config.json"),
        ({"size": 64}, "sees 32 x 32 pixels, and its preprocessing gives 64 x 64"),
        ({"size": {"longest_edge": 32}}, "cannot be read"),
        ({"size": 32, "do_pad": True}, "has the step do_pad"),
        ({"size": 32, "image_std": [0, 0, 0]}, "out of range"),
        ({"size": 32, "image_std": "x"}, "cannot be read"),
    ],
)
def test_preprocessing_that_is_not_reproduced_is_refused(tmp_path, content, words):
    folder = open_folder(_folder(tmp_path), "a", Modality.IMAGE)
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        preprocessor_of(folder, BACKBONE)


def test_a_picture_by_hand():
    """A shorter side of 4, the middle 2 x 2, and black around a picture that is too small."""
    framing = Framing((), (4, 4), 2, 1.0, (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    found = framing(np.full((2, 3, 3), 8, np.uint8))[:, :, 0]
    assert found.tolist() == [[0, 0, 0, 0], [0, 8, 8, 8], [0, 8, 8, 8], [0, 0, 0, 0]]
    assert float(framing.normalised(found[1:2, 1:2, None].repeat(3, axis=2)).max()) == 4.0
    with pytest.raises(MediaError, match="The picture is an array"):
        PretrainedImage(BACKBONE, framing)(np.zeros((0, 3, 3), np.uint8))


def test_a_very_long_strip_takes_little_room():
    framing = Framing((32,), (32, 32), 2, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert framing(np.zeros((1, 60_000, 3), np.uint8)).shape == (32, 32, 3)


def test_a_damaged_description_is_refused():
    preprocessor = PretrainedImage(BACKBONE, Framing((32, 32), (), 2, 1.0, (0.0,) * 3, (1.0,) * 3))
    stored = json.loads(json.dumps(preprocessor.to_json()))
    assert preprocessors_from_json({"a": stored})["a"] == preprocessor
    for key, value in {"architecture": "os.system", "weights": "../x", "tuning": "x", "width": 0}.items():
        with pytest.raises(ArtefactError):
            preprocessors_from_json({"a": {**stored, "backbone": {**stored["backbone"], key: value}}})
