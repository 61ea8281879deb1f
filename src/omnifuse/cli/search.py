"""`omnifuse search`: what in an index is near words, a picture, a sound or a row; and what in it is there twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omnifuse.cli.options import print_json, print_table
from omnifuse.errors import InputError

if TYPE_CHECKING:
    from omnifuse.search import Index
    from omnifuse.search.asking import Found

_CELL = 60
_COLUMNS, _NEAR = 4, 3


def search(
    folder: Path = typer.Argument(..., metavar="IDX", help="What `omnifuse index` made."),
    words: str | None = typer.Argument(None, metavar="WORDS", help="Words to search for."),
    image: Path | None = typer.Option(None, "--image", metavar="FILE", help="A picture to search for."),
    audio: Path | None = typer.Option(None, "--audio", metavar="FILE", help="A sound to search for."),
    video: Path | None = typer.Option(None, "--video", metavar="FILE", help="A video to search for."),
    row: str | None = typer.Option(None, "--row", metavar="JSON", help="Cells to search for, by column."),
    field: str | None = typer.Option(None, "--field", metavar="COLUMN", help="Which text column WORDS belong to."),
    where: str | None = typer.Option(
        None, "--where", metavar="FILTER", help="Only rows that fit, as \"price < 30 and kind in ('coat', 'hat')\"."
    ),
    count: int = typer.Option(20, "-k", "--count", min=1, max=10_000, help="How many rows."),
    diverse: float = typer.Option(0.0, "--diverse", min=0.0, max=1.0, help="0: the nearest; more: unlike each other."),
    space: str | None = typer.Option(None, "--in", metavar="FIELD", help="Compare with the vectors of this field."),
    near: bool = typer.Option(False, "--near-duplicates", help="List rows that are nearly or exactly the same."),
    similarity: float = typer.Option(0.98, "--similarity", help="Least cosine of near duplicates."),
    model_folder: Path | None = typer.Option(None, "--model", metavar="DIR", help="Where the index's model lies now."),
    graphs: bool = typer.Option(False, "--graphs", help="Ask what `omnifuse export` wrote, without PyTorch."),
    html: Path | None = typer.Option(None, "--html", metavar="OUT.html", help="Also write a gallery to look at."),
    media_root: Path | None = typer.Option(None, "--media-root", help="Media may lie only in this folder."),
    as_json: bool = typer.Option(False, "--json", help="The results as one JSON document on stdout."),
) -> None:
    """What in IDX is near WORDS, a picture, a sound, or several of them together."""
    from omnifuse.schema import Modality
    from omnifuse.search import Index
    from omnifuse.search.asking import ask, question_row

    index = Index.open(folder)
    if not len(index):
        raise InputError(f"the index '{folder}' holds no rows", fix=f"Add some: omnifuse index DIR TABLE -o {folder}")
    given = {Modality.IMAGE: image, Modality.AUDIO: audio, Modality.VIDEO: video}
    media = {modality: str(path.resolve()) for modality, path in given.items() if path is not None}
    if near:
        if words is not None or media or row is not None:
            raise InputError("--near-duplicates takes no question", fix="Ask for one of both")
        _print_duplicates(index, similarity, where, space, count, as_json=as_json)
        return
    if where is not None:
        index.count(where)  # a wrong filter is told before the model is loaded
    model = _model_of(index, model_folder, graphs=graphs)
    question = question_row(model.schema, text=words, media=media, row=_cells(row), field=field)
    found = ask(
        model, index, question, count, where=where, diversity=diverse, space=space, media_root=media_root
    )  # fmt: skip
    for warning in found.warnings:
        sys.stderr.write(f"omnifuse: {warning}\n")
    if html is not None:
        from omnifuse.report.gallery import write_gallery

        write_gallery(index, found, html, media_root=media_root)
    if as_json:
        print_json(
            {"hits": [hit.to_json() for hit in found.hits], "fitting": found.num_fitting, "space": found.space,
             "model_id": index.model_id, "warnings": list(found.warnings), **({"html": str(html)} if html else {})}
        )  # fmt: skip
    else:
        _print_hits(index, found)
        fit = " that fit" if found.where else ""
        typer.echo(f"{len(found.hits)} of {found.num_fitting} rows{fit}" + (f". Page: {html}" if html else ""))


def _model_of(index: Index, folder: Path | None, *, graphs: bool) -> Any:
    from omnifuse.cli.index import answerer

    place = folder or (Path(index.manifest.model_folder) if index.manifest.model_folder else None)
    if place is None or (folder is None and not place.exists()):
        where = f"It was made with model {index.model_id}" + (f", which lay in '{place}'" if place else "")
        raise InputError("the model of the index is not where it was", where=where, fix="Say --model DIR")
    return answerer(place, graphs=graphs)


def _cells(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("--row is no JSON object", fix='Write for example --row \'{"note": "red jacket"}\'')
    return found


def _print_hits(index: Index, found: Found) -> None:
    from omnifuse.search.manifest import FUSED

    if not found.hits:
        typer.echo("No row fits the filter." if found.where else "No row has such a vector.")
        return
    # What was filtered by, what the model was to tell and what it reads comes first
    order = dict.fromkeys([*found.filtered, *index.manifest.labels, *index.manifest.fields, *index.columns])
    names = [name for name in order if name in index.columns and not _repeats_id(name, found)][:_COLUMNS]
    rows = [
        (hit.id, f"{hit.score:.3f}", *(_shown(index, name, hit.row.get(name)) for name in names)) for hit in found.hits
    ]
    print_table("", ("id", "score", *names), rows, one_line=True)
    if found.hits[0].near:
        typer.echo(f"{found.hits[0].id}: {_near(found.hits[0].near)}")
    if found.space != FUSED and found.space.removeprefix(f"{FUSED}_") not in found.row:
        typer.echo(f"How well one field finds another: omnifuse report {index.folder}")


def _repeats_id(name: str, found: Found) -> bool:
    return name not in found.filtered and all(hit.row.get(name) == hit.id for hit in found.hits)


def _near(near: Mapping[str, float]) -> str:
    """How near the fields of a row are to the question, in words."""
    return ", ".join(f"{name} {value:.2f}" for name, value in sorted(near.items(), key=lambda item: -item[1])[:_NEAR])


def _shown(index: Index, name: str, cell: Any) -> str:
    """A cell as a page shows it; of a file its name."""
    from omnifuse.report.gallery import cell_text
    from omnifuse.schema import Modality

    if cell is None:
        return ""
    modality = index.manifest.fields.get(name)
    is_path = modality is not None and Modality(modality).is_media and isinstance(cell, str)
    text = Path(cell).name if is_path else cell_text(cell, index.columns[name])
    return text if len(text) <= _CELL else text[: _CELL - 1] + "\u2026"


def _print_duplicates(
    index: Index, similarity: float, where: str | None, space: str | None, count: int, *, as_json: bool
) -> None:
    from omnifuse.search.near_duplicates import near_duplicates

    found = near_duplicates(index, similarity, where=where, space=space, most=count)
    if as_json:
        print_json(found.to_json())
        return
    rows = [
        (pair.first, pair.second, f"{pair.score:.4f}", "the same content" if pair.same else "") for pair in found.pairs
    ]
    print_table("", ("row", "row", "similarity", ""), rows)
    typer.echo(
        f"{found.num_pairs} pairs of {found.rows} rows in {len(found.groups)} groups are at least {found.similarity:g} "
        f"similar or of one content; {found.num_same} rows repeat another one to the byte"
    )
