"""The page at `/`: its files, ours alone, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import Request, Response

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


@cache
def content_of(path: str) -> bytes:
    """A file of the page."""
    return (Path(__file__).parent / FILES[path][0]).read_bytes()


async def send(path: str, request: Request) -> Response:
    """GET of one of the files."""
    return Response(content_of(path), media_type=FILES[path][1])
