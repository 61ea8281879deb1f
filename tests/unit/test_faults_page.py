"""docs/faults.md and the numbered tests say the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

HOME = Path(__file__).parents[2]
NAME = re.compile(r"test_(t\d\d)_(\w+)")


def numbered_tests():
    """Number of a fault to (words, file) of each of its tests."""
    found = defaultdict(set)
    for path in (HOME / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            numbered = isinstance(node, ast.FunctionDef) and NAME.fullmatch(node.name)
            if numbered:
                slow = any(ast.unparse(mark) == "pytest.mark.slow" for mark in node.decorator_list)
                words = numbered[2].replace("_", " ") + " (slow)" * slow
                found[numbered[1].upper()].add((words, str(path.relative_to(HOME))))
    return found


def test_page_lists_every_numbered_fault_and_no_other():
    expected = [
        f"| {number} | {'; '.join(sorted(words for words, _ in tests))} | "
        f"{', '.join(f'`{path}`' for path in sorted({path for _, path in tests}))} |"
        for number, tests in sorted(numbered_tests().items())
    ]
    page = (HOME / "docs/faults.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if re.match(r"\| T\d", line)] == expected
    assert len(expected) >= 25


def test_page_names_no_test_that_is_not_there():
    page = (HOME / "docs/faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_t\d\d_\w+)`", page)
    there = {
        f"test_{number.lower()}_{words.removesuffix(' (slow)').replace(' ', '_')}"
        for number, tests in numbered_tests().items()
        for words, _ in tests
    }
    assert len(named) >= 3
    assert set(named) <= there
