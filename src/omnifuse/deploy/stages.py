"""Which version is in production, which is tried on a share of the requests, and what was there before.

`State` is the content of `stages.json`: a value that changes only by becoming another, so that writing it is the one
step that counts. `serial` grows with every change and never falls, rollbacks included: whoever follows the registry
tells by it an old document from a new one. No order is taken from a clock.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from omnifuse.deploy.documents import encode_document, exact_keys, hex_digest, read_format, reading, whole, words
from omnifuse.deploy.version_manifest import check_version_id
from omnifuse.errors import InputError, did_you_mean

FORMAT = 1
MAX_STAGES_BYTES = 4 << 20
# Older changes than these are forgotten, and can then not be rolled back to
MOST_EVENTS = 1000
MOST_VERSIONS = 5000
PRODUCTION, CANARY, CANDIDATE = "production", "canary", "candidate"
STAGES = (CANDIDATE, CANARY, PRODUCTION)


@dataclass(frozen=True)
class Stages:
    """What requests are answered with.

    Attributes:
        production: Version, None before the first promotion.
        canary: Version that answers some of the requests, or None.
        percent: Of the requests, above 0 and below 100; 0 without a canary.
    """

    production: str | None = None
    canary: str | None = None
    percent: float = 0.0

    def stage_of(self, version: str) -> str:
        """One of `STAGES`."""
        if version == self.production:
            return PRODUCTION
        return CANARY if version == self.canary else CANDIDATE


@dataclass(frozen=True)
class VersionEntry:
    """A version in the list.

    Attributes:
        manifest: SHA-256 of its manifest.
        model_id: Of the model in it.
        added: UTC, for people.
        by: Who added it.
        note: In their words.
    """

    manifest: str
    model_id: str
    added: str
    by: str
    note: str = ""


@dataclass(frozen=True)
class Event:
    """A change of the stages.

    Attributes:
        serial: Of the state that it made.
        at: UTC, for people.
        by: Who made it.
        action: "promote" or "rollback".
        version: What was promoted, or what production became.
        before: Stages before it.
        after: Stages after it.
        gate: What was measured before a promotion; None without a gate.
        undoes: Serial of the change that a rollback takes back.
    """

    serial: int
    at: str
    by: str
    action: str
    version: str
    before: Stages
    after: Stages
    gate: dict[str, Any] | None = None
    undoes: int | None = None


@dataclass(frozen=True)
class State:
    """Everything that `stages.json` says."""

    registry: str
    serial: int = 0
    stages: Stages = field(default_factory=Stages)
    versions: dict[str, VersionEntry] = field(default_factory=dict)
    history: tuple[Event, ...] = ()

    @classmethod
    def new(cls) -> State:
        """An empty registry with a name of its own, so that documents of another never pass for its."""
        return cls(secrets.token_hex(16))

    def entry(self, version: str) -> VersionEntry:
        """A version of the list.

        Raises:
            InputError: It is not in it.
        """
        if version not in self.versions:
            fix = did_you_mean(version, self.versions) if self.versions else "Add it first: omnifuse registry add"
            raise InputError(f"the registry has no version '{version}'", fix=fix)
        return self.versions[version]

    def with_version(self, version: str, entry: VersionEntry) -> State:
        """The state with one more candidate.

        Raises:
            InputError: There is a version of this name, or there are too many.
        """
        if version in self.versions:
            raise InputError(
                f"the registry has a version '{version}' already, and versions never change", fix="Give another --name"
            )
        clash = [name for name in self.versions if name.casefold() == version.casefold()]
        if clash:
            raise InputError(f"'{version}' and '{clash[0]}' are one folder on some systems", fix="Give another --name")
        if len(self.versions) >= MOST_VERSIONS:
            raise InputError(f"the registry has {MOST_VERSIONS} versions", fix="Begin another registry")
        return replace(self, serial=self.serial + 1, versions={**self.versions, version: entry})

    def promoted(
        self, version: str, to: str, *, at: str, by: str, percent: float = 0.0, gate: dict[str, Any] | None = None
    ) -> State:
        """The state after a promotion; the same object where nothing changes.

        Args:
            version: One of the list.
            to: "production"; "canary" for `percent` of the requests; "candidate" takes a canary back.
            at: Time, for people.
            by: Who does it.
            percent: Above 0 and below 100, for a canary alone.
            gate: What was measured.

        Raises:
            InputError: The version or stage is unknown, or the step makes no sense.
        """
        self.entry(version)
        after = self._after(version, to, percent)
        if after == self.stages:
            return self
        serial = self.serial + 1
        return self._with_event(Event(serial, at, by, "promote", version, self.stages, after, gate))

    def _after(self, version: str, to: str, percent: float) -> Stages:
        now = self.stages
        if to not in STAGES:
            raise InputError(f"there is no stage '{to}'", fix=did_you_mean(to, STAGES))
        if to != CANARY and percent:
            raise InputError(f"a share of the requests was given for {to}", fix="Give --percent with --to canary alone")
        if to == PRODUCTION:
            kept = now if now.canary != version else Stages()
            return replace(kept, production=version)
        if version == now.production:
            raise InputError(f"'{version}' is in production", fix="Promote another version to production, or roll back")
        if to == CANDIDATE:
            return replace(now, canary=None, percent=0.0) if version == now.canary else now
        if now.production is None:
            raise InputError(
                "a canary needs a version in production beside it", fix="Promote one with --to production first"
            )
        if not 0 < percent < 100:
            raise InputError(f"a canary for {percent:g}% of the requests", fix="Give --percent above 0 and below 100")
        return replace(now, canary=version, percent=float(percent))

    def undone(self) -> Event:
        """The change that the next rollback takes back.

        Raises:
            InputError: There is none, or nothing was in production before it.
        """
        taken_back = {event.undoes for event in self.history}
        for event in reversed(self.history):
            if event.action == "promote" and event.serial not in taken_back:
                if event.before.production is None:
                    break
                return event
        raise InputError("there is nothing to roll back to", fix="Promote another version with --to production")

    def rolled_back(self, *, at: str, by: str) -> State:
        """The state with the stages as they were before the last change that stands; again, before the one before.

        Raises:
            InputError: There is nothing to go back to.
        """
        event = self.undone()
        before = event.before
        made = Event(
            self.serial + 1, at, by, "rollback", str(before.production), self.stages, before, undoes=event.serial
        )
        return self._with_event(made)

    def _with_event(self, event: Event) -> State:
        return replace(self, serial=event.serial, stages=event.after, history=(*self.history, event)[-MOST_EVENTS:])

    @property
    def last_change(self) -> int:
        """Serial of the last change of the stages; 0 before the first."""
        return self.history[-1].serial if self.history else 0

    def to_bytes(self) -> bytes:
        """The document as it is signed and kept."""
        content = encode_document({"format": FORMAT, **asdict(self)})
        if len(content) > MAX_STAGES_BYTES:
            raise InputError("the registry has too many versions and changes", fix="Begin another registry")
        return content

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> State:
        """Read a document whose signature was checked before.

        Raises:
            ArtefactError: It is damaged, of another format, or contradicts itself.
        """
        data = read_format(content, what, FORMAT)
        with reading(what):
            exact_keys(data, {"format", "registry", "serial", "stages", "versions", "history"})
            versions = {check_version_id(name): _version(item) for name, item in data["versions"].items()}
            events = tuple(_event(item) for item in data["history"])
            state = cls(words(data["registry"], 100), whole(data["serial"]), _stages(data["stages"]), versions, events)
            _check(state)
        return state


def _stages(data: Any) -> Stages:
    exact_keys(data, {"production", "canary", "percent"})
    production, canary = (None if data[name] is None else check_version_id(data[name]) for name in (PRODUCTION, CANARY))
    percent = data["percent"]
    if type(percent) not in (int, float) or not (0 < percent < 100 if canary else percent == 0):
        raise ValueError("its share of the requests is none")
    if canary is not None and canary == production:
        raise ValueError("one version is in two stages")
    return Stages(production, canary, float(percent))


def _version(data: Any) -> VersionEntry:
    exact_keys(data, {"manifest", "model_id", "added", "by", "note"})
    texts = {name: words(data[name]) for name in ("model_id", "added", "by", "note")}
    return VersionEntry(hex_digest(data["manifest"]), **texts)


def _event(data: Any) -> Event:
    exact_keys(data, {"serial", "at", "by", "action", "version", "before", "after", "gate", "undoes"})
    if data["action"] not in ("promote", "rollback"):
        raise ValueError("an unknown action")
    if data["gate"] is not None and not isinstance(data["gate"], dict):
        raise ValueError("a gate that is none")
    return Event(
        whole(data["serial"], 1),
        words(data["at"]),
        words(data["by"]),
        data["action"],
        check_version_id(data["version"]),
        _stages(data["before"]),
        _stages(data["after"]),
        data["gate"],
        None if data["undoes"] is None else whole(data["undoes"], 1),
    )


def _check(state: State) -> None:
    """The list, the stages and the history say the same."""
    named = {state.stages.production, state.stages.canary}
    for event in state.history:
        named |= {event.before.production, event.before.canary, event.after.production, event.after.canary}
    unknown = named - {None} - state.versions.keys()
    if unknown:
        raise ValueError(f"version '{min(map(str, unknown))}' is not in its list")
    serials = [event.serial for event in state.history]
    if any(late <= early for early, late in pairwise(serials)):
        raise ValueError("its changes are not in order")
    if serials and (serials[-1] > state.serial or state.history[-1].after != state.stages):
        raise ValueError("its last change is not what it says now")


def router(stages: Stages) -> Callable[[str], str]:
    """A function from the key of a request (a customer, a device) to the stage that answers it.

    The same key always gets the same stage while the canary and its share stay, on every machine; a larger share keeps
    those who had the canary before. Another canary draws others.

    Example:
        >>> stage = router(Stages("v1", "v2", 10.0))
        >>> sum(stage(f"customer {number}") == "canary" for number in range(10_000)) // 100
        9
    """

    def stage(key: str) -> str:
        if stages.canary is None:
            return PRODUCTION
        digest = hashlib.sha256(f"{stages.canary}\0{key}".encode("utf-8", "surrogatepass")).digest()
        return CANARY if int.from_bytes(digest[:8]) < stages.percent / 100 * 2**64 else PRODUCTION

    return stage
