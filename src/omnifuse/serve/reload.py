"""Hot reload: a new version of the model, in its folder or registry, answers once it has answered its example."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Protocol

from omnifuse.errors import OmnifuseError
from omnifuse.serve.answerer import Answerer
from omnifuse.serve.followed_models import FollowedModels
from omnifuse.serve.logs import event
from omnifuse.serve.service import Service
from omnifuse.serve.versions import Version

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp_of(folder: Path) -> Stamp:
    """What changes when a file of a folder is written; () where the folder is absent."""
    try:
        found = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, status.st_mtime_ns, status.st_size, status.st_ino) for name, status in found))


class Reloads(Protocol):
    """What keeps a service's models up to date."""

    async def run(self) -> None:
        """Until cancelled."""


class Reloader:
    """Looks at the files of a model and loads them where they have changed.

    A folder that is still being written is refused by its digests, and changes again before it is whole.

    Args:
        service: Whose model is replaced.
        folder: Of the model.
        load: Reads the folder; every digest is checked there.
    """

    def __init__(self, service: Service, folder: Path, load: Callable[[], Answerer]) -> None:
        self._service, self._folder, self._load = service, folder, load
        self._seen = stamp_of(folder)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._service.limits.reload_s)
            await self.look()

    async def look(self) -> bool:
        """Load the model where it is new; whether another one answers now. What cannot be loaded changes nothing."""
        stamp = stamp_of(self._folder)
        if stamp in ((), self._seen):
            return False
        self._seen = stamp
        before = self._service.version.model_id
        try:
            await self._service.replace(self._load)
        except Exception as error:
            self._service.recorder.error("reload")
            reason = str(error) if isinstance(error, OmnifuseError) else type(error).__name__
            event("reload_failed", level=logging.WARNING, reason=reason, model_id=before)
            return False
        event("reloaded", model_id=self._service.version.model_id, before=before)
        return True


class RegistryReloader:
    """Lets a service answer with what a registry says.

    Args:
        service: Whose versions are replaced.
        models: That follow the registry, started.
        every_s: Pause between two polls, in seconds.
    """

    def __init__(self, service: Service, models: FollowedModels, every_s: float) -> None:
        self._service, self._models, self._every_s = service, models, every_s

    async def run(self) -> None:
        """Follow in a thread, until cancelled."""
        loop, stop = asyncio.get_running_loop(), threading.Event()

        def check(version: Version) -> None:
            if loop.is_closed():
                raise TimeoutError
            try:
                asyncio.run_coroutine_threadsafe(self._service.check(version), loop).result(
                    self._service.limits.request_s + 5.0
                )
            except (CancelledError, RuntimeError) as error:
                if stop.is_set():
                    raise TimeoutError from None
                raise error

        def problem(_: str) -> None:
            self._service.recorder.error("registry")

        def follow() -> None:
            with self._models:
                self._models.follow(stop, every_s=self._every_s)

        self._models.check, self._models.on_problem = check, problem
        self._models.on_change = self._service.line_up
        # Not one of the loop's threads, for which its end would wait
        threading.Thread(target=follow, name="omnifuse-registry", daemon=True).start()
        try:
            await loop.create_future()
        finally:
            stop.set()
