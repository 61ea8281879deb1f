"""The models of a registry that is followed: loaded and tried before they answer, and taken out when they fail at work.

`deploy.following.Follower` fetches and verifies; this holds what it fetched in memory. A new version answers its own
example before any request, and each version that answers does so again at every poll: one that fails gives way to the
last good one until the registry changes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omnifuse.deploy.following import Follower, Poll, Served
from omnifuse.deploy.stages import CANARY, PRODUCTION
from omnifuse.errors import InputError
from omnifuse.serve.answerer import Answerer
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.logs import event
from omnifuse.serve.versions import Lineup, Version, check_answers


class FollowedModels:
    """Follows one registry; one thread polls while any number of others read `lineup`.

    Args:
        location: The registry.
        cache: Folder for copies, of this process alone.
        load: Reads a model folder.
        trust: Public keys of which one must have signed.
        limits: Bounds of an example.
        timeout_s: Longest wait for the registry's place, in seconds.

    Attributes:
        check: Has a version that answers requests answer its own example; what it raises takes the version out, but for
            `TimeoutError`, which judges nobody.
        on_change: Hears of other versions that answer.
        on_problem: Hears, once for each, why what the registry asks for does not answer.

    Raises:
        InputError: No key is trusted where one must be, or another process uses the cache.
    """

    def __init__(
        self,
        location: str | Path,
        cache: str | Path,
        load: Callable[[Path], Answerer],
        *,
        trust: Sequence[str | Path] = (),
        limits: ServeLimits | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._load, self._limits = load, limits or ServeLimits()
        self._loaded: dict[Path, Answerer] = {}
        self._lineup: Lineup | None = None
        self._problem = ""
        self._fresh: set[Path] = set()
        self.check: Callable[[Version], Any] = self._check_alone
        self.on_change: Callable[[Lineup], Any] = lambda _: None
        self.on_problem: Callable[[str], Any] = lambda _: None
        self._follower = Follower(location, cache, trust=trust, health=self._try, timeout_s=timeout_s)

    def close(self) -> None:
        """Give the cache free."""
        self._follower.close()

    def __enter__(self) -> FollowedModels:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def lineup(self) -> Lineup:
        """What answers now.

        Raises:
            InputError: Nothing was ever fetched.
        """
        if self._lineup is None:
            self._follower.current()
            raise InputError("no version of the registry can answer", where=self._problem)
        return self._lineup

    def start(self) -> Lineup:
        """Poll once; where the place cannot be reached, what an earlier process left in the cache answers.

        Raises:
            InputError: Nothing can answer; says why.
        """
        self._heard(self._follower.poll())
        return self.lineup

    def follow(self, stop: threading.Event, *, every_s: float) -> None:
        """Poll until `stop` is set.

        Args:
            stop: Ends it.
            every_s: Pause between two polls, in seconds; longer after a problem.
        """
        while not stop.is_set():
            try:
                self._follower.follow(stop, every_s=every_s, listen=self._heard)
            except Exception as error:  # a defect must not end the following
                event("registry_bug", level=logging.ERROR, error=error)
                stop.wait(every_s)

    def _heard(self, poll: Poll) -> None:
        """Behind each poll: look at the health of what answers, load what is to answer."""
        problem = self._settle() or poll.problem
        if problem and problem != self._problem:
            event("registry_problem", level=logging.WARNING, reason=problem)
            self.on_problem(problem)
        self._problem = problem

    def _try(self, folder: Path) -> None:
        """Load a model and have it answer its own example."""
        answerer = self._load(folder)
        check_answers(Version.of(answerer), self._limits)
        self._loaded[folder] = answerer
        self._fresh.add(folder)

    def _check_alone(self, version: Version) -> None:
        check_answers(version, self._limits)

    def _settle(self) -> str:
        """Take out what does not answer, and let the others answer; returns what went wrong."""
        problem = ""
        while (sick := self._sick()) is not None:
            served, why = sick
            poll = self._follower.reject(served.version, why)
            problem = poll.problem
            event("version_rejected", level=logging.ERROR, version=served.version, reason=why, replaced=poll.changed)
            if not poll.changed:
                break
        self._fresh.clear()
        answering = self._follower.versions()
        found = {one.stage: Version.of(self._loaded[one.folder], one.version)
                 for one in answering if one.folder in self._loaded}  # fmt: skip
        if PRODUCTION in found:
            self._answer_with(found[PRODUCTION], found.get(CANARY))
        needed = {one.folder for one in answering}
        self._loaded = {folder: answerer for folder, answerer in self._loaded.items() if folder in needed}
        return problem

    def _sick(self) -> tuple[Served, str] | None:
        """The first of the versions that are to answer which cannot."""
        for served in self._follower.versions():
            try:
                if served.folder not in self._loaded:
                    self._try(served.folder)
                elif served.folder not in self._fresh:
                    self.check(Version.of(self._loaded[served.folder], served.version))
            except TimeoutError:
                continue
            except Exception as error:
                return served, str(error) or type(error).__name__
            self._fresh.add(served.folder)
        return None

    def _answer_with(self, production: Version, canary: Version | None) -> None:
        def is_canarys(key: str) -> bool:
            return canary is not None and self._follower.choose(key).version == canary.name

        before = [] if self._lineup is None else [(one.name, id(one.answerer)) for one in self._lineup.versions]
        found = Lineup(production, canary, is_canarys)
        if before == [(one.name, id(one.answerer)) for one in found.versions]:
            return
        self._lineup = found
        event("versions", production=production.name, canary=None if canary is None else canary.name)
        self.on_change(found)
