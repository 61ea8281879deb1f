"""The index: adding, replacing, deleting, joining, copying, and what it refuses."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import polars as pl
import pytest

from omnifuse.errors import InputError
from omnifuse.search import Index, finding
from omnifuse.search import index as module
from omnifuse.search.graph import Graph


@pytest.fixture
def index(tmp_path):
    made = Index.create(tmp_path / "idx", {"embedding": 3, "embedding_note": 3})
    made.add(
        ["a", "b", "c"],
        {"embedding": np.eye(3), "embedding_note": [[1, 1, 0], [np.nan] * 3, [0, 0, 5]]},
        {"price": ["1", "20", None], "kind": ["coat", "hat", "coat"]},
    )
    return made


def ids(hits):
    return [hit.id for hit in hits]


def test_what_was_added_is_found_after_opening(index):
    for seen in (index, Index.open(index.folder), Index.open(index.folder, check=False)):
        hits = seen.search([0.1, 2, 0], 2)
        assert ids(hits) == ["b", "a"]
        assert hits[0].row == {"price": 20.0, "kind": "hat"}
        assert hits[0].score == pytest.approx(2 / np.hypot(0.1, 2))
        assert ids(seen.search([1, 0, 0], 5, space="note")) == ["a", "c"]
        assert ids(seen.search([1, 0, 0], 5, where="price is missing or kind == 'hat'")) == ["b", "c"]
        assert seen.count("kind == 'coat'") == 2
        assert [ids(found) for found in seen.search(np.eye(3)[:2], 1)] == [["a"], ["b"]]


def test_replacing_and_deleting(index):
    with pytest.raises(InputError, match="the id 'b' would be in the index twice"):
        index.add(["b", "d"], np.ones((2, 3)))
    assert index.add(["b", "d"], np.ones((2, 3)), {"price": [7, 8]}, replace=True) == 2
    assert sorted(index.ids) == ["a", "b", "c", "d"]
    assert {hit.id: hit.row["price"] for hit in index.search([1, 1, 1], 9)}["b"] == 7.0
    assert index.delete(["a", "nobody"]) == 1
    assert index.delete(["a"]) == 0
    assert sorted(ids(Index.open(index.folder).search([1, 0, 0], 9))) == ["b", "c", "d"]
    index.add(["a"], np.eye(3)[:1])
    assert ids(index.search([1, 0, 0], 1)) == ["a"]


def test_columns_of_later_rows(index):
    index.add(["d"], np.ones((1, 3)), pl.DataFrame({"price": ["many"], "colour": ["red"]}))
    assert index.lost == {"price": 1}
    rows = {hit.id: hit.row for hit in Index.open(index.folder).search([1, 1, 1], 9)}
    assert rows["d"] == {"price": None, "kind": None, "colour": "red"}
    assert rows["a"]["colour"] is None
    assert index.count("colour is missing") == 3


def test_small_segments_are_joined_and_rows_stay_where_they_are(index, monkeypatch):
    monkeypatch.setattr(module, "MOST_SEGMENTS", 8)
    numbers = {}
    for row in range(12):
        index.add([f"r{row}"], np.ones((1, 3)) * [row + 1, 1, 1], {"price": [row]})
        numbers[f"r{row}"] = row + 3
    index.delete(["r3"])
    assert len(index.manifest.segments) < 8
    seen = Index.open(index.folder)
    found = {hit.id: hit for hit in seen.search([1, 1, 1], 100)}
    assert {name: hit.number for name, hit in found.items() if name in numbers} == {
        name: number for name, number in numbers.items() if name != "r3"
    }
    assert all(hit.row["price"] == float(name[1:]) for name, hit in found.items() if name in numbers)
    assert len(seen.search([1, 0, 0], 99, space="note")) == 2


def test_another_object_sees_changes_when_it_asks(index):
    other = Index.open(index.folder)
    index.add(["d"], np.ones((1, 3)))
    assert len(other) == 3
    assert other.refresh()
    assert not other.refresh()
    assert len(other) == 4
    other.add(["e"], np.ones((1, 3)))
    index.add(["f"], np.ones((1, 3)))
    assert len(index) == 6


def test_a_copy_has_no_deleted_rows(index, tmp_path):
    index.delete(["b"])
    copy = index.save(tmp_path / "copy")
    assert copy.ids == ["a", "c"]
    assert copy.snapshot.num_rows == 2
    assert ids(copy.search([1, 0, 0], 9, space="note")) == ["a", "c"]
    with pytest.raises(InputError, match="holds an index already"):
        index.save(tmp_path / "copy")


def test_half_precision(tmp_path):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(50, 8))
    index = Index.create(tmp_path / "idx", {"embedding": 8}, precision="float16")
    index.add(range(50), vectors)
    hit = Index.open(index.folder).search(vectors[7], 1)[0]
    assert hit.id == "7"
    assert hit.score == pytest.approx(1.0, abs=1e-3)


def test_diversity_takes_unlike_rows(tmp_path):
    index = Index.create(tmp_path / "idx", {"embedding": 2})
    index.add(["a", "copy", "far"], [[1, 0.1], [1, 0.11], [0.6, -1]])
    assert ids(index.search([1, 0], 2)) == ["a", "copy"]
    assert ids(index.search([1, 0], 2, diversity=0.6)) == ["a", "far"]


def test_huge_and_tiny_vectors_are_scaled(tmp_path):
    index = Index.create(tmp_path / "idx", {"embedding": 2})
    index.add(["huge", "tiny"], np.array([[1e38, 1e38], [1e-40, 0]], np.float32))
    assert [round(hit.score, 4) for hit in index.search([1, 0], 2)] == [1.0, 0.7071]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda item: item.search([1, 2]), "question in 'embedding' are 1x2. Give rows of 3 numbers"),
        (lambda item: item.search([0, 0, 0]), "empty vector"),
        (lambda item: item.search([1, np.inf, 0]), "not finite"),
        (lambda item: item.search([1, 0, 0], 0), "0 rows were asked for"),
        (lambda item: item.search([1, 0, 0], diversity=2), "diversity is 2"),
        (lambda item: item.search([1, 0, 0], space="nota"), "no vectors 'nota'. did you mean"),
        (lambda item: item.add(["x"], [[1, 0]]), "are 1x2"),
        (lambda item: item.add(["x", "y"], [[1, 0, 0]]), "2 ids came with 1 vectors"),
        (lambda item: item.add(["x", "x"], np.ones((2, 3))), "'x' would be in the index twice"),
        (lambda item: item.add(["x"], [[np.nan] * 3]), "row 1 of those to be added has no vector"),
        (lambda item: item.add(["x"], [[1, 0, 0]], {"p": [1, 2]}), "'p' has 2 cells for 1 rows"),
        (lambda item: item.add(["x"], [[1, 0, 0]], {"omnifuse:id": [1]}), "is taken"),
        (lambda item: item.add(["x"], {"other": [[1, 0, 0]]}), "no vectors 'other'"),
        (lambda item: Index.create(item.folder, {"embedding": 3}), "holds an index already"),
        (lambda item: Index.create(item.folder / "n", {}), "without vectors"),
        (lambda item: Index.create(item.folder / "n", {"a": 0}), "would be 0 wide"),
        (lambda item: Index.create(item.folder / "n", {"a": 1}, precision="int3"), "'int3' is no precision"),
    ],
)
def test_what_is_refused_changes_nothing(index, call, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        call(index)
    assert Index.open(index.folder).ids == ["a", "b", "c"]


class StandIn:
    """What `omnifuse.search.graph` asks of usearch, by an exact search."""

    def __init__(self, *, ndim, **options):
        self.ndim, self.expansion_search = ndim, 0
        self.keys, self.values = np.empty(0, np.uint64), np.empty((0, ndim), np.float32)

    def __len__(self):
        return len(self.keys)

    def add(self, keys, values, threads=0):
        self.keys = np.concatenate([self.keys, keys])
        self.values = np.concatenate([self.values, values])

    def search(self, question, count):
        return types.SimpleNamespace(keys=self.keys[np.argsort(-(self.values @ question), kind="stable")[:count]])

    def save(self, path):
        with open(path, "wb") as handle:
            np.save(handle, self.values)

    def load(self, path):
        with open(path, "rb") as handle:
            self.values = np.load(handle)
        self.keys = np.arange(len(self.values), dtype=np.uint64)

    view = load


@pytest.fixture
def many(tmp_path, monkeypatch):
    """600 rows with a stand-in for usearch, in which 100 rows are many."""
    for name in ("usearch", "usearch.index"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["usearch.index"].Index = StandIn
    monkeypatch.setattr("omnifuse.search.graph.can_make_graphs", lambda: True)
    monkeypatch.setattr("omnifuse.search.graphs.can_make_graphs", lambda: True)
    monkeypatch.setattr(finding, "can_make_graphs", lambda: True)
    monkeypatch.setattr(module, "can_make_graphs", lambda: True)
    monkeypatch.setattr(finding, "EXACT_ROWS", 100)
    monkeypatch.setattr("omnifuse.search.graphs._EXACT_KEPT", 30)
    made = Index.create(tmp_path / "idx", {"embedding": 6})
    made.add(range(600), np.random.default_rng(0).normal(size=(600, 6)), {"n": list(range(600))})
    return made


@pytest.mark.parametrize("where", [None, "n < 200", "n < 20", "n >= 550 or n < 100"])
def test_a_graph_finds_what_an_exact_search_does(many, where, monkeypatch):
    assert many.make_graph()
    many.add(range(600, 650), np.random.default_rng(1).normal(size=(50, 6)), {"n": list(range(600, 650))})
    many.delete(range(0, 650, 7))
    asked = []
    real = StandIn.search
    monkeypatch.setattr(StandIn, "search", lambda self, *rest: asked.append(1) or real(self, *rest))
    questions = np.random.default_rng(2).normal(size=(5, 6))
    seen = Index.open(many.folder)
    for one, two in zip(seen.search(questions, 10, where=where), seen.search(questions, 10, where=where, exact=True),
                        strict=True):  # fmt: skip
        assert [(hit.id, round(hit.score, 5)) for hit in one] == [(hit.id, round(hit.score, 5)) for hit in two]
    assert bool(asked) == (where != "n < 20")


def test_a_damaged_graph_is_made_anew(many):
    many.make_graph()
    path = next(many.folder.glob("*.usearch"))
    path.write_bytes(path.read_bytes()[:-40])
    seen = Index.open(many.folder)
    assert ids(seen.search(np.ones(6), 5)) == ids(seen.search(np.ones(6), 5, exact=True))
    many.add(["x"], np.ones((1, 6)))
    assert many.make_graph()
    assert Index.open(many.folder).manifest.graphs["embedding"].rows == 601


def test_without_usearch_a_large_index_is_searched_exactly_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "EXACT_ROWS", 3)
    monkeypatch.setattr(finding, "can_make_graphs", lambda: False)
    monkeypatch.setattr(module, "can_make_graphs", lambda: False)
    index = Index.create(tmp_path / "idx", {"embedding": 2})
    index.add(range(5), np.eye(2)[[0, 1, 0, 1, 1]])
    assert not index.make_graph()
    with pytest.warns(UserWarning, match=r"5|usearch is not installed; type: pip install"):
        assert ids(index.search([1, 0], 2)) == ["0", "2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids(index.search([1, 0], 2, exact=True)) == ["0", "2"]


@pytest.fixture
def grown(tmp_path, monkeypatch):
    """900 rows in a graph of usearch that grew twice, in which 100 rows are many; every ninth has no note."""
    pytest.importorskip("usearch")
    monkeypatch.setattr(finding, "EXACT_ROWS", 100)
    monkeypatch.setattr("omnifuse.search.graphs._EXACT_KEPT", 30)
    draw = np.random.default_rng(0)
    index = Index.create(tmp_path / "idx", {"embedding": 16, "embedding_note": 16})
    for start, stop in ((0, 800), (800, 900)):
        notes = draw.normal(size=(stop - start, 16))
        notes[::9] = np.nan
        vectors = {"embedding": draw.normal(size=(stop - start, 16)), "embedding_note": notes}
        index.add(range(start, stop), vectors, {"n": list(range(start, stop))})
        assert index.make_graph()
        assert index.make_graph("note")
    return index


@pytest.mark.parametrize("space", [None, "note"])
@pytest.mark.parametrize("where", [None, "n < 300", "n >= 850 or n < 90"])
def test_usearch_itself(grown, where, space):
    grown.delete(range(0, 900, 7))
    grown.add(["new"], {"embedding": np.ones((1, 16)), "embedding_note": np.ones((1, 16))}, {"n": [0]})
    questions = np.vstack([np.random.default_rng(1).normal(size=(19, 16)), np.ones((1, 16))])
    seen = Index.open(grown.folder)
    found = seen.search(questions, 10, where=where, space=space)
    true = seen.search(questions, 10, where=where, space=space, exact=True)
    shared = [len(set(ids(one)) & set(ids(two))) for one, two in zip(found, true, strict=True)]
    assert np.mean(shared) >= 9.8
    assert all(len(hits) == 10 for hits in found)
    assert found[-1][0].id == "new"
    for one, two in zip(found, true, strict=True):
        scores = {hit.id: hit.score for hit in two}
        assert all(hit.score == pytest.approx(scores.get(hit.id, hit.score), abs=1e-6) for hit in one)


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "foreign"])
def test_a_damaged_graph_of_usearch_gives_the_same_rows(grown, damage):
    path = grown.folder / grown.manifest.graphs["embedding"].file.name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        path.write_bytes(b"no graph")
    else:
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    seen = Index.open(grown.folder)
    question = np.random.default_rng(2).normal(size=16)
    assert ids(seen.search(question, 10)) == ids(seen.search(question, 10, exact=True))
    assert seen.make_graph()
    assert Index.open(grown.folder).manifest.graphs["embedding"].rows == 900


def test_a_foreign_graph_file_is_no_graph(tmp_path):
    pytest.importorskip("usearch")
    graph = Graph.made(4)
    graph.extend([np.eye(4, dtype=np.float32)], np.ones(4, np.bool_))
    path = tmp_path / graph.stored(tmp_path).file.name
    content = path.read_bytes()
    for view in (True, False):
        assert Graph.opened(path, 4, 4, view=view) is not None
        assert Graph.opened(path, 5, 4, view=view) is None
        assert Graph.opened(path, 4, 3, view=view) is None
    for wrong in (b"", b"no graph", content[:40]):
        path.write_bytes(wrong)
        assert Graph.opened(path, 4, 4) is None


def test_rows_that_no_question_comes_to_are_added_again(monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr("omnifuse.search.graph._ALONE", 100)
    vectors = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = vectors[2050]
    graph = Graph.made(16)
    real, again = graph.native, []

    class Losing:
        """Puts every hundredth row where it does not belong, when rows come in many."""

        def add(self, keys, values, threads):
            again.extend(keys.tolist() if len(real) > 2900 else [])
            moved = values.copy()
            if threads == 0:
                moved[::100] *= -1
            real.add(keys, moved, threads=threads)

        def __getattr__(self, name):
            return getattr(real, name)

        def __setattr__(self, name, value):
            setattr(real, name, value)

    graph.native = Losing()
    graph.extend([vectors[:1200], vectors[1200:]], np.ones(3000, np.bool_))
    assert len(real) == 3000
    assert set(range(100, 3000, 100)) & set(again)
    real.expansion_search = 192
    found = np.asarray(real.search(vectors, 2).keys, np.int64)
    assert all(row in pair for row, pair in enumerate(found.tolist()))
