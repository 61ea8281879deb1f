"""From fit to a registry and back: a real model passes a real gate, and its answers name the version."""

from __future__ import annotations

import json

import polars as pl
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.cli.main import run
from omnifuse.deploy.following import Follower


def test_answers_name_the_version_that_passed_the_gate(tmp_path, capsys):
    rows = plain_rows(60)
    omnifuse.fit(rows, "kind", out=tmp_path / "run", **QUICK, **ONE_LABEL)
    test = tmp_path / "test.csv"
    pl.DataFrame(plain_rows(20, seed=1)).write_csv(test)

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run(["registry", *map(str, arguments), "--json"])
        return caught.value.code or 0, capsys.readouterr()

    code, said = call("add", tmp_path / "registry", tmp_path / "run")
    assert code == 0, said.err
    version = json.loads(said.out)["version"]
    promote = ("promote", tmp_path / "registry", version, "--to", "production", "--test", test, "--metric", "accuracy")
    code, said = call(*promote, "--at-least", "1.01")
    assert (code, said.out) == (2, "")
    assert "is not promoted" in said.err
    code, said = call(*promote, "--at-least", "0.2")
    assert code == 0, said.err

    def health(folder):
        answers = omnifuse.load(folder).predict(rows[:2])
        assert all(answer.error is None for answer in answers)

    with Follower(tmp_path / "registry", tmp_path / "cache", health=health) as follower:
        assert follower.poll().problem == ""
        served = follower.current()
        answers = omnifuse.load(served.folder).predict(rows[:3])
    assert {answer.model_id for answer in answers} == {served.version} == {version}
    expected = omnifuse.load(tmp_path / "run").evaluate(test)["targets"]["kind"]["metrics"]["accuracy"]["value"]
    assert json.loads(said.out)["gate"]["value"] == expected
