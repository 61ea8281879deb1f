"""The bind, the token and the command line, before any model is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("uvicorn")

from tests.serving import TOKEN

from omnifuse.errors import InputError
from omnifuse.serve.server import bind, check_bind, is_loopback, read_token, url_of


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.org", False), ("", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_addresses_of_this_machine_alone(host, expected):
    assert is_loopback(host) is expected
    if expected:
        check_bind(host, None)
    else:
        with pytest.raises(InputError, match="--token-file"):
            check_bind(host, None)
    check_bind(host, TOKEN)


def test_tokens_are_read_from_files(tmp_path):
    path = tmp_path / "token"
    assert read_token(None) is None
    path.write_text(f"  {TOKEN}\n")
    assert read_token(path) == TOKEN
    for bad in ("", "short", "with blanks in a long token", "x" * 5000, "\u00e9" * 20):
        path.write_text(bad)
        with pytest.raises(InputError, match="letters and digits"):
            read_token(path)
    path.write_bytes(b"\xff" * 20)
    for wrong in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="cannot be read"):
            read_token(wrong)


def test_ports_that_are_taken_are_one_line():
    with bind("127.0.0.1", 0) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        assert url_of(listening) == f"http://127.0.0.1:{port}/"
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}"):
            bind("127.0.0.1", port)
    with pytest.raises(InputError, match="is not an address"):
        bind("no such name", 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--host", "0.0.0.0"], "the server would answer anyone who reaches 0.0.0.0"), ([], "no model in"),
     (["--token-file", "absent"], "the token file 'absent' cannot be read")],
)  # fmt: skip
def test_the_command_refuses_with_one_line_and_code_2(arguments, words, tmp_path, capsys):
    from omnifuse.cli.main import run

    with pytest.raises(SystemExit) as ended:
        run(["serve", str(tmp_path), "--port", "0", *arguments])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_the_package_needs_no_torch():
    code = (
        "import sys, omnifuse.serve.app, omnifuse.serve.server, omnifuse.serve.reload, omnifuse.cli.serve\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
