"""The pages' code runs as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
# A block that is run as it is printed, but on fewer rows and for less time
MARKED = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)
SMALLER = {
    "num_train=600": "num_train=30",
    "num_test=300": "num_test=12",
    "minutes=2": "epochs=1, preset='tiny', baselines=False, logger='none', report_media='none'",
}


def run(arguments, folder, *paths):
    search = os.pathsep.join([str(HOME / "src"), *map(str, paths)])
    given = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=given, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_readme_has_no_code_that_is_not_run(page):
    text = (HOME / page).read_text(encoding="utf-8")
    assert (
        CODE.findall(text) == MARKED.findall(text) == MARKED.findall((HOME / "README.md").read_text(encoding="utf-8"))
    )


def test_readme_code_runs(tmp_path):
    (code,) = MARKED.findall((HOME / "README.md").read_text(encoding="utf-8"))
    for printed, smaller in SMALLER.items():
        assert code.count(printed) == 1, f"the README no longer says {printed}"
        code = code.replace(printed, smaller)
    code += "print(vectors.shape[0], len(omnifuse.load('runs/rooms').predict(test)))\n"
    done = run(["-W", "error", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    metrics, answer, counts = done.stdout.splitlines()
    assert "'balanced_accuracy': {'value': " in metrics
    assert answer.startswith("Prediction(row_id=")
    assert counts == "12 12"


def test_tutorial_prints_the_examples_code():
    (code,) = CODE.findall((HOME / "docs/tutorial.md").read_text())
    assert code == (HOME / "examples/two_modalities.py").read_text()
    body = code[code.index("\ntable =") :]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 25


def test_tutorial_learns(tmp_path):
    done = run([HOME / "examples/two_modalities.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    share = int(re.search(r"right on (\d+)%", done.stdout).group(1))
    assert share > 55


def test_own_encoder_page_prints_the_packages_code():
    package = HOME / "examples/own_encoder_package"
    (code,) = CODE.findall((HOME / "docs/own-encoder.md").read_text())
    assert code == (package / "bag_encoder.py").read_text()
    body = code[code.index("class BagEncoder") :]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20


def test_own_encoder_from_a_package_of_its_own(tmp_path):
    package = HOME / "examples/own_encoder_package"
    described = tmp_path / "bag_encoder-0.1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: bag-encoder\nVersion: 0.1.0\n")
    (described / "entry_points.txt").write_text("[omnifuse.encoders]\nbag = bag_encoder:BagEncoder\n")
    script = (
        "import omnifuse, sys\n"
        "train, test = omnifuse.generate_rooms('rooms', num_train=40, num_test=12)\n"
        "model = omnifuse.fit(train, 'event', out='run', epochs=1, preset='tiny', encoders={'note': 'bag'},\n"
        "                     baselines=False, logger='none', drop=['picture', 'sound'])\n"
        "again = omnifuse.load('run')\n"
        "print(type(again.members[0].encoders[0]).__name__, len(again.predict(test)))\n"
    )
    done = run(["-c", script], tmp_path, package, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["BagEncoder", "12"]


def test_own_fusion_page_runs():
    torch = pytest.importorskip("torch")
    from omnifuse.tokens import Tokens

    (code,) = CODE.findall((HOME / "docs/own-fusion.md").read_text())
    names: dict = {}
    exec(code, names)  # noqa: S102 - the page's own code
    fusion = names["ProductFusion"](8, ("a", "b"))
    tokens = {"a": Tokens(torch.randn(3, 2, 8), torch.ones(3, 2, dtype=torch.bool))}
    fused = fusion(tokens)
    assert fused.pooled.shape == (3, 8)
    fused.pooled.sum().backward()
    assert fusion.absent.vectors.grad is not None
