"""Folders of files as tables: one folder a class, with or without parts for training and testing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnifuse.errors import InputError
from omnifuse.schema import Modality

MAX_FOLDER_FILES = 500_000
MAX_FOLDER_TEXT_BYTES = 512 * 1024 * 1024
MAX_TEXT_FILE_BYTES = 1024 * 1024
_PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    "test": "test",
}
_FILE_COLUMNS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"), "audio"),
    **dict.fromkeys((".mp4", ".m4v", ".mkv", ".avi", ".mov", ".webm", ".mpg", ".mpeg"), "video"),
    ".txt": "text",
}


def medium_of(path: Path) -> Modality | None:
    """What a file is taken for by the end of its name, None where it is no medium and no text."""
    kind = _FILE_COLUMNS.get(path.suffix.lower())
    return None if kind is None else Modality(kind)


@dataclass
class _Walk:
    """What was met in a folder so far."""

    root: Path
    num_files: int = 0
    text_bytes: int = 0

    def files(self, folder: Path) -> list[Path]:
        """Visible files below a folder, in a fixed order.

        Raises:
            InputError: More than `MAX_FOLDER_FILES` were met.
        """
        found = []
        for path in folder.rglob("*"):
            self.num_files += 1
            if self.num_files > MAX_FOLDER_FILES:
                raise InputError(
                    f"folder '{self.root}' holds more than {MAX_FOLDER_FILES} files",
                    fix="Give a table (CSV or Parquet) with a column of paths, which has no such limit",
                )
            if path.is_file() and not path.name.startswith("."):
                found.append(path)
        return sorted(found)

    def text(self, path: Path) -> str:
        """The first MB of a text file.

        Raises:
            InputError: The texts of the folder together are too much to hold.
        """
        with path.open("rb") as handle:
            data = handle.read(MAX_TEXT_FILE_BYTES)
        self.text_bytes += len(data)
        if self.text_bytes > MAX_FOLDER_TEXT_BYTES:
            raise InputError(
                f"the text files in '{self.root}' hold more than {MAX_FOLDER_TEXT_BYTES >> 20} MB",
                fix="Put the texts into a table (CSV or Parquet), which is read piece by piece",
            )
        return data.decode("utf-8", "replace")


def _is_visible(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith((".", "__"))


def _part_folders(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in sorted(item for item in root.iterdir() if _is_visible(item)):
        part = _PART_NAMES.get(folder.name.lower())
        if part in found:
            raise InputError(
                f"folder '{root}' has two {part} parts: {found[part].name} and {folder.name}", fix="Join them"
            )
        if part is not None:
            found[part] = folder
    if found and "train" not in found:
        listed = ", ".join(folder.name for folder in found.values())
        raise InputError(f"folder '{root}' has {listed} but no train", fix="Name one part train")
    return found or {"train": root}


def read_folder(root: Path) -> dict[str, dict[str, list[Any]]]:
    """Read `root/{train,dev,test}/CLASS/file` or `root/CLASS/file`: one row a file, or a file name in several formats.

    Returns:
        Part name ("train", "dev", "test") to columns: "image", "audio", "video", "text" as they occur, and "label".

    Raises:
        InputError: There is no such structure, or it holds too many files.
    """
    walk = _Walk(root)
    parts = {part: _class_rows(walk, folder) for part, folder in _part_folders(root).items()}
    if not parts["train"]:
        endings = (".csv", ".tsv", ".parquet", ".jsonl")
        tables = sorted(item.name for item in root.iterdir() if item.suffix.lower() in endings)
        hint = f"Give the table itself: {root / tables[0]}" if tables else "Put files into one folder a class"
        raise InputError(f"folder '{root}' holds no class folders with pictures, sounds, videos or texts", fix=hint)
    every = [row for rows in parts.values() for row in rows]
    names = [name for name in ("image", "audio", "video", "text") if any(name in row for row in every)]
    return {part: {name: [row.get(name) for row in rows] for name in (*names, "label")} for part, rows in parts.items()}


def _class_rows(walk: _Walk, folder: Path) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for home in sorted(item for item in folder.iterdir() if _is_visible(item)):
        for path in walk.files(home):
            column = _FILE_COLUMNS.get(path.suffix.lower())
            if column is None:
                continue
            name = path.relative_to(home)
            key = (home.name, str(name.with_suffix("")))
            if column in rows.get(key, {}):
                # cat.png beside cat.jpg: two pictures, not two formats of one row
                key = (home.name, str(name))
            row = rows.setdefault(key, {"label": home.name})
            row[column] = walk.text(path) if column == "text" else str(path.relative_to(walk.root))
    return list(rows.values())
