"""Texts that are cut for the page."""

from __future__ import annotations

import pytest

from omnifuse.report.media import cut_text

ELLIPSIS = "\u2026"


@pytest.mark.parametrize(
    ("text", "length", "cut"),
    [
        ("a red house", 11, "a red house"),
        ("a red house", 10, "a red" + ELLIPSIS),
        ("a red house by the lake", 12, "a red house" + ELLIPSIS),
        ("a red house by the lake", 11, "a red" + ELLIPSIS),
        ("a red \n house", 8, "a red" + ELLIPSIS),
        ("x" * 20, 8, "x" * 7 + ELLIPSIS),
        ("a " + "\u4e2d" * 20, 8, "a " + "\u4e2d" * 5 + ELLIPSIS),
        (" " * 20, 8, ELLIPSIS),
        ("", 8, ""),
    ],
)
def test_a_longer_text_ends_after_a_word_with_an_ellipsis(text, length, cut):
    assert cut_text(text, length) == cut
    assert len(cut_text(text, length)) <= length
