"""What `make test-edge` checks in an environment of its own, here with the import of PyTorch blocked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.edge import without_torch
from tests.edge.given import write_given

SCRIPT = Path(without_torch.__file__)
# An import of what is None in sys.modules fails as if it were not installed; Python runs this file at its start
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({without_torch.TRAINING}))\n"


@pytest.fixture(scope="module")
def given(exported, fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_given(fitted.model, exported, fitted.world, folder)
    (folder / "blocking").mkdir()
    (folder / "blocking" / "sitecustomize.py").write_text(BLOCK)
    return folder


def checked(given, *, blocked):
    places = [str(given / "blocking")] if blocked else []
    path = os.pathsep.join([*places, *filter(None, sys.path), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(given)], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_everything_that_needs_no_torch_works_without_it(given):
    done = checked(given, blocked=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for check in without_torch.CHECKS for word in ("ok", check.__name__)]


def test_the_checks_fail_where_torch_is_installed(given):
    done = checked(given, blocked=False)
    assert done.returncode == 1
    assert "torch is installed here" in done.stderr
    assert done.stdout == ""
