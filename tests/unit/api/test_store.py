from __future__ import annotations

import json
import shutil

import pytest
import torch

import omnifuse
from omnifuse.deploy import artefact
from omnifuse.errors import ArtefactError


@pytest.fixture
def copied(fitted, tmp_path):
    shutil.copytree(fitted.run / "model", tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, change):
    """Change the manifest and sign it anew, as somebody who knows the format can."""
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["digest"] = artefact._digest(manifest)
    path.write_text(json.dumps(manifest))


def test_a_round_trip_keeps_every_weight_and_fact(fitted):
    loaded = omnifuse.load(fitted.run)
    for (name, mine), (other, theirs) in zip(
        fitted.model.network.state_dict().items(), loaded.network.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, theirs)
    assert loaded.schema == fitted.model.schema
    assert loaded.readouts == fitted.model.readouts
    assert loaded.metrics["targets"].keys() == fitted.model.metrics["targets"].keys()
    assert not loaded.network.training


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["spec"].update(fusion="sum"), r"another architecture.*unknown: .*fusion\."),
        (lambda m: m["spec"].update(dim=48), r"another architecture.*other shape: .* instead of "),
        (lambda m: m["spec"].update(fusion_depth=2), r"another architecture.*absent: .*blocks\.1"),
        (lambda m: m.update(num_members=6), r"another architecture.*absent: .*members\.5"),
        (lambda m: m.update(num_members=4), r"another architecture.*unknown: .*members\.4"),
    ],
    ids=["fusion", "width", "depth", "more members", "fewer members"],
)
def test_t29_weights_of_another_architecture_are_refused_and_keys_are_named(copied, change, words):
    rewrite(copied, change)
    with pytest.raises(ArtefactError, match=words):
        omnifuse.load(copied)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["spec"].update(fusion="os.system"), "specification of the model"),
        (lambda m: m["spec"].update(_target_="os.system"), "specification of the model"),
        (lambda m: m["spec"]["encoders"].update(note="os.system"), "os.system"),
        (lambda m: m["preprocessors"]["note"].update(kind="os.system"), "."),
        (lambda m: m["schema"]["targets"][0].update(kind="os.system"), "."),
        (lambda m: m["schema"]["fields"][0].update(modality="os.system"), "."),
        (lambda m: m.pop("schema"), "."),
        (lambda m: m.pop("readouts"), "."),
        (lambda m: m.update(num_members="many"), "."),
        (lambda m: m.update(num_members=10**9), "."),
        (lambda m: m.update(spec=[]), "."),
        (lambda m: m.update(files=[]), "."),
        (lambda m: m.update(preprocessors=[]), "."),
    ],
    ids=[
        "fusion", "unknown key", "encoder", "preprocessor", "task", "modality", "no schema", "no readouts",
        "members", "too many members", "spec", "files", "preprocessors",
    ],
)  # fmt: skip
def test_t26_a_manifest_that_was_signed_anew_names_no_code_and_is_refused(copied, change, words):
    rewrite(copied, change)
    with pytest.raises(omnifuse.InputError, match=words):
        omnifuse.load(copied)


def test_the_card_tells_scores_fields_and_limits(fitted):
    card = (fitted.run / "model" / "CARD.md").read_text()
    for words in ("# Model card", "`picture` (image)", "`event`: classification among burglary, fire", "accuracy:"):
        assert words in card
    assert "fusion: cannot tell" in card


def test_single_field_networks_lie_beside_the_model_and_are_found(fitted):
    from omnifuse.api.store import load_singles

    assert set(load_singles(omnifuse.load(fitted.run))) == set(fitted.model.fields)
    assert set(load_singles(omnifuse.load(fitted.run / "model"))) == set(fitted.model.fields)
    assert load_singles(omnifuse.load(fitted.run)).keys() == {"picture", "sound", "note", "time", "table"}


def test_no_model_says_where_it_looked(tmp_path):
    with pytest.raises(ArtefactError, match=r"no model in .*model\.json"):
        omnifuse.load(tmp_path)
