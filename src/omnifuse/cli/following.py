"""Options of the verbs that follow a registry in the place of a model folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import typer

from omnifuse.errors import InputError

REGISTRY = typer.Option(
    None, "--registry", metavar="PLACE", help="Follow this registry (folder or URL) in the place of DIR."
)
TRUST = typer.Option(
    None, "--trust", metavar="KEY.pub", help="With --registry: a public key that may have signed what is there."
)
POLL = typer.Option(30.0, "--poll", min=0.1, max=86400.0, help="With --registry: seconds between two looks at it.")
CACHE = typer.Option(
    None, "--cache", metavar="FOLDER", help="With --registry: keeps the versions that answer, for one process."
)


def cache_of(location: str, given: Path | None) -> Path:
    """Where the copies of a registry lie: as given, else below the user's cache folder by the registry's place."""
    if given is not None:
        return given
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = location if "://" in location else str(Path(location).absolute())
    return home / "omnifuse" / "followed" / hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def check_followed(registry: str | None, trust: list[Path] | None, cache: Path | None) -> None:
    """Refuse options that mean nothing without a registry.

    Raises:
        InputError: `--trust` or `--cache` without `--registry`.
    """
    if registry is None:
        for option, value in (("--trust", trust), ("--cache", cache)):
            if value:
                raise InputError(f"{option} was given and no registry to follow", fix="Give --registry PLACE")
