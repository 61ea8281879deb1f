"""`omnifuse fit`: one command from raw rows to an honest model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import interval_text, pairs, print_json, print_table, score_text
from omnifuse.cli.progress import Progress


def fit(
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    label: list[str] = typer.Option(..., "--label", help="Column to predict; repeat for several."),
    out: Path = typer.Option(Path("runs/fit"), "--out", help="Run folder."),
    valid: str | None = typer.Option(None, "--valid", help="Table that the report's scores are measured on."),
    preset: str = typer.Option("auto", "--preset", help="auto, tiny, small or base."),
    fusion: str = typer.Option(
        "joint", "--fusion", help="How fields are joined; see `omnifuse list`. A,B,C or all: compare them."
    ),
    field: list[str] | None = typer.Option(None, "--field", help="NAME=MODALITY, overriding what is inferred."),
    encoder: list[str] | None = typer.Option(
        None, "--encoder", help="FIELD=ENCODER; see `omnifuse list`. FIELD=hf:NAME_OR_FOLDER: a pretrained backbone."
    ),
    task: list[str] | None = typer.Option(
        None, "--task", help='COLUMN=KIND, e.g. price=regression, pain=ordinal, "pain=ordinal:none<mild<severe".'
    ),
    setting: list[str] | None = typer.Option(None, "--set", help="NAME=VALUE: one setting of the preset."),
    drop: list[str] | None = typer.Option(None, "--drop", help="Column to leave out; repeat for several."),
    group: str | None = typer.Option(
        None,
        "--group",
        help="Rows of one group are never divided between learning and scoring (with --time the order decides).",
    ),
    time: str | None = typer.Option(
        None, "--time", help="Order of the rows: later rows are held out, past rows are read."
    ),
    window: int = typer.Option(60, "--window", help="With --time: past rows that each row gets; 0 for none."),
    seed: int = typer.Option(0, "--seed", help="One seed gives the same model."),
    seeds: int = typer.Option(1, "--seeds", help="Repeat with so many seeds and print mean and sd."),
    minutes: float | None = typer.Option(None, "--minutes", help="Upper limit for the model's training. [default: 6]"),
    epochs: int | None = typer.Option(None, "--epochs", help="Fixed number of passes instead of a time limit."),
    no_baselines: bool = typer.Option(False, "--no-baselines", help="Leave out single fields and simple models."),
    logger: str = typer.Option("tensorboard", "--logger", help="tensorboard, wandb or none."),
    resume: bool = typer.Option(False, "--resume", help="Go on where an interrupted fit of this folder stopped."),
    max_bad: float = typer.Option(0.01, "--max-bad", help="Largest accepted share of unreadable cells of a field."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    report_media: str = typer.Option("sample", "--report-media", help="none or sample: examples in the report."),
    search: float | None = typer.Option(
        None, "--search", metavar="MINUTES", help="Try settings for so long first; the best ones train the model."
    ),
    curve: bool = typer.Option(False, "--curve", help="Also measure the score for fewer rows: would more rows help?"),
    start: Path | None = typer.Option(
        None, "--from", metavar="DIR", help="Begin with the preprocessing and encoders of a model, pretrained or not."
    ),
    allow_download: bool = typer.Option(
        False, "--allow-download", help="Backbones named by hf: may be fetched from the hub."
    ),
    shots: int | None = typer.Option(
        None, "--shots", metavar="K", help="Learn from K labelled rows of each class, on the space of --from."
    ),
    semi: bool = typer.Option(
        False, "--semi", help="Learn from rows whose label is empty too, beside a model of the labelled rows alone."
    ),
    unlabelled: str | None = typer.Option(
        None, "--unlabelled", metavar="TABLE", help="Learn from the rows of TABLE too, without their label."
    ),
    teacher: Path | None = typer.Option(
        None, "--teacher", metavar="DIR", help="Learn from the answers of a model too, which may read more fields."
    ),
    inputs: str | None = typer.Option(None, "--fields", metavar="A,B", help="Read these fields (or modalities) alone."),
    as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout."),
) -> None:
    """Train a model on TABLE, measure it honestly and write the run folder."""
    from omnifuse.api import fit as fit_model
    from omnifuse.training.ranks import is_first

    progress = Progress(quiet=not is_first())
    try:
        model = fit_model(
            table,
            label,
            out=out,
            valid=valid,
            preset=preset,
            fusion=fusion,
            fields=pairs(field, "--field"),
            encoders=pairs(encoder, "--encoder"),
            tasks=pairs(task, "--task"),
            settings=pairs(setting, "--set"),
            drop=drop or (),
            group=group,
            time=time,
            window=window,
            seed=seed,
            seeds=seeds,
            minutes=minutes,
            epochs=epochs,
            baselines=not no_baselines,
            logger=logger,
            resume=resume,
            max_bad=max_bad,
            media_root=media_root,
            report_media=report_media,
            search=search,
            curve=curve,
            start=start,
            allow_download=allow_download,
            shots=shots,
            semi=semi,
            unlabelled=unlabelled,
            teacher=teacher,
            inputs=[name.strip() for name in (inputs or "").split(",") if name.strip()],
            progress=progress,
        )
    finally:
        progress.close()
    if not is_first():  # of several processes one speaks
        return
    result = {"artefact": str(out / "model"), **model.manifest["fit"], "targets": model.metrics["targets"]}
    if "fusions" in model.manifest:
        result["fusions"] = model.manifest["fusions"]
    if "shots" in model.manifest:
        result["shots"] = model.manifest["shots"]
    result |= {name: model.manifest[name] for name in ("unlabelled", "teacher") if name in model.manifest}
    if "search" in model.manifest:
        result["search"] = model.manifest["search"]
    if as_json:
        print_json(result)
    else:
        print_result(result, out)


def print_search(search: dict[str, Any]) -> None:
    """The journal of a search, best trial first named."""
    rows = [
        (
            str(trial["trial"]),
            " ".join(f"{name}={value}" for name, value in trial["settings"].items()),
            trial["state"] if trial["score"] is None else f"{trial['score']:.3f}",
            f"{trial['seconds']:.1f}",
        )
        for trial in search["trials"]
    ]
    print_table("search for settings", ("trial", "settings", "score", "seconds"), rows)
    chosen = " ".join(f"--set {name}={value}" for name, value in search["settings"].items())
    typer.echo(f"settings: {chosen or 'those of the preset, since no trial ended'}")


def print_result(result: dict[str, Any], out: Path) -> None:
    """Scores, verdict and where everything lies, for a person."""
    if "search" in result:
        print_search(result["search"])
    for name, target in result["targets"].items():
        rows = [(metric, score_text(score)) for metric, score in target["metrics"].items()]
        print_table(f"{name} ({target['task']})", ("metric", "score (95% interval)"), rows)
        if words := interval_text(target):
            typer.echo(words)
        others = {**target.get("baselines", {})}
        if others:
            metric = next(iter(target["metrics"]))
            rows = [(kind, score_text(scores.get(metric))) for kind, scores in others.items()]
            print_table("", ("without the whole model", metric), rows)
        points = target.get("curve", ())
        if points:
            metric = next(iter(target["metrics"]))
            rows = [(str(point["rows"]), score_text(point["metrics"][metric])) for point in points]
            print_table("", ("rows learnt from", f"{metric}, one network"), rows)
        fusion = target.get("fusion") or {}
        if fusion.get("verdict"):
            p = f" (p = {fusion['p']:.3g})" if fusion.get("p") is not None else ""
            typer.echo(f"fusion: {fusion['verdict']}{p}")
    if "shots" in result:
        print_shots(result["shots"])
    if "unlabelled" in result:
        found = result["unlabelled"]
        typer.echo(
            f"rows without a label: {found['rows']}, and {found['foreign']} left out; the model: {found['ships']}"
        )
    if "teacher" in result:
        typer.echo(f"teacher: reads {', '.join(result['teacher']['fields'])}; the model: {result['teacher']['ships']}")
    if "fusions" in result:
        print_fusions(result["fusions"])
    typer.echo(f"model:  {result['artefact']}")
    report = out / "report" / "report.html"
    if report.exists():
        typer.echo(f"report: {report}")


def print_shots(shots: dict[str, Any]) -> None:
    """How few labels were learnt from, for a person."""
    rows = [(name, f"{loss:.3f}") for name, loss in shots["log_loss"].items()]
    print_table(f"heads, {shots['rows']} labelled rows", ("heads", "log loss of unlearnt rows"), rows)
    typer.echo(f"heads:  {shots['heads']}")


def print_fusions(table: dict[str, Any]) -> None:
    """The comparison of fusions, for a person."""
    from omnifuse.report.fusions import fusion_cells

    head = ("fusion", table["metric"], f"against {table['default']} (95%)", "p", "parameters", "MFLOP a row", "passes")
    print_table(f"fusions, {table['target']}", head, [fusion_cells(row) for row in table["rows"]])
    typer.echo(table["words"])
