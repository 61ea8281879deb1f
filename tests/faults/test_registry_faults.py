"""T21-T28, T31-T33, T50 for a registry: who may not change it cannot, and a change that breaks off changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from itertools import pairwise
from subprocess import PIPE, Popen

import numpy as np
import pytest
from tests.power_cut import Disk, lay_out
from tests.registry_places import edited, make_model, make_signed, make_unsigned, serving

from omnifuse.deploy.following import Follower
from omnifuse.deploy.registry import Registry
from omnifuse.deploy.signing import generate_keys, read_signer
from omnifuse.deploy.stages import State
from omnifuse.deploy.verified import STAGES_KIND, VERSION_KIND, read_stages, read_version, signature_file
from omnifuse.deploy.version_manifest import FileEntry, VersionManifest, check_names, digest_of
from omnifuse.errors import ArtefactError, InputError

pytest.importorskip("cryptography")


@pytest.fixture
def followed(tmp_path):
    """A signed registry behind a web server, v1 running, v2 about to be taken."""
    place = make_signed(tmp_path, versions=2)
    with (
        serving(place.home) as web,
        Follower(web.url, tmp_path / "cache", trust=[place.trust], timeout_s=5) as follower,
    ):
        assert follower.poll().changed
        place.registry().promote("v2", "production")
        yield place, web, follower


def refused(follower, words):
    """The next look takes nothing and says why; what answered goes on."""
    found = follower.poll()
    assert not found.changed
    assert words in found.problem
    assert follower.current().version == "v1"
    assert json.loads((follower.current().folder / "model.json").read_text())["value"] == 1


def resign(place, kind, path, signature):
    """Sign what an insider changed: only the checks behind the signature are left."""
    signature.write_bytes(read_signer(place.key).sign(kind, path.read_bytes()))


# Somebody without a key


def test_t28_one_flipped_bit_in_any_file_of_a_version_is_refused(followed):
    place, _, follower = followed
    rng = np.random.default_rng(0)
    files = sorted(path for path in (place.home / "versions/v2").rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"manifest.json", "manifest.sig", "model.json", "weights.safetensors"}
    for path in files * 2:
        original = path.read_bytes()
        content = bytearray(original)
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        refused(follower, path.name if path.suffix != ".sig" else "manifest.json")
        path.write_bytes(original)
    assert follower.poll().changed
    assert follower.current().version == "v2"


def test_t28_one_flipped_bit_in_the_stages_or_their_signature_is_refused(followed):
    place, _, follower = followed
    rng = np.random.default_rng(0)
    stages = place.home / "stages.json"
    signature = place.home / signature_file(digest_of(stages.read_bytes()))
    for path in [stages, signature] * 4:
        original = path.read_bytes()
        content = bytearray(original)
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        refused(follower, "stages.json")
        path.write_bytes(original)
    assert follower.poll().changed


def test_t28_stages_that_were_changed_are_refused_before_they_are_parsed(followed, monkeypatch):
    place, _, follower = followed
    edited(place.home / "stages.json", lambda data: data["stages"].update(production="v1"))
    monkeypatch.setattr(State, "from_bytes", lambda *arguments: pytest.fail("parsed before it was verified"))
    refused(follower, "is not signed")


def test_t28_a_manifest_that_was_changed_is_refused_before_it_is_parsed(followed, monkeypatch):
    place, _, follower = followed
    manifest = place.home / "versions/v2/manifest.json"
    edited(manifest, lambda data: data["files"].pop("CARD.md"))
    monkeypatch.setattr(VersionManifest, "from_bytes", lambda *arguments: pytest.fail("parsed before it was verified"))
    refused(follower, "manifest.json")


def test_t28_another_key_is_refused(followed, tmp_path):
    place, _, follower = followed
    generate_keys(tmp_path / "other")
    stages = place.home / "stages.json"
    line = read_signer(tmp_path / "other").sign(STAGES_KIND, stages.read_bytes())
    (place.home / signature_file(digest_of(stages.read_bytes()))).write_bytes(line)
    refused(follower, "signed by no trusted key")


def test_t28_a_signature_of_another_kind_is_refused(followed):
    place, _, follower = followed
    stages = place.home / "stages.json"
    line = read_signer(place.key).sign(VERSION_KIND, stages.read_bytes())
    (place.home / signature_file(digest_of(stages.read_bytes()))).write_bytes(line)
    refused(follower, "does not match")


def test_t28_a_registry_that_lost_its_signatures_is_refused(followed):
    place, _, follower = followed
    shutil.rmtree(place.home / "signatures")
    refused(follower, "is not signed")


def test_t28_an_old_state_with_its_true_signature_is_refused_also_after_a_restart(tmp_path):
    place = make_signed(tmp_path, versions=2)
    shutil.copytree(place.home, tmp_path / "yesterday")
    place.registry().promote("v2", "production")
    with Follower(place.home, tmp_path / "cache", trust=[place.trust]) as follower:
        assert follower.poll().changed
    shutil.rmtree(place.home)
    (tmp_path / "yesterday").rename(place.home)
    with Follower(place.home, tmp_path / "cache", trust=[place.trust]) as follower:
        found = follower.poll()
        assert not found.changed
        assert "an old copy" in found.problem
        assert follower.current().version == "v2"


def test_t28_an_old_state_is_refused_also_where_the_newer_one_was_not_taken(tmp_path):
    place = make_signed(tmp_path, versions=2)
    shutil.copytree(place.home, tmp_path / "yesterday")
    place.registry().promote("v2", "production")

    def health(folder):
        raise RuntimeError("sick")

    with Follower(place.home, tmp_path / "cache", trust=[place.trust], health=health) as follower:
        assert "sick" in follower.poll().problem
        shutil.rmtree(place.home)
        (tmp_path / "yesterday").rename(place.home)
        assert "an old copy" in follower.poll().problem


def test_t28_two_states_of_one_number_are_refused(followed):
    place, _, follower = followed
    assert follower.poll().changed
    stages = place.home / "stages.json"
    edited(stages, lambda data: data["versions"]["v1"].update(note="other"))
    resign(place, STAGES_KIND, stages, place.home / signature_file(digest_of(stages.read_bytes())))
    assert "two different states" in follower.poll().problem


def test_t28_another_registry_of_the_same_key_is_refused(followed, tmp_path):
    place, _, follower = followed
    other = Registry(tmp_path / "other", sign=place.key)
    for number in range(8):
        other.add(make_model(tmp_path / f"foreign{number}", 100 + number), name=f"v{number}")
    other.promote("v1", "production")
    shutil.rmtree(place.home)
    (tmp_path / "other").rename(place.home)
    refused(follower, "another registry")


def test_t28_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path):
    place = make_signed(tmp_path, versions=2)
    with Follower(place.home, tmp_path / "cache", trust=[place.trust]) as follower:
        follower.poll()
    path = tmp_path / "cache/versions/v1/files/CARD.md"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with Follower(place.home, tmp_path / "cache", trust=[place.trust]) as follower:
        with pytest.raises(InputError, match="no version was fetched"):
            follower.current()
        assert follower.poll().changed
        assert path.read_text() == "# card 1"


def test_t28_a_cache_that_somebody_filled_is_not_believed(tmp_path):
    place = make_signed(tmp_path, versions=1)
    generate_keys(tmp_path / "other")
    with Follower(place.home, tmp_path / "cache", trust=[place.trust]) as follower:
        follower.poll()
    with (
        Follower(place.home, tmp_path / "cache", trust=[tmp_path / "other.pub"]) as follower,
        pytest.raises(InputError),
    ):
        follower.current()


# Somebody with a key, or who may write into an unsigned folder


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "a/../../x", "a//b", "./a", "a\\b", "C:\\x", "con", "a/nul.txt", ".hidden", "a/",
     "a\0b", "a\nb", "a.", "a ", "~root", "x" * 300, "a/b/c/d/e", "", "\ud800", "a:b"],
)  # fmt: skip
def test_t21_names_that_lead_out_or_are_none_somewhere_are_refused(tmp_path, name):
    make_unsigned(tmp_path, versions=2)
    manifest = tmp_path / "registry/versions/v2/manifest.json"
    edited(manifest, lambda data: data["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    digest = digest_of(manifest.read_bytes())
    edited(
        tmp_path / "registry/stages.json",
        lambda data: (data["versions"]["v2"].update(manifest=digest), data["stages"].update(production="v2"),
                      data["history"][-1]["after"].update(production="v2")),
    )  # fmt: skip
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    with Follower(tmp_path / "registry", tmp_path / "cache") as follower:
        assert "is no name of a file inside a version" in follower.poll().problem
        assert list((tmp_path / "cache/versions").iterdir()) == []
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.txt", "A.TXT"], "one file on some systems"),
        (["\u00e9", "e\u0301"], "one file on some systems"),
        (["a", "a/b"], "a file and a folder"),
        ([], "names 0 files"),
        ([f"f{number}" for number in range(1001)], "names 1001 files"),
    ],
)
def test_t21_names_that_meet_and_too_many_names_are_refused(names, words):
    with pytest.raises(ArtefactError, match=words):
        check_names(names, "manifest.json")


def test_t21_links_are_neither_taken_into_a_registry_nor_out_of_one(tmp_path):
    registry = make_unsigned(tmp_path, versions=2)
    (tmp_path / "secret").write_text("secret")
    model = make_model(tmp_path / "model")
    (model / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtefactError, match=r"'link' of 'model' is a symbolic link"):
        registry.add(model)
    card = tmp_path / "registry/versions/v2/files/CARD.md"
    shutil.copy(card, tmp_path / "card")
    card.unlink()
    card.symlink_to(tmp_path / "card")
    with pytest.raises(ArtefactError, match=r"CARD\.md' of .* is a symbolic link"):
        registry.promote("v2", "production")
    assert registry.state().stages.production == "v1"


def test_t21_files_that_no_manifest_names_are_refused(tmp_path):
    registry = make_unsigned(tmp_path, versions=2)
    (tmp_path / "registry/versions/v2/files/extra.bin").write_bytes(b"x")
    with pytest.raises(ArtefactError, match=r"'extra\.bin' lies among the files of version 'v2'"):
        registry.promote("v2", "production")


def test_t21_pipes_and_devices_are_refused_at_once(tmp_path):
    registry = make_unsigned(tmp_path, versions=2)
    card = tmp_path / "registry/versions/v2/files/CARD.md"
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(ArtefactError, match="is a pipe, socket or device"):
        registry.promote("v2", "production")


@pytest.mark.parametrize("size", [10**18, -1, 1.0, True, "1", None])
def test_t22_sizes_that_are_absurd_are_refused_before_anything_is_fetched(followed, size):
    place, web, follower = followed
    manifest = place.home / "versions/v2/manifest.json"
    edited(manifest, lambda data: data["files"]["CARD.md"].update(size=size))
    resign(place, VERSION_KIND, manifest, manifest.with_name("manifest.sig"))
    stages = place.home / "stages.json"
    digest = digest_of(manifest.read_bytes())
    edited(stages, lambda data: data["versions"]["v2"].update(manifest=digest))
    resign(place, STAGES_KIND, stages, place.home / signature_file(digest_of(stages.read_bytes())))
    web.asked.clear()
    refused(follower, "bytes, more than the" if size == 10**18 else "manifest.json' cannot be read")
    assert not [path for path, _ in web.asked if "/files/" in path]


def test_t26_a_manifest_says_only_what_it_must(tmp_path):
    entry = FileEntry(1, "0" * 64)
    whole = json.loads(VersionManifest("v1", "m", {"a": entry}).to_bytes())
    assert VersionManifest.from_bytes(json.dumps(whole).encode(), "m").files == {"a": entry}
    changes = [
        {"_target_": "os.system"},
        {"format": 2},
        {"files": []},
        {"files": {"a": {"size": 1}}},
        {"files": {"a": {"size": 1, "sha256": "0" * 63 + "G"}}},
        {"version": "../x"},
        {"model_id": 7},
    ]
    for change in changes:
        with pytest.raises(InputError):
            VersionManifest.from_bytes(json.dumps(whole | change).encode(), "m")


# The network


def cut(handler):
    path = handler.translate_path(handler.path)
    with open(path, "rb") as file:
        body = file.read()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def shortened(handler):
    with open(handler.translate_path(handler.path), "rb") as file:
        handler.answer(200, file.read()[:-1])


def lengthened(handler):
    with open(handler.translate_path(handler.path), "rb") as file:
        handler.answer(200, file.read() + b"\0")


def elsewhere(handler):
    handler.answer(302, Location="http://127.0.0.1:9/" + handler.path)


def unavailable(handler):
    handler.answer(503)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("weights.safetensors", fault) for fault in (cut, shortened, lengthened, elsewhere, unavailable)]
    + [(name, cut) for name in ("stages.json", ".sig", "manifest.json")],
    ids=lambda item: item if isinstance(item, str) else item.__name__,
)
def test_t28_a_download_that_breaks_off_leaves_the_last_good_version_and_is_tried_again(followed, name, fault):
    _, web, follower = followed
    web.faults[name] = fault
    refused(follower, "")
    assert follower.poll().problem
    assert [path.name for path in (follower.current().folder.parents[1]).iterdir()] == ["v1"]
    web.faults.clear()
    assert follower.poll() == follower.poll().__class__(True, "")
    assert follower.current().version == "v2"


def test_t28_a_server_that_dies_in_the_middle_leaves_the_last_good_version(tmp_path):
    place = make_signed(tmp_path, versions=2)
    with serving(place.home) as web:
        follower = Follower(web.url, tmp_path / "cache", trust=[place.trust], timeout_s=5)
        assert follower.poll().changed
        place.registry().promote("v2", "production")

        def die(handler):
            threading.Thread(target=handler.server.shutdown).start()
            cut(handler)

        web.faults["weights.safetensors"] = die
        refused(follower, "version 'v2' is not taken")
    refused(follower, "stages.json")
    follower.close()
    with Follower(web.url, tmp_path / "cache", trust=[place.trust], timeout_s=5) as follower:
        refused(follower, "stages.json")


def test_t50_no_address_but_that_of_the_registry_is_asked(followed):
    place, web, follower = followed
    edited(place.home / "versions/v2/manifest.json", lambda data: data["files"].update({"http://169.254.169.254/": {}}))
    web.asked.clear()
    refused(follower, "manifest.json")
    assert {path.split("/")[1] for path, _ in web.asked} == {"stages.json", "signatures", "versions"}


# Two writers, crashes, power cuts, full disks

ADDING = """
import sys
from omnifuse.deploy.registry import Registry
from omnifuse.errors import InputError
registry = Registry(sys.argv[1], by=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
promoted = 0
for number in range(4):
    registry.add(sys.argv[3], name=f"{sys.argv[2]}-{number}")
    try:
        registry.promote(f"{sys.argv[2]}-{number}", "production")
        promoted += 1
    except InputError as error:
        assert "somebody else changed the stages meanwhile" in str(error)
print(promoted)
"""


def test_t43_two_writers_at_once_lose_nothing(tmp_path):
    model = make_model(tmp_path / "model")
    Registry(tmp_path / "registry").add(model, name="first")
    writers = [
        Popen(
            [sys.executable, "-c", ADDING, str(tmp_path / "registry"), name, str(model)],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        promoted = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    state = Registry(tmp_path / "registry").state()
    assert len(state.versions) == 1 + 4 + 4
    assert len(state.history) == sum(promoted) > 0
    assert state.serial == len(state.versions) + len(state.history)
    for early, late in pairwise(state.history):
        assert late.before == early.after
        assert late.serial > early.serial


def test_t43_threads_that_change_one_registry_lose_nothing(tmp_path):
    model = make_model(tmp_path / "model")
    place, errors = tmp_path / "registry", []

    def work(name):
        try:
            for number in range(3):
                Registry(place, by=name).add(model, name=f"{name}-{number}")
        except InputError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    state = Registry(place).state()
    assert len(state.versions) == state.serial == 9


class DeadError(BaseException):
    """The process ends here."""


ACTS = {
    "add": lambda registry, model: registry.add(model, name="v9"),
    "promote": lambda registry, model: registry.promote("v1", "production"),
    "rollback": lambda registry, model: registry.rollback(),
}


def dies_after(calls, patch):
    """Let the process end at its call of this number that changes the disk."""
    left = [calls]

    def counted(original):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise DeadError
            return original(*arguments, **options)

        return call

    for name in ("fsync", "replace", "mkdir", "unlink"):
        patch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("step", sorted(ACTS))
def test_t31_a_writer_that_dies_at_any_moment_leaves_the_old_state_or_the_new(tmp_path, monkeypatch, step):
    place = make_signed(tmp_path, versions=2)
    place.registry().promote("v2", "production")
    before = place.registry().state()
    model = make_model(tmp_path / "new", 9)
    found, done = [], False
    while not done:
        home = tmp_path / f"try{len(found)}"
        shutil.copytree(place.home, home)
        with monkeypatch.context() as patch:
            dies_after(len(found), patch)
            try:
                ACTS[step](Registry(home, sign=place.key), model)
                done = True
            except DeadError:
                pass
        after = Registry(home, trust=[place.trust]).state()
        found.append(after.serial - before.serial)
        assert (after == before) == (found[-1] == 0)
        if not found[-1]:  # the next writer is not held up by what was left
            Registry(home, sign=place.key).add(model, name="v9")
    assert found == sorted(found)
    assert {0, 1} == set(found)
    assert len(found) > 5


@pytest.mark.skipif(sys.platform != "linux", reason="the open files are looked up in /proc")
def test_t32_a_registry_holds_the_old_state_or_the_new_one_whole_after_any_power_cut(tmp_path):
    place = make_signed(tmp_path, versions=1)
    model = make_model(tmp_path / "new", 9)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(place.home)
        disk.watch(patch)
        place.registry().add(model, name="v9")
        disk.mark()
        place.registry().promote("v9", "production")
        disk.mark()
    found = set()
    for number, (done, state) in enumerate(disk.states()):
        registry = Registry(lay_out(state, tmp_path / f"{number}"), trust=[place.trust])
        read = registry.state()
        for version, entry in read.versions.items():
            manifest = read_version(registry.folder, version, entry.manifest, registry.trusted).manifest
            for name in manifest.files:
                assert registry.folder.read(f"versions/{version}/files/{name}", most=10**6) is not None
        found.add((done, len(read.versions), read.stages.production))
    assert found == {(0, 1, "v1"), (0, 2, "v1"), (1, 2, "v1"), (1, 2, "v9"), (2, 2, "v9")}


def test_t33_a_full_disk_leaves_the_old_state_and_the_follower_its_version(followed, monkeypatch):
    place, _, follower = followed
    original = os.fsync

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(follower, "No space left on device")
    before = (place.home / "stages.json").read_bytes()
    with pytest.raises(OSError, match="No space left"):
        place.registry().rollback()
    monkeypatch.setattr(os, "fsync", original)
    assert (place.home / "stages.json").read_bytes() == before
    assert read_stages(place.registry().folder, place.registry().trusted).state.stages.production == "v2"
    assert follower.poll().changed
