"""Links between pages: those that lead to no file, or to no heading of it."""

from __future__ import annotations

import re
from pathlib import Path

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#{1,6}) (.+?)\s*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"[a-z]+:")


def slug(heading: str) -> str:
    """The anchor of a heading by GitHub's rule: lower case, words and hyphens alone, a hyphen for each blank."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a page; of equal headings the second gets `-1`, the third `-2`."""
    found: dict[str, int] = {}
    names = set()
    for _, heading in HEADING.findall(FENCED.sub("", text)):
        name = slug(heading)
        number = found.get(name, 0)
        found[name] = number + 1
        names.add(f"{name}-{number}" if number else name)
    return names


def links(text: str) -> list[str]:
    """What a page links to in its own repository, code left out."""
    return [link for link in LINK.findall(FENCED.sub("", text)) if not ADDRESS.match(link)]


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken
