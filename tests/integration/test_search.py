"""Search with a trained model: words, a picture and both, by the command line; the README's lines."""

from __future__ import annotations

import json

import pytest
from tests.conftest import room_rows

from omnifuse.cli.main import run
from omnifuse.search import Index


@pytest.fixture(scope="module")
def indexed(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "idx"
    with pytest.raises(SystemExit) as caught:
        run(["index", str(fitted.run), str(fitted.world.test), "-o", str(folder), "--json"])
    assert not caught.value.code
    return folder


def asked(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(["search", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert not caught.value.code, err
    return json.loads(out)


def test_a_row_finds_itself(fitted, indexed, capsys):
    row = room_rows(fitted.world.test, 3)[1]
    cells = {name: cell for name, cell in row.items() if name in Index.open(indexed).manifest.fields and cell}
    found = asked(capsys, indexed, "--row", json.dumps(cells), "-k", "3")
    assert found["hits"][0]["score"] == pytest.approx(1.0, abs=1e-4)
    assert found["model_id"] == fitted.model.model_id


def test_words_and_a_picture_together(fitted, indexed, capsys, tmp_path):
    row = next(item for item in room_rows(fitted.world.test, 20) if item["picture"])
    page = tmp_path / "page.html"
    found = asked(capsys, indexed, "alarm bells", "--image", row["picture"], "-k", "5", "--html", page)
    assert len(found["hits"]) == 5
    assert "data:image/" in page.read_text(encoding="utf-8")
    hits = fitted.model.search(indexed, {"note": "alarm bells", "picture": row["picture"]}, k=5)
    assert [hit.id for hit in hits] == [hit["id"] for hit in found["hits"]]
