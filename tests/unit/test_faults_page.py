"""docs/faults.md and the numbered tests say the same."""

from __future__ import annotations

import re
from pathlib import Path

HOME = Path(__file__).parents[2]
NAME = re.compile(r"def test_(t\d\d)_")


def test_page_lists_every_numbered_fault_and_no_other():
    shown = set(re.findall(r"^\| (T\d\d) \|", (HOME / "docs/faults.md").read_text(), re.MULTILINE))
    tests = {
        number.upper() for path in (HOME / "tests").rglob("test_*.py") for number in NAME.findall(path.read_text())
    }
    assert shown == tests
    assert len(tests) >= 25


def test_links_between_pages_lead_somewhere():
    pages = [HOME / "README.md", HOME / "CONTRIBUTING.md", *(HOME / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
    assert len(links) > 10
    assert [(str(page), link) for page, link in links if not (page.parent / link).exists()] == []
