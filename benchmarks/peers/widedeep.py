"""pytorch-widedeep on one job, from scratch; run by the Python of its own environment, without omnifuse.

    python widedeep.py job.json

Numbers and categories go to a TabMlp, texts to a BasicRNN, the first picture column to Vision. It trains epoch by epoch
for the minutes given and keeps the epoch of least loss on a tenth of the rows (whole groups where there are groups).
"""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import library as torch_operators

# Wheels of torchvision for GPUs import on a processor once the operators that their library registers have a schema
for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets) -> Tensor"):
    try:
        torch_operators.Library("torchvision", "FRAGMENT").define(schema)
    except RuntimeError:
        break

from pytorch_widedeep import Trainer  # noqa: E402
from pytorch_widedeep.models import BasicRNN, TabMlp, Vision, WideDeep  # noqa: E402
from pytorch_widedeep.preprocessing import ImagePreprocessor, TabPreprocessor, TextPreprocessor  # noqa: E402

BATCH, SIDE = 64, 64


class Inputs:
    """Preprocessors of the columns, fitted on training rows."""

    def __init__(self, job: dict[str, Any], frame: pd.DataFrame) -> None:
        kinds = job["fields"]
        self.root = job["root"]
        self.numbers = [name for name, kind in kinds.items() if kind == "number"]
        self.categories = [name for name, kind in kinds.items() if kind == "category"]
        self.text = next((name for name, kind in kinds.items() if kind == "text"), None)
        self.image = next((name for name, kind in kinds.items() if kind == "image"), None)
        self.medians = {name: pd.to_numeric(frame[name], errors="coerce").median() for name in self.numbers}
        clean = self.clean(frame)
        self.parts: dict[str, Any] = {}
        if self.numbers or self.categories:
            self.parts["X_tab"] = TabPreprocessor(
                cat_embed_cols=self.categories or None, continuous_cols=self.numbers or None, scale=True
            ).fit(clean)
        if self.text:
            self.parts["X_text"] = TextPreprocessor(
                text_col=self.text, max_vocab=5000, min_freq=2, maxlen=96, n_cpus=1
            ).fit(clean)
        if self.image:
            self.parts["X_img"] = ImagePreprocessor(
                img_col=self.image, img_path=self.root, width=SIDE, height=SIDE, verbose=0
            ).fit(clean)

    def clean(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        for name in self.numbers:
            frame[name] = pd.to_numeric(frame[name], errors="coerce").fillna(self.medians[name])
        for name in [*self.categories, *([self.text] if self.text else [])]:
            frame[name] = frame[name].fillna("missing").astype(str)
        return frame

    def arrays(self, frame: pd.DataFrame) -> dict[str, Any]:
        clean = self.clean(frame)
        return {name: part.transform(clean) for name, part in self.parts.items()}

    def model(self, num_classes: int) -> WideDeep:
        parts: dict[str, Any] = {}
        if "X_tab" in self.parts:
            tab = self.parts["X_tab"]
            parts["deeptabular"] = TabMlp(
                column_idx=tab.column_idx,
                cat_embed_input=tab.cat_embed_input if self.categories else None,
                continuous_cols=self.numbers or None,
                mlp_hidden_dims=[128, 64],
                mlp_dropout=0.2,
            )
        if "X_text" in self.parts:
            size = len(self.parts["X_text"].vocab.itos)
            parts["deeptext"] = BasicRNN(vocab_size=size, embed_dim=64, hidden_dim=64)
        if "X_img" in self.parts:
            parts["deepimage"] = Vision(channel_sizes=[32, 64, 128])
        return WideDeep(**parts, pred_dim=num_classes if num_classes > 2 else 1)


def held_out(frame: pd.DataFrame, group: str | None, seed: int) -> np.ndarray:
    """(R,) bool: a tenth of the rows, whole groups."""
    codes = np.arange(len(frame)) if group is None else pd.factorize(frame[group])[0]
    units = np.random.default_rng(seed).permutation(np.unique(codes))
    return np.isin(codes, units[: max(1, len(units) // 10)])


def main() -> int:
    began = time.monotonic()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.manual_seed(job["seed"])
    frame = pd.read_csv(job["train"], dtype=str)
    classes, codes = np.unique(frame[job["label"]].to_numpy(str), return_inverse=True)
    inputs = Inputs(job, frame)
    out = held_out(frame, job["group"], job["seed"])
    seen, asked = inputs.arrays(frame[~out]), inputs.arrays(frame[out])
    model = inputs.model(len(classes))
    objective = "multiclass" if len(classes) > 2 else "binary"
    trainer = Trainer(model, objective=objective, seed=job["seed"], verbose=0)
    best, weights, rises = np.inf, None, 0
    while time.monotonic() - began < 60 * job["minutes"] and rises < 15:
        trainer.fit(**seen, target=codes[~out], n_epochs=1, batch_size=BATCH)
        found = np.clip(trainer.predict_proba(**asked, batch_size=256), 1e-6, 1)
        loss = float(-np.log(found[np.arange(out.sum()), codes[out]]).mean())
        rises = 0 if loss < best else rises + 1
        if loss < best:
            best, weights = loss, copy.deepcopy(trainer.model.state_dict())
    if weights is not None:
        trainer.model.load_state_dict(weights)
    for test, path in job["tests"].items():
        probabilities = trainer.predict_proba(**inputs.arrays(pd.read_csv(path, dtype=str)), batch_size=256)
        np.savez(Path(job["out"]) / f"{Path(test).stem}.npz", probabilities=probabilities, classes=classes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
