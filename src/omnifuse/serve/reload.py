"""Hot reload: a new version of the model in the same folder answers once it has answered its own example."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from omnifuse.errors import OmnifuseError
from omnifuse.serve.answerer import Answerer
from omnifuse.serve.logs import event
from omnifuse.serve.service import Service

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp_of(folder: Path) -> Stamp:
    """What changes when a file of a folder is written; () where the folder is absent."""
    try:
        found = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, status.st_mtime_ns, status.st_size, status.st_ino) for name, status in found))


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
