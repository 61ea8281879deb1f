"""`omnifuse inspect`: the inferred schema and why, and what is wrong with the data."""

from __future__ import annotations

from pathlib import Path

import typer

from omnifuse.cli.options import pairs, print_json, print_table


def inspect(
    table: str = typer.Argument(..., help="CSV, TSV, Parquet, JSONL or folder."),
    label: list[str] | None = typer.Option(None, "--label", help="Column to predict; repeat for several."),
    field: list[str] | None = typer.Option(None, "--field", help="NAME=MODALITY, overriding what is inferred."),
    drop: list[str] | None = typer.Option(None, "--drop", help="Column to leave out; repeat for several."),
    group: str | None = typer.Option(None, "--group", help="Column of groups."),
    test: str | None = typer.Option(None, "--test", help="Second table: what stands in both is reported."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Folder of the media."),
    as_json: bool = typer.Option(False, "--json", help="Results as one JSON document on stdout."),
) -> None:
    """Print what omnifuse would read in TABLE, why, and what its owner should know."""
    from omnifuse.api import inspect as inspect_table

    schema, findings = inspect_table(
        table, label, fields=pairs(field, "--field"), drop=drop or (), group=group, test=test, media_root=media_root
    )
    if as_json:
        data = {
            "fields": [item.to_json() for item in schema.fields],
            "targets": [item.to_json() for item in schema.targets],
            "dropped": schema.dropped,
            "findings": [item.to_json() for item in findings],
        }
        print_json(data)
        return
    rows = [(item.name, item.modality.value, f"{item.missing:.0%}", item.reason) for item in schema.fields]
    print_table("Fields", ("column", "modality", "missing", "why"), rows)
    if schema.targets:
        targets = [(item.name, item.kind.value, f"{item.missing:.0%}", item.reason) for item in schema.targets]
        print_table("\nTargets", ("column", "task", "missing", "why"), targets)
    if schema.dropped:
        print_table("\nNot used", ("column", "why"), list(schema.dropped.items()))
    if findings:
        listed = [(item.severity, item.field or "(table)", item.text) for item in findings]
        print_table("\nFindings", ("severity", "column", "what"), listed)
    else:
        typer.echo("\nNo findings.")
