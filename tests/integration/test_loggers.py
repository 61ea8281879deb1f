"""Curves: TensorBoard by default, Weights & Biases offline, or none."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.errors import InputError, MissingDependencyError
from omnifuse.training.loggers import LOGGERS, make_logger

OPTIONS = QUICK | ONE_LABEL


def test_tensorboard_events_hold_loss_rate_and_norm_of_each_member(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    omnifuse.fit(plain_rows(30), "kind", out=tmp_path / "run", **(OPTIONS | {"epochs": 6, "logger": "tensorboard"}))
    folders = sorted((tmp_path / "run" / "logs").iterdir())
    assert [path.name for path in folders] == [f"seed0-{number}" for number in range(5)]
    for folder in folders:
        (path,) = folder.glob("events.out.tfevents.*")
        found = {}
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
        assert {"loss", "rate", "norm", "loss/kind"} <= set(found)
        assert found["loss"] == [0, 10]


def test_none_writes_nothing(tmp_path):
    omnifuse.fit(plain_rows(30), "kind", out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run" / "logs").exists()


def test_unknown_logger_suggests(tmp_path):
    with pytest.raises(InputError, match=r"no logger 'wandbb'.*did you mean 'wandb'"):
        make_logger("wandbb", tmp_path)


def test_options_and_loggers_list_the_same_names():
    from omnifuse.api.options import LOGGERS as OFFERED

    assert set(OFFERED) == set(LOGGERS)


def test_wandb_absent_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "omnifuse\[wandb\]"'):
        make_logger("wandb", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason='wandb is absent: pip install "omnifuse[wandb]"')
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_keeps_a_run_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    model = omnifuse.fit(plain_rows(30), "kind", out=tmp_path / "run", **(OPTIONS | {"logger": "wandb"}))
    assert np.isfinite(model.predict_proba(plain_rows(3))).all()
    runs = list((tmp_path / "run" / "logs").rglob("*.wandb"))
    assert len(runs) == 5
    assert all(path.stat().st_size > 0 for path in runs)
