"""`omnifuse doctor`: what this machine has, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import print_json, print_table

EXTRAS = {
    "train": ("torch", "lightning", "torchmetrics", "scikit-learn", "tensorboard", "jinja2"),
    "video": ("av",),
    "wandb": ("wandb",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "edge": ("onnxruntime",),
    "index": ("usearch",),
    "registry": ("cryptography", "fsspec"),
    "serve": ("fastapi", "uvicorn", "python-multipart", "websockets", "prometheus-client"),
}
CORE = ("numpy", "polars", "pyarrow", "typer", "rich", "pillow", "soundfile", "soxr", "tokenizers", "safetensors")


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    """Model name and the features that matter for training."""
    flags: set[str] = set()
    name = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags |= set(value.split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
    return {"name": name, "features": [flag for flag in wanted if flag in flags]}


def _free_memory_mb() -> float | None:
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return None


def examine() -> dict[str, Any]:
    """Versions, processor, threads, memory, and what is absent, as plain data."""
    packages = {name: _version(name) for name in (*CORE, *(item for group in EXTRAS.values() for item in group))}
    missing = []
    if any(packages[name] is None for name in CORE):
        missing.append({"what": ", ".join(n for n in CORE if packages[n] is None), "get": "pip install omnifuse"})
    for extra, names in EXTRAS.items():
        absent = [name for name in names if packages[name] is None]
        if absent:
            missing.append({"what": ", ".join(absent), "get": f'pip install "omnifuse[{extra}]"'})
    devices = ["cpu"]
    if packages["torch"] is not None:
        try:
            import torch

            devices += [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        except (ImportError, OSError) as error:  # its libraries may lack others of the system
            what = f"torch is installed but cannot be imported ({str(error).splitlines()[0]})"
            missing.append({"what": what, "get": 'pip install --force-reinstall "omnifuse[train]"'})
    return {
        "omnifuse": _version("omnifuse"),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": _processor(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "free_memory_mb": _free_memory_mb(),
        "devices": devices,
        "packages": packages,
        "missing": missing,
    }


def doctor(as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout.")) -> None:
    """Say what this machine has, what is missing, and how to get it."""
    found = examine()
    if as_json:
        print_json(found)
        return
    memory = found["free_memory_mb"]
    rows = [
        ("omnifuse", found["omnifuse"] or "not installed as a package"),
        ("python", f"{found['python']} on {found['system']}"),
        (
            "processor",
            f"{found['processor']['name']} ({', '.join(found['processor']['features']) or 'no vector units'})",
        ),
        ("threads", str(found["threads"])),
        ("free memory", f"{memory / 1024:.1f} GB" if memory else "unknown"),
        ("devices", ", ".join(found["devices"])),
    ]
    print_table("", ("what", "found"), rows)
    print_table("\nPackages", ("package", "version"), [(n, v or "absent") for n, v in found["packages"].items()])
    for item in found["missing"]:
        typer.echo(f"missing: {item['what']}   type: {item['get']}")
    if not found["missing"]:
        typer.echo("\nNothing is missing.")
