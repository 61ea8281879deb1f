"""A server that follows a registry: every answer names its version, and whatever is wrong the last good one answers."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("cryptography")

from tests.registry_places import make_model, make_signed, make_unsigned, serving
from tests.serving import FakeAnswerer, running, until

from omnifuse.errors import InputError
from omnifuse.serve.followed_models import FollowedModels
from omnifuse.serve.reload import RegistryReloader


@dataclass
class Models:
    """How the models of a test behave, by the value in their folder."""

    broken: set[int] = field(default_factory=set)
    loaded: list[int] = field(default_factory=list)
    # Asked at each example, so that a model can fall ill at work
    sick: set[int] = field(default_factory=set)

    def load(self, folder: Any) -> FakeAnswerer:
        data = json.loads((folder / "model.json").read_text())
        self.loaded.append(data["value"])
        if data["value"] in self.broken:
            raise RuntimeError("no such layer")
        return Ill(data["digest"][:12], models=self, value=data["value"])


@dataclass
class Ill(FakeAnswerer):
    """Fails where the test says so."""

    models: Models | None = None
    value: int = 0

    def answer(self, decoded):
        if self.value in self.models.sick:
            raise RuntimeError("the weights have gone")
        return super().answer(decoded)


@contextlib.contextmanager
def followed(location, cache, models, *, trust=(), every_s=0.03):
    found = FollowedModels(location, cache, models.load, trust=trust, timeout_s=2.0)
    lineup = found.start()
    with running(lineup, reloader=lambda service: RegistryReloader(service, found, every_s)) as server:
        yield server
    # The thread gives the cache free
    until(lambda: is_free(location, cache, trust))


def is_free(location, cache, trust):
    try:
        FollowedModels(location, cache, Models().load, trust=trust).close()
    except InputError:
        return False
    return True


def version(server, key="", note="red"):
    headers = {"omnifuse-key": key} if key else {}
    (row,) = server.send("POST", "/predict", {"rows": [{"note": note}]}, headers).json["predictions"]
    assert row["targets"]["kind"]["value"] == "red"
    return row["version"]


def test_promotions_and_rollbacks_are_followed_and_all_answers_name_their_version(tmp_path):
    registry, models = make_unsigned(tmp_path), Models()
    with followed(tmp_path / "registry", tmp_path / "cache", models) as server:
        assert version(server) == "v1"
        registry.promote("v2", "production")
        until(lambda: version(server) == "v2")
        model_id = registry.state().versions["v2"].model_id
        for path, name in (("/predict", "predictions"), ("/embed", "embeddings"), ("/explain", "explanations")):
            (row,) = server.send("POST", path, {"rows": [{"note": "red"}]}).json[name]
            assert (row["version"], row["model_id"]) == ("v2", model_id)
        for path in ("/schema", "/health/ready"):
            found = server.send("GET", path).json
            assert (found["version"], found["model_id"]) == ("v2", model_id)
        registry.rollback()
        until(lambda: version(server) == "v1")
    assert models.loaded == [1, 2, 1]


def test_a_canary_answers_its_share_and_a_key_always_gets_the_same_version(tmp_path):
    registry = make_unsigned(tmp_path)
    registry.promote("v2", "canary", percent=40)
    keys = [f"customer {number}" for number in range(60)]
    with followed(tmp_path / "registry", tmp_path / "cache", Models()) as server:
        found = [version(server, key) for key in keys]
        assert 10 < found.count("v2") < 38
        assert found == [version(server, key) for key in keys]
        assert len(set(server.metric_labels("omnifuse_model_info"))) == 2
        # Without a key the question itself decides
        by_note = [version(server, note=f"red {number}") for number in range(60)]
        assert 10 < by_note.count("v2") < 38
        registry.promote("v2", "candidate")
        until(lambda: {version(server, key) for key in keys} == {"v1"})


def test_a_damaged_version_is_refused_and_the_old_one_goes_on(tmp_path):
    place, models = make_signed(tmp_path), Models()
    whole = (place.home / "versions/v2/files/weights.safetensors").read_bytes()
    with serving(place.home) as web:
        web.faults["v2/files/weights.safetensors"] = lambda handler: handler.answer(200, whole[:-1] + b"x")
        with followed(web.url, tmp_path / "cache", models, trust=[place.trust]) as server:
            place.registry().promote("v2", "production")
            until(lambda: server.metric("omnifuse_errors_total") >= 1)
            assert version(server) == "v1"
            assert server.send("GET", "/health/ready").status == 200
            assert models.loaded == [1]
            web.faults.clear()
            until(lambda: version(server) == "v2")


@pytest.mark.parametrize("how", ["broken", "sick"])
def test_a_version_that_cannot_be_loaded_or_does_not_answer_its_example_never_answers(tmp_path, how):
    registry, models = make_unsigned(tmp_path), Models(**{how: {2}})
    with followed(tmp_path / "registry", tmp_path / "cache", models) as server:
        registry.promote("v2", "production")
        until(lambda: server.metric("omnifuse_errors_total") >= 1)
        assert version(server) == "v1"
        assert models.loaded == [1, 2]
        registry.promote("v3", "production")
        until(lambda: version(server) == "v3")


def test_a_version_that_falls_ill_at_work_is_rolled_back(tmp_path):
    registry, models = make_unsigned(tmp_path), Models()
    with followed(tmp_path / "registry", tmp_path / "cache", models) as server:
        registry.promote("v2", "production")
        until(lambda: version(server) == "v2")
        models.sick.add(2)
        until(lambda: version_or(server) == "v1")
        models.sick.clear()
        assert version(server) == "v1"
    # A process that starts later knows of it
    with followed(tmp_path / "registry", tmp_path / "cache", models) as server:
        assert version(server) == "v1"


def version_or(server):
    (row,) = server.predict({"note": "red"}).json["predictions"]
    return row["version"] if "error" not in row else ""


def test_the_only_version_goes_on_however_ill_it_is(tmp_path):
    make_unsigned(tmp_path, 1)
    models = Models()
    with followed(tmp_path / "registry", tmp_path / "cache", models) as server:
        models.sick.add(1)
        until(lambda: server.metric("omnifuse_errors_total") >= 1)
        (row,) = server.predict({"note": "red"}).json["predictions"]
        assert row["error"]
        models.sick.clear()
        assert version(server) == "v1"


def test_a_place_that_vanishes_and_comes_back_is_followed_again_also_after_a_restart(tmp_path):
    place, models = make_signed(tmp_path), Models()
    with serving(place.home) as web:
        with followed(web.url, tmp_path / "cache", models, trust=[place.trust]) as server:
            assert version(server) == "v1"
            web.faults[""] = lambda handler: handler.answer(503)
            until(lambda: server.metric("omnifuse_errors_total") >= 1)
            place.registry().promote("v2", "production")
            assert version(server) == "v1"
            web.faults.clear()
            until(lambda: version(server) == "v2")
        web.faults[""] = lambda handler: handler.answer(503)
        with followed(web.url, tmp_path / "cache", models, trust=[place.trust]) as server:
            assert version(server) == "v2"


def test_nothing_is_sent_again_where_nothing_has_changed(tmp_path):
    place = make_signed(tmp_path, 1)
    with (
        serving(place.home) as web,
        followed(web.url, tmp_path / "cache", Models(), trust=[place.trust]) as server,
    ):
        assert version(server) == "v1"
        until(lambda: [status for path, status in web.asked if path.endswith("stages.json")].count(304) >= 3)
        assert [status for path, status in web.asked if path.endswith("stages.json")].count(200) == 1


def test_without_any_version_the_start_says_why(tmp_path):
    with pytest.raises(InputError, match=r"'stages\.json' of the registry"):
        FollowedModels(tmp_path / "registry", tmp_path / "cache", Models().load).start()
    make_unsigned(tmp_path, 1)
    with (
        FollowedModels(tmp_path / "registry", tmp_path / "cache2", Models(broken={1}).load) as models,
        pytest.raises(InputError, match="no such layer"),
    ):
        models.start()
    make_model(tmp_path / "unused")
