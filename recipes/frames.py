"""A test table of pictures and of frames of videos, which are decoded in bounded memory."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

FRAMES_TABLE = "video.csv"
NUM_FRAMES = 90
# Frames are scaled down as long as both sides keep so many pixels
LEAST_SIDE = 120


def write_with_frames(
    source: Path,
    out: Path,
    field: str,
    label: str,
    clips: Sequence[tuple[Path, str]],
    *,
    num_frames: int = NUM_FRAMES,
) -> None:
    """Copy a table and append frames of videos, evenly spaced in time.

    However long a video is, no more than these frames are in memory, each scaled down as soon as it is decoded.

    Args:
        source: A table of pictures, which lie beside it; the copy names them by whole paths.
        out: The copy; its folder is made, and the frames are written beside it.
        field: Column of pictures.
        label: Column of labels.
        clips: Videos, each with the label of all its frames.
        num_frames: Of each video.
    """
    from PIL import Image

    from omnifuse.data.media import MediaDoor

    with open(source, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row[field] = str(source.parent / row[field])
    folder = out.parent / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for clip, what in clips:
        for number, pixels in enumerate(MediaDoor().video(clip, num_frames=num_frames, min_side=LEAST_SIDE).pixels):
            path = folder / f"{clip.stem}-{number:03d}.png"
            Image.fromarray(pixels).save(path)
            rows.append({**dict.fromkeys(rows[0], ""), field: str(path), label: what})
    with open(out, "w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
