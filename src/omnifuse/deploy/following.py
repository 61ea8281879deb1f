"""A server or an edge box that follows a registry: it takes a new version only when that is whole, signed and healthy.

The last good version stays in a local folder and answers for as long as anything is wrong with the next one: the
network, a signature, a file, or its health. Nothing that was fetched is read by anything but the digests before it is
verified, and an older document than one that was seen is refused, so that nobody can bring back a version with a known
weakness by serving yesterday's files. (Whoever can hold back all answers can hold back news; nothing here can tell.)

Example:
    >>> follower = Follower("https://models.example/rooms", "cache", trust=["key.pub"], health=load)  # doctest: +SKIP
    >>> follower.poll().changed                                                                       # doctest: +SKIP
    True
    >>> follower.choose("customer 17").folder                                                         # doctest: +SKIP
    PosixPath('cache/versions/5f1c0e9ab2d4/files')
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omnifuse.deploy.followed import Copy, Followed, Refusal
from omnifuse.deploy.local_folder import UNFINISHED, LocalFolder
from omnifuse.deploy.locations import AbsentError, open_folder
from omnifuse.deploy.locking import held
from omnifuse.deploy.signing import read_trusted_key
from omnifuse.deploy.stages import CANARY, PRODUCTION, State, router
from omnifuse.deploy.verified import (
    DEFAULT_MAX_BYTES,
    StagesRead,
    check_files,
    copy_version,
    need_trust,
    read_stages,
    read_version,
    version_folder,
)
from omnifuse.errors import ArtefactError, InputError, OmnifuseError
from omnifuse.files import make_folder, remove_folder, write_atomically

FOLLOWED = "followed.json"
LOCK = ".lock"
_MAX_FOLLOWED_BYTES = 1 << 20
_LONGEST_PAUSE = 10
# Raises if the model in the folder cannot be used
Health = Callable[[Path], Any]


@dataclass(frozen=True)
class Served:
    """A version that answers.

    Attributes:
        version: Its id in the registry, for every answer to name.
        model_id: Of the model in it, as its predictions name it.
        stage: "production" or "canary".
        folder: Its model folder, verified.
    """

    version: str
    model_id: str
    stage: str
    folder: Path


@dataclass(frozen=True)
class Poll:
    """What a look at the registry came to.

    Attributes:
        changed: Whether other versions answer now, or another share of the requests.
        problem: Why what the registry asks for is not what answers; "" where it is.
    """

    changed: bool
    problem: str = ""


class Follower:
    """Follows one registry into one folder; safe to ask from many threads while one of them polls.

    Args:
        location: The registry, as for `open_folder`.
        cache: Folder for copies, of this process alone; what an earlier one left there is verified and used at once,
            so that a restart needs no network.
        trust: Public keys of which one must have signed; without any, only a folder on disk is followed.
        health: Called with the model folder of each new version before it answers, for instance to load it and answer a
            row; whatever it raises is why the version is not taken.
        timeout_s: Longest wait for an answer over the network, in seconds.
        max_bytes: Largest version that is fetched.

    Raises:
        InputError: No key is trusted where one must be, or another process uses the cache.
        ArtefactError: The cache is that of another program.
    """

    def __init__(
        self,
        location: str | Path,
        cache: str | Path,
        *,
        trust: Sequence[str | Path] = (),
        health: Health | None = None,
        timeout_s: float = 30.0,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._folder = open_folder(location, timeout_s=timeout_s)
        self._trusted = tuple(read_trusted_key(path) for path in trust)
        need_trust(self._folder, self._trusted)
        self._health = health
        self._max_bytes = max_bytes
        self._cache = LocalFolder(Path(cache))
        self._at_work = threading.Lock()
        self._tag, self._problem = "", ""
        make_folder(self._cache.path / "versions")
        with ExitStack() as opened:
            opened.enter_context(
                held(
                    self._cache.path / LOCK,
                    wait_s=0.0,
                    what=f"another process follows a registry into '{cache}'",
                    fix="Give each process a folder of its own",
                )
            )
            self._followed = self._restored()
            self._lock = opened.pop_all()

    def close(self) -> None:
        """Give the cache folder free for another process."""
        self._lock.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def current(self) -> Served:
        """The version in production, or the last good one.

        Raises:
            InputError: None was ever fetched; says why.
        """
        production = self._followed.production
        if production is None:
            raise InputError(
                "no version was fetched from the registry yet", where=self._problem, fix="Poll, and look at the problem"
            )
        return self._served(production, PRODUCTION)

    def versions(self) -> list[Served]:
        """Everything that may be asked to answer: production, and the canary if there is one."""
        followed = self._followed
        pairs = ((followed.production, PRODUCTION), (followed.canary, CANARY))
        return [self._served(item, stage) for item, stage in pairs if item is not None]

    def choose(self, key: str) -> Served:
        """The version that answers requests with this key (a customer, a device): always the same one.

        Raises:
            InputError: None was ever fetched.
        """
        followed = self._followed
        if followed.canary is not None and router(followed.stages)(key) == CANARY:
            return self._served(followed.canary, CANARY)
        return self.current()

    def poll(self) -> Poll:
        """Look at the registry once: fetch, verify, ask for health, and only then switch. Never raises for what is
        wrong out there; the answer says it, and what answered goes on answering.
        """
        with self._at_work:
            before = self._followed
            try:
                read = read_stages(self._folder, self._trusted, tag=self._tag)
                if read is not None:
                    self._accept(read)
                    self._take(read)
            except (OmnifuseError, OSError) as error:
                self._tag, self._problem = "", _words(error)
            return Poll(before.answering != self._followed.answering, self._problem)

    def reject(self, version: str, why: str) -> Poll:
        """Take a version out because it fails at work: the last good one answers again, until the registry changes.

        Args:
            version: One of `versions()`; another one is left alone.
            why: For people.
        """
        with self._at_work:
            now = self._followed
            if version not in (now.stages.production, now.stages.canary):
                return Poll(False, self._problem)
            now = now.refusing(version, why)
            if now.canary is not None and now.canary.version == version:
                now = now.running(now.production, None, 0.0)
            elif now.good:
                now = now.running(now.good[0], now.canary if now.canary != now.good[0] else None, now.percent)
            else:
                return Poll(
                    False, f"version '{version}' is unhealthy ({why}), and there is no earlier one to go back to"
                )
            self._problem = f"version '{version}' is unhealthy: {why}"
            self._keep(now)
            return Poll(True, self._problem)

    def follow(
        self, stop: threading.Event, *, every_s: float = 30.0, listen: Callable[[Poll], Any] | None = None
    ) -> None:
        """Poll until `stop` is set; after a problem less and less often, at most ten times as seldom.

        Args:
            stop: Ends it, at once where it waits.
            every_s: Pause between two polls, in seconds.
            listen: Told of every poll.
        """
        pause = every_s
        while not stop.is_set():
            found = self.poll()
            if listen is not None:
                listen(found)
            pause = min(pause * 2, every_s * _LONGEST_PAUSE) if found.problem else every_s
            stop.wait(pause)

    def _served(self, item: Copy, stage: str) -> Served:
        folder = self._cache.path / version_folder(item.version) / "files"
        return Served(item.version, item.model_id, stage, folder)

    def _accept(self, read: StagesRead) -> None:
        """Refuse a document of another registry, an older one, or another one of the same number."""
        now, state = self._followed, read.state
        if now.registry and state.registry != now.registry:
            raise ArtefactError(
                "another registry lies where the one that is followed lay", where=self._folder.name,
                fix="If that is meant, give another folder for the cache",
            )  # fmt: skip
        if state.serial < now.serial:
            raise ArtefactError(
                f"the registry shows its state {state.serial}, and {now.serial} was seen before: an old copy",
                where=self._folder.name, fix="Look who serves it; roll back with: omnifuse registry rollback",
            )  # fmt: skip
        if state.serial == now.serial and now.digest and read.digest != now.digest:
            raise ArtefactError(
                f"the registry shows two different states {state.serial}", where=self._folder.name,
                fix="Look who writes to it",
            )  # fmt: skip
        if state.serial > now.serial or not now.registry:
            # A change of the stages gives versions that were refused before it another try
            refused = {name: item for name, item in now.refused.items() if item.change == state.last_change}
            self._keep(
                replace(now, registry=state.registry, serial=state.serial, digest=read.digest,
                        change=state.last_change, refused=refused)
            )  # fmt: skip

    def _take(self, read: StagesRead) -> None:
        """Fetch what the document asks for and switch to what of it is good."""
        state, problems = read.state, list[str]()
        if state.stages.production is None:
            problems.append("no version of the registry is in production yet")
        production = self._obtained(state, state.stages.production, problems)
        canary = self._obtained(state, state.stages.canary, problems)
        unsettled = [text for text in problems if text not in self._standing()]
        now = self._followed
        if production is None:
            production = now.production
        if canary == production:
            canary = None
        self._keep(now.running(production, canary, state.stages.percent))
        self._problem = "; ".join(problems)
        # What failed on the way is tried again although the document stays the same; what was found unhealthy is not
        self._tag = "" if unsettled else read.tag

    def _standing(self) -> set[str]:
        return {_refused_words(name, item) for name, item in self._followed.refused.items()}

    def _obtained(self, state: State, version: str | None, problems: list[str]) -> Copy | None:
        """A version of the document, in the cache and healthy; else None, and why."""
        if version is None:
            return None
        entry = state.entry(version)
        wanted = Copy(version, entry.manifest, entry.model_id)
        refusal = self._followed.refused.get(version)
        if refusal is not None:
            problems.append(_refused_words(version, refusal))
            return None
        if wanted in (self._followed.production, self._followed.canary):
            return wanted
        try:
            self._fetch(wanted)
        except (OmnifuseError, OSError) as error:
            problems.append(f"version '{version}' is not taken: {_words(error)}")
            return None
        folder = self._served(wanted, PRODUCTION).folder
        try:
            if self._health is not None:
                self._health(folder)
        except Exception as error:
            self._followed = self._followed.refusing(version, str(error) or type(error).__name__)
            problems.append(_refused_words(version, self._followed.refused[version]))
            return None
        return wanted

    def _fetch(self, wanted: Copy) -> None:
        """Have the version in the cache, every byte of it verified."""
        if self._is_whole(wanted):
            return
        read = read_version(self._folder, wanted.version, wanted.manifest, self._trusted)
        if read.manifest.model_id != wanted.model_id:
            raise ArtefactError("its manifest names another model than the list", fix="Add the version again")
        target = self._cache.path / version_folder(wanted.version)
        copy_version(self._folder, read, target, max_bytes=self._max_bytes)

    def _is_whole(self, item: Copy) -> bool:
        try:
            check_files(self._cache, read_version(self._cache, item.version, item.manifest, self._trusted).manifest)
        except (OmnifuseError, OSError):
            return False
        return True

    def _keep(self, followed: Followed) -> None:
        """Write what is known, then answer with it, then remove what nobody needs."""
        write_atomically(self._cache.path / FOLLOWED, followed.to_bytes())
        self._followed = followed
        needed = {item.version for item in followed.copies()}
        for place in (self._cache.path / "versions").iterdir():
            if place.name not in needed:
                remove_folder(place)

    def _restored(self) -> Followed:
        """What an earlier process left, as far as it is still whole and trusted."""
        for place in (self._cache.path / "versions").glob(f"{UNFINISHED}*"):
            remove_folder(place)
        try:
            found = self._cache.read(FOLLOWED, most=_MAX_FOLLOWED_BYTES)
        except AbsentError:
            return Followed()
        assert found is not None
        try:
            followed = Followed.from_bytes(found.content, FOLLOWED)
        except ArtefactError as error:
            raise ArtefactError(
                error.what, where=f"in the cache '{self._cache.name}'", fix="Give another folder for the cache"
            ) from None
        whole = [item for item in followed.copies() if self._is_whole(item)]
        good = tuple(item for item in followed.good if item in whole)
        production = followed.production if followed.production in whole else None
        if production is None and good:
            production, good = good[0], good[1:]
        canary = followed.canary if followed.canary in whole and followed.canary != production else None
        percent = followed.percent if canary else 0.0
        return replace(followed, production=production, canary=canary, percent=percent, good=good)


def _refused_words(version: str, refusal: Refusal) -> str:
    return f"version '{version}' is unhealthy: {refusal.why}"


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)
