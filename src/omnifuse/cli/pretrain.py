"""`omnifuse pretrain`: encoders and a shared space from rows without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from omnifuse.cli.options import pairs as named
from omnifuse.cli.options import print_json, print_table
from omnifuse.cli.progress import Progress


def pretrain(
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    out: Path = typer.Option(Path("runs/pretrain"), "--out", help="Run folder."),
    pairs: list[str] | None = typer.Option(
        None, "--pairs", help="Fields or modalities to compare: image:audio,image:text. [default: all pairs]"
    ),
    objective: str = typer.Option(
        "contrastive", "--objective", help="contrastive, sigmoid, matching, masked, or all of them."
    ),
    id: str | None = typer.Option(None, "--id", help="Column whose equal cells mark rows of the same item."),
    preset: str = typer.Option("auto", "--preset", help="auto, tiny, small or base."),
    field: list[str] | None = typer.Option(None, "--field", help="NAME=MODALITY, overriding what is inferred."),
    encoder: list[str] | None = typer.Option(
        None, "--encoder", help="FIELD=ENCODER; see `omnifuse list`. FIELD=hf:NAME_OR_FOLDER: a pretrained backbone."
    ),
    setting: list[str] | None = typer.Option(None, "--set", help="NAME=VALUE: one setting of the preset."),
    drop: list[str] | None = typer.Option(None, "--drop", help="Column to leave out, such as a label; repeatable."),
    group: str | None = typer.Option(None, "--group", help="Rows of one group are held out together."),
    seed: int = typer.Option(0, "--seed", help="One seed gives the same model."),
    minutes: float | None = typer.Option(None, "--minutes", help="Upper limit for the training. [default: 6]"),
    epochs: int | None = typer.Option(None, "--epochs", help="Fixed number of passes instead of a time limit."),
    logger: str = typer.Option("tensorboard", "--logger", help="tensorboard, wandb or none."),
    resume: bool = typer.Option(False, "--resume", help="Go on where an interrupted run of this folder stopped."),
    max_bad: float = typer.Option(0.01, "--max-bad", help="Largest accepted share of unreadable cells of a field."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    allow_download: bool = typer.Option(
        False, "--allow-download", help="Backbones named by hf: may be fetched from the hub."
    ),
    as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout."),
) -> None:
    """Learn one space for the fields of TABLE without labels, for `embed` and for `fit --from`."""
    from omnifuse.api.pretraining import pretrain as pretrain_model

    progress = Progress()
    try:
        model = pretrain_model(
            table,
            out=out,
            pairs=[pair for text in pairs or () for pair in text.split(",")],
            objective=objective,
            id=id,
            preset=preset,
            fields=named(field, "--field"),
            encoders=named(encoder, "--encoder"),
            settings=named(setting, "--set"),
            drop=drop or (),
            group=group,
            seed=seed,
            minutes=minutes,
            epochs=epochs,
            logger=logger,
            resume=resume,
            max_bad=max_bad,
            media_root=media_root,
            allow_download=allow_download,
            progress=progress,
        )
    finally:
        progress.close()
    result = {"artefact": str(out / "model"), **model.manifest["fit"], **model.manifest["pretraining"]}
    if as_json:
        print_json(result)
    else:
        print_result(result, model.manifest["data"]["scored_on"])


def print_result(result: dict[str, Any], scored_on: str) -> None:
    """Retrieval, the space, and where the model lies, for a person."""
    ranks = ("R@1", "R@5", "R@10")
    rows = [
        (
            way.replace(">", " finds "),
            *(f"{score[rank]:.3f} ({score[f'chance {rank}']:.3f})" for rank in ranks),
            f"{score['median_rank']:.0f} of {score['rows']}",
        )
        for way, score in result["retrieval"].items()
    ]
    if rows:
        print_table("retrieval", ("", *(f"{rank} (by chance)" for rank in ranks), "median rank"), rows)
        typer.echo(scored_on)
    for name, space in result["space"].items():
        state = "collapsed" if space["collapsed"] else "spread out"
        typer.echo(f"{name}: {state}, uses {space['effective_rank']:.1f} of {space['width']} dimensions")
    typer.echo(f"model:  {result['artefact']}")
