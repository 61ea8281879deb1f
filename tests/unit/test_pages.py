"""The pages: links lead somewhere, both READMEs say the same, and the lists of folders are those of the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.links import FENCED, anchors, broken_links, links, slug

HOME = Path(__file__).parents[2]
MADE = {"build", "dist", "runs"}
FOLDERS = [path for path in HOME.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in MADE]
PAGES = sorted([*HOME.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md"))])
# Written by `make bench`, a section a recipe
GENERATED = "benchmarks.md"
ENGLISH, CHINESE = (re.split(r"^## ", (HOME / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
                    for name in ("README.md", "README.zh-CN.md"))  # fmt: skip


def page_names():
    return [str(path.relative_to(HOME)) for path in PAGES]


def test_slugs_are_those_of_github():
    assert slug("Beside the network: the kernel head") == "beside-the-network-the-kernel-head"
    assert slug("`fit` & [more](x.md), snake_case - 2") == "fit--more-snake_case---2"
    assert slug("\u5206\u6570") == "\u5206\u6570"
    assert anchors("# One\n## One\n```\n# no heading\n```\n### Two words") == {"one", "one-1", "two-words"}


def test_wrong_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# A title\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#a-title) [c](#here) [d](https://x.y/z)\n```\n[e](code.md)\n```\n"
        "[f](none.md) [g](other.md#none) [h](#none) ![i](none.png)\n"
    )
    assert broken_links(page) == ["none.md", "other.md#none", "#none", "none.png"]


def test_every_page_is_looked_at():
    assert {"README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/faults.md"} <= set(page_names())


@pytest.mark.parametrize("page", page_names())
def test_links_lead_somewhere(page):
    assert broken_links(HOME / page) == []


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent.name == "docs" and path.name != GENERATED],
                         ids=lambda path: path.name)  # fmt: skip
def test_long_pages_have_a_table_of_contents(page):
    text = page.read_text(encoding="utf-8")
    sections = [f"#{slug(heading)}" for heading in re.findall(r"^## (.+)$", FENCED.sub("", text), re.MULTILINE)]
    contents = [link for link in links(text) if link.startswith("#")]
    assert contents in ([], sections)
    if len(text.splitlines()) > 80 and len(sections) > 1:
        assert contents == sections


def without_words(block):
    """The lines of a block of code without comments, of the tree without what stands beside the names."""
    lines = block.splitlines()
    if lines[0] == "```":
        return [line.split()[0] for line in lines]
    return [re.split(r"\s+# ", line)[0] for line in lines]


def described(section):
    """What both languages share of a section."""
    prose = FENCED.sub("", section)
    return {
        "depth": len(re.findall(r"^#+ ", prose, re.MULTILINE)),
        "blocks": [without_words(block) for block in FENCED.findall(section)],
        "marks": re.findall(r"<!--.*?-->", prose),
        "links": [link for link in links(prose) if not link.startswith("README")],
        "code": sorted(re.findall(r"`[^`\n]+`", prose)),
        "tables": [len(re.findall(r"(?<!\\)\|", line)) for line in prose.splitlines() if line.startswith("|")],
        "numbers": [re.findall(r"[-+]?\d[\d.,]*%?", line) for line in prose.splitlines() if line.startswith("|")],
        "all numbers": sorted(re.findall(r"\d+(?:\.\d+)?%?", prose)),
    }


def test_both_readmes_have_the_same_sections():
    assert len(ENGLISH) == len(CHINESE) > 7
    assert "](README.zh-CN.md)" in ENGLISH[0]
    assert "](README.md)" in CHINESE[0]


@pytest.mark.parametrize("number", range(len(ENGLISH)), ids=[slug(part.split("\n")[0]) for part in ENGLISH])
def test_both_readmes_say_the_same(number):
    assert described(CHINESE[number]) == described(ENGLISH[number])


def parts_of_the_package():
    source = HOME / "src/omnifuse"
    folders = {path.name for path in source.iterdir() if (path / "__init__.py").is_file()}
    return folders, {path.stem for path in source.glob("*.py")} - {"__init__", "__main__"}


def test_architecture_lists_every_part_of_the_package_and_no_other():
    (order,) = re.findall(r"## Order\n.*?```\n(.*?)```", (HOME / "docs/architecture.md").read_text("utf-8"), re.DOTALL)
    listed = [name for line in order.splitlines() for name in re.split(r" \| ", line.split("  ")[0])]
    listed = [name.removesuffix(" no torch") for name in listed]
    folders, modules = parts_of_the_package()
    assert sorted(listed) == sorted(folders | modules)


def test_tree_of_the_readme_is_that_of_the_source():
    (tree,) = re.findall(r"```\nsrc/omnifuse/\n(.*?)```", (HOME / "README.md").read_text("utf-8"), re.DOTALL)
    inside = re.findall(r"^  (\S+)", tree, re.MULTILINE)
    beside = re.findall(r"^(\w+)/", tree, re.MULTILINE)
    assert [name for name in inside if not (HOME / "src/omnifuse" / name).exists()] == []
    assert {name.rstrip("/") for name in inside if name.endswith("/")} == parts_of_the_package()[0]
    assert [name for name in beside if not (HOME / name).is_dir()] == []
