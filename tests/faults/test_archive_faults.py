"""T21, T22: archives are refused and never unpacked; folders without end are cut short."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from omnifuse.data import folders
from omnifuse.data.tables import ARCHIVES, open_table
from omnifuse.errors import InputError


def evil_zip():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("../outside.csv", "a,b\n1,2\n")
        archive.writestr("/tmp/outside.csv", "a,b\n1,2\n")
    return data.getvalue()


def evil_tar(mode):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        link = tarfile.TarInfo("train")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)
        member = tarfile.TarInfo("train/outside.csv")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"a,b\n"))
    return data.getvalue()


def everything_below(folder):
    return sorted(path.name for path in folder.parent.rglob("*") if path.is_file())


@pytest.mark.parametrize("ending", ARCHIVES)
@pytest.mark.parametrize("content", [evil_zip(), evil_tar("w"), evil_tar("w:gz")])
def test_t21_archives_are_refused_by_name(ending, content, tmp_path):
    path = tmp_path / "inner" / f"x{ending}"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=rf"'x{ending}' is an archive. Unpack it, then give the table or folder inside"
    ):
        open_table(path)
    assert everything_below(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.jsonl", "x.parquet"])
@pytest.mark.parametrize("content", [evil_zip(), evil_tar("w"), evil_tar("w:gz"), evil_tar("w:bz2"), evil_tar("w:xz")])
def test_t21_archives_under_another_name_are_refused(name, content, tmp_path):
    path = tmp_path / "inner" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"archive.*, not text. Unpack it|NUL byte in line|not a Parquet file"):
        open_table(path)
    assert everything_below(path.parent) == [name]


def test_t22_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000))
    with pytest.raises(InputError, match=r"x.csv is a gzip archive, not text. Unpack it"):
        open_table(path)


def test_t22_tiny_files_without_end(tmp_path, monkeypatch):
    assert folders.MAX_FOLDER_FILES < 1_000_000
    monkeypatch.setattr(folders, "MAX_FOLDER_FILES", 50)
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        for number in range(25):
            (tmp_path / part / "cat" / f"{number}.png").touch()
    assert open_table(tmp_path).num_rows == 25
    (tmp_path / "test" / "cat" / "no picture").touch()
    with pytest.raises(InputError, match=r"holds more than 50 files. Give a table \(CSV or Parquet\) with a column"):
        open_table(tmp_path)


def test_t22_folders_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_FOLDER_FILES", 50)
    deep = tmp_path / "cat"
    deep.joinpath(*["d"] * 60).mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds more than 50 files"):
        open_table(tmp_path)


def test_t21_links_to_folders_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    (outside / "secret").mkdir(parents=True)
    (outside / "secret" / "x.png").touch()
    (tmp_path / "root" / "cat").mkdir(parents=True)
    (tmp_path / "root" / "cat" / "1.png").touch()
    (tmp_path / "root" / "cat" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "cat" / "away").symlink_to(outside)
    assert open_table(tmp_path / "root").cells("image") == ["cat/1.png"]
