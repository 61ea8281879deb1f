"""Pretrained backbones: preprocessing and features against the library that published them, on tiny random ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import transformers
from tests import made_backbones

from omnifuse.data.backbone_folder import open_folder, preprocessor_of
from omnifuse.encoders.backbones import read_backbone
from omnifuse.encoders.pretrained import FEATURES, PretrainedEncoder
from omnifuse.schema import Modality
from omnifuse.tokens import FieldBatch

CASES = {
    "bert": ("bert", Modality.TEXT),
    "modernbert": ("modernbert", Modality.TEXT),
    "clip-text": ("clip", Modality.TEXT),
    "siglip-text": ("siglip", Modality.TEXT),
    "vit": ("vit", Modality.IMAGE),
    "dinov2": ("dinov2", Modality.IMAGE),
    "clip-vision": ("clip", Modality.IMAGE),
    "siglip-vision": ("siglip", Modality.IMAGE),
    "whisper": ("whisper", Modality.AUDIO),
    "wav2vec2": ("wav2vec2", Modality.AUDIO),
    "videomae": ("videomae", Modality.VIDEO),
}
MODELS = {
    "bert": transformers.BertModel,
    "modernbert": transformers.ModernBertModel,
    "clip-text": transformers.CLIPTextModel,
    "siglip-text": transformers.SiglipTextModel,
    "vit": transformers.ViTModel,
    "dinov2": transformers.Dinov2Model,
    "clip-vision": transformers.CLIPVisionModel,
    "siglip-vision": transformers.SiglipVisionModel,
    "whisper": transformers.WhisperModel,
    "wav2vec2": transformers.Wav2Vec2Model,
    "videomae": transformers.VideoMAEModel,
}
TEXTS = ("a red car", "The DOG barks, glass breaks!", "", "sky " * 40, "a\u200b blue caf\u00e9 cars")
SIZES = ((50, 70), (90, 21), (33, 31), (32, 32), (7, 5))
PROCESSORS = {
    "vit": "ViTImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "clip-vision": "CLIPImageProcessorPil",
    "siglip-vision": "SiglipImageProcessorPil",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("backbones")
    return {name: getattr(made_backbones, name)(root / name) for name, _ in set(CASES.values())}


@pytest.fixture(scope="module")
def opened(folders):
    """Case to the preprocessor and its frozen encoder."""
    found = {}
    for case, (name, modality) in CASES.items():
        folder = open_folder(folders[name], name, modality)
        backbone, held = read_backbone(folder, "frozen")
        assert backbone.architecture == case
        preprocessor = preprocessor_of(folder, backbone)
        found[case] = preprocessor, PretrainedEncoder(backbone, preprocessor).eval(), held
    return found


def _picture(size, seed=0):
    draw = np.random.default_rng(seed)
    smooth = draw.integers(0, 256, (size[0] // 4 + 2, size[1] // 4 + 2, 3))
    return np.kron(smooth, np.ones((4, 4, 1))).astype(np.uint8)[: size[0], : size[1]]


def _sounds():
    draw, time = np.random.default_rng(0), np.arange(16_000) / 16_000
    return [
        (0.3 * np.sin(2 * np.pi * 440 * time) + 0.01 * draw.standard_normal(16_000)).astype(np.float32),
        (0.1 * draw.standard_normal(6400)).astype(np.float32),
        np.zeros(3200, np.float32),
        (0.2 * draw.standard_normal(50_000)).astype(np.float32),
    ]


def _cells(modality):
    if modality is Modality.TEXT:
        return list(TEXTS)
    if modality is Modality.IMAGE:
        return [_picture(size, seed) for seed, size in enumerate(SIZES)]
    if modality is Modality.VIDEO:
        return [(np.stack([_picture((40, 50), 10 * n + f) for f in range(4)]), np.arange(4)) for n in range(3)]
    return _sounds()


def _batch(arrays):
    values = {name: torch.from_numpy(np.concatenate([item[name] for item in arrays])) for name in arrays[0]}
    lengths = torch.tensor([len(next(iter(item.values()))) for item in arrays])
    return FieldBatch(values, lengths, torch.ones(len(arrays), dtype=torch.bool))


@pytest.mark.parametrize("case", [case for case, (_, modality) in CASES.items() if modality is Modality.TEXT])
def test_ids_are_those_of_the_librarys_tokenizer(case, folders, opened):
    preprocessor = opened[case][0]
    theirs = transformers.AutoTokenizer.from_pretrained(folders[CASES[case][0]])
    for text in TEXTS:
        clean = text.replace("\u200b", "")
        padding = "max_length" if case == "siglip-text" else False
        wanted = theirs(clean, truncation=True, max_length=preprocessor.max_length, padding=padding)["input_ids"]
        assert preprocessor(text)["ids"].tolist() == wanted


@pytest.mark.parametrize("case", PROCESSORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pictures_are_those_of_the_librarys_processor(case, size, folders, opened):
    preprocessor = opened[case][0]
    saved = json.loads((folders[CASES[case][0]] / "preprocessor_config.json").read_text())
    saved.pop("image_processor_type", None)
    theirs = made_backbones.processor(PROCESSORS[case], **saved)
    pixels = _picture(size)
    wanted = theirs(images=pixels, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    found = preprocessor.framing.normalised(preprocessor(pixels)["pixels"][0])
    np.testing.assert_allclose(found.transpose(2, 0, 1), wanted, atol=1e-5)


def test_frames_are_those_of_the_librarys_processor(folders, opened):
    preprocessor = opened["videomae"][0]
    theirs = made_backbones.processor("VideoMAEImageProcessorPil", size={"shortest_edge": 32}, crop_size=32)
    frames, times = _cells(Modality.VIDEO)[0]
    wanted = theirs(list(frames), return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
    found = preprocessor.framing.normalised(preprocessor((frames, times))["pixels"])
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), wanted, atol=1e-5)


def test_log_mel_is_that_of_the_librarys_extractor(opened):
    preprocessor = opened["whisper"][0]
    theirs = transformers.WhisperFeatureExtractor(feature_size=24, chunk_length=2)
    for sound in _sounds():
        wanted = theirs(sound, sampling_rate=16_000, return_tensors="np")["input_features"][0].T
        found = preprocessor(sound)["log_mel"].reshape(-1, 24)
        shared = min(len(found), len(wanted))
        np.testing.assert_allclose(found[:shared], wanted[:shared], atol=2e-4)
        # What is not kept of a short sound is silence
        rest = np.ptp(wanted[shared:]) if shared < len(wanted) else 0.0
        assert rest < 2e-4


def test_waves_are_those_of_the_librarys_extractor(opened):
    theirs = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    for sound in _sounds():
        wanted = theirs(sound, sampling_rate=16_000, return_tensors="np")["input_values"][0]
        found = opened["wav2vec2"][0](sound)["wave"].reshape(-1)
        np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-5)
        assert not found[len(wanted) :].any()


def _librarys_states(case, folders, preprocessor, arrays):
    """Last hidden states of one row by the library alone, and its pooled vector."""
    options = {"add_pooling_layer": False} if case in ("bert", "vit") else {}
    model = MODELS[case].from_pretrained(folders[CASES[case][0]], **options).eval()
    modality = CASES[case][1]
    if modality is Modality.TEXT:
        found = model(input_ids=torch.from_numpy(arrays["ids"]).long()[None])
    elif modality in (Modality.IMAGE, Modality.VIDEO):
        pixels = torch.from_numpy(preprocessor.framing.normalised(arrays["pixels"])).permute(0, 3, 1, 2)
        found = model(pixel_values=pixels if modality is Modality.IMAGE else pixels[None])
    elif case == "whisper":
        theirs = transformers.WhisperFeatureExtractor(feature_size=24, chunk_length=2)
        return model.encoder(torch.from_numpy(theirs(arrays, sampling_rate=16_000)["input_features"][0])[None])
    else:
        found = model(torch.from_numpy(arrays["wave"]).reshape(1, -1))
    return found


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_features_are_those_of_the_librarys_model(case, folders, opened):
    preprocessor, encoder, _ = opened[case]
    cell = _cells(CASES[case][1])[0]
    arrays = preprocessor(cell)
    theirs = _librarys_states(case, folders, preprocessor, cell if case == "whisper" else arrays)
    states = theirs.last_hidden_state[0]
    found = encoder(_batch([arrays])).values[0]
    if CASES[case][1] is Modality.TEXT:
        whole = states.mean(dim=0) if case in ("bert", "modernbert") else states[-1]
        wanted = torch.cat([whole[None], states])
    elif CASES[case][1] is Modality.IMAGE:
        whole = theirs.pooler_output[0] if case in ("clip-vision", "siglip-vision") else states[0]
        patches = states if case == "siglip-vision" else states[1:]
        assert len(patches) == 16, "a grid of 4 x 4, of which nothing is averaged"
        wanted = torch.cat([whole[None], patches])
    elif case == "whisper":
        # A second is read of two: two chunks of 30 tokens
        wanted = torch.stack([states[:30].mean(dim=0), states[30:60].mean(dim=0)])
        wanted = torch.cat([wanted.mean(dim=0, keepdim=True), wanted])
    elif case == "wav2vec2":
        wanted = torch.stack([states[10 * n : 10 * n + 10].mean(dim=0) for n in range(5)])
        wanted = torch.cat([wanted.mean(dim=0, keepdim=True), wanted])
    else:
        maps = states.view(2, 4, 4, 32).permute(0, 3, 1, 2)
        wanted = torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(2).transpose(1, 2).reshape(-1, 32)
        wanted = torch.cat([wanted.mean(dim=0, keepdim=True), wanted])
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)
    assert float(found.std()) > 1e-2, "a comparison of constants"


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_row_is_read_alone_as_among_others_and_from_its_features(case, opened):
    preprocessor, encoder, _ = opened[case]
    arrays = [preprocessor(cell) for cell in _cells(CASES[case][1])]
    together = _batch(arrays)
    found = encoder(together)
    features = encoder.features(together)
    assert len(features) == int(together.lengths.sum())
    kept = FieldBatch({FEATURES: features.clone()}, together.lengths, together.present)
    torch.testing.assert_close(encoder(kept).values, found.values)
    torch.testing.assert_close(encoder.summarise(kept), encoder.summarise(together))
    for row, one in enumerate(arrays):
        alone = encoder(_batch([one]))
        real = found.mask[row]
        assert int(real.sum()) == alone.values.shape[1]
        assert bool(real[: int(real.sum())].all())
        torch.testing.assert_close(found.values[row][real], alone.values[0], atol=2e-4, rtol=2e-4)
    assert bool(found.values.isfinite().all())
