"""Passes over rows that a frozen ViT-B/16 of random weights reads: the first, the second, and with a warm cache.

    python -m benchmarks.backbones [--rows 32] [--out FILE]

A pass is one epoch of training of a tiny network over pictures of 224 x 224 pixels. The first pass holds the backbone's
forward of every row; without the cache every pass does. Warm is a second fit of the same rows from the disk. Nothing is
downloaded. Wanted: second / first <= 1/20.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), given.rows)
    text = json.dumps(result, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")


def measure(home: Path, num_rows: int) -> dict[str, Any]:
    """Seconds of each kind of pass."""
    import torch
    import transformers
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    from omnifuse.api.backbones import with_features
    from omnifuse.building import build_from_spec
    from omnifuse.data.backbone_folder import open_folder, preprocessor_of
    from omnifuse.data.feature_cache import FeatureCache
    from omnifuse.data.pack import Pack
    from omnifuse.encoders.backbones import read_backbone
    from omnifuse.presets import ModelSpec
    from omnifuse.schema import Field, Modality, Schema, Target, TaskKind
    from omnifuse.training.batches import make_batch
    from omnifuse.training.optimiser import make_optimiser

    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False).save_pretrained(home / "vit")
    ViTImageProcessorPil().save_pretrained(home / "vit")
    opened = open_folder(home / "vit", "vit-b-16", Modality.IMAGE)
    backbone, held = read_backbone(opened, "frozen")
    preprocessor = preprocessor_of(opened, backbone)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (num_rows, 224, 224, 3), dtype=np.uint8)
    pack = Pack({"pixels": pixels}, np.arange(num_rows + 1), np.ones(num_rows, bool))
    schema = Schema((Field("photo", Modality.IMAGE, "given"),), (Target("label", TaskKind.CLASSIFICATION, ("a", "b")),))
    spec = ModelSpec(dim=32, num_heads=2, encoders={"photo": backbone.name}, shallow="none")
    model = build_from_spec(schema, {"photo": preprocessor}, spec).train()
    optimiser = make_optimiser(model, learning_rate=1e-3, weight_decay=0.0)
    targets = {"label": torch.from_numpy(draw.integers(0, 2, num_rows))}

    def epoch(packs: dict[str, Pack]) -> float:
        began = time.perf_counter()
        for rows in np.array_split(np.arange(num_rows), max(1, num_rows // 16)):
            optimiser.zero_grad()
            model(make_batch(packs, rows, targets=targets)).loss.backward()
            optimiser.step()
        return time.perf_counter() - began

    def featured() -> tuple[dict[str, Pack], float]:
        began = time.perf_counter()
        found = with_features(
            {"photo": pack}, {"photo": preprocessor}, cache=FeatureCache(home / "cache"), listen=lambda *_: None
        )
        return found, time.perf_counter() - began

    without = epoch({"photo": pack})
    packs, computing = featured()
    first = computing + epoch(packs)
    later = [epoch(packs) for _ in range(5)]
    packs, reading = featured()
    warm = reading + epoch(packs)
    second = float(np.median(later))
    del held
    return {
        "what": "seconds a pass over pictures of 224 x 224 pixels, frozen ViT-B/16 of random weights",
        "rows": num_rows,
        "threads": torch.get_num_threads(),
        "without_cache_s": round(without, 4),
        "first_s": round(first, 4),
        "second_s": round(second, 4),
        "second_spread_s": [round(min(later), 4), round(max(later), 4)],
        "first_of_a_second_fit_s": round(warm, 4),
        "second_by_first": round(second / first, 5),
        "second_fit_by_first": round(warm / first, 5),
    }


if __name__ == "__main__":
    main()
