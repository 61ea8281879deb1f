"""Ed25519 signatures: who may say which files are a version, and which version is in production.

A signature is one line of text, `ed25519 KEY_ID BASE64`; a file of signatures holds at most eight, so that keys can be
changed without a moment in which nobody is trusted. What is signed begins with its kind, so that a signed document of
one kind never passes for one of another. Ed25519 is the only scheme: the document cannot choose a weaker one.

References:
    RFC 8032, Edwards-Curve Digital Signature Algorithm (EdDSA).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnifuse.errors import ArtefactError, InputError, MissingDependencyError
from omnifuse.files import sync_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEME = "ed25519"
MAX_SIGNATURE_BYTES = 4096
_MOST_SIGNATURES = 8
_MAX_KEY_BYTES = 4096
_PREFIX = "omnifuse registry"


@dataclass(frozen=True)
class TrustedKey:
    """A public key.

    Attributes:
        raw: Its 32 bytes.
    """

    raw: bytes

    @property
    def key_id(self) -> str:
        """First 16 hex digits of its SHA-256: what messages and signatures name it by."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


@dataclass(frozen=True)
class Signer:
    """A private key at work; nothing of it stands in any message."""

    public: TrustedKey
    _private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.public.key_id})"

    def sign(self, kind: str, content: bytes) -> bytes:
        """The line that `verify` takes for this content and kind."""
        signature = base64.b64encode(self._private.sign(_message(kind, content))).decode()
        return f"{SCHEME} {self.public.key_id} {signature}\n".encode()


def need_signing() -> None:
    """Say which line to type where `cryptography` is not installed.

    Raises:
        MissingDependencyError: It is absent.
    """
    if find_spec("cryptography") is None:
        raise MissingDependencyError(
            "signatures need cryptography, which is not installed", fix='Type: pip install "omnifuse[registry]"'
        )


def generate_keys(out: Path) -> TrustedKey:
    """Make a pair of keys: `out` holds the private one, readable by its owner alone, `out`.pub the public one.

    Raises:
        InputError: One of the files is there already; keys are never written over.
        MissingDependencyError: `cryptography` is absent.
    """
    need_signing()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = out.with_name(out.name + ".pub")
    for path in (out, public_path):
        if os.path.lexists(path):
            raise InputError(f"'{path}' is there already, and keys are never written over", fix="Give another name")
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key()
    public_text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(out, text, 0o600)
    try:
        _write_new(public_path, public_text, 0o644)
    except BaseException:
        out.unlink()
        raise
    sync_folder(out.parent)
    return TrustedKey(public.public_bytes_raw())


def read_signer(path: str | Path) -> Signer:
    """Read a private key that `generate_keys` made.

    Raises:
        InputError: It is absent, foreign, or others may read it.
        MissingDependencyError: `cryptography` is absent.
    """
    need_signing()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    text = _key_text(path, secret=True)
    try:
        key: Any = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            f"'{path}' is no private Ed25519 key without a password",
            fix="Give the file that `omnifuse registry keygen OUT` made, without .pub",
        )
    return Signer(TrustedKey(key.public_key().public_bytes_raw()), key)


def read_trusted_key(path: str | Path) -> TrustedKey:
    """Read a public key, the file `OUT.pub` of `generate_keys`.

    Raises:
        InputError: It is absent or foreign.
        MissingDependencyError: `cryptography` is absent.
    """
    need_signing()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    text = _key_text(path, secret=False)
    try:
        key: Any = serialization.load_pem_public_key(text)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(
            f"'{path}' is no public Ed25519 key", fix="Give the file OUT.pub that `omnifuse registry keygen OUT` made"
        )
    return TrustedKey(key.public_bytes_raw())


def verify(kind: str, content: bytes, signatures: bytes, trusted: Sequence[TrustedKey], what: str) -> TrustedKey:
    """Check that one of the trusted keys signed this content as this kind, before anything reads the content.

    Args:
        kind: What it is said to be, as it was given to `Signer.sign`.
        content: The bytes as they came.
        signatures: The file of signatures.
        trusted: Keys that may sign; at least one.
        what: Name of the content in a message.

    Returns:
        The key that signed.

    Raises:
        ArtefactError: No trusted key did.
        MissingDependencyError: `cryptography` is absent.
    """
    need_signing()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = _signatures(signatures, what)
    keys = {key.key_id: key for key in trusted}
    known = [(keys[key_id], signature) for key_id, signature in found if key_id in keys]
    if not known:
        raise ArtefactError(
            f"'{what}' is signed by no trusted key",
            where=f"signed by {', '.join(key_id for key_id, _ in found)}; trusted: {', '.join(keys)}",
            fix="Give the public key of who signs the registry with --trust KEY.pub, if you trust them",
        )
    for key, signature in known:
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, _message(kind, content))
        except InvalidSignature:
            continue
        return key
    raise ArtefactError(
        f"the signature of '{what}' does not match: it was changed or damaged",
        fix="Get it again from where it was made; if it stays so, somebody changed it",
    )


def _message(kind: str, content: bytes) -> bytes:
    return f"{_PREFIX} {kind}\n".encode() + content


def _signatures(text: bytes, what: str) -> list[tuple[str, bytes]]:
    """Key ids and signatures of a file of signatures."""
    damaged = ArtefactError(f"the signature of '{what}' is no line of '{SCHEME} KEY_ID BASE64'", fix="Sign it anew")
    lines = text.split(b"\n")
    if len(text) > MAX_SIGNATURE_BYTES or not 2 <= len(lines) <= _MOST_SIGNATURES + 1 or lines.pop():
        raise damaged
    found = []
    for line in lines:
        try:
            scheme, key_id, signature = line.decode("ascii").split(" ")
            raw = base64.b64decode(signature, validate=True)
        except (ValueError, binascii.Error):
            raise damaged from None
        canonical = base64.b64encode(raw).decode() == signature
        if scheme != SCHEME or len(raw) != 64 or not canonical or len(key_id) != 16 or not key_id.isalnum():
            raise damaged
        found.append((key_id, raw))
    return found


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet; its mode holds from its first moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _key_text(path: str | Path, *, secret: bool) -> bytes:
    place = Path(path)
    try:
        state = place.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MAX_KEY_BYTES:
            raise InputError(f"'{path}' is no file of a key", fix="Make one with: omnifuse registry keygen OUT")
        text = place.read_bytes()
    except OSError as error:
        raise InputError(
            f"the key '{path}' cannot be read ({error.strerror})", fix="Make one with: omnifuse registry keygen OUT"
        ) from None
    if secret and os.name == "posix" and state.st_mode & 0o077:
        raise InputError(f"others may read the private key '{path}'", fix=f"Type: chmod 600 {path}")
    return text
