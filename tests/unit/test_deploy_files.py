"""What lies in `deploy/`: a container, Kubernetes manifests and a unit, as strict as their page says."""

from __future__ import annotations

import configparser
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import subprocess
import threading
import tomllib
from pathlib import Path

import pytest

from omnifuse.cli.serve import serve

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"
PORT = 8000
USER = 10001


def options_of_serve():
    """Option names of `omnifuse serve`."""
    declared = [parameter.default for parameter in inspect.signature(serve).parameters.values()]
    return {name for item in declared for name in getattr(item, "param_decls", None) or ()}


def given_options(words):
    """Option to its values, of words such as --port 8000 or --port=8000."""
    found: dict[str, list[str]] = {}
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for number, word in enumerate(words):
        if word.startswith("--"):
            value = words[number + 1] if number + 1 < len(words) and not words[number + 1].startswith("--") else ""
            found.setdefault(word, []).append(value)
    return found


@pytest.fixture(scope="module")
def container():
    """Instructions of the last stage, and of all stages, as (word, rest)."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stages = [number for number, line in enumerate(lines) if line[0] == "FROM"]
    return lines[stages[-1] :], lines


def one(instructions, word):
    (found,) = [rest for name, rest in instructions if name == word]
    return found


def test_the_container_is_nobodys_root_and_listens_to_itself(container):
    last, every = container
    assert one(last, "USER") == f"{USER}:{USER}"
    names = [name for name, _ in last]
    assert names.index("USER") < names.index("ENTRYPOINT")
    command = json.loads(one(last, "ENTRYPOINT")) + json.loads(one(last, "CMD"))
    assert command[:2] == ["omnifuse", "serve"]
    options = given_options(command)
    assert options["--host"] == ["127.0.0.1"]
    assert options["--port"] == [one(last, "EXPOSE")] == [str(PORT)]
    assert set(options) <= options_of_serve()
    assert "--token-file" not in options
    assert {name for name, _ in every} <= {
        "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"
    }  # fmt: skip
    assert all(":" in rest and "latest" not in rest for name, rest in every if name == "FROM")


def test_the_container_asks_for_its_health_and_holds_no_torch(container):
    last, every = container
    assert json.loads(one(last, "HEALTHCHECK").split("CMD", 1)[1]) == ["python", "/opt/omnifuse/healthy.py", "live"]
    (install,) = [rest for name, rest in every if name == "RUN"]
    extras = set(re.findall(r"\.\[([\w,]+)\]", install)[0].split(","))
    known = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras == {"edge", "serve"} <= set(known)
    assert not any("torch" in item for name in extras for item in known[name])
    copied = [word for name, rest in every if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]]
    assert all((HOME / word).exists() for word in copied)
    allowed = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert set(copied) == allowed


@pytest.fixture(scope="module")
def manifests():
    """Kind to manifest of everything that `kubectl apply -k` applies."""
    yaml = pytest.importorskip("yaml")
    folder = DEPLOY / "kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in folder.iterdir())
    found = [yaml.safe_load((folder / name).read_text()) for name in listed]
    return {item["kind"]: item for item in found}


def test_manifests_belong_together(manifests):
    deployment, service, scaler = (manifests[kind] for kind in ("Deployment", "Service", "HorizontalPodAutoscaler"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]
    }  # fmt: skip
    assert "replicas" not in deployment["spec"]
    assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert (port["name"], port["containerPort"]) == ("http", PORT)
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_pods_run_with_few_rights_and_ask_for_a_token(manifests):
    from omnifuse.serve.server import check_bind

    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] | {"runAsNonRoot": True, "runAsUser": USER} == pod["securityContext"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    options = given_options(container["args"])
    assert set(options) <= options_of_serve()
    assert options["--port"] == [str(PORT)]
    check_bind(options["--host"][0], "a token" if "--token-file" in options else None)
    mounts = {item["mountPath"]: item for item in container["volumeMounts"]}
    token = Path(options["--token-file"][0])
    assert mounts[str(token.parent)]["readOnly"] is mounts["/model"]["readOnly"] is True
    assert {item["name"] for item in container["volumeMounts"]} == {item["name"] for item in pod["volumes"]}
    assert {"name": "OMNIFUSE_TOKEN_FILE", "value": str(token)} in container["env"]
    service = manifests["Service"]["metadata"]["name"]
    assert service in options["--allow-host"]


def test_probes_ask_what_the_server_answers(manifests):
    from omnifuse.serve.guard import OPEN_ROUTE
    from omnifuse.serve.limits import ServeLimits

    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for name in ("startupProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": OPEN_ROUTE, "port": "http"}
    assert container["readinessProbe"]["exec"]["command"] == ["python", "/opt/omnifuse/healthy.py", "ready"]
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 120
    assert pod["terminationGracePeriodSeconds"] > ServeLimits().shutdown_s + 10


@pytest.fixture(scope="module")
def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "omnifuse-edge.service")
    return parser


def test_the_unit_runs_as_nobody_for_its_own_machine(unit):
    from omnifuse.serve.limits import ServeLimits

    service = unit["Service"]
    program, verb, _, *words = shlex.split(service["ExecStart"])
    assert (program, verb) == ("/opt/omnifuse/bin/omnifuse", "serve")
    options = given_options(words)
    assert set(options) <= options_of_serve()
    assert options["--host"] == ["127.0.0.1"]
    assert options["--port"] == [str(PORT)]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    assert service["Restart"] == "on-failure"
    assert int(service["TimeoutStopSec"]) > ServeLimits().shutdown_s + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_the_unit(tmp_path):
    text = (DEPLOY / "systemd" / "omnifuse-edge.service").read_text()
    path = tmp_path / "omnifuse-edge.service"
    path.write_text(text.replace("/opt/omnifuse/bin/omnifuse", shutil.which("true") or "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "omnifuse-edge" in line]


@pytest.fixture
def healthy():
    specification = importlib.util.spec_from_file_location("healthy", DEPLOY / "healthy.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_health_is_asked_of_a_real_server(healthy, tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from tests.serving import TOKEN, FakeAnswerer, running

    (tmp_path / "token").write_text(TOKEN + "\n")
    gate = threading.Event()
    with running(FakeAnswerer(gate=gate), token=TOKEN, stuck_s=0.2, request_s=0.5) as server:
        port = str(server.port)
        assert healthy.main(["live", port]) == 0
        assert healthy.main(["ready", port]) == 1
        monkeypatch.setenv("OMNIFUSE_TOKEN_FILE", str(tmp_path / "token"))
        assert healthy.main(["ready", port]) == 0
        told = {"Authorization": f"Bearer {TOKEN}"}
        assert server.send("POST", "/predict", {"rows": [{"note": "gate"}]}, told).status == 503
        assert healthy.main(["live", port]) == healthy.main(["ready", port]) == 1
        gate.set()
    assert healthy.main(["live", port]) == 1
    assert healthy.main(["dead", port]) == healthy.main([]) == 1
    assert "say live or ready" in capsys.readouterr().err
