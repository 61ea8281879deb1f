"""`omnifuse registry`: versions of a model, which of them is in production, and the way back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omnifuse.cli.options import print_json, print_table
from omnifuse.errors import InputError

if TYPE_CHECKING:
    from omnifuse.deploy.gate import Scores
    from omnifuse.deploy.registry import Measure
    from omnifuse.deploy.stages import Event, Stages, State

registry = typer.Typer(
    name="registry",
    help="Versions of a model: add, list, promote behind a gate, roll back, make keys to sign with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

REGISTRY = typer.Argument(..., metavar="REGISTRY", help="Folder, or URL such as s3://BUCKET/PATH.")
TRUST = typer.Option(None, "--trust", metavar="KEY.pub", help="A public key that may have signed what is there.")
SIGN = typer.Option(None, "--sign", metavar="KEY", help="Sign with this private key, from the first version on.")
BY = typer.Option(None, "--by", metavar="WHO", help="Who does it, for the history; else the user's name.")
JSON = typer.Option(False, "--json", help="Results as one JSON document on stdout.")


@registry.command("keygen")
def keygen(
    out: Path = typer.Argument(..., metavar="OUT", help="The private key; the public one becomes OUT.pub."),
    as_json: bool = JSON,
) -> None:
    """Make an Ed25519 pair of keys: OUT to sign with, OUT.pub for all who --trust it."""
    from omnifuse.deploy.signing import generate_keys

    key = generate_keys(out)
    if as_json:
        print_json({"private": str(out), "public": f"{out}.pub", "key_id": key.key_id})
    else:
        typer.echo(f"key {key.key_id}: keep {out} to yourself and give {out}.pub to those who follow the registry")


@registry.command("add")
def add(
    location: str = REGISTRY,
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    name: str | None = typer.Option(None, "--name", help="Of the version; else the model id."),
    note: str = typer.Option("", "--note", help="For the list."),
    sign: Path | None = SIGN,
    trust: list[Path] | None = TRUST,
    by: str | None = BY,
    as_json: bool = JSON,
) -> None:
    """Copy the model in DIR into REGISTRY as a candidate; the first one begins the registry."""
    from omnifuse.deploy.registry import Registry

    opened = Registry(location, trust=trust or (), sign=sign, by=by)
    version = opened.add(model_folder, name=name, note=note)
    if as_json:
        print_json({"registry": location, "version": version, **_state_json(opened.state())})
    else:
        typer.echo(f"version '{version}' is a candidate of {location}")


@registry.command("list")
def list_versions(
    location: str = REGISTRY,
    history: bool = typer.Option(False, "--history", help="Also every change of the stages."),
    trust: list[Path] | None = TRUST,
    as_json: bool = JSON,
) -> None:
    """List the versions of REGISTRY with their stages."""
    from omnifuse.deploy.registry import Registry

    opened = Registry(location, trust=trust or ())
    state = opened.state()
    if as_json:
        print_json({"registry": location, "signed": opened.signed(), **_state_json(state)})
        return
    rows = [
        (version, _stage_words(state.stages, version), entry.model_id, entry.added, entry.by, entry.note)
        for version, entry in state.versions.items()
    ]
    print_table("", ("version", "stage", "model", "added", "by", "note"), rows)
    if history:
        changes = [(event.at, event.by, *_event_words(event)) for event in state.history]
        print_table("\nChanges", ("at", "by", "what", "gate"), changes)


@registry.command("promote")
def promote(
    location: str = REGISTRY,
    version: str = typer.Argument(..., help="As `list` names it."),
    to: str = typer.Option(..., "--to", metavar="STAGE", help="production, canary, or candidate to end a canary."),
    percent: float = typer.Option(0.0, "--percent", help="Of the requests, with --to canary."),
    test: str | None = typer.Option(None, "--test", metavar="TABLE", help="Measure on this labelled table first."),
    metric: str | None = typer.Option(None, "--metric", help="A name that `evaluate` gives."),
    target: str | None = typer.Option(None, "--target", help="Of which label, where there are several."),
    at_least: float | None = typer.Option(None, "--at-least", help="Least value, where more is better."),
    at_most: float | None = typer.Option(None, "--at-most", help="Largest value, where less is better."),
    no_worse: float | None = typer.Option(None, "--no-worse", help="Worse than production by at most this much."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    sign: Path | None = SIGN,
    trust: list[Path] | None = TRUST,
    by: str | None = BY,
    as_json: bool = JSON,
) -> None:
    """Give VERSION a stage, if it passes the gate."""
    from omnifuse.deploy.gate import Gate
    from omnifuse.deploy.registry import Registry

    limits = {"at_least": at_least, "at_most": at_most, "no_worse": no_worse}
    asked = any(value is not None for value in (metric, target, *limits.values()))
    if test is None and asked:
        raise InputError("a gate was given and no table to measure on", fix="Give --test TABLE")
    if test is not None and metric is None:
        raise InputError("a table to measure on was given and no metric", fix="Give --metric, for instance accuracy")
    gate = None if metric is None else Gate(metric, target, **limits)
    opened = Registry(location, trust=trust or (), sign=sign, by=by)
    before = opened.state()
    state = opened.promote(
        version,
        to,
        percent=percent,
        gate=gate,
        measure=None if test is None else _measure(test, media_root),
        test=None if test is None else _test_words(test),
    )
    changed = state.serial != before.serial
    record = state.history[-1].gate if changed and gate is not None else None
    if as_json:
        print_json({"registry": location, "changed": changed, "gate": record, **_state_json(state)})
        return
    if record is not None:
        compared = f", production {record['production']:.6g}" if "production" in record else ""
        typer.echo(f"{record['metric']} of '{record['target']}': {record['value']:.6g}{compared}")
    typer.echo(f"version '{version}' is {_stage_words(state.stages, version)}{'' if changed else ' already'}")


@registry.command("rollback")
def rollback(
    location: str = REGISTRY,
    sign: Path | None = SIGN,
    trust: list[Path] | None = TRUST,
    by: str | None = BY,
    as_json: bool = JSON,
) -> None:
    """Put the stages back to what they were before the last change; again, to before the one before."""
    from omnifuse.deploy.registry import Registry

    state = Registry(location, trust=trust or (), sign=sign, by=by).rollback()
    if as_json:
        print_json({"registry": location, "undone": state.history[-1].undoes, **_state_json(state)})
    else:
        typer.echo(_stages_words(state.stages))


def _measure(test: str, media_root: Path | None) -> Measure:
    """A function from a model folder to its scores on the table."""

    def measure(folder: Path) -> Scores:
        from omnifuse.api import load

        result = load(folder).evaluate(test, media_root=media_root)
        return {
            name: {metric: None if score is None else score["value"] for metric, score in found["metrics"].items()}
            for name, found in result["targets"].items()
        }

    return measure


def _test_words(test: str) -> dict[str, Any]:
    """What the history says of the test table: its name without the way to it, and its digest where it is a file."""
    path = Path(test)
    found: dict[str, Any] = {"name": path.name}
    if path.is_file():
        with path.open("rb") as file:
            found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _state_json(state: State) -> dict[str, Any]:
    """What `--json` prints of a registry."""
    return {
        "serial": state.serial,
        "stages": _stages_json(state.stages),
        "versions": [
            {
                "version": version,
                "stage": state.stages.stage_of(version),
                "model_id": entry.model_id,
                "added": entry.added,
                "by": entry.by,
                "note": entry.note,
            }
            for version, entry in state.versions.items()
        ],
        "history": [
            {
                "serial": event.serial,
                "at": event.at,
                "by": event.by,
                "action": event.action,
                "version": event.version,
                "before": _stages_json(event.before),
                "after": _stages_json(event.after),
                "gate": event.gate,
                "undoes": event.undoes,
            }
            for event in state.history
        ],
    }


def _stages_json(stages: Stages) -> dict[str, Any]:
    return {"production": stages.production, "canary": stages.canary, "percent": stages.percent}


def _stage_words(stages: Stages, version: str) -> str:
    stage = stages.stage_of(version)
    return f"{stage} ({stages.percent:g}%)" if stage == "canary" else stage


def _stages_words(stages: Stages) -> str:
    canary = f", '{stages.canary}' is a canary for {stages.percent:g}%" if stages.canary else ""
    return f"version '{stages.production}' is in production{canary}"


def _event_words(event: Event) -> tuple[str, str]:
    words = _stages_words(event.after)
    if event.action == "rollback":
        words += f" (rollback of change {event.undoes})"
    gate = event.gate
    return f"{event.serial}: {words}", "" if gate is None else f"{gate['metric']} {gate['value']:.4g}"
