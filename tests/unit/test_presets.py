from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from omnifuse.encoders.registry import DEFAULT_ENCODERS, ENCODERS
from omnifuse.errors import ArtefactError, InputError
from omnifuse.fusion import FUSIONS
from omnifuse.layers import POOLINGS
from omnifuse.presets import PRESETS, ModelSpec, TrainingSpec, choose_preset, with_settings
from omnifuse.schema import Field, History, Modality, Schema
from omnifuse.schema.history import PastText

SCHEMA = Schema((Field("note", Modality.TEXT), Field("photo", Modality.IMAGE), Field("size", Modality.NUMBER)), ())


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_named_as_they_are_called_and_survive_json(name):
    preset = choose_preset(name, SCHEMA, 100)
    assert preset.name == name
    assert ModelSpec.from_json(json.loads(json.dumps(preset.model.to_json()))) == preset.model
    assert preset.model.dim % preset.model.num_heads == 0


def test_presets_grow():
    widths = [PRESETS[name].model.dim for name in ("tiny", "small", "base")]
    assert widths == sorted(set(widths))


def test_auto_looks_at_few_rows_more_often():
    epochs = [choose_preset("auto", SCHEMA, rows).training.epochs for rows in (50, 2000, 5000, 1_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (60, 12)


def test_auto_looks_at_media_more_often_than_at_tables_alone():
    table = Schema((Field("size", Modality.NUMBER),), ())
    assert choose_preset("auto", SCHEMA, 3000).training.epochs == 60
    assert choose_preset("auto", table, 3000).training.epochs == 30


def test_past_rows_bring_a_forest_and_are_never_thinned_below_their_window():
    history = History("when", None, 60, ("x",), "history", (), (), 600.0)
    timed = Schema((Field("x", Modality.NUMBER), Field("history", Modality.SERIES)), (), history=history)
    assert choose_preset("auto", timed, 5000).model.shallow == "linear+forest"
    assert choose_preset("auto", replace(timed, history=None), 5000).model.shallow == "linear"
    assert PRESETS["tiny"].input_options(timed) == {"history": {"max_steps": 60}}
    assert PRESETS["tiny"].input_options(replace(timed, history=None)) == {"history": {"max_steps": 256}}


def test_earlier_texts_alone_bring_no_forest():
    texts = (PastText("note_before", "note", 5, 1000),)
    history = History("turn", "talk", 60, (), "", (), (), 600.0, texts=texts)
    fields = (Field("note", Modality.TEXT), Field("note_before", Modality.TEXT))
    assert choose_preset("auto", Schema(fields, (), history=history), 5000).model.shallow == "linear"


def test_unknown_preset_suggests():
    with pytest.raises(InputError, match=r"no preset 'smal'.*did you mean 'small'.*auto"):
        choose_preset("smal", SCHEMA, 10)


def test_input_options_reach_each_modality():
    options = PRESETS["tiny"].input_options(SCHEMA)
    assert options == {"note": {"max_length": 96, "vocab_size": 2048}, "photo": {"largest": 32}}


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({"dropout": "0.3"}, lambda preset: preset.model.dropout == 0.3),
        ({"gated": "yes"}, lambda preset: preset.model.gated is True),
        ({"gated": "FALSE"}, lambda preset: preset.model.gated is False),
        ({"fusion": "sum", "dim": "48"}, lambda preset: (preset.model.fusion, preset.model.dim) == ("sum", 48)),
        ({"learning_rate": "1e-4"}, lambda preset: preset.training.learning_rate == 1e-4),
        ({"batch_size": "7"}, lambda preset: preset.training.batch_size == 7),
        ({"largest_image": "24"}, lambda preset: preset.largest_image == 24),
        ({"num_heads": "5", "dim": "45"}, lambda preset: (preset.model.num_heads, preset.model.dim) == (5, 45)),
        ({"pooling": "max"}, lambda preset: preset.model.pooling == "max"),
        ({"stochastic_depth": "0.1"}, lambda preset: preset.model.stochastic_depth == 0.1),
        ({"optimiser": "muon", "sampling": "sqrt"}, lambda preset: preset.training.optimiser == "muon"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "read",
)
def test_settings_are_read(settings, read):
    assert read(with_settings(PRESETS["tiny"], settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropuot": "0.1"}, r"no setting 'dropuot'.*did you mean 'dropout'"),
        ({"dropout": "much"}, r"--set dropout=much: not a float.*0\.1 by default"),
        ({"dim": "1.5"}, r"--set dim=1\.5: not a int"),
        ({"gated": "maybe"}, r"--set gated=maybe: not a bool"),
        ({"fusion": "jiont"}, r"no fusion 'jiont'.*did you mean 'joint'"),
        ({"pooling": "avg"}, r"no pooling 'avg'.*Known: mean, max"),
        ({"optimiser": "moun"}, r"no optimiser 'moun'.*did you mean 'muon'"),
        ({"sampling": "balance"}, r"no sampling 'balance'.*did you mean 'balanced'"),
        ({"stochastic_depth": "1"}, r"stochastic_depth"),
        ({"encoders": "x"}, r"no setting 'encoders'"),
        ({"name": "x"}, r"no setting 'name'"),
        ({"dropout": "nan"}, r"dropout"),
        ({"dropout": "1.5"}, r"dropout"),
        ({"dim": "0"}, r"dim"),
        ({"dim": "33"}, r"dim.*num_heads"),
        ({"num_heads": "0"}, r"num_heads"),
        ({"learning_rate": "-1"}, r"learning_rate"),
        ({"batch_size": "-3"}, r"batch_size"),
        ({"epochs": "0"}, r"epochs"),
        ({"largest_image": "0"}, r"largest_image"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_a_remedy(settings, words):
    with pytest.raises(InputError, match=words):
        with_settings(PRESETS["tiny"], settings)


@pytest.mark.parametrize("data", [{"fusion": "os.system"}, {"_target_": "os.system"}, {"pooling": "eval"}, {"dim": 0}])
def test_t26_a_specification_names_only_what_stands_in_the_tables(data):
    with pytest.raises(ArtefactError, match="specification of the model"):
        ModelSpec.from_json(data)


def test_every_setting_is_documented():
    for spec in (ModelSpec, TrainingSpec):
        assert all(f"{item.name}:" in spec.__doc__ for item in fields(spec))


def test_defaults_stand_in_the_tables():
    assert ModelSpec().fusion in FUSIONS
    assert ModelSpec().pooling in POOLINGS
    for modality, name in DEFAULT_ENCODERS.items():
        assert ENCODERS[name].modality is modality
