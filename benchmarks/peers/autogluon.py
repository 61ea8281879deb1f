"""AutoGluon-Multimodal on one job, from scratch; run by the Python of its own environment, without omnifuse.

    python autogluon.py job.json

The preset is its own for short fits ("medium_quality": FT-Transformer for numbers and categories, ELECTRA-Small for
texts, joined by its fusion network) with `pretrained=False`, which its `fit` does not pass on to the networks by
itself. ELECTRA-Small needs a folder on disk in place of a download: its shape, and a WordPiece vocabulary of the
training texts. Pictures go to the ResNet-18 that the search of this preset tries, since its MobileNetV3 learns slowly
without pretrained weights: of 200 digits that were not learnt from, 0.28 against 0.65 were right after 36 seconds on
600 training rows. They keep their size up to 128 px. Since the preset's other settings are meant for fine-tuning over
20 epochs, those of its own networks that learn tables from scratch replace them (`autogluon.tabular`, FT_TRANSFORMER):
2,000 epochs at most, patience 20, one learning rate for all layers. Small tables get small batches.
"""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from common import (
    MISSING,
    held_out,
    middle_side,
    of_kind,
    read_job,
    torchvision_operators,
    write_answers,
)

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "AUTOMM_DISABLE_PROGRESS_BAR": "1"}
torchvision_operators()

import pandas as pd  # noqa: E402
from autogluon.multimodal import MultiModalPredictor  # noqa: E402
from autogluon.multimodal.data import trivial_augmenter  # noqa: E402
from autogluon.multimodal.learners import base  # noqa: E402

TYPES = {"image": "image_path", "text": "text", "number": "numerical", "category": "categorical"}
VOCABULARY, SPECIAL = 8000, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LARGE_TABLE = 1000
FROM_SCRATCH = {
    "model.timm_image.checkpoint_name": "gluon_resnet18_v1b",
    "optim.max_epochs": 2000,
    "optim.weight_decay": 1.0e-5,
    "optim.lr_choice": "single_stage",
    "optim.lr_schedule": "polynomial_decay",
    "optim.warmup_steps": 0.0,
    "optim.patience": 20,
    # Its default drops every category of fewer than 100 rows
    "data.categorical.minimum_cat_count": 2,
    "data.categorical.maximum_num_cat": 100,
}
# Of its default augmentation, all but the synonyms, for which it would download a dictionary
AUGMENTATION = ["random_swap(0.05)", "random_delete(0.05)", "insert_punc(0.05)"]


def text_folder(texts: list[str], out: Path) -> str:
    """A folder like a downloaded ELECTRA-Small, with a vocabulary of these texts and without weights."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import ElectraConfig, PreTrainedTokenizerFast

    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(texts, vocab_size=VOCABULARY, min_frequency=2, special_tokens=list(SPECIAL))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=512,
        **names,
    )
    tokenizer.save_pretrained(out)
    ElectraConfig(vocab_size=words.get_vocab_size(), pad_token_id=words.token_to_id("[PAD]")).save_pretrained(out)
    return str(out)


def read_table(path: str, job: dict[str, Any]) -> pd.DataFrame:
    """The job's fields of a table, typed; an empty cell is None in every kind of field but texts and categories."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in of_kind(job, "number"):
        frame[name] = pd.to_numeric(frame[name].replace("", None), errors="coerce")
    for name in of_kind(job, "category"):
        frame[name] = frame[name].replace("", MISSING)
    kept = [*job["fields"], *(name for name in (job["label"], job["group"]) if name and name in frame)]
    return frame[list(dict.fromkeys(kept))]


def settings_of(job: dict[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    """Its settings for this table."""
    batch = 128 if len(frame) >= LARGE_TABLE else 32
    found: dict[str, Any] = {**FROM_SCRATCH, "env.batch_size": batch, "env.per_gpu_batch_size": batch}
    pictures, texts = of_kind(job, "image"), of_kind(job, "text")
    if pictures:
        paths = [path for name in pictures for path in frame[name]]
        found["model.timm_image.image_size"] = middle_side(paths, job["seed"], least=64, most=128)
        found["env.per_gpu_batch_size"] = 32
    else:
        found |= {"env.num_workers": 0, "env.num_workers_inference": 0}
    if texts:
        corpus = [cell for name in texts for cell in frame[name] if cell]
        found["model.hf_text.checkpoint_name"] = text_folder(corpus, Path(job["out"]) / "text")
        found["model.hf_text.text_train_augment_types"] = AUGMENTATION
    return found


def main() -> int:
    job = read_job()
    base.create_fusion_model = partial(base.create_fusion_model, pretrained=False)
    trivial_augmenter._nltk_downloaded = True
    frame = read_table(job["train"], job)
    out = None
    if job["group"]:
        out = held_out(frame[job["group"]].tolist(), len(frame), job["seed"])
        frame = frame[[*job["fields"], job["label"]]]
    home = Path(job["out"]) / "model"
    shutil.rmtree(home, ignore_errors=True)
    predictor = MultiModalPredictor(label=job["label"], presets="medium_quality", pretrained=False, path=str(home))
    predictor.fit(
        frame if out is None else frame[~out],
        tuning_data=None if out is None else frame[out],
        time_limit=60 * job["minutes"],
        column_types={name: TYPES[kind] for name, kind in job["fields"].items()},
        hyperparameters=settings_of(job, frame),
        seed=job["seed"],
    )
    for test, path in job["tests"].items():
        found = predictor.predict_proba(read_table(path, job), as_pandas=True)
        write_answers(job, test, found.to_numpy(), list(found.columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
