"""Folders of class folders as tables."""

from __future__ import annotations

import pytest

from omnifuse.data import folders
from omnifuse.data.folders import read_folder
from omnifuse.errors import InputError


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return root


def test_parts_classes_and_several_formats(tmp_path):
    fill(tmp_path, "train/cat/1.png", "train/cat/1.wav", "train/dog/a/2.jpg", "Valid/cat/3.png", "test/dog/4.txt")
    found = read_folder(tmp_path)
    assert found["train"] == {
        "image": ["train/cat/1.png", "train/dog/a/2.jpg"],
        "audio": ["train/cat/1.wav", None],
        "text": [None, None],
        "label": ["cat", "dog"],
    }
    assert found["dev"]["image"] == ["Valid/cat/3.png"]
    assert found["test"] == {"image": [None], "audio": [None], "text": ["text of test/dog/4.txt"], "label": ["dog"]}


def test_classes_without_parts(tmp_path):
    found = read_folder(fill(tmp_path, "03/a.png", "3/b.PNG"))
    assert found == {"train": {"image": ["03/a.png", "3/b.PNG"], "label": ["03", "3"]}}


def test_two_pictures_of_one_name_are_two_rows(tmp_path):
    found = read_folder(fill(tmp_path, "cat/1.jpg", "cat/1.png", "cat/1.wav"))
    assert found["train"]["image"] == ["cat/1.jpg", "cat/1.png"]
    assert found["train"]["audio"] == ["cat/1.wav", None]


def test_hidden_files_and_folders_are_no_classes(tmp_path):
    fill(tmp_path, "cat/1.png", "cat/._1.png", ".cache/2.png", "__MACOSX/3.png", "cat/notes.md")
    assert read_folder(tmp_path)["train"]["image"] == ["cat/1.png"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.png"], "holds no class folders with pictures, sounds, videos or texts. Put files"),
        (["x.csv", "pictures/readme.md"], "holds no class folders.*Give the table itself: .*x.csv"),
        (["dev/cat/1.png", "test/cat/1.png"], "has dev, test but no train. Name one part train"),
        (["train/cat/1.png", "val/cat/2.png", "dev/cat/3.png"], "has two dev parts: dev and val. Join them"),
    ],
)
def test_other_structures_are_refused(names, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_folder(fill(tmp_path, *names))


def test_long_texts_are_cut_and_counted(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.txt", "b/2.txt")
    monkeypatch.setattr(folders, "MAX_TEXT_FILE_BYTES", 4)
    assert read_folder(tmp_path)["train"]["text"] == ["text", "text"]
    monkeypatch.setattr(folders, "MAX_FOLDER_TEXT_BYTES", 7)
    with pytest.raises(InputError, match=r"hold more than 0 MB. Put the texts into a table"):
        read_folder(tmp_path)
