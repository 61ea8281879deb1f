"""A registry of models: versions that never change, and one small document that says which of them is what.

A change is: take the lock, read and verify the document, make the next one, write it in one step. A writer that dies
on the way leaves the old document, and files that nothing names. Two writers at once become one after the other.

Example:
    >>> registry = Registry("registry", sign="key")                     # doctest: +SKIP
    >>> registry.add("runs/rooms")                                      # doctest: +SKIP
    '5f1c0e9ab2d4'
    >>> registry.promote("5f1c0e9ab2d4", "production")                  # doctest: +SKIP
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omnifuse.deploy.artefact import check_artefact
from omnifuse.deploy.gate import Gate, Scores
from omnifuse.deploy.locations import AbsentError, WritableFolder, open_folder, writable
from omnifuse.deploy.signing import MAX_SIGNATURE_BYTES, read_signer, read_trusted_key
from omnifuse.deploy.stages import CANDIDATE, State, VersionEntry
from omnifuse.deploy.verified import (
    STAGES_FILE,
    STAGES_KIND,
    VERSION_KIND,
    StagesRead,
    check_files,
    copy_version,
    need_trust,
    read_stages,
    read_version,
    signature_file,
    version_folder,
)
from omnifuse.deploy.version_manifest import check_version_id, describe, digest_of, plain_files
from omnifuse.errors import ArtefactError, InputError

# From a model folder to its scores
Measure = Callable[[Path], Scores]


class Registry:
    """A registry at a path or URL.

    Args:
        location: As for `open_folder`; changes need a folder on disk or an object store.
        trust: Public keys of which one must have signed what is read. Without any, only a folder on disk is read.
        sign: Private key, which signs each change and is trusted too. A registry is signed from its first version on,
            or never.
        by: Who makes the changes, for the history; the user of this process where it is None.
        timeout_s: Longest wait for an answer over the network, in seconds.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        trust: Sequence[str | Path] = (),
        sign: str | Path | None = None,
        by: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.folder = open_folder(location, timeout_s=timeout_s)
        self._signer = None if sign is None else read_signer(sign)
        own = () if self._signer is None else (self._signer.public,)
        self.trusted = (*own, *(read_trusted_key(path) for path in trust))
        self._by = _user() if by is None else by

    def state(self) -> State:
        """What the registry says, verified.

        Raises:
            InputError: There is no registry, it cannot be read, or it is not trusted.
        """
        return self._read().state

    def signed(self) -> bool:
        """Whether the present document has a signature (of whom, only `trust` tells)."""
        return self._has_signature(self._read().digest)

    def add(self, model: str | Path, *, name: str | None = None, note: str = "") -> str:
        """Copy a model folder into the registry as a candidate; the first one begins the registry.

        Args:
            model: Run folder or model folder. Every file of the model folder is taken.
            name: Of the version; the model id where it is None, so that a prediction's `model_id` is its version.
            note: For the list, at most 1,000 characters.

        Returns:
            The version.

        Raises:
            InputError: The model is damaged, the name is taken, or somebody else is changing the registry.
        """
        source, model_id = check_artefact(model)
        version = check_version_id(model_id if name is None else name)
        if len(note) > 1000 or len(self._by) > 1000:
            raise InputError("the note is longer than 1,000 characters", fix="Write a shorter one")
        files = plain_files(source, source.name)
        manifest = describe(files, version, model_id)
        content = manifest.to_bytes()
        entry = VersionEntry(digest_of(content), model_id, _now(), self._by, note)
        parts: dict[str, Path | bytes] = {f"files/{item}": path for item, path in files.items()}
        parts["manifest.json"] = content
        if self._signer is not None:
            parts["manifest.sig"] = self._signer.sign(VERSION_KIND, content)
        with self._changing(new=True) as (folder, read):
            state = (State.new() if read is None else read.state).with_version(version, entry)
            folder.put(version_folder(version), parts)
            check_files(folder, manifest)
            self._write(folder, state, read)
        return version

    def promote(
        self,
        version: str,
        to: str,
        *,
        percent: float = 0.0,
        gate: Gate | None = None,
        measure: Measure | None = None,
        test: dict[str, Any] | None = None,
    ) -> State:
        """Give a version a stage.

        Args:
            version: One of the registry.
            to: "production", "canary" for `percent` of the requests, or "candidate", which takes a canary back.
            percent: Above 0 and below 100.
            gate: What its score must be; measured before anything changes, on verified copies of the files.
            measure: Gives the scores of a model folder; with `gate`.
            test: What the history says of the test table.

        Returns:
            The state, which is the present one where nothing had to change.

        Raises:
            InputError: The gate is not passed, the step makes no sense, or others changed the stages meanwhile.
            ArtefactError: A file of the version is damaged.
        """
        before = self._read().state
        before.promoted(version, to, percent=percent, at="", by="")  # refuse at once what is refused in the end
        record = None
        if to != CANDIDATE:
            record = self._measured(before, version, gate, measure)
        with self._changing() as (folder, read):
            assert read is not None
            if read.state.stages != before.stages:
                raise InputError(
                    "somebody else changed the stages meanwhile", where=_words(read.state), fix="Look, and try again"
                )
            if record is not None and test is not None:
                record = {**record, "test": test}
            state = read.state.promoted(version, to, percent=percent, at=_now(), by=self._by, gate=record)
            if state is not read.state:
                self._write(folder, state, read)
        return state

    def rollback(self) -> State:
        """Put the stages back to what they were before the last change; again, to before the one before.

        Raises:
            InputError: There is nothing to go back to.
            ArtefactError: A file of the version that would be in production again is damaged.
        """
        with self._changing() as (folder, read):
            assert read is not None
            state = read.state.rolled_back(at=_now(), by=self._by)
            for version in (state.stages.production, state.stages.canary):
                if version is not None:
                    self._check(read.state, version)
            self._write(folder, state, read)
        return state

    def copy(self, version: str, into: Path) -> Path:
        """Copy a version, each file verified.

        Args:
            version: One of the registry.
            into: Folder to make, in a folder that is there.

        Returns:
            The model folder in it.
        """
        entry = self.state().entry(version)
        copy_version(self.folder, read_version(self.folder, version, entry.manifest, self.trusted), into)
        return into / "files"

    def _measured(
        self, state: State, version: str, gate: Gate | None, measure: Measure | None
    ) -> dict[str, Any] | None:
        """Pass the gate; without one, look whether the version is whole."""
        if gate is None:
            self._check(state, version)
            return None
        if measure is None:
            raise ValueError("a gate needs a function that measures")
        now = state.stages.production
        compared = gate.no_worse is not None and now is not None and now != version
        with TemporaryDirectory(prefix="omnifuse-gate-") as place:
            scores = measure(self.copy(version, Path(place) / "candidate"))
            present = measure(self.copy(str(now), Path(place) / "production")) if compared else None
        return gate.judge(scores, present)

    def _check(self, state: State, version: str) -> None:
        read = read_version(self.folder, version, state.entry(version).manifest, self.trusted)
        check_files(self.folder, read.manifest)

    def _read(self) -> StagesRead:
        try:
            read = read_stages(self.folder, self.trusted)
        except AbsentError:
            raise InputError(
                f"there is no registry in '{self.folder.name}'", fix="Begin one with: omnifuse registry add"
            ) from None
        assert read is not None
        return read

    @contextmanager
    def _changing(self, *, new: bool = False) -> Iterator[tuple[WritableFolder, StagesRead | None]]:
        """Alone with the registry, and what it says now."""
        folder = writable(self.folder)
        need_trust(folder, self.trusted)
        if not folder.local and self._signer is None:
            raise InputError(
                f"the registry '{folder.name}' is not on this machine's disks", fix="Sign the change with --sign KEY"
            )
        if not new:
            self._read()  # a folder without a registry stays as it is, without even a lock
        with folder.alone():
            read = None
            with suppress(AbsentError):
                self._same_signing()
                read = read_stages(folder, self.trusted)
            yield folder, read

    def _same_signing(self) -> None:
        """A registry is signed from its first version on, or never."""
        read = self.folder.read(STAGES_FILE, most=1 << 30)
        assert read is not None
        signed = self._has_signature(digest_of(read.content))
        if signed and self._signer is None:
            raise InputError(f"the registry '{self.folder.name}' is signed", fix="Sign the change with --sign KEY")
        if not signed and self._signer is not None:
            raise ArtefactError(
                f"the registry '{self.folder.name}' is not signed",
                fix="Begin another one with --sign from its first version",
            )

    def _has_signature(self, digest: str) -> bool:
        try:
            return self.folder.read(signature_file(digest), most=MAX_SIGNATURE_BYTES) is not None
        except AbsentError:
            return False

    def _write(self, folder: WritableFolder, state: State, before: StagesRead | None) -> None:
        """The signature first, under the name of what it signs; then the document, in one step."""
        content = state.to_bytes()
        kept = {digest_of(content)} | ({before.digest} if before else set())
        if self._signer is not None:
            folder.write(signature_file(digest_of(content)), self._signer.sign(STAGES_KIND, content))
        folder.write(STAGES_FILE, content)
        # Whoever has just read the document before this one still finds its signature
        for name in folder.names("signatures") or ():
            if name.removesuffix(".sig") not in kept:
                folder.remove(f"signatures/{name}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _words(state: State) -> str:
    stages = state.stages
    canary = f", '{stages.canary}' the canary of {stages.percent:g}%" if stages.canary else ""
    return f"now '{stages.production}' is in production{canary}"
