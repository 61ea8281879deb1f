"""Keys and signatures."""

from __future__ import annotations

import importlib.util
import os
import stat

import pytest

from omnifuse.deploy.signing import generate_keys, read_signer, read_trusted_key, verify
from omnifuse.errors import ArtefactError, InputError, MissingDependencyError

pytest.importorskip("cryptography")


@pytest.fixture
def key(tmp_path):
    generate_keys(tmp_path / "key")
    return tmp_path / "key"


def test_the_private_key_is_its_owners_alone_and_the_pair_fits(tmp_path):
    old = os.umask(0)
    try:
        made = generate_keys(tmp_path / "key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_signer(tmp_path / "key").public == read_trusted_key(tmp_path / "key.pub") == made
    assert len(made.raw) == 32
    assert made.key_id not in (tmp_path / "key").read_text()


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_keys_are_never_written_over(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match="never written over"):
        generate_keys(tmp_path / "key")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_a_link_in_the_keys_place_is_not_followed(tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="never written over"):
        generate_keys(tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


def test_keys_are_those_of_rfc_8032(tmp_path):
    """Section 7.1, test 2: the public key of a private one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    text = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    signer = read_signer(path)
    assert signer.public.raw == public


def test_what_was_signed_is_accepted_and_nothing_else(key):
    signer = read_signer(key)
    line = signer.sign("stages 1", b"content")
    trusted = [read_trusted_key(f"{key}.pub")]
    assert verify("stages 1", b"content", line, trusted, "it") == trusted[0]
    for kind, content in [
        ("stages 1", b"contenT"),
        ("version 1", b"content"),
        ("stages 1", b""),
        ("stages 1\nc", b"ontent"),
    ]:
        with pytest.raises(ArtefactError, match="does not match"):
            verify(kind, content, line, trusted, "it")


def test_every_flipped_bit_of_a_signature_is_refused(key):
    signer = read_signer(key)
    line = signer.sign("stages 1", b"content")
    for place in range(len(line)):
        for bit in range(8):
            changed = bytearray(line)
            changed[place] ^= 1 << bit
            with pytest.raises(ArtefactError):
                verify("stages 1", b"content", bytes(changed), [signer.public], "it")


def test_another_key_is_not_trusted_and_both_are_named(key, tmp_path):
    other = generate_keys(tmp_path / "other")
    signer = read_signer(key)
    with pytest.raises(ArtefactError, match=f"signed by {signer.public.key_id}; trusted: {other.key_id}"):
        verify("stages 1", b"content", signer.sign("stages 1", b"content"), [other], "it")


def test_one_good_signature_of_several_is_enough_while_keys_change(key, tmp_path):
    generate_keys(tmp_path / "new")
    old, new = read_signer(key), read_signer(tmp_path / "new")
    lines = old.sign("stages 1", b"content") + new.sign("stages 1", b"content")
    for trusted in ([old.public], [new.public], [old.public, new.public]):
        assert verify("stages 1", b"content", lines, trusted, "it") in trusted


def test_a_forged_line_beside_a_good_one_does_no_harm_and_alone_no_good(key):
    signer = read_signer(key)
    forged = signer.sign("stages 1", b"other")
    good = signer.sign("stages 1", b"content")
    assert verify("stages 1", b"content", forged + good, [signer.public], "it") == signer.public
    with pytest.raises(ArtefactError, match="does not match"):
        verify("stages 1", b"content", forged, [signer.public], "it")


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"ed25519 x y\n", b"none 0123456789abcdef \n", b"\xff\xfe\n", b"x" * 5000, b"{}\n", b"a b c d\n" * 9],
)
def test_no_signatures_are_refused_as_such(key, text):
    with pytest.raises(ArtefactError, match="the signature of 'it' is no line"):
        verify("stages 1", b"content", text, [read_trusted_key(f"{key}.pub")], "it")


def test_other_schemes_than_ed25519_are_refused(key):
    signer = read_signer(key)
    line = signer.sign("stages 1", b"content")
    for scheme in (b"none", b"rsa", b"hmac", b"ED25519", b"ed25519 "):
        with pytest.raises(ArtefactError, match="is no line"):
            verify("stages 1", b"content", line.replace(b"ed25519", scheme), [signer.public], "it")


def test_keys_in_the_wrong_place_are_refused(key, tmp_path):
    (tmp_path / "key.pub").chmod(0o600)
    with pytest.raises(InputError, match="is no private Ed25519 key"):
        read_signer(tmp_path / "key.pub")
    with pytest.raises(InputError, match="is no public Ed25519 key"):
        read_trusted_key(key)
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_signer(tmp_path / "none")
    with pytest.raises(InputError, match="is no file of a key"):
        read_trusted_key(tmp_path)
    (tmp_path / "large").write_bytes(b"-" * 5000)
    with pytest.raises(InputError, match="is no file of a key"):
        read_trusted_key(tmp_path / "large")


def test_keys_of_other_kinds_are_refused(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    text = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(InputError, match="is no private Ed25519 key"):
        read_signer(tmp_path / "key")


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_private_key_that_others_may_read_is_refused(key):
    key.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_signer(key)


def test_without_cryptography_one_line_says_what_to_type(key, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "omnifuse.deploy.signing.find_spec", lambda name: None if name == "cryptography" else find(name)
    )
    for act in (lambda: generate_keys(key), lambda: read_signer(key), lambda: read_trusted_key(key),
                lambda: verify("a", b"", b"", [], "it")):  # fmt: skip
        with pytest.raises(MissingDependencyError, match=r'pip install "omnifuse\[registry\]"'):
            act()


def test_a_signer_shows_nothing_of_its_key(key):
    signer = read_signer(key)
    secret = "".join(key.read_text().splitlines()[1:-1])
    assert repr(signer) == str(signer) == f"Signer({signer.public.key_id})"
    assert secret not in repr(signer)
