"""What is read from a registry: nothing is parsed before its signature and digest were checked.

The layout of a registry::

    stages.json                         which version is what; replaced at once, never in part
    signatures/<SHA-256 of it>.sig      who vouches for that very document
    versions/<id>/manifest.json         names, sizes and SHA-256 of the files; never changes
    versions/<id>/manifest.sig          who vouches for it
    versions/<id>/files/...             the model folder

The order of trust: the signature vouches for `stages.json`, that holds the SHA-256 of the manifest (which has a
signature of its own), that holds the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnifuse.deploy.local_folder import UNFINISHED, write_folder
from omnifuse.deploy.locations import AbsentError, Folder, TooLargeError
from omnifuse.deploy.signing import MAX_SIGNATURE_BYTES, TrustedKey, verify
from omnifuse.deploy.stages import MAX_STAGES_BYTES, State
from omnifuse.deploy.version_manifest import MAX_MANIFEST_BYTES, FileEntry, VersionManifest, digest_of
from omnifuse.errors import ArtefactError, InputError
from omnifuse.files import remove_folder, sync_folder

STAGES_FILE = "stages.json"
STAGES_KIND, VERSION_KIND = "stages 1", "version 1"
DEFAULT_MAX_BYTES = 16 << 30


@dataclass(frozen=True)
class StagesRead:
    """A verified `stages.json`.

    Attributes:
        state: What it says.
        digest: SHA-256 of its bytes.
        tag: To ask whether it has changed.
    """

    state: State
    digest: str
    tag: str


@dataclass(frozen=True)
class VersionRead:
    """A verified manifest with the bytes that were verified."""

    manifest: VersionManifest
    content: bytes
    signatures: bytes


def signature_file(digest: str) -> str:
    """Where the signatures of the `stages.json` of this digest lie."""
    return f"signatures/{digest}.sig"


def version_folder(version: str) -> str:
    """Where a version lies."""
    return f"versions/{version}"


def need_trust(folder: Folder, trusted: Sequence[TrustedKey]) -> None:
    """Unsigned registries are read from this machine's own disks alone.

    Raises:
        InputError: The registry lies elsewhere and no key is trusted.
    """
    if not folder.local and not trusted:
        raise InputError(
            f"the registry '{folder.name}' is not on this machine's disks, and no key is trusted",
            fix="Give the public key of who signs it with --trust KEY.pub",
        )


def read_stages(folder: Folder, trusted: Sequence[TrustedKey], *, tag: str = "") -> StagesRead | None:
    """Read which version is what; None if it still has this tag.

    Raises:
        AbsentError: There is no registry.
        ArtefactError: It is damaged, or no trusted key signed it.
        InputError: It cannot be fetched, or lies elsewhere and no key is trusted.
    """
    need_trust(folder, trusted)
    found = folder.read(STAGES_FILE, most=MAX_STAGES_BYTES, tag=tag)
    if found is None:
        return None
    digest = digest_of(found.content)
    if trusted:
        _verify(folder, signature_file(digest), STAGES_KIND, found.content, trusted, STAGES_FILE)
    return StagesRead(State.from_bytes(found.content, STAGES_FILE), digest, found.tag)


def read_version(folder: Folder, version: str, digest: str, trusted: Sequence[TrustedKey]) -> VersionRead:
    """Read the manifest of a version.

    Args:
        folder: The registry, or a copy with the same layout.
        version: Its id.
        digest: SHA-256 that the manifest must have.
        trusted: Keys of which one must have signed it; none for an unsigned registry.

    Raises:
        ArtefactError: It is absent, damaged, unsigned, or of another version.
    """
    name = f"{version_folder(version)}/manifest.json"
    try:
        found = folder.read(name, most=MAX_MANIFEST_BYTES)
    except AbsentError as error:
        raise ArtefactError(error.what, where=error.where, fix="Add the version again") from None
    assert found is not None
    if digest_of(found.content) != digest:
        raise ArtefactError(f"the digest of '{name}' does not match: it was changed or damaged", fix="Copy it again")
    signatures = b""
    if trusted:
        signatures = _verify(
            folder, f"{version_folder(version)}/manifest.sig", VERSION_KIND, found.content, trusted, name
        )
    manifest = VersionManifest.from_bytes(found.content, name)
    if manifest.version != version:
        raise ArtefactError(f"'{name}' is that of version '{manifest.version}'", fix="Copy it again")
    return VersionRead(manifest, found.content, signatures)


def _verify(folder: Folder, place: str, kind: str, content: bytes, trusted: Sequence[TrustedKey], what: str) -> bytes:
    try:
        found = folder.read(place, most=MAX_SIGNATURE_BYTES)
    except AbsentError:
        raise ArtefactError(
            f"'{what}' of the registry '{folder.name}' is not signed",
            fix="Add and promote with --sign KEY; without --trust only a local folder is read unsigned",
        ) from None
    assert found is not None
    verify(kind, content, found.content, trusted, what)
    return found.content


def checked_blocks(folder: Folder, version: str, name: str, entry: FileEntry) -> Iterator[bytes]:
    """A file of a version, block by block; after the last one it is what the manifest says, or this raises.

    Raises:
        ArtefactError: It is absent, longer, shorter or other than the manifest says; names it.
    """
    place = f"{version_folder(version)}/files/{name}"
    digest, size = hashlib.sha256(), 0
    try:
        for block in folder.blocks(place, most=entry.size):
            size += len(block)
            digest.update(block)
            yield block
    except TooLargeError:
        raise ArtefactError(
            f"'{name}' of version '{version}' is longer than the {entry.size:,} bytes of its manifest",
            fix="Copy it again",
        ) from None
    except AbsentError as error:
        raise ArtefactError(
            f"'{name}' of version '{version}' is absent", where=error.where, fix="Add the version again"
        ) from None
    if size != entry.size:
        raise ArtefactError(
            f"'{name}' of version '{version}' has {size:,} bytes instead of the {entry.size:,} of its manifest",
            fix="Copy it again",
        )
    if digest.hexdigest() != entry.sha256:
        raise ArtefactError(
            f"the digest of '{name}' of version '{version}' does not match: it was changed or damaged",
            fix="Copy it again",
        )


def check_files(folder: Folder, manifest: VersionManifest) -> None:
    """Read every file of a version and refuse it if one is absent, too much, or other than the manifest says.

    Raises:
        ArtefactError: Names the file.
    """
    _no_others(folder, manifest)
    for name, entry in manifest.files.items():
        for _ in checked_blocks(folder, manifest.version, name, entry):
            pass


def copy_version(folder: Folder, read: VersionRead, into: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
    """Copy a version, checking each file as it comes, so that `into` is there whole and verified or not at all.

    Args:
        folder: Where it lies.
        read: Its verified manifest.
        into: Folder to make; the layout is that of a version in a registry.
        max_bytes: Refuse a larger version before anything is fetched.

    Raises:
        ArtefactError: A file is not what the manifest says; names it.
        InputError: It is too large, or a file cannot be fetched.
    """
    manifest = read.manifest
    if manifest.total_bytes > max_bytes:
        raise InputError(
            f"version '{manifest.version}' has {manifest.total_bytes:,} bytes, more than the {max_bytes:,} allowed",
            fix="Allow more, if that is what it should have",
        )
    _no_others(folder, manifest)

    def files() -> Iterator[tuple[str, Iterator[bytes]]]:
        for name, entry in manifest.files.items():
            yield f"files/{name}", checked_blocks(folder, manifest.version, name, entry)
        yield "manifest.json", iter([read.content])
        if read.signatures:
            yield "manifest.sig", iter([read.signatures])

    temporary = into.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        write_folder(temporary, files())
        if into.exists():
            remove_folder(into)
        temporary.replace(into)
        sync_folder(into.parent)
    finally:
        if temporary.exists():
            remove_folder(temporary)


def _no_others(folder: Folder, manifest: VersionManifest) -> None:
    names = folder.names(f"{version_folder(manifest.version)}/files")
    if names is None:
        return
    others = sorted(set(names) - manifest.files.keys())
    if others:
        raise ArtefactError(
            f"'{others[0]}' lies among the files of version '{manifest.version}' but not in its manifest",
            fix="Remove it, or add the version again under another name",
        )
