"""`omnifuse registry`: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import importlib.util
import json

import pytest
from tests.registry_places import make_model, serving

from omnifuse.cli.main import run

pytest.importorskip("cryptography")
STATE = {"registry", "serial", "stages", "versions", "history"}


@pytest.fixture
def cli(capsys):
    def call(*arguments, code=0):
        with pytest.raises(SystemExit) as caught:
            run(["registry", *(str(item) for item in arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert (caught.value.code or 0) == code, err
        assert bool(err) == bool(code)
        return err if code else out

    return call


@pytest.fixture
def place(cli, tmp_path):
    """A registry with v1 in production and v2 a candidate."""
    for number in (1, 2):
        cli(
            "add", tmp_path / "r", make_model(tmp_path / f"model{number}", number), "--name", f"v{number}", "--by", "me"
        )
    cli("promote", tmp_path / "r", "v1", "--to", "production")
    return tmp_path / "r"


def test_from_keys_to_rollback_as_json(cli, tmp_path):
    made = json.loads(cli("keygen", tmp_path / "key", "--json"))
    assert made == {"private": f"{tmp_path}/key", "public": f"{tmp_path}/key.pub", "key_id": made["key_id"]}
    sign = ("--sign", tmp_path / "key", "--json")
    model = make_model(tmp_path / "model")
    added = json.loads(cli("add", tmp_path / "r", model, "--note", "the first", *sign))
    assert set(added) == STATE | {"version"}
    assert added["version"] == added["versions"][0]["model_id"]
    assert added["versions"][0]["note"] == "the first"
    cli("add", tmp_path / "r", model, "--name", "again", *sign)
    assert json.loads(cli("promote", tmp_path / "r", added["version"], "--to", "production", *sign))["changed"]
    done = json.loads(cli("promote", tmp_path / "r", "again", "--to", "canary", "--percent", "12.5", *sign))
    assert set(done) == STATE | {"changed", "gate"}
    assert done["stages"] == {"production": added["version"], "canary": "again", "percent": 12.5}
    assert [item["stage"] for item in done["versions"]] == ["production", "canary"]
    undone = json.loads(cli("rollback", tmp_path / "r", *sign))
    assert set(undone) == STATE | {"undone"}
    assert undone["stages"] == {"production": added["version"], "canary": None, "percent": 0.0}
    listed = json.loads(cli("list", tmp_path / "r", "--trust", tmp_path / "key.pub", "--json"))
    assert set(listed) == STATE | {"signed"}
    assert listed["signed"] is True
    assert {name: listed[name] for name in STATE} == {name: undone[name] for name in STATE}
    with serving(tmp_path / "r") as web:
        assert json.loads(cli("list", web.url, "--trust", tmp_path / "key.pub", "--json"))["stages"] == undone["stages"]
        assert "--trust KEY.pub" in cli("list", web.url, code=2)


def test_for_a_person(cli, place, tmp_path):
    assert cli("promote", place, "v2", "--to", "canary", "--percent", "10") == "version 'v2' is canary (10%)\n"
    text = cli("list", place, "--history")
    assert "canary (10%)" in text
    assert "'v1' is in production, 'v2' is a" in " ".join(text.split())
    assert cli("rollback", place) == "version 'v1' is in production\n"
    assert cli("promote", place, "v1", "--to", "production") == "version 'v1' is production already\n"
    assert "give" in cli("keygen", tmp_path / "key")


def test_the_gate_measures_with_evaluate(cli, place, tmp_path, monkeypatch):
    import omnifuse.api

    asked = []

    class Model:
        def __init__(self, folder):
            self.value = json.loads((folder / "model.json").read_text())["value"]

        def evaluate(self, table, *, media_root):
            asked.append((self.value, table, media_root))
            score = {"value": 1 - self.value / 10, "low": 0, "high": 1}
            return {"targets": {"kind": {"metrics": {"accuracy": score, "roc_auc": None}}}}

    monkeypatch.setattr(omnifuse.api, "load", Model)
    table = tmp_path / "test.csv"
    table.write_text("kind\n")
    gate = ("--test", table, "--metric", "accuracy")
    err = cli("promote", place, "v2", "--to", "production", *gate, "--no-worse", "0.05", code=2)
    assert "accuracy of 'kind' is 0.8, worse than the 0.9 of production by more than 0.05" in err
    assert asked == [(2, str(table), None), (1, str(table), None)]
    assert json.loads(cli("list", place, "--json"))["stages"]["production"] == "v1"
    done = json.loads(cli("promote", place, "v2", "--to", "production", *gate, "--no-worse", "0.2", "--json"))
    assert done["gate"]["value"] == 0.8
    assert done["gate"]["test"]["name"] == "test.csv"
    assert len(done["gate"]["test"]["sha256"]) == 64
    assert done["gate"] == done["history"][-1]["gate"]
    assert str(tmp_path) not in (place / "stages.json").read_text()
    assert "cannot be measured" in cli(
        "promote", place, "v1", "--to", "production", "--test", table, "--metric", "roc_auc", "--at-least", "0", code=2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "{r}", "{tmp}"], "no model in"),
        (["add", "{r}", "{tmp}/model1", "--name", "v1"], "already"),
        (["add", "ftp://x/y", "{tmp}/model1"], "not opened over 'ftp://'"),
        (["add", "{r}", "{tmp}/model1", "--sign", "{tmp}/none"], "omnifuse registry keygen"),
        (["promote", "{r}", "v3", "--to", "production"], "no version 'v3'"),
        (["promote", "{r}", "v2", "--to", "production", "--at-least", "0.5"], "Give --test TABLE"),
        (["promote", "{r}", "v2", "--to", "production", "--test", "t.csv"], "Give --metric"),
        (["promote", "{r}", "v2", "--to", "production", "--test", "t.csv", "--metric", "accuracy"], "no limit"),
        (["promote", "{r}", "v2", "--to", "canary"], "--percent"),
        (["rollback", "{r}"], "nothing to roll back to"),
        (["list", "{tmp}/none"], "there is no registry"),
        (["list", "{r}", "--trust", "{tmp}/none"], "cannot be read"),
        (["keygen", "{r}/stages.json"], "never written over"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else None,
)
def test_wrong_input_is_one_line_and_changes_nothing(cli, place, tmp_path, arguments, words):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    err = cli(*(item.format(r=place, tmp=tmp_path) for item in arguments), code=2)
    assert words in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_cryptography_it_exits_3_with_the_line_to_type(cli, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "omnifuse.deploy.signing.find_spec", lambda name: None if name == "cryptography" else find(name)
    )
    assert 'pip install "omnifuse[registry]"' in cli("keygen", tmp_path / "key", code=3)
    assert 'pip install "omnifuse[registry]"' in cli("list", tmp_path, "--trust", "x", code=3)


def test_a_signed_registry_is_changed_by_no_one_without_the_key_and_an_unsigned_one_not_signed_later(
    cli, place, tmp_path
):
    cli("keygen", tmp_path / "key")
    model = make_model(tmp_path / "model3", 3)
    assert "is not signed" in cli("add", place, model, "--sign", tmp_path / "key", code=2)
    cli("add", tmp_path / "s", model, "--sign", tmp_path / "key")
    assert "is signed. Sign the change with --sign KEY" in cli("add", tmp_path / "s", model, "--name", "b", code=2)
    cli("keygen", tmp_path / "other")
    other = ("--sign", tmp_path / "other")
    assert "signed by no trusted key" in cli("add", tmp_path / "s", model, "--name", "b", *other, code=2)
    # A change of keys: the new one signs, the old one is still trusted once
    cli("add", tmp_path / "s", model, "--name", "b", *other, "--trust", tmp_path / "key.pub")
    cli("list", tmp_path / "s", "--trust", tmp_path / "other.pub")
