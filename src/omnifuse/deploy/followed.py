"""What a follower knows across restarts: what it runs, what was good before, what it refused, how far it has read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from omnifuse.deploy.documents import encode_document, exact_keys, hex_digest, read_document, reading, whole, words
from omnifuse.deploy.stages import Stages
from omnifuse.deploy.version_manifest import check_version_id
from omnifuse.errors import ArtefactError

FORMAT = 1
# Earlier versions in production that are kept to fall back on
MOST_GOOD = 2


@dataclass(frozen=True)
class Copy:
    """A version that lies verified in the cache.

    Attributes:
        version: Its id.
        manifest: SHA-256 of its manifest.
        model_id: Of the model in it.
    """

    version: str
    manifest: str
    model_id: str


@dataclass(frozen=True)
class Refusal:
    """A version that was found unhealthy.

    Attributes:
        change: Serial of the change of the stages at which it was; a later change gives it another try.
        why: In words.
    """

    change: int
    why: str


@dataclass(frozen=True)
class Followed:
    """The content of the follower's own `followed.json`.

    Attributes:
        registry: Name of the registry that is followed, "" before the first document.
        serial: The largest that was seen, whether or not its version was taken.
        digest: SHA-256 of the document of that serial.
        change: Serial of the last change of its stages.
        production: What answers now.
        canary: What answers a share of the requests.
        percent: That share.
        good: What answered before, newest first.
        refused: Version to why it is not taken.
    """

    registry: str = ""
    serial: int = 0
    digest: str = ""
    change: int = 0
    production: Copy | None = None
    canary: Copy | None = None
    percent: float = 0.0
    good: tuple[Copy, ...] = ()
    refused: dict[str, Refusal] = field(default_factory=dict)

    @property
    def stages(self) -> Stages:
        """By version."""
        canary = None if self.canary is None else self.canary.version
        return Stages(None if self.production is None else self.production.version, canary, self.percent)

    @property
    def answering(self) -> tuple[Copy | None, Copy | None, float]:
        """What requests are answered with."""
        return self.production, self.canary, self.percent

    def refusing(self, version: str, why: str) -> Followed:
        """The same, and this version is not taken again before the stages change."""
        return replace(self, refused={**self.refused, version: Refusal(self.change, why[:2000])})

    def copies(self) -> list[Copy]:
        """All that the cache must keep."""
        return [item for item in (self.production, self.canary, *self.good) if item is not None]

    def running(self, production: Copy | None, canary: Copy | None, percent: float) -> Followed:
        """The same with another version in production; the one before is kept as good unless it was refused."""
        good: Iterable[Copy] = self.good
        if self.production is not None and self.production != production:
            good = (self.production, *self.good)
        kept: list[Copy] = []
        for item in good:
            if item not in kept and item != production and item.version not in self.refused:
                kept.append(item)
        return replace(
            self,
            production=production,
            canary=canary,
            percent=percent if canary else 0.0,
            good=tuple(kept[:MOST_GOOD]),
        )

    def to_bytes(self) -> bytes:
        """The document as it is kept."""
        return encode_document({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> Followed:
        """Read what an earlier process kept.

        Raises:
            ArtefactError: It is damaged or of another format.
        """
        data = read_document(content, what)
        if data.pop("format", None) != FORMAT:
            raise ArtefactError(f"'{what}' has another format")
        with reading(what):
            exact_keys(data, set(cls.__dataclass_fields__))
            percent = data["percent"]
            if type(percent) not in (int, float) or not 0 <= percent < 100:
                raise ValueError("a share of the requests that is none")
            return cls(
                words(data["registry"]),
                whole(data["serial"]),
                words(data["digest"]),
                whole(data["change"]),
                _copy(data["production"]),
                _copy(data["canary"]),
                float(percent),
                tuple(item for item in map(_copy, data["good"]) if item is not None),
                {check_version_id(name): _refusal(item) for name, item in data["refused"].items()},
            )


def _copy(data: Any) -> Copy | None:
    if data is None:
        return None
    exact_keys(data, {"version", "manifest", "model_id"})
    return Copy(check_version_id(data["version"]), hex_digest(data["manifest"]), words(data["model_id"]))


def _refusal(data: Any) -> Refusal:
    exact_keys(data, {"change", "why"})
    return Refusal(whole(data["change"]), words(data["why"], 4000))
