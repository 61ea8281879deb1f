"""T23: media that lie outside, behind addresses, or are no files at all."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from tests.made_media import encoded, sound, ways_in

from omnifuse.data.media import MediaDoor
from omnifuse.errors import MediaError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def house(tmp_path):
    """root/a.png inside; secret.png, and links to it, outside."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    data = encoded(Image.fromarray(NOISE))
    for path in (root / "a.png", root / "deep" / "b.png", tmp_path / "secret.png"):
        path.write_bytes(data)
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "a.png").write_bytes(data)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path)
    (root / "inner.png").symlink_to(root / "a.png")
    return root


@pytest.mark.parametrize(
    "name", ["../secret.png", "deep/../../secret.png", "link.png", "out/secret.png", "../root-beside/a.png"]
)
def test_t23_what_resolves_outside_is_refused_when_confined(house, name):
    assert MediaDoor(root=house).image(name).shape == NOISE.shape
    door = MediaDoor(root=house, confined=True)
    for attempt in ways_in(door):
        for cell in (name, house / name):
            with pytest.raises(MediaError, match="outside the folder of media") as caught:
                attempt(cell)
        assert cell == house / name
    with pytest.raises(MediaError) as caught:
        door.image(name)
    assert str(house.parent) not in str(caught.value)


def test_t23_what_lies_inside_is_read_when_confined(house, tmp_path):
    door = MediaDoor(root=house, confined=True)
    for name in ("a.png", "deep/b.png", "deep/../a.png", "inner.png", str(house / "a.png")):
        assert door.image(name).shape == NOISE.shape
    (tmp_path / "alias").symlink_to(house)
    assert MediaDoor(root=tmp_path / "alias", confined=True).image("a.png").shape == NOISE.shape


def test_t23_confined_without_a_folder_opens_nothing(house):
    with pytest.raises(MediaError, match="Files are not opened here"):
        MediaDoor(confined=True).image(house / "a.png")
    assert MediaDoor(confined=True).image((house / "a.png").read_bytes()).shape == NOISE.shape


@pytest.mark.parametrize(
    "name",
    ["http://a.b/c.png", "HTTPS://a.b/c.png", "file:///etc/passwd", "data:image/png;base64,AAAA", " http://x/y",
     "ftp://x", "s3://bucket/key.png", "gopher://x", "javascript:alert(1)", "file:etc"],
)  # fmt: skip
@pytest.mark.parametrize("confined", [False, True])
def test_t23_addresses_are_never_opened(house, name, confined):
    door = MediaDoor(root=house, confined=confined)
    for attempt in ways_in(door):
        with pytest.raises(MediaError, match="addresses are not opened"):
            attempt(name)


def test_t23_pipes_devices_and_folders_are_refused_at_once(house):
    os.mkfifo(house / "pipe.png")
    door = MediaDoor(root=house)
    for name, words in {"pipe.png": "a pipe", "deep": "a folder", ".": "a folder", "/dev/zero": "a device"}.items():
        for attempt in ways_in(door):
            with pytest.raises(MediaError, match=f"This is {words}, not a file"):
                attempt(name)


def test_t23_pipe_that_takes_the_place_of_a_file_is_refused_too(house, monkeypatch):
    os.mkfifo(house / "pipe.png")
    real = os.stat(house / "a.png")
    monkeypatch.setattr("omnifuse.data.media_paths.os.stat", lambda path: real)
    with pytest.raises(MediaError, match="This is a pipe, not a file"):
        MediaDoor(root=house).image("pipe.png")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.png", "There is no such file"),
        ("a.png/b.png", "There is no such file"),
        ("", "The name of the file is empty"),
        ("  ", "The name of the file is empty"),
        ("a\0b.png", "not a name that a file can have"),
        ("x" * 5000, "The file cannot be opened"),
        ("\ud800.png", "There is no such file|not a name that a file can have"),
    ],
)
@pytest.mark.parametrize("confined", [False, True])
def test_t23_names_without_a_file(house, name, words, confined):
    with pytest.raises(MediaError, match=words) as caught:
        MediaDoor(root=house, confined=confined).image(name)
    message = str(caught.value)
    assert str(house) not in message
    assert "\n" not in message
    assert len(message) < 400


def test_t23_file_that_may_not_be_read(house, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("omnifuse.data.media_paths.os.open", refuse)
    with pytest.raises(MediaError, match=r"The file may not be read\. Read from 'a\.png'"):
        MediaDoor(root=house).image("a.png")


def test_t23_disk_that_fails_while_reading(house, monkeypatch):
    def fail(handle, size):
        raise OSError(5, "Input/output error")

    (house / "a.wav").write_bytes(sound(np.zeros(100)))
    monkeypatch.setattr("os.read", fail)
    door = MediaDoor(root=house)
    with pytest.raises(MediaError, match="Input/output error"):
        door.image("a.png")
    for attempt in ways_in(door)[1:]:
        with pytest.raises(MediaError, match="The file cannot be read"):
            attempt("a.wav")
