"""`make docs`: the pages of this folder as HTML under build/docs; a link that leads nowhere is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import markdown
from links import broken_links, slug

HOME = Path(__file__).parent
OUT = HOME.parent / "build" / "docs"
# The same anchors here as where the pages are read as they are
ANCHORS = {"toc": {"slugify": lambda heading, separator: slug(heading)}}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 900px; margin: 0 auto; padding: 24px; }}
pre {{ background: #f1f5f9; padding: 12px; overflow-x: auto; }} table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #e2e8f0; padding: 4px 12px 4px 0; text-align: left; vertical-align: top; }}
img {{ max-width: 100%; }}</style></head><body><nav>{links}</nav>{body}</body></html>
"""


def build() -> int:
    """Write the pages; the number of broken links."""
    pages = sorted(HOME.glob("*.md"))
    OUT.mkdir(parents=True, exist_ok=True)
    links = " | ".join(f'<a href="{page.stem}.html">{page.stem.replace("-", " ")}</a>' for page in pages)
    broken = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in broken_links(page):
            sys.stderr.write(f"{page.name}: '{link}' leads nowhere\n")
            broken += 1
        body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"], extension_configs=ANCHORS)
        body = re.sub(r'href="([\w-]+)\.md(#[^"]*)?"', r'href="\1.html\2"', body)
        (OUT / f"{page.stem}.html").write_text(PAGE.format(title=page.stem, links=links, body=body), encoding="utf-8")
    sys.stdout.write(f"{len(pages)} pages -> {OUT}\n")
    return broken


if __name__ == "__main__":
    sys.exit(1 if build() else 0)
