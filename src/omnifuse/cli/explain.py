"""`omnifuse explain`: what carried the answers to some rows, on the terminal, as JSON, or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from omnifuse.cli.options import print_json, print_table
from omnifuse.errors import InputError

if TYPE_CHECKING:
    from omnifuse.explain import Explanation

MOST_ROWS = 100
_FIRST_ROWS = 3


def explain(
    model_folder: Path = typer.Argument(..., metavar="DIR", help="Run folder or model folder."),
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    row: list[int] | None = typer.Option(
        None, "--row", metavar="N", help="Explain row N, counted from 0; may be repeated. The first 3 by default."
    ),
    target: str | None = typer.Option(None, "--target", metavar="COLUMN", help="Explain this target alone."),
    html: Path | None = typer.Option(None, "--html", metavar="OUT.html", help="Also write a page to look at."),
    graphs: bool = typer.Option(False, "--graphs", help="Ask what `omnifuse export` wrote, without PyTorch."),
    seed: int = typer.Option(0, "--seed", help="Of the orders that are drawn beyond 7 fields or columns."),
    history: str | None = typer.Option(None, "--history", metavar="TABLE", help="As for predict."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="The explanations as one JSON document on stdout."),
) -> None:
    """How much each field carried the answer to a row, and which of its words, columns, regions or seconds did.

    Effects tell what the model read. They do not tell what causes the label.
    """
    from omnifuse.data.tables import open_table
    from omnifuse.report.explanations import write_explanations

    opened = open_table(table, media_root=media_root)
    rows = list(dict.fromkeys(row)) if row else list(range(min(_FIRST_ROWS, opened.num_rows)))
    if len(rows) > MOST_ROWS:
        raise InputError(f"{len(rows)} rows are to be explained", fix=f"Give at most {MOST_ROWS} at a time")
    if graphs:
        from omnifuse.deploy.runtime import Runtime

        found = Runtime(model_folder).explain_rows(
            opened, target, rows=rows, media_root=media_root, history=history, seed=seed
        )
    else:
        from omnifuse.api import load

        found = load(model_folder).explain_rows(
            opened, target, rows=rows, media_root=media_root, history=history, seed=seed
        )
    if html is not None:
        write_explanations(found, html, title=f"What carried the answers: {Path(table).name}")
    if as_json:
        print_json({"explanations": [item.to_json() for item in found], **({"html": str(html)} if html else {})})
        return
    for item in found:
        _print(item)
    typer.echo("Effects tell what the model read, not what causes the label." + (f" Page: {html}" if html else ""))


def _print(item: Explanation) -> None:
    from omnifuse.report.explanations import answer_words, effect_text, strongest

    if item.error:
        typer.echo(f"row {item.row_id}: {item.error}\n")
    for answer in item.answers:
        heading, sure = answer_words(answer)
        shares = [
            (share.field, "", effect_text(share.effect, share.error), f"{share.share:.0%}") for share in answer.shares
        ]
        parts = [
            (name, part.what, effect_text(part.effect), "") for name, part in strongest(answer.parts.values())
        ]  # fmt: skip
        print_table(
            f"row {item.row_id}, {heading} ({sure})", ("field", "part", f"effect, {answer.answered.unit}", "share"),
            [*shares, *parts],
        )  # fmt: skip
        typer.echo("")
