"""Where a registry may lie: folders, web servers, object stores; what each refuses."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from tests.registry_places import serving

from omnifuse.deploy import locations
from omnifuse.deploy.http_folder import HttpFolder
from omnifuse.deploy.local_folder import LocalFolder
from omnifuse.deploy.locations import AbsentError, TooLargeError, open_folder, writable
from omnifuse.errors import ArtefactError, InputError, MissingDependencyError, OmnifuseError


@pytest.fixture
def store(tmp_path):
    pytest.importorskip("fsspec")
    return open_folder(f"memory://bucket/{tmp_path.name}")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("ftp://host/x", "not opened over 'ftp://'"),
        ("javascript://x", "not opened over"),
        ("github://a:b@c/d", "not opened over"),
        ("zip://x::http://host/x", "is no place of a registry"),
        ("simplecache::s3://bucket/x", "is no place of a registry"),
        (" http://host", "is no place of a registry"),
        ("http://", "names no server"),
        ("http://host:port/x", "is no address"),
        ("http://user:secret@host/x", "on 'host' has a password"),
        ("http://host/x?token=secret", "on 'host' has a password, a query"),
        ("http://host/x#a", "a fragment"),
        ("file://other/x", "another machine"),
        ("s3:///x", "names no server or store"),
    ],
)
def test_other_places_are_refused(location, words):
    with pytest.raises(InputError, match=words) as caught:
        open_folder(location)
    assert "secret" not in str(caught.value)


def test_paths_and_file_urls_are_folders(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/x").write_text("1")
    for location in (
        tmp_path / "a b",
        str(tmp_path / "a b"),
        f"file://{tmp_path}/a%20b",
        f"FILE://localhost{tmp_path}/a b",
    ):
        folder = open_folder(location)
        assert folder.local
        assert folder.read("x", most=1).content == b"1"


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(locations.OBJECT_STORES, "s3", "no_such_package")
    with pytest.raises(MissingDependencyError, match="pip install no_such_package"):
        open_folder("s3://bucket/x")


def test_a_web_server_cannot_be_written():
    with pytest.raises(InputError, match="cannot be changed"):
        writable(open_folder("http://host/x"))


# Every kind of place


@pytest.fixture(params=["local", "http", "memory"])
def place(request, tmp_path):
    """A folder of two files, opened."""
    files = {"a.txt": b"alpha", "sub/b \u00e9.bin": bytes(range(256)) * 5000}
    if request.param == "memory":
        pytest.importorskip("fsspec")
        folder = open_folder(f"memory://bucket/{tmp_path.name}")
        for name, content in files.items():
            folder.write(name, content)
        yield folder, files
        return
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    if request.param == "local":
        yield LocalFolder(tmp_path), files
        return
    with serving(tmp_path) as web:
        yield open_folder(web.url + "/"), files


def test_files_are_read_up_to_their_limit(place):
    folder, files = place
    for name, content in files.items():
        assert folder.read(name, most=len(content)).content == content
        assert b"".join(folder.blocks(name, most=len(content))) == content
        with pytest.raises(TooLargeError, match="larger than"):
            folder.read(name, most=len(content) - 1)
        with pytest.raises(TooLargeError, match="larger than"):
            list(folder.blocks(name, most=len(content) - 1))


def test_what_has_not_changed_is_not_read_again(place):
    folder, _ = place
    found = folder.read("a.txt", most=100)
    assert found.tag
    assert folder.read("a.txt", most=100, tag=found.tag) is None
    assert folder.read("a.txt", most=100, tag="other").content == b"alpha"


def test_absent_files_are_told_from_others(place):
    folder, _ = place
    with pytest.raises(AbsentError, match=r"'none\.txt' of the registry"):
        folder.read("none.txt", most=100)
    with pytest.raises(AbsentError, match=r"'sub/none\.txt' of the registry"):
        list(folder.blocks("sub/none.txt", most=100))


def test_files_are_listed_where_they_can_be(place):
    folder, _ = place
    assert folder.names("sub") in (["b \u00e9.bin"], None)
    assert folder.names("none") in ([], None)


# On disk


def test_links_pipes_and_folders_are_no_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "real/x")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    folder = LocalFolder(tmp_path)
    for name in ("link", "folder/x"):
        with pytest.raises(ArtefactError, match="symbolic link"):
            folder.read(name, most=10)
    for name in ("pipe", "real"):
        with pytest.raises(ArtefactError, match="no plain file"):
            folder.read(name, most=10)
    with pytest.raises(ArtefactError, match="symbolic link"):
        folder.names("folder")


def test_one_writer_at_a_time_on_disk_and_the_other_is_named(tmp_path):
    first, second = LocalFolder(tmp_path / "r"), LocalFolder(tmp_path / "r", lock_wait_s=0.05)
    with (
        first.alone(),
        pytest.raises(InputError, match=f"changing the registry.*process {os.getpid()} on"),
        second.alone(),
    ):
        pytest.fail("both were alone")
    with second.alone():
        pass


def test_a_lock_file_of_anything_locks_nobody_out(tmp_path):
    for content in (b"", b"\0" * 50, b"[1]", b'{"process": "x"}'):
        (tmp_path / ".lock").write_bytes(content)
        with LocalFolder(tmp_path).alone():
            pass


# In an object store


def test_one_writer_at_a_time_in_a_store_and_what_a_dead_one_left_is_named(store):
    with (
        store.alone(),
        pytest.raises(InputError, match=f"process {os.getpid()} on.*remove 'memory://bucket"),
        store.alone(),
    ):
        pytest.fail("both were alone")
    with store.alone():
        store.write("x", b"1")
    store.write("lock.json", b"nonsense")
    with pytest.raises(InputError, match=r"if it died, remove"), store.alone():
        pytest.fail("alone beside a lock")


def test_a_folder_in_a_store_replaces_what_an_unfinished_one_left(store, tmp_path):
    (tmp_path / "file").write_bytes(b"2")
    store.write("v/old", b"1")
    store.put("v", {"new": b"1", "sub/file": tmp_path / "file"})
    assert store.names("v") == ["new", "sub/file"]
    assert store.read("v/sub/file", most=9).content == b"2"


def test_whatever_a_store_raises_is_one_line(store, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no credentials\nsecond line")

    monkeypatch.setattr(store, "_store", type("Broken", (), {"__getattr__": lambda self, name: broken})())
    for act in (lambda: store.read("x", most=1), lambda: store.write("x", b""), lambda: list(store.blocks("x", most=1)),
                lambda: store.names("x"), lambda: store.remove("x")):  # fmt: skip
        with pytest.raises(InputError, match=r"cannot be reached \(no credentials\)"):
            act()


# Over the web: servers that misbehave


def send(handler, text, *, then=lambda: None):
    handler.web.asked.append((handler.path, 0))
    handler.wfile.write(text)
    handler.wfile.flush()
    then()
    handler.close_connection = True


@pytest.fixture
def web(tmp_path):
    with serving(tmp_path) as found:
        yield found


def fetched(web, fault, *, timeout_s=5.0, most=1000):
    web.faults["x"] = fault
    return open_folder(web.url, timeout_s=timeout_s).read("x", most=most)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "to another place"),
        (b"HTTP/1.1 304 Not\r\n\r\n", "to another place"),
        (b"HTTP/1.1 206 Part\r\nContent-Length: 1\r\n\r\nx", "status 206"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "ended too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsho", "ended too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx", "larger than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50, "does not say how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "does not say how long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + b"x" * 0x1000, "larger than"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "packs 'x'"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 200 + b"\r\n", "cannot be fetched"),
        (b"nonsense\r\n\r\n", "cannot be fetched"),
        (b"", "ended too early"),
    ],
)
def test_answers_that_are_none_are_one_line(web, answer, words):
    with pytest.raises(InputError, match=words) as caught:
        fetched(web, lambda handler: send(handler, answer))
    assert "127.0.0.1:1/" not in str(caught.value)
    assert len(web.asked) == 1


def test_a_silent_server_is_left(web):
    stop = threading.Event()
    started = time.monotonic()
    with pytest.raises(InputError, match="no answer in time"):
        fetched(web, lambda handler: stop.wait(20), timeout_s=0.3)
    assert time.monotonic() - started < 10
    stop.set()


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: "])
def test_a_server_that_drips_is_left_at_the_deadline(web, begin):
    stop = threading.Event()

    def drip(handler):
        handler.wfile.write(begin)
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    started = time.monotonic()
    with pytest.raises(InputError, match="took longer than"):
        fetched(web, drip, timeout_s=0.5)
    assert time.monotonic() - started < 10
    stop.set()


def test_wild_tags_are_not_kept(web):
    for tag in ("no quotes", '"' + "a" * 300 + '"', '"a b"'):
        found = fetched(web, lambda handler, tag=tag: handler.answer(200, b"x", ETag=tag))
        assert (found.content, found.tag) == (b"x", "")


def test_nobody_at_the_address_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be fetched \(Connection refused\)"):
        open_folder(f"http://127.0.0.1:{port}/r").read("x", most=1)


def test_a_server_without_a_certificate_is_not_spoken_to(web):
    with pytest.raises(OmnifuseError, match="cannot be fetched"):
        open_folder(web.url.replace("http:", "https:"), timeout_s=5).read("x", most=1)
    assert isinstance(open_folder("https://host/x"), HttpFolder)
    assert web.asked == []
