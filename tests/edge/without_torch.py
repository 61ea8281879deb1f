"""What must work where PyTorch is not installed; run by the Python of such an environment, which has no pytest either.

    python -m tests.edge.given build/edge              # in an environment for training
    ENVIRONMENT/bin/python tests/edge/without_torch.py build/edge

Prints a line a check and ends with 1 at the first that fails.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TRAINING = ("torch", "lightning", "torchmetrics", "sklearn")
SERVING = ("fastapi", "uvicorn", "python_multipart", "websockets", "prometheus_client")
MEDIA = ("picture", "sound")
# Largest difference between a probability of the graphs and that of the model
TOLERANCE = 1e-4
COMMAND = (sys.executable, "-c", "from omnifuse.cli.main import run; run()")
WAIT_S = 120


class Given:
    """The folder that `given.py` wrote."""

    def __init__(self, folder: Path) -> None:
        data = json.loads((folder / "given.json").read_text())
        self.run, self.table, self.rows, self.answers = data["run"], data["table"], data["rows"], data["answers"]

    def same(self, answers: list[Any], rows: range) -> None:
        """Fail where answers are not those of the model in PyTorch."""
        assert len(answers) == len(rows), f"{len(answers)} answers to {len(rows)} rows"
        for answer, number in zip(answers, rows, strict=True):
            targets = answer["targets"]
            assert targets.keys() == self.answers[number].keys()
            for name, (value, chances) in self.answers[number].items():
                found = targets[name]
                assert found["value"] == value, f"row {number}: {found['value']!r} in the place of {value!r}"
                assert found["probabilities"].keys() == chances.keys()
                worst = max(abs(found["probabilities"][key] - chance) for key, chance in chances.items())
                assert worst <= TOLERANCE, f"row {number}: {worst:.1e} apart"


def call(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [*COMMAND, *words], input=given, capture_output=True, text=True, check=False, timeout=WAIT_S
    )  # fmt: skip


def encoded(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is sent: files as their content."""
    return {
        name: {"base64": base64.b64encode(Path(cell).read_bytes()).decode()} if name in MEDIA and cell else cell
        for name, cell in row.items()
    }


def nothing_of_training_is_installed(given: Given) -> None:
    """Neither PyTorch nor what is built on it can be imported."""
    for name in TRAINING:
        assert find_spec(name) is None, f"{name} is installed here"
        try:
            __import__(name)
        except ImportError:
            continue
        raise AssertionError(f"{name} is importable")


def rows_whole_and_with_holes(given: Given) -> None:
    """`Runtime.predict` of all rows together, and of each alone, is what the model says."""
    from omnifuse.deploy.runtime import Runtime

    runtime, all_rows = Runtime(given.run, threads=1), range(len(given.rows))
    given.same([item.to_json() for item in runtime.predict(given.rows, proba=True)], all_rows)
    given.same([runtime.predict([row], proba=True)[0].to_json() for row in given.rows], all_rows)
    assert not {name.split(".")[0] for name, module in sys.modules.items() if module} & set(TRAINING)


def media_in_every_form(given: Given) -> None:
    """Bytes, arrays and pictures of Pillow are read as files are; a broken one is missing and named."""
    import numpy as np
    from PIL import Image

    from omnifuse.deploy.runtime import Runtime

    runtime, row = Runtime(given.run, threads=1), given.rows[0]
    with Image.open(row["picture"]) as opened:
        picture = opened.convert("RGB")
    for form in (Path(row["picture"]).read_bytes(), np.asarray(picture), picture):
        given.same([runtime.predict([{**row, "picture": form}], proba=True)[0].to_json()], range(1))
    (answer,) = runtime.predict([{**row, "picture": b"no picture"}])
    assert answer.error is None
    assert "picture" not in answer.modalities_used
    assert answer.warnings[0].startswith("picture: ")


def a_session(given: Given) -> None:
    """Values that come one by one are answered as the whole row."""
    from omnifuse.deploy.runtime import Runtime

    session, row = Runtime(given.run, threads=1).session(), given.rows[0]
    for number, (name, value) in enumerate(row.items()):
        session.push({name: value}, at_s=number * 0.01)
        answer = session.predict(proba=True)
    given.same([answer.to_json()], range(1))


def an_explanation(given: Given) -> None:
    """`Runtime.explain` says how far each field moved the answer."""
    from omnifuse.deploy.runtime import Runtime

    found = Runtime(given.run, threads=1).explain(given.rows[0], parts=False)
    assert found.error is None
    assert found.answers


def the_edge_command(given: Given) -> None:
    """Lines on standard input, a folder, and a recording."""
    lines = [json.dumps(given.rows[0]), json.dumps(encoded(given.rows[0])), "no json"]
    done = call("edge", given.run, "--proba", "--threads", "1", given="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    first, second, bad = map(json.loads, done.stdout.splitlines())
    given.same([first], range(1))
    given.same([second], range(1))
    assert "no JSON" in bad["error"]
    with tempfile.TemporaryDirectory() as place:
        sound = Path(place) / "sound.wav"
        shutil.copy(given.rows[0]["sound"], sound)
        for source in (place, str(sound)):
            done = call("edge", given.run, source, "--threads", "1")
            assert done.returncode == 0, done.stderr
            answers = [json.loads(line) for line in done.stdout.splitlines()]
            assert answers
            assert all(answer["modalities_used"] == ["sound"] for answer in answers)


def other_commands(given: Given) -> None:
    """What needs no training works; what does ends with 3 and the line to type."""
    for words in (("inspect", given.table, "--json"), ("doctor", "--json")):
        done = call(*words)
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
    with tempfile.TemporaryDirectory() as place:
        for words in (
            ("fit", given.table, "--label", "event", "--out", f"{place}/run"),
            ("predict", given.run, given.table, "-o", f"{place}/out.csv"),
            ("demo", "--out", f"{place}/demo"),
        ):
            done = call(*words)
            assert done.returncode == 3, f"{words[0]} ended with {done.returncode}: {done.stderr}"
            assert 'pip install "omnifuse[train]"' in done.stderr, done.stderr
            assert "Traceback" not in done.stderr


def the_server(given: Given) -> None:
    """`omnifuse serve --graphs` answers with `[serve]` installed, and says what is missing without it."""
    if any(find_spec(name) is None for name in SERVING):
        done = call("serve", given.run, "--graphs", "--port", "0")
        assert done.returncode == 3, done.stderr
        assert "omnifuse[edge,serve]" in done.stderr, done.stderr
        return
    done = call("serve", given.run, "--port", "0")
    assert done.returncode == 3, done.stderr
    assert "--graphs" in done.stderr, done.stderr
    process = subprocess.Popen(
        [*COMMAND, "serve", given.run, "--graphs", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        body = {"rows": [encoded(row) for row in given.rows], "proba": True}
        request = urllib.request.Request(
            f"{url}predict", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            given.same(json.loads(response.read())["predictions"], range(len(given.rows)))
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(WAIT_S)
    assert code == 0, f"the server ended with {code}"


CHECKS: tuple[Callable[[Given], None], ...] = (
    nothing_of_training_is_installed,
    rows_whole_and_with_holes,
    media_in_every_form,
    a_session,
    an_explanation,
    the_edge_command,
    other_commands,
    the_server,
)


def main(folder: Path) -> int:
    """Every check in order."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = Given(folder)
    for check in CHECKS:
        try:
            check(given)
        except AssertionError as error:
            sys.stderr.write(f"FAILED {check.__name__}: {error}\n")
            raise
        sys.stdout.write(f"ok {check.__name__}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
