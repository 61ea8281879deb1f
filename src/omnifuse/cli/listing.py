"""`omnifuse list`: encoders, fusions, tasks and presets by name."""

from __future__ import annotations

from typing import Any

import typer

from omnifuse.cli.options import print_json, print_table


def _first_line(part: Any) -> str:
    return (part.__doc__ or "").strip().split("\n")[0]


def list_parts(as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout.")) -> None:
    """List every part that can be named on the command line."""
    from omnifuse.api.options import need_training

    need_training()
    from omnifuse.api.catalogue import catalogue

    parts = catalogue()
    if as_json:
        print_json(parts)
        return
    for title, rows in parts.items():
        print_table(f"\n{title}", ("name", "what"), list(rows.items()))
