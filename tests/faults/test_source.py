"""T30: what must never stand in the source."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile"}
ATTRIBUTES = {("yaml", "load"), ("torch", "load"), ("os", "system"), ("os", "popen")}


def faults_in(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in CALLS:
                found.append(function.id)
            if isinstance(function, ast.Attribute):
                owner = getattr(function.value, "id", "")
                if (owner, function.attr) in ATTRIBUTES or function.attr == "extractall":
                    found.append(f"{owner}.{function.attr}")
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) in {("shell", True), ("verify", False), ("allow_pickle", True)}:
                    found.append(f"{keyword.arg}={value}")
                if keyword.arg == "trust_remote_code" and value is not False:
                    found.append("trust_remote_code")
    return found


def test_t30_source_has_no_unsafe_calls():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 20
    found = {str(path): faults_in(ast.parse(path.read_text())) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


def test_t30_checker_finds_what_it_looks_for():
    bad = (
        "import pickle\nfrom joblib import load\neval('1')\nimport os\nos.system('x')\nf(shell=True)\nz.extractall()\n"
        "f(verify=False)\nnumpy.load(x, allow_pickle=True)\nf(trust_remote_code=maybe)"
    )
    assert len(faults_in(ast.parse(bad))) == 9
    good = "import os\nmodel.eval()\nre.compile('x')\nos.stat('x')\nf(trust_remote_code=False, verify=True)"
    assert faults_in(ast.parse(good)) == []
