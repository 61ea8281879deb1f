"""pytorch-widedeep on one job, from scratch; run by the Python of its own environment, without omnifuse.

    python widedeep.py job.json

Numbers and categories go to a TabMlp, texts to a BasicRNN, the first picture column to Vision. It trains epoch by epoch
for the minutes given and keeps the epoch of least loss on a tenth of the rows (whole groups where there are groups).
"""

from __future__ import annotations

import copy
import sys
import time
from typing import Any

from common import MISSING, black_picture, held_out, of_kind, read_job, torchvision_operators, write_answers

torchvision_operators()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from pytorch_widedeep import Trainer  # noqa: E402
from pytorch_widedeep.models import BasicRNN, TabMlp, Vision, WideDeep  # noqa: E402
from pytorch_widedeep.preprocessing import ImagePreprocessor, TabPreprocessor, TextPreprocessor  # noqa: E402

BATCH, SIDE = 64, 64


class Inputs:
    """Preprocessors of the columns, fitted on training rows."""

    def __init__(self, job: dict[str, Any], frame: pd.DataFrame) -> None:
        self.numbers, self.categories = of_kind(job, "number"), of_kind(job, "category")
        self.text = next(iter(of_kind(job, "text")), None)
        self.image = next(iter(of_kind(job, "image")), None)
        self.blank = black_picture(job, SIDE, dot=True) if self.image else ""
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
                img_col=self.image, img_path="", width=SIDE, height=SIDE, verbose=0
            ).fit(clean)

    def clean(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        for name in self.numbers:
            frame[name] = pd.to_numeric(frame[name], errors="coerce").fillna(self.medians[name])
        for name in [*self.categories, *([self.text] if self.text else [])]:
            frame[name] = frame[name].fillna(MISSING).astype(str)
        if self.image:
            frame[self.image] = frame[self.image].fillna(self.blank)
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


def main() -> int:
    began = time.monotonic()
    job = read_job()
    torch.manual_seed(job["seed"])
    frame = pd.read_csv(job["train"], dtype=str)
    classes, codes = np.unique(frame[job["label"]].to_numpy(str), return_inverse=True)
    inputs = Inputs(job, frame)
    out = held_out(frame[job["group"]].tolist() if job["group"] else None, len(frame), job["seed"])
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
        write_answers(job, test, probabilities, list(classes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
