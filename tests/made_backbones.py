"""Tiny backbones with random weights, saved as the library publishes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SIDE, PATCH = 32, 8
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*SPECIAL, "a", "the", "red", "blue", "car", "sky", "dog", "barks", "glass", "breaks", "##s")


def _save(model: Any, folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    for weight in model.parameters():
        # Larger than usual, so that attention differs from a mean
        torch.nn.init.normal_(weight, std=0.2) if weight.ndim > 1 else torch.nn.init.normal_(weight, 0.5, 0.3)
    model.save_pretrained(folder)


def _word_tokenizer(folder: Path, **options: Any) -> None:
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        **options,
    ).save_pretrained(folder)


def bert(folder: Path, seed: int = 0) -> Path:
    config = transformers.BertConfig(**SIZES, vocab_size=len(WORDS), max_position_embeddings=20)
    _save(transformers.BertModel(config), folder, seed)
    _word_tokenizer(folder, model_max_length=16)
    return folder


def modernbert(folder: Path, seed: int = 0) -> Path:
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    config = transformers.ModernBertConfig(**SIZES, vocab_size=len(WORDS), max_position_embeddings=64, **ids)
    _save(transformers.ModernBertModel(config), folder, seed)
    _word_tokenizer(folder, model_max_length=64)
    return folder


def vit(folder: Path, seed: int = 0) -> Path:
    _save(transformers.ViTModel(transformers.ViTConfig(**SIZES, image_size=SIDE, patch_size=PATCH)), folder, seed)
    processor("ViTImageProcessorPil", size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def dinov2(folder: Path, seed: int = 0) -> Path:
    sizes = {name: size for name, size in SIZES.items() if name != "intermediate_size"}
    config = transformers.Dinov2Config(**sizes, image_size=40, patch_size=PATCH)
    _save(transformers.Dinov2Model(config), folder, seed)
    square = {"height": SIDE, "width": SIDE}
    processor("BitImageProcessorPil", size={"shortest_edge": 36}, crop_size=square).save_pretrained(folder)
    return folder


def clip(folder: Path, seed: int = 0) -> Path:
    text = {**SIZES, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3, "bos_token_id": 2}
    vision = {**SIZES, "image_size": SIDE, "patch_size": PATCH}
    config = transformers.CLIPConfig(text_config={**text, "pad_token_id": 0}, vision_config=vision, projection_dim=16)
    _save(transformers.CLIPModel(config), folder, seed)
    _word_tokenizer(folder, model_max_length=12)
    square = {"height": SIDE, "width": SIDE}
    processor("CLIPImageProcessorPil", size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
    return folder


def siglip(folder: Path, seed: int = 0) -> Path:
    text = {**SIZES, "vocab_size": len(WORDS), "max_position_embeddings": 12, "projection_size": 32}
    vision = {**SIZES, "image_size": SIDE, "patch_size": PATCH}
    config = transformers.SiglipConfig(text_config={**text, "pad_token_id": 0}, vision_config=vision)
    _save(transformers.SiglipModel(config), folder, seed)
    _word_tokenizer(folder, model_max_length=12)
    processor("SiglipImageProcessorPil", size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def whisper(folder: Path, seed: int = 0) -> Path:
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=24,
        max_source_positions=100,
        vocab_size=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    _save(transformers.WhisperModel(config), folder, seed)
    transformers.WhisperFeatureExtractor(feature_size=24, chunk_length=2).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path, seed: int = 0) -> Path:
    config = transformers.Wav2Vec2Config(
        **SIZES,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=20,
    )
    _save(transformers.Wav2Vec2Model(config), folder, seed)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def videomae(folder: Path, seed: int = 0) -> Path:
    config = transformers.VideoMAEConfig(**SIZES, image_size=SIDE, patch_size=PATCH, num_frames=4)
    _save(transformers.VideoMAEModel(config), folder, seed)
    square = {"height": SIDE, "width": SIDE}
    processor("VideoMAEImageProcessorPil", size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
    return folder


def processor(name: str, **options: Any) -> Any:
    """An image processor of the library that needs no torchvision."""
    if name == "BitImageProcessorPil":
        from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil as Found
    elif name == "CLIPImageProcessorPil":
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Found
    elif name == "SiglipImageProcessorPil":
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil as Found
    elif name == "VideoMAEImageProcessorPil":
        from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil as Found
    else:
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil as Found
    return Found(**options)


def without_weights(folder: Path, *, pickled: bool = False) -> Path:
    """The folder as of an old release: weights only as a pickle, which this is not even."""
    (folder / "model.safetensors").unlink()
    if pickled:
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04canary.")
    return folder


def with_config(folder: Path, **changes: Any) -> Path:
    """The folder with entries of its config.json changed."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder
