"""A registry in a folder: adding, promoting, rolling back, and what each step leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run

import pytest
from tests.registry_places import edited, make_model, make_unsigned

from omnifuse.deploy.gate import Gate
from omnifuse.deploy.registry import Registry
from omnifuse.deploy.stages import Stages
from omnifuse.errors import ArtefactError, InputError


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_is_the_model_folder_byte_for_byte_and_is_named_by_its_model_id(tmp_path):
    model = make_model(tmp_path / "run/model", 7)
    registry = Registry(tmp_path / "registry", by="me")
    version = registry.add(tmp_path / "run", note="first")
    assert files_below(tmp_path / "registry/versions" / version / "files") == files_below(model)
    state = registry.state()
    entry = state.versions[version]
    assert version == entry.model_id == json.loads((model / "model.json").read_text())["digest"][:12]
    assert (entry.by, entry.note) == ("me", "first")
    assert state.stages == Stages()
    assert state.stages.stage_of(version) == "candidate"


def test_promotions_and_rollbacks_restore_the_stages_exactly(tmp_path):
    registry = make_unsigned(tmp_path)
    steps = [registry.state().stages]
    registry.promote("v2", "canary", percent=10)
    steps.append(registry.state().stages)
    registry.promote("v2", "canary", percent=30)
    steps.append(registry.state().stages)
    registry.promote("v2", "production")
    assert registry.state().stages == Stages("v2")
    assert steps == [Stages("v1"), Stages("v1", "v2", 10.0), Stages("v1", "v2", 30.0)]
    for stages in reversed(steps):
        assert registry.rollback().stages == stages == registry.state().stages
    with pytest.raises(InputError, match="nothing to roll back to"):
        registry.rollback()


def test_after_a_rollback_a_promotion_is_what_the_next_rollback_takes_back(tmp_path):
    registry = make_unsigned(tmp_path)
    registry.promote("v2", "production")
    registry.rollback()
    registry.promote("v3", "production")
    assert registry.rollback().stages == Stages("v1")
    serials = [event.serial for event in registry.state().history]
    assert serials == sorted(set(serials))
    assert [event.undoes for event in registry.state().history] == [None, None, serials[1], None, serials[3]]


def test_another_promotion_keeps_the_canary_that_runs_and_a_canary_can_be_ended(tmp_path):
    registry = make_unsigned(tmp_path)
    registry.promote("v2", "canary", percent=5)
    assert registry.promote("v3", "production").stages == Stages("v3", "v2", 5.0)
    assert registry.promote("v2", "candidate").stages == Stages("v3")


def test_a_promotion_that_changes_nothing_writes_nothing(tmp_path):
    registry = make_unsigned(tmp_path)
    before = (tmp_path / "registry/stages.json").stat()
    assert registry.promote("v1", "production").stages == Stages("v1")
    assert registry.promote("v2", "candidate").stages == Stages("v1")
    after = (tmp_path / "registry/stages.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    ("version", "to", "percent", "words"),
    [
        ("v9", "production", 0, "no version 'v9'"),
        ("v2", "prodction", 0, "did you mean 'production'"),
        ("v2", "canary", 0, "canary for 0%"),
        ("v2", "canary", 100, "canary for 100%"),
        ("v2", "canary", float("nan"), "canary for nan%"),
        ("v2", "production", 10, "--percent with --to canary"),
        ("v1", "canary", 10, "is in production"),
        ("v1", "candidate", 0, "is in production"),
    ],
)
def test_steps_without_sense_are_refused_and_change_nothing(tmp_path, version, to, percent, words):
    registry = make_unsigned(tmp_path, versions=2)
    before = files_below(tmp_path / "registry")
    with pytest.raises(InputError, match=words):
        registry.promote(version, to, percent=percent)
    assert files_below(tmp_path / "registry") == before


def test_a_canary_needs_a_version_in_production(tmp_path):
    registry = Registry(tmp_path / "registry")
    version = registry.add(make_model(tmp_path / "model"))
    with pytest.raises(InputError, match="Promote one with --to production"):
        registry.promote(version, "canary", percent=10)


def test_names_are_given_once_and_must_be_names_everywhere(tmp_path):
    registry = make_unsigned(tmp_path, versions=1)
    model = make_model(tmp_path / "model")
    before = files_below(tmp_path / "registry")
    for name, words in [("v1", "already"), ("V1", "one folder on some"), ("../v2", "cannot be the name"),
                        ("nul", "cannot be the name"), (".v", "cannot be"), ("v\n", "cannot be"), ("", "cannot be"),
                        ("a" * 65, "cannot be"), ("v.", "cannot be")]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            registry.add(model, name=name)
    assert files_below(tmp_path / "registry") == before


def test_a_damaged_model_is_not_added(tmp_path):
    model = make_model(tmp_path / "model")
    (model / "CARD.md").write_text("other")
    with pytest.raises(ArtefactError, match=r"CARD\.md"):
        Registry(tmp_path / "registry").add(model)
    assert not (tmp_path / "registry").exists()


def test_files_beside_those_of_model_json_belong_to_the_version(tmp_path):
    model = make_model(tmp_path / "model")
    (model / "graph").mkdir()
    (model / "graph/encoder_a picture.onnx").write_bytes(b"graph")
    registry = Registry(tmp_path / "registry")
    folder = registry.copy(registry.add(model), tmp_path / "copy")
    assert files_below(folder) == files_below(model)


def test_where_there_is_no_registry_one_line_says_so_and_nothing_is_made(tmp_path):
    registry = Registry(tmp_path / "none")
    for act in (registry.state, registry.rollback, lambda: registry.promote("v", "production")):
        with pytest.raises(InputError, match="there is no registry"):
            act()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["promote", "rollback"])
def test_a_version_with_a_damaged_file_comes_into_no_stage(tmp_path, where):
    registry = make_unsigned(tmp_path, versions=2)
    if where == "rollback":
        registry.promote("v2", "production")
    damaged = "v2" if where == "promote" else "v1"
    path = tmp_path / f"registry/versions/{damaged}/files/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    before = (tmp_path / "registry/stages.json").read_bytes()
    with pytest.raises(ArtefactError, match=r"digest of 'weights.safetensors' of version"):
        registry.promote("v2", "production") if where == "promote" else registry.rollback()
    assert (tmp_path / "registry/stages.json").read_bytes() == before


def test_a_gate_measures_verified_copies_of_both_versions_and_goes_into_the_history(tmp_path):
    registry = make_unsigned(tmp_path, versions=2)
    seen = []

    def measure(folder):
        seen.append(files_below(folder))
        return {"kind": {"accuracy": 0.9 + 0.01 * len(seen)}}

    gate = Gate("accuracy", at_least=0.9, no_worse=0.02)
    state = registry.promote("v2", "production", gate=gate, measure=measure, test={"name": "test.csv"})
    assert seen == [files_below(tmp_path / "model2"), files_below(tmp_path / "model1")]
    assert state.history[-1].gate == registry.state().history[-1].gate
    assert state.history[-1].gate == {
        "metric": "accuracy", "target": "kind", "value": 0.91, "production": 0.92, "at_least": 0.9, "no_worse": 0.02,
        "test": {"name": "test.csv"},
    }  # fmt: skip


def test_a_gate_that_is_not_passed_changes_nothing(tmp_path):
    registry = make_unsigned(tmp_path, versions=2)
    before = files_below(tmp_path / "registry")
    with pytest.raises(InputError, match=r"accuracy of 'kind' is 0.5, worse than the limit 0.9"):
        registry.promote(
            "v2", "production", gate=Gate("accuracy", at_least=0.9), measure=lambda _: {"kind": {"accuracy": 0.5}}
        )
    assert files_below(tmp_path / "registry") == before


def test_what_others_changed_while_the_gate_measured_is_not_overrun(tmp_path):
    registry = make_unsigned(tmp_path)

    def measure(folder):
        make_change()
        return {"kind": {"accuracy": 1.0}}

    def make_change():
        Registry(tmp_path / "registry").promote("v3", "production")

    with pytest.raises(InputError, match="somebody else changed the stages meanwhile"):
        registry.promote("v2", "production", gate=Gate("accuracy", at_least=0.9), measure=measure)
    assert registry.state().stages == Stages("v3")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("serial"),
        lambda data: data.update(serial="1"),
        lambda data: data.update(serial=True),
        lambda data: data.update(extra=1),
        lambda data: data["stages"].update(production="v9"),
        lambda data: data["stages"].update(percent=5),
        lambda data: data["stages"].update(canary="v2", percent=float("nan")),
        lambda data: data["stages"].update(production="../../etc"),
        lambda data: data["versions"]["v1"].update(manifest="0" * 63),
        lambda data: data["history"].append(data["history"][0]),
        lambda data: data["history"][0].update(action="run"),
        lambda data: data.update(history=7),
        lambda data: data.update(versions=[]),
    ],
)
def test_a_document_that_contradicts_itself_is_one_line(tmp_path, change):
    registry = make_unsigned(tmp_path, versions=2)
    edited(tmp_path / "registry/stages.json", change)
    with pytest.raises(InputError, match=r"stages\.json|cannot be the name of a version"):
        registry.state()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"format": 2}'])
def test_a_damaged_document_is_one_line(tmp_path, content):
    registry = make_unsigned(tmp_path, versions=1)
    (tmp_path / "registry/stages.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"stages\.json"):
        registry.state()


def test_nothing_here_loads_torch():
    code = """
import sys
import omnifuse.cli.registry
from omnifuse.deploy import following, gate, http_folder, object_store, registry
assert "torch" not in sys.modules and "cryptography" not in sys.modules
"""
    run([sys.executable, "-c", code], check=True, timeout=60)
