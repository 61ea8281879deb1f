"""What a person types first answers at once: `import omnifuse` and every `--help` load no heavy package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Each takes between 30 ms and several seconds to import
HEAVY = {
    "torch", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "tensorboard", "jinja2",
    "numpy", "polars", "pyarrow", "PIL", "soundfile", "soxr", "tokenizers", "safetensors", "av",
    "onnx", "onnxruntime", "onnxscript", "fastapi", "uvicorn", "websockets", "prometheus_client",
    "cryptography", "fsspec", "optuna", "wandb", "rich",
}  # fmt: skip
IMPORT = "import omnifuse; omnifuse.InputError; dir(omnifuse)"
HELP = """
import contextlib, io
from omnifuse.cli.main import run
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    run({arguments})
assert "Usage" in said.getvalue()
"""
LISTED = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(script: str) -> set[str]:
    """Modules that a fresh Python has loaded after a script."""
    done = subprocess.run([sys.executable, "-c", script + LISTED], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "script", [IMPORT, HELP.format(arguments=["--help"]), HELP.format(arguments=["fit", "--help"])],
    ids=["import omnifuse", "omnifuse --help", "omnifuse fit --help"],
)  # fmt: skip
def test_nothing_heavy_is_loaded(script):
    found = loaded(script)
    assert not {name.split(".")[0] for name in found} & HEAVY


def test_help_reads_the_command_line_alone_of_omnifuse():
    found = {name for name in loaded(HELP.format(arguments=["--help"])) if name.startswith("omnifuse.")}
    assert {name for name in found if not name.startswith("omnifuse.cli")} == {"omnifuse.errors"}


def test_the_runtime_loads_nothing_of_training():
    found = {name.split(".")[0] for name in loaded("import omnifuse.deploy.runtime, omnifuse.deploy.edge")}
    assert not found & {"torch", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "onnx", "onnxscript"}
