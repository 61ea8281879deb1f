"""Frozen, adapted and whole backbones: what learns, at which rate, what is stored, and what is asked again."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from tests import made_backbones

from omnifuse.api.backbones import with_features
from omnifuse.data.backbone_folder import open_folder, preprocessor_of
from omnifuse.data.feature_cache import FeatureCache
from omnifuse.data.pack import Pack
from omnifuse.encoders import backbones
from omnifuse.encoders.backbones import read_backbone
from omnifuse.encoders.lora import LowRank, adapt
from omnifuse.encoders.pretrained import PretrainedEncoder
from omnifuse.errors import ArtefactError, InputError
from omnifuse.schema import Modality
from omnifuse.tokens import FieldBatch
from omnifuse.training.optimiser import make_optimiser

TEXTS = ("a red car", "the dog barks", "a red car", "sky")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_backbones.bert(tmp_path_factory.mktemp("backbone") / "bert")


def _encoder(folder, tuning="frozen"):
    opened = open_folder(folder, "bert", Modality.TEXT)
    backbone, held = read_backbone(opened, tuning)
    preprocessor = preprocessor_of(opened, backbone)
    torch.manual_seed(0)
    return PretrainedEncoder(backbone, preprocessor), preprocessor, held


def _pack(preprocessor, texts=TEXTS):
    ids = [preprocessor(text)["ids"] for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in ids])])
    return Pack({"ids": np.concatenate(ids)}, offsets, np.ones(len(ids), bool))


def _batch(preprocessor, texts=TEXTS):
    taken = _pack(preprocessor, texts).take(np.arange(len(texts)))
    values = {name: torch.from_numpy(item) for name, item in taken.values.items()}
    return FieldBatch(values, torch.from_numpy(taken.lengths), torch.from_numpy(taken.present))


def test_a_frozen_backbone_learns_and_stores_nothing(folder):
    encoder, preprocessor, held = _encoder(folder)
    assert not list(encoder.parameters())
    assert not encoder.state_dict()
    assert not encoder.train()(_batch(preprocessor)).values.requires_grad
    assert not encoder.module.training
    assert copy.deepcopy(encoder).module is held.module


def test_members_share_a_backbone_and_ask_it_once(folder):
    first, preprocessor, held = _encoder(folder)
    second, _, again = _encoder(folder)
    assert again is held
    calls = []
    hook = held.module.register_forward_hook(lambda *_: calls.append(1))
    batch = _batch(preprocessor)
    torch.testing.assert_close(first(batch).values, second(batch).values)
    first.summarise(batch)
    assert len(calls) == 1
    first(_batch(preprocessor, ("sky",)))
    assert len(calls) == 2
    hook.remove()


def test_adapters_begin_as_nothing_and_alone_learn(folder):
    encoder, preprocessor, held = _encoder(folder, "lora")
    batch = _batch(preprocessor)
    frozen, _, _ = _encoder(folder)
    torch.testing.assert_close(encoder(batch).values, frozen(batch).values)
    before = {name: value.clone() for name, value in held.module.state_dict().items()}
    weights = dict(encoder.named_parameters())
    assert len(weights) == 2 * 3 * 2  # two matrices beside three projections of two blocks
    assert set(encoder.state_dict()) == set(weights)
    optimiser = torch.optim.SGD(weights.values(), lr=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        encoder.train()(batch).values.square().mean().backward()
        assert all(weight.grad is not None for weight in weights.values())
        optimiser.step()
    assert not torch.allclose(encoder(batch).values, frozen(batch).values)
    after = held.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    other = copy.deepcopy(encoder)
    torch.testing.assert_close(other(batch).values, encoder(batch).values)
    with torch.no_grad():
        other.adapters[0].up.add_(1.0)
    assert not torch.allclose(other(batch).values, encoder(batch).values)


def test_an_adapter_is_a_product_of_low_rank():
    torch.manual_seed(0)
    adapter = LowRank(6, 5, rank=2)
    torch.nn.init.normal_(adapter.up)
    values = torch.randn(4, 6)
    matrix = adapter.scale * adapter.up @ adapter.down
    torch.testing.assert_close(adapter(values), values @ matrix.T)
    assert int(torch.linalg.matrix_rank(matrix)) == 2
    with pytest.raises(ValueError, match="no projection"):
        adapt(torch.nn.Linear(3, 3))


def test_rates_fall_from_the_top_to_the_bottom(folder):
    encoder, preprocessor, held = _encoder(folder, "full")
    module = encoder.module
    torch.testing.assert_close(encoder(_batch(preprocessor)).values, _encoder(folder)[0](_batch(preprocessor)).values)
    assert module is not held.module
    scales = encoder.rate_scales()
    of = [
        scales[id(part.weight)]
        for part in (
            module.embeddings.word_embeddings,
            module.encoder.layer[0].attention.self.query,
            module.encoder.layer[1].attention.self.query,
        )
    ]
    assert of == pytest.approx([0.02 * 0.75**3, 0.02 * 0.75, 0.02])
    host = torch.nn.ModuleDict({"encoders": encoder, "head": torch.nn.Linear(2, 2)})
    optimiser = make_optimiser(host, learning_rate=1e-2, weight_decay=0.1)
    rates = {id(weight): group["lr"] for group in optimiser.param_groups for weight in group["params"]}
    assert rates[id(host["head"].weight)] == 1e-2
    assert all(rates[key] == pytest.approx(1e-2 * scale) for key, scale in scales.items())
    assert len(rates) == len(list(host.parameters()))


def test_a_model_without_rates_has_the_two_groups_it_had():
    host = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    groups = make_optimiser(host, learning_rate=1e-2, weight_decay=0.1).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (3, 0.0)]


def test_features_are_computed_once_and_never_after_a_change(folder, tmp_path):
    encoder, preprocessor, held = _encoder(folder)
    cache, calls = FeatureCache(tmp_path), []
    hook = held.module.register_forward_hook(lambda _, __, out: calls.append(len(out.last_hidden_state)))

    def featured(texts=TEXTS, given=preprocessor):
        calls.clear()
        pack = _pack(given, texts)
        return with_features({"words": pack}, {"words": given}, cache=cache, listen=lambda *_: None)["words"]

    first = featured()
    assert sum(calls) == 3, "a text that comes twice is read once"
    second = featured()
    assert not calls
    np.testing.assert_array_equal(first.features, second.features)
    batch = _batch(preprocessor)
    taken = second.take(np.arange(4))
    assert set(taken.values) == {"features"}
    kept = FieldBatch({"features": torch.from_numpy(taken.values["features"])}, batch.lengths, batch.present)
    torch.testing.assert_close(encoder(kept).values, encoder(batch).values, atol=1e-5, rtol=1e-5)
    assert set(second.bare.take(np.arange(4)).values) == {"ids"}
    featured(("a red car", "the dog barks", "a red sky", "sky"))
    assert sum(calls) == 1
    hook.remove()


def test_other_weights_are_other_features(folder, tmp_path):
    _, preprocessor, _held = _encoder(folder)
    _, changed, _other = _encoder(made_backbones.bert(tmp_path / "other", seed=1))
    assert preprocessor.backbone.weights != changed.backbone.weights
    cache = FeatureCache(tmp_path / "cache")
    found = [
        with_features({"words": _pack(item)}, {"words": item}, cache=cache, listen=lambda *_: None)["words"].features
        for item in (preprocessor, changed)
    ]
    assert cache.hits == 0
    assert not np.allclose(*found)


def test_weights_that_nobody_knows_are_refused(folder, monkeypatch):
    _, preprocessor, _ = _encoder(folder)
    monkeypatch.setattr(backbones, "_HELD", {})
    with pytest.raises(ArtefactError, match="are not known"):
        PretrainedEncoder(preprocessor.backbone, preprocessor)


def test_weights_of_other_content_than_their_name_are_refused(folder, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    _, preprocessor, held = _encoder(folder)
    state = {name: value + 1 for name, value in held.module.state_dict().items()}
    save_file(state, tmp_path / "backbone.safetensors")
    monkeypatch.setattr(backbones, "_HELD", {})
    monkeypatch.setattr(backbones, "_PLACES", {preprocessor.backbone.weights: tmp_path / "backbone.safetensors"})
    with pytest.raises(ArtefactError, match="holds other weights than its name says"):
        PretrainedEncoder(preprocessor.backbone, preprocessor)


def test_weights_that_lack_parts_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = made_backbones.bert(tmp_path / "bert")
    path = folder / "model.safetensors"
    state = {name: value for name, value in load_file(path).items() if "layer.1.output.dense.weight" not in name}
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 of its parts"):
        read_backbone(open_folder(folder, "bert", Modality.TEXT), "frozen")
    path.write_bytes(b"\x80\x04canary.")
    with pytest.raises(InputError, match="cannot be loaded"):
        read_backbone(open_folder(folder, "bert", Modality.TEXT), "frozen")
