"""A table into an index and questions to it, by the command line and in Python, with a small answerer."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
from tests.searching import COLOURS, ColourModel, coloured_rows

from omnifuse.cli.main import run
from omnifuse.errors import InputError
from omnifuse.report.gallery import write_gallery
from omnifuse.report.space import write_space
from omnifuse.schema import Modality
from omnifuse.search import Index
from omnifuse.search.asking import ask, question_row
from omnifuse.search.indexing import index_table
from omnifuse.search.space import measured_space

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A table of 24 coloured things, one broken picture and one empty row, and an index of it."""
    folder = tmp_path_factory.mktemp("shop")
    rows = coloured_rows(folder / "media")
    rows[4]["note"] = f"a green {EVIL}"
    (folder / "media" / "8.png").write_bytes(b"broken")
    for name in ("note", "picture", "price"):
        rows[20][name] = None
    pl.DataFrame(rows).write_csv(folder / "media" / "rows.csv")
    model = ColourModel(folder=folder)
    made = index_table(model, folder / "media" / "rows.csv", folder / "idx")
    return folder, model, made


@pytest.fixture
def cli(capsys, monkeypatch, shop):
    monkeypatch.setattr("omnifuse.cli.index.answerer", lambda folder, graphs: shop[1])

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            run([str(item) for item in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return call


def test_rows_are_indexed_and_those_left_out_are_named(shop):
    _, _, made = shop
    assert made.rows == len(made.index) == 23
    assert any("1 rows hold nothing readable and are not in the index: row 21" in note for note in made.notes)
    assert any("1 cells could not be read" in note for note in made.notes)
    assert {name: kind.value for name, kind in made.index.columns.items()} == {
        "key": "text", "note": "text", "picture": "text", "price": "number", "kind": "text", "stock": "flag",
        "added": "date", "tags": "tags",
    }  # fmt: skip
    assert made.index.ids[:2] == ["k0", "k1"]
    assert list(made.index.spaces) == ["embedding", "embedding_note", "embedding_picture", "embedding_table"]


@pytest.mark.parametrize("colour", COLOURS)
def test_words_find_pictures_and_pictures_find_words(shop, colour):
    folder, model, made = shop
    found = ask(model, made.index, {"note": colour}, 4, space="picture")
    assert {int(hit.id[1:]) % 3 for hit in found.hits} == {COLOURS.index(colour)}
    assert all("note ~ picture" in hit.near or "note" in hit.near for hit in found.hits)
    picture = str(folder / "media" / f"{COLOURS.index(colour) + 9}.png")
    found = ask(model, made.index, {"picture": picture}, 4, space="note")
    assert {int(hit.id[1:]) % 3 for hit in found.hits} == {COLOURS.index(colour)}


def test_a_question_of_several_fields_is_what_embed_gives(shop):
    folder, model, made = shop
    row = {"note": "red", "picture": str(folder / "media" / "1.png")}
    vector = model.embed([row])["embedding"][0]
    found = ask(model, made.index, row, 5, where="price < 15")
    expected = made.index.search(vector, 5, where="price < 15")
    assert [hit.id for hit in found.hits] == [hit.id for hit in expected]
    assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    assert found.filtered == ("price",)
    assert found.num_fitting == 15
    near = found.hits[0].near
    notes = model.embed([{"note": found.hits[0].row["note"]}, row])["embedding_note"]
    assert near["note"] == pytest.approx(float(notes[0] @ notes[1]), abs=1e-5)


def test_adding_again_and_another_model(shop, tmp_path):
    folder, model, _ = shop
    shutil.copytree(folder / "idx", tmp_path / "idx")
    table = folder / "media" / "rows.csv"
    with pytest.raises(InputError, match="in the index twice"):
        index_table(model, table, tmp_path / "idx")
    assert len(index_table(model, table, tmp_path / "idx", replace=True).index) == 23
    other = ColourModel("colours0002")
    with pytest.raises(InputError, match="of model colours0001, this is model colours0002"):
        index_table(other, table, tmp_path / "idx")
    with pytest.raises(InputError, match="of model colours0001, this is model colours0002"):
        ask(other, Index.open(tmp_path / "idx"), {"note": "red"})
    with pytest.raises(InputError, match="Save it first"):
        index_table(ColourModel(""), table, tmp_path / "new")
    with pytest.raises(InputError, match="no column 'kay' to name the rows"):
        index_table(model, table, tmp_path / "new", id_column="kay")


def test_rows_without_ids_are_numbered_on(tmp_path):
    model = ColourModel()
    for _ in range(2):
        made = index_table(model, [{"note": "red"}, {"note": "blue"}], tmp_path / "idx", only_fused=True)
    assert made.index.ids == ["0", "1", "2", "3"]
    assert list(made.index.spaces) == ["embedding"]


@pytest.mark.parametrize(
    ("keys", "names", "told"),
    [
        (["a", "b", "c"], ["a", "b", "c"], ""),
        (["a", "b", "a"], ["x1", "x2", "x3"], "rows are named by their 'id'"),
        (["a", None, "b"], ["x1", "x2", "x3"], "rows are named by their 'id'"),
    ],
)
def test_rows_are_named_by_what_tells_them_apart(tmp_path, keys, names, told):
    rows = [{"key": key, "note": "red", "id": f"x{place + 1}"} for place, key in enumerate(keys)]
    made = index_table(ColourModel(), rows, tmp_path / "idx")
    assert made.index.ids == names
    assert [note for note in made.notes if "named" in note] == [told] * bool(told)
    without = [{"key": key, "note": "red"} for key in keys]
    numbered = index_table(ColourModel(), without, tmp_path / "other")
    if told:
        assert numbered.index.ids == ["0", "1", "2"]
        assert any("'key' is empty or the same in several rows" in note for note in numbered.notes)
        with pytest.raises(InputError, match=r"rows 1 and 3 are both 'a' in 'key'|row 2 has no id in 'key'"):
            index_table(ColourModel(), rows, tmp_path / "none", id_column="key")
        assert not (tmp_path / "none").exists()


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no rows"):
        index_table(ColourModel(), pl.DataFrame({"note": []}, schema={"note": pl.String}), tmp_path / "idx")
    assert not (tmp_path / "idx").exists()


def test_progress_is_told(tmp_path):
    seen = []
    rows = [{"note": "red"}] * 300
    index_table(ColourModel(), rows, tmp_path / "idx", progress=lambda done, rows: seen.append((done, rows)))
    assert seen[0] == (0, 300)
    assert seen[-1] == (300, 300)
    assert seen == sorted(set(seen))


def test_an_index_without_rows_says_so(cli, tmp_path):
    Index.create(tmp_path / "idx", {"embedding": 4})
    code, _, err = cli("search", tmp_path / "idx", "red")
    assert code == 2
    assert "holds no rows" in err


def test_media_in_memory_are_counted(tmp_path):
    made = index_table(ColourModel(), [{"picture": np.zeros((4, 4, 3), np.uint8), "note": "red"}], tmp_path / "idx")
    assert any("1 cells of 'picture' could not be kept" in note for note in made.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "there is no question"),
        ({"row": {"nota": "x"}}, "no column 'nota'. did you mean 'note'"),
        ({"media": {Modality.AUDIO: "a.wav"}}, "the model reads no audio. It reads note"),
        ({"text": "x", "field": "nota"}, "no column 'nota'"),
        ({"field": "note"}, "there are none"),
    ],
)
def test_questions_that_mean_nothing(options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        question_row(ColourModel().schema, **options)


def test_a_question_that_cannot_be_read(shop, tmp_path):
    _, model, made = shop
    (tmp_path / "x.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"nothing of the question can be read\. picture"):
        ask(model, made.index, {"picture": str(tmp_path / "x.png")})


def test_the_gallery_shows_and_runs_nothing(shop, tmp_path):
    folder, model, made = shop
    row = {"note": f"green {EVIL}", "picture": str(folder / "media" / "1.png")}
    found = ask(model, made.index, row, 12, where="kind in ('coat', 'hat') and price >= 0")
    text = write_gallery(made.index, found, tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"<[^>]+ on\w+=", text)
    assert "default-src 'none'" in text
    assert text.count('<article class="hit">') == 12
    assert text.count("data:image/") >= 8
    assert "&lt;script&gt;" in text
    assert 'class="cell filtered"><b>kind</b>' in text
    assert "{{" not in text
    assert "note</span>" in text
    with_broken = ask(model, made.index, {"note": "blue"}, 23)
    text = write_gallery(made.index, with_broken, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "(unreadable:" in text
    none = ask(model, made.index, {"note": "blue"}, where="price > 1000")
    assert "No row fits." in write_gallery(made.index, none, tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_space_is_measured_and_drawn(shop, tmp_path):
    _, _, made = shop
    space = measured_space(made.index)
    assert space.label == "kind"
    ways = {(item.asked, item.found): item for item in space.retrieval}
    assert ("note", "picture") in ways
    assert ("picture", "note") in ways
    # 8 of a colour are alike, so the partner is among the first 8 or so
    assert ways["note", "picture"].recall[10].value > 0.9
    assert ways["note", "picture"].recall[1].value < 0.7
    text = write_space(made.index, space, tmp_path / "space.html").read_text(encoding="utf-8")
    assert text.count("<circle") == len(space.map.numbers)
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert" in text
    assert "script-src 'sha256-" in text
    assert "default-src 'none'" in text
    assert not re.search(r"<[^>]+ on\w+=", text)
    assert "data:image/" in text
    assert {"uniformity", "hubness", "pairs", "retrieval", "map"} <= set(space.to_json())
    again = measured_space(made.index)
    assert np.array_equal(again.map.layout.places, space.map.layout.places)


def test_too_few_rows_and_unknown_labels(shop):
    index = shop[2].index
    with pytest.raises(InputError, match="2 rows fit, which is too few"):
        measured_space(index, where="price < 2")
    with pytest.raises(InputError, match="did you mean 'kind'"):
        measured_space(index, label="kinds")


def test_the_command_line(shop, cli, tmp_path):
    folder, _, _ = shop
    table = folder / "media" / "rows.csv"
    code, out, err = cli("index", folder, table, "-o", tmp_path / "idx", "--json")
    assert code == 0
    assert json.loads(out)["added"] == 23
    assert "row 21" in err
    code, out, err = cli("search", tmp_path / "idx", "red", "-k", "3", "--where", "price < 10", "--json",
                         "--html", tmp_path / "page.html", "--diverse", "0.2")  # fmt: skip
    assert code == 0, err
    answer = json.loads(out)
    assert len(answer["hits"]) == 3
    assert set(answer["hits"][0]) == {"id", "score", "row", "near"}
    assert answer["fitting"] == 10
    assert (tmp_path / "page.html").exists()
    code, out, err = cli("search", tmp_path / "idx", "--image", folder / "media" / "2.png", "--in", "note")
    assert code == 0, err
    assert "blue thing" in out
    code, out, _ = cli("search", tmp_path / "idx", "--row", '{"note": "green", "price": 3}', "-k", "2")
    assert code == 0
    assert "2 of 23 rows" in out
    code, out, _ = cli("search", tmp_path / "idx", "--near-duplicates", "--similarity", "0.99", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 23
    code, out, _ = cli("report", tmp_path / "idx", "--json")
    assert code == 0
    assert (tmp_path / "idx" / "report.html").exists()
    assert json.loads(out)["drawn"] == 23


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["red", "--where", "prize < 3"], "did you mean 'price'"),
        (["red", "--where", "price << 3"], "a number or a text is expected"),
        (["red", "--row", "[1]"], "--row is no JSON object"),
        (["--row", "{"], "--row is no JSON object"),
        ([], "there is no question"),
        (["red", "--near-duplicates"], "takes no question"),
        (["--near-duplicates", "--similarity", "0"], "the similarity is 0"),
        (["red", "--in", "nothing"], "has no vectors 'nothing'"),
        (["--audio", "x.wav"], "reads no audio"),
    ],
)
def test_wrong_arguments_end_with_2(shop, cli, arguments, words):
    code, out, err = cli("search", shop[0] / "idx", *arguments)
    assert code == 2
    assert words in err
    assert out == ""


def test_a_model_that_is_gone_is_asked_for(shop, cli, tmp_path, monkeypatch):
    model = ColourModel(folder=tmp_path / "gone")
    index_table(model, [{"note": "red"}], tmp_path / "idx")
    code, _, err = cli("search", tmp_path / "idx", "red")
    assert code == 2
    assert "Say --model DIR" in err
    assert cli("search", tmp_path / "idx", "red", "--model", tmp_path)[0] == 0
    code, _, err = cli("search", tmp_path / "none", "red")
    assert code == 2
    assert "holds no index" in err


def test_the_gallery_says_what_was_compared_and_what_is_missing(shop, tmp_path):
    _, model, made = shop
    page = tmp_path / "page.html"
    found = ask(model, made.index, {"note": "red"}, 30, space="picture")
    text = write_gallery(made.index, found, page).read_text(encoding="utf-8")
    assert "the question&#39;s note with each row&#39;s picture" in text
    assert "measured by omnifuse report" in text
    assert "(missing)" not in text
    found = ask(model, made.index, {"note": "red"}, 30, where="price < 5 or price is missing")
    text = write_gallery(made.index, found, page).read_text(encoding="utf-8")
    assert "all fields of the question with all fields of each row" in text
    assert "measured by omnifuse report" not in text


def test_the_terminal_shows_names_of_files_and_no_id_twice(shop, cli):
    code, out, _ = cli("search", shop[0] / "idx", "red", "--in", "picture", "-k", "3")
    assert code == 0
    assert str(shop[0]) not in out.replace(str(shop[0] / "idx"), "")
    assert "key" not in out.splitlines()[0].split()
    assert "How well one field finds another: omnifuse report" in out
    _, out, _ = cli("search", shop[0] / "idx", "red", "--where", "price < -5")
    assert "No row fits the filter." in out


def test_a_map_without_targets_is_coloured_by_classes(tmp_path):
    index = Index.create(tmp_path / "idx", {"embedding": 4})
    draw = np.random.default_rng(0)
    index.add(
        range(40), draw.normal(size=(40, 4)), {"text": [f"no {row}" for row in range(40)], "kind": ["a", "b"] * 20}
    )
    assert measured_space(index).label == "kind"
    assert measured_space(index, label="text").label == "text"
