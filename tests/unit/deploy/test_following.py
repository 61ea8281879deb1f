"""A follower takes what is whole, signed and healthy, and keeps the last good version otherwise."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest
from tests.registry_places import make_model, make_signed, make_unsigned, serving

from omnifuse.deploy.following import Follower
from omnifuse.deploy.registry import Registry
from omnifuse.deploy.stages import Stages, router
from omnifuse.errors import InputError

CRYPTOGRAPHY = pytest.importorskip("cryptography")


def value_in(folder):
    return json.loads((folder / "model.json").read_text())["value"]


@pytest.fixture
def local(tmp_path):
    """An unsigned registry in a folder, and a follower of it."""
    registry = make_unsigned(tmp_path)
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        yield registry, follower


def test_before_the_first_version_one_line_says_why(tmp_path):
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        with pytest.raises(InputError, match="no version was fetched"):
            follower.current()
        found = follower.poll()
        assert not found.changed
        assert "'stages.json' of the registry" in found.problem
        Registry(tmp_path / "registry").add(make_model(tmp_path / "model"), name="v1")
        assert "no version of the registry is in production yet" in follower.poll().problem
        with pytest.raises(InputError, match="in production yet"):
            follower.choose("somebody")
        Registry(tmp_path / "registry").promote("v1", "production")
        assert follower.poll() == follower.poll().__class__(True)
        assert follower.current().version == "v1"


def test_it_follows_promotions_and_rollbacks(local):
    registry, follower = local
    assert follower.poll().changed
    assert not follower.poll().changed
    for step, version in [(lambda: registry.promote("v2", "production"), "v2"), (registry.rollback, "v1"),
                          (lambda: registry.promote("v3", "production"), "v3")]:  # fmt: skip
        step()
        found = follower.poll()
        assert (found.changed, found.problem) == (True, "")
        served = follower.current()
        assert served.version == version
        assert value_in(served.folder) == int(version[1:])
        assert served.model_id == registry.state().versions[version].model_id


def test_what_answers_is_a_copy_of_its_own(local, tmp_path):
    _, follower = local
    follower.poll()
    (tmp_path / "registry/versions/v1/files/CARD.md").write_text("changed later")
    assert follower.current().folder == tmp_path / "cache/versions/v1/files"
    assert (follower.current().folder / "CARD.md").read_text() == "# card 1"


def test_health_is_asked_once_for_each_version_and_a_sick_one_is_not_taken(tmp_path):
    registry = make_unsigned(tmp_path)
    asked = []

    def health(folder):
        asked.append(value_in(folder))
        if asked[-1] == 2:
            raise RuntimeError("no answer for row 1")

    with Follower(tmp_path / "registry", tmp_path / "cache", health=health) as follower:
        follower.poll()
        registry.promote("v2", "production")
        for _ in range(3):
            found = follower.poll()
            assert (found.changed, found.problem) == (False, "version 'v2' is unhealthy: no answer for row 1")
            assert follower.current().version == "v1"
        assert asked == [1, 2]
        registry.promote("v3", "production")
        assert follower.poll() == found.__class__(True, "")
        assert asked == [1, 2, 3]


def test_a_version_that_fails_at_work_gives_way_to_the_last_good_one_also_after_a_restart(tmp_path):
    registry = make_unsigned(tmp_path)
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        follower.poll()
        registry.promote("v2", "production")
        follower.poll()
        assert follower.reject("v2", "too slow").changed
        assert follower.current().version == "v1"
        registry.add(make_model(tmp_path / "model4", 4), name="v4")
        assert not follower.poll().changed
        assert follower.current().version == "v1"
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        assert follower.current().version == "v1"
        assert follower.poll().problem == "version 'v2' is unhealthy: too slow"
        assert follower.current().version == "v1"
        registry.rollback()
        registry.promote("v2", "production")
        assert follower.poll() == follower.poll().__class__(True, "")
        assert follower.current().version == "v2"


def test_without_an_earlier_version_a_sick_one_goes_on(local):
    _, follower = local
    follower.poll()
    found = follower.reject("v1", "too slow")
    assert not found.changed
    assert "no earlier one" in found.problem
    assert follower.current().version == "v1"
    assert not follower.reject("v9", "unknown").changed


def test_a_canary_answers_its_share_and_can_be_rejected(local):
    registry, follower = local
    registry.promote("v2", "canary", percent=25)
    assert follower.poll().changed
    keys = [f"customer {number}" for number in range(2000)]
    chosen = [follower.choose(key).version for key in keys]
    assert Counter(chosen)["v2"] == pytest.approx(500, abs=80)
    assert chosen == [follower.choose(key).version for key in keys]
    assert [item.version for item in follower.versions()] == ["v1", "v2"]
    assert value_in(follower.choose(keys[chosen.index("v2")]).folder) == 2
    assert follower.current().version == "v1"
    registry.promote("v2", "canary", percent=50)
    assert follower.poll().changed
    wider = [follower.choose(key).version for key in keys]
    assert all(late == "v2" for early, late in zip(chosen, wider, strict=True) if early == "v2")
    assert follower.reject("v2", "worse").changed
    assert {follower.choose(key).version for key in keys} == {"v1"}


def test_a_sick_canary_leaves_production_alone(tmp_path):
    registry = make_unsigned(tmp_path)

    def health(folder):
        if value_in(folder) == 2:
            raise ValueError("sick")

    with Follower(tmp_path / "registry", tmp_path / "cache", health=health) as follower:
        follower.poll()
        registry.promote("v2", "canary", percent=50)
        registry.promote("v3", "production")
        found = follower.poll()
        assert (found.changed, found.problem) == (True, "version 'v2' is unhealthy: sick")
        assert [item.version for item in follower.versions()] == ["v3"]


def test_routing_is_the_same_on_every_machine():
    stage = router(Stages("v1", "v2", 10.0))
    assert [number for number in range(40) if stage(f"k{number}") == "canary"] == [
        number for number in range(40) if canary_by_hand("v2", f"k{number}", 10)
    ]
    assert router(Stages("v1"))("k1") == "production"
    other = router(Stages("v1", "v3", 10.0))
    assert [stage(f"k{number}") for number in range(200)] != [other(f"k{number}") for number in range(200)]
    assert stage("\ud800") in ("production", "canary")


def canary_by_hand(version, key, percent):
    import hashlib

    first = hashlib.sha256(version.encode() + b"\0" + key.encode()).hexdigest()[:16]
    return int(first, 16) * 100 < percent * 16**16


def test_a_restart_needs_no_registry_and_the_cache_holds_only_what_is_needed(tmp_path):
    registry = make_unsigned(tmp_path)
    registry.add(make_model(tmp_path / "model4", 4), name="v4")
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        for version in ("v1", "v2", "v3", "v4"):
            registry.promote(version, "production")
            follower.poll()
        assert sorted(path.name for path in (tmp_path / "cache/versions").iterdir()) == ["v2", "v3", "v4"]
    (tmp_path / "registry").rename(tmp_path / "gone")
    (tmp_path / "cache/versions/.unfinished-1").mkdir()
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        assert follower.current().version == "v4"
        assert "stages.json" in follower.poll().problem
        assert follower.current().version == "v4"
        assert not (tmp_path / "cache/versions/.unfinished-1").exists()


def test_two_processes_do_not_share_a_cache(local, tmp_path):
    _, follower = local
    with pytest.raises(InputError, match="another process follows a registry into"):
        Follower(tmp_path / "registry", tmp_path / "cache")
    follower.close()
    Follower(tmp_path / "registry", tmp_path / "cache").close()


def test_a_thread_follows_until_it_is_stopped_and_asks_less_often_after_problems(local, monkeypatch):
    registry, follower = local
    stop, heard, pauses = threading.Event(), [], []

    def wait(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            registry.promote("v2", "production")
            (registry.folder.path / "stages.json").rename(registry.folder.path / "away")
        if len(pauses) == 8:
            (registry.folder.path / "away").rename(registry.folder.path / "stages.json")
        return len(pauses) == 10 and stop.set()

    monkeypatch.setattr(stop, "wait", wait)
    follower.follow(stop, every_s=1.0, listen=heard.append)
    assert [bool(found.problem) for found in heard] == [False] * 2 + [True] * 6 + [False] * 2
    assert pauses == [1, 1, 2, 4, 8, 10, 10, 10, 1, 1]
    assert follower.current().version == "v2"


def test_over_the_web_nothing_is_fetched_twice(tmp_path):
    place = make_signed(tmp_path)
    with serving(place.home) as web, Follower(web.url, tmp_path / "cache", trust=[place.trust]) as follower:
        assert follower.poll().changed
        names = [path for path, status in web.asked if status == 200]
        assert sorted(Counter(names).values())[-1] == 1
        files = [name.rpartition("/files/")[2] for name in names if "/files/" in name]
        assert sorted(files) == sorted(path.name for path in follower.current().folder.iterdir())
        web.asked.clear()
        assert follower.poll() == follower.poll()
        assert web.asked == [("/stages.json", 304)] * 2
        place.registry().promote("v2", "canary", percent=5)
        web.asked.clear()
        assert follower.poll().changed
        assert not [path for path, _ in web.asked if "/v1/" in path]
        place.registry().promote("v2", "production")
        web.asked.clear()
        assert follower.poll().changed
        assert [path.split("/")[1] for path, _ in web.asked] == ["stages.json", "signatures"]
        assert value_in(follower.current().folder) == 2


def test_over_an_object_store(tmp_path):
    pytest.importorskip("fsspec")
    place = make_signed(tmp_path)
    url = f"memory://models/{tmp_path.name}"
    registry = Registry(url, sign=place.key)
    for number in (1, 2):
        registry.add(tmp_path / f"model{number}", name=f"v{number}")
        registry.promote(f"v{number}", "production")
    with Follower(url, tmp_path / "cache", trust=[place.trust]) as follower:
        assert follower.poll().changed
        assert follower.current().version == "v2"
        registry.rollback()
        assert follower.poll().changed
        assert value_in(follower.current().folder) == 1
    with pytest.raises(InputError, match="Sign the change with --sign KEY"):
        Registry(url, trust=[place.trust]).promote("v2", "production")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/r", "memory://models/r"])
def test_elsewhere_than_on_disk_a_key_must_be_trusted(tmp_path, url):
    with pytest.raises(InputError, match=r"no key is trusted.*--trust KEY\.pub"):
        Follower(url, tmp_path / "cache")
    with pytest.raises(InputError, match="no key is trusted"):
        Registry(url).state()
    assert not (tmp_path / "cache").exists()


def test_a_version_larger_than_allowed_is_not_fetched(tmp_path):
    make_unsigned(tmp_path)
    with Follower(tmp_path / "registry", tmp_path / "cache", max_bytes=100) as follower:
        assert "more than the 100 allowed" in follower.poll().problem
        assert list((tmp_path / "cache/versions").iterdir()) == []


def test_a_cache_of_something_else_is_refused(tmp_path):
    make_unsigned(tmp_path)
    (tmp_path / "cache").mkdir()
    for content in ("{}", "[]", '{"format": 1}', "\0"):
        (tmp_path / "cache/followed.json").write_text(content)
        with pytest.raises(InputError, match="Give another folder for the cache"):
            Follower(tmp_path / "registry", tmp_path / "cache")
