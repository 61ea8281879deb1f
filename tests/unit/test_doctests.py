"""Every example in a docstring of the library runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import omnifuse

# Modules that need more than the usual installation, by what they need
EXTRAS = (
    "onnxruntime", "transformers", "av", "wandb", "ray",
    "fastapi", "starlette", "uvicorn", "h11", "python_multipart", "websockets", "prometheus_client",
)  # fmt: skip
FEWEST_EXAMPLES = 20


def module_names():
    found = pkgutil.walk_packages(omnifuse.__path__, "omnifuse.", onerror=lambda name: None)
    return sorted(item.name for item in found if not item.name.endswith("__main__"))


def examples_of(name):
    """Doctests of one module with their examples; none where an extra is not installed."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        # Our own ImportErrors, and those of the usual installation, are faults
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{name} needs {error.name}")
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [item for item in finder.find(module, name) if item.examples]


@pytest.mark.parametrize("name", module_names())
def test_examples_of(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    written = []
    for item in examples_of(name):
        runner.run(item, out=written.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(written)


def test_there_are_examples():
    found = [example for name in module_names() for item in examples_of(name) for example in item.examples]
    running = [example for example in found if not example.options.get(doctest.SKIP)]
    assert len(running) >= FEWEST_EXAMPLES
