"""An index on disk: vectors of unit length with the columns of their rows, to add to, delete from and search.

```
IDX/index.json             what belongs to the index, with SHA-256 of each file; replaced at once
IDX/rows-*.arrow           ids, keys and columns of rows that were added together
IDX/rows-*.N.vectors       their vectors in space N, row by row
IDX/deleted-*.bits         which rows were deleted
IDX/graph-*.usearch        a graph for approximate search, beyond 200,000 rows
IDX/.lock                  held by the one process that writes
```

A change writes new files, makes them last, and then replaces `index.json`: whoever is killed leaves the index as it was
before, or with the change. Files that nothing names are removed by the next change.

Shapes: R rows, D width of a space, Q questions, K results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from omnifuse.errors import ArtefactError, InputError
from omnifuse.files import make_folder
from omnifuse.search.columns import ColumnKind, typed_frame
from omnifuse.search.deleted import write_deleted
from omnifuse.search.diversity import diverse_order, pool_size
from omnifuse.search.finding import hits_of, kept_rows, nearest_rows, space_name
from omnifuse.search.graph import can_make_graphs
from omnifuse.search.graphs import Graphs
from omnifuse.search.hit import Hit
from omnifuse.search.incoming import cells_of, kind_of, refuse_repeated, unit_matrices, unit_rows
from omnifuse.search.manifest import FILE, Manifest
from omnifuse.search.segment import ID, KEY, write_segment
from omnifuse.search.snapshot import Snapshot
from omnifuse.search.writing import commit, remove_unnamed, sole_writer

# So many segments are joined into one
MOST_SEGMENTS = 32

Opened = TypeVar("Opened")


class Index:
    """Rows with vectors of unit length, searched exactly up to 200,000 rows and through a graph beyond.

    An object sees the index as it was when it was opened or last changed through it; `refresh` sees what others added.

    Attributes:
        folder: Where it lies.
        snapshot: Segments, columns and deleted rows that it sees.
        lost: Column to the number of cells added through it that could not be kept, and are missing.

    Example:
        >>> import tempfile
        >>> index = Index.create(tempfile.mkdtemp() + "/idx", {"embedding": 2})
        >>> index.add(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]], {"price": [10, 20, 50]})
        3
        >>> [(hit.id, round(hit.score, 2)) for hit in index.search([1, 0], k=2, where="price < 30")]
        [('a', 1.0), ('b', 0.0)]
    """

    def __init__(self, folder: Path, manifest: Manifest, *, check: bool = True) -> None:
        self.folder = folder
        self.snapshot = Snapshot.opened(folder, manifest, check=check)
        self.graphs = Graphs(folder)
        self.lost: dict[str, int] = {}

    @classmethod
    def create(
        cls,
        folder: str | Path,
        spaces: Mapping[str, int],
        *,
        model_id: str = "",
        model_folder: str = "",
        precision: str = "float32",
        fields: Mapping[str, str] | None = None,
        labels: Sequence[str] = (),
    ) -> Index:
        """A new, empty index.

        Args:
            folder: Made where absent; must not hold an index.
            spaces: Name of each vector space to its width; the first one is searched by default.
            model_id: Of the model that makes the vectors.
            model_folder: Where it lies, for `omnifuse search`.
            precision: "float32", or "float16" for half the bytes and cosines to about 0.0005.
            fields: Column name to modality, for pages.
            labels: Columns that the model predicts, for the map.

        Raises:
            InputError: The folder holds an index, or an argument is wrong.
        """
        home = Path(folder)
        manifest = Manifest(
            dict(spaces), model_id, model_folder, precision, fields=dict(fields or {}), labels=tuple(labels)
        )
        make_folder(home)
        with sole_writer(home):
            if (home / FILE).exists():
                raise InputError(f"'{home}' holds an index already", fix="Give another folder, or add to it")
            manifest.write(home)
        return cls(home, manifest)

    @classmethod
    def open(cls, folder: str | Path, *, check: bool = True) -> Index:
        """An index that is there.

        Args:
            folder: Of the index.
            check: Read every file once and compare its SHA-256, about a second a gigabyte; else lengths alone.

        Raises:
            ArtefactError: There is none, or a file is absent, cut short or changed. A damaged graph is made anew.
        """
        home = Path(folder)
        found: Index = _newest(home, lambda manifest: cls(home, manifest, check=check))
        return found

    @property
    def manifest(self) -> Manifest:
        """What the index is made of."""
        return self.snapshot.manifest

    @property
    def model_id(self) -> str:
        """The model that made the vectors."""
        return self.manifest.model_id

    @property
    def spaces(self) -> dict[str, int]:
        """Name of each vector space to its width."""
        return dict(self.manifest.spaces)

    @property
    def columns(self) -> dict[str, ColumnKind]:
        """Column name to what it holds."""
        return dict(self.manifest.columns)

    @property
    def ids(self) -> list[str]:
        """Ids of the rows, in order."""
        found: list[str] = self.snapshot.column(ID).filter(pl.Series(self.snapshot.live)).to_list()
        return found

    def __len__(self) -> int:
        return int(self.snapshot.live.sum())

    def refresh(self) -> bool:
        """See what other processes changed; whether there was anything."""
        if Manifest.read(self.folder).serial == self.manifest.serial:
            return False
        self.snapshot = _newest(self.folder, self.snapshot.advanced)
        return True

    def add(
        self,
        ids: Sequence[Any],
        vectors: Any,
        rows: Mapping[str, Sequence[Any]] | pl.DataFrame | None = None,
        *,
        keys: Sequence[str] | None = None,
        model_id: str | None = None,
        root: str = "",
        replace: bool = False,
    ) -> int:
        """Add rows; when this returns they are there, whatever happens next.

        Args:
            ids: One a row, unlike each other and those in the index.
            vectors: (R, D) of the first space, or space to (R, D); scaled to unit length. A row that is all NaN or 0
                has no vector in that space; in the first space each must have one.
            rows: Column name to R cells.
            keys: A text a row, equal where the content is, for `near_duplicates`.
            model_id: Of the model that made the vectors; refused where it is another than the index's.
            root: Folder that relative paths in the columns resolve against.
            replace: Rows of the same ids that are in the index are deleted in the same step; else they are refused.

        Returns:
            How many rows were added. Cells that could not be kept are counted in `lost`.

        Raises:
            InputError: Vectors of another model or width, an id that is there already, columns of another length.
        """
        self.check_model(model_id)
        names = pl.Series(ID, [str(item) for item in ids], dtype=pl.String)
        if not len(names):
            return 0
        matrices = unit_matrices(vectors, self.spaces, len(names))
        columns = cells_of(rows, len(names))
        refuse_repeated(names, names.is_duplicated())
        key_series = pl.Series(KEY, list(keys) if keys is not None else [None] * len(names), dtype=pl.String)
        with self._changing() as snapshot:
            old = np.asarray(snapshot.column(ID).is_in(names.implode()).to_numpy(), bool) & snapshot.live
            if old.any() and not replace:
                known = snapshot.column(ID).filter(pl.Series(old))
                refuse_repeated(names, names.is_in(known.implode()))
            kinds = dict(snapshot.manifest.columns)
            for name, cells in columns.items():
                kinds.setdefault(name, kind_of(name, cells, snapshot.manifest.fields))
            frame, lost = typed_frame(columns, kinds)
            whole = pl.DataFrame([names, key_series, *frame.get_columns()])
            precision = snapshot.manifest.precision
            stored = write_segment(self.folder, whole, matrices, precision=precision, root=root)
            segments = (*snapshot.manifest.segments, stored)
            deleted = write_deleted(self.folder, ~snapshot.live | old) if old.any() else snapshot.manifest.deleted
            self._commit(snapshot.manifest.changed(columns=kinds, segments=segments, deleted=deleted))
        for name, count in lost.items():
            self.lost[name] = self.lost.get(name, 0) + count
        if len(self.manifest.segments) > MOST_SEGMENTS:
            self.join()
        return len(names)

    def delete(self, ids: Sequence[Any]) -> int:
        """Delete rows by their ids; those that are not there are passed over.

        Returns:
            How many rows were deleted.
        """
        gone = pl.Series([str(item) for item in ids], dtype=pl.String)
        with self._changing() as snapshot:
            found = np.asarray(snapshot.column(ID).is_in(gone.implode()).to_numpy(), bool) & snapshot.live
            if found.any():
                stored = write_deleted(self.folder, ~snapshot.live | found)
                self._commit(snapshot.manifest.changed(deleted=stored))
        return int(found.sum())

    def search(
        self,
        question: Any,
        k: int = 20,
        *,
        where: str | None = None,
        diversity: float = 0.0,
        space: str | None = None,
        model_id: str | None = None,
        exact: bool = False,
    ) -> Any:
        """The rows nearest to a question, best first.

        Args:
            question: A vector (D,), or several (Q, D); of any length but 0.
            k: How many rows; fewer come only where fewer fit.
            where: A filter on the columns, see `omnifuse.search.filters`.
            diversity: 0 to 1, see `omnifuse.search.diversity`.
            space: Which vectors are compared; the first space by default.
            model_id: Of the model that made the question; refused where it is another than the index's.
            exact: Compare with all rows, however many there are.

        Returns:
            A list of `Hit`, or one such list a question.

        Raises:
            FilterError: The filter is wrong.
            InputError: A question of another model or width, or an option out of its limits.
        """
        self.check_model(model_id)
        if not isinstance(k, int) or k < 1:
            raise InputError(f"{k} rows were asked for", fix="Give a whole number from 1")
        if not 0 <= diversity <= 1:
            raise InputError(f"the diversity is {diversity}", fix="Give a number from 0 to 1")
        name = self.space(space)
        questions = np.asarray(question, dtype=np.float32)
        single = questions.ndim == 1
        questions = unit_rows(questions[None] if single else questions, self.spaces[name], f"question in '{name}'")
        if not questions.any(axis=1).all():
            raise InputError("the question is an empty vector", fix="Give one with a direction")
        kept = self.kept(where, name)
        wanted = pool_size(k) if diversity else k
        found_rows = nearest_rows(self.snapshot, self.graphs, questions, wanted, kept, name, exact=exact)
        found = [self._chosen(scores, numbers, k, diversity, name) for scores, numbers in zip(*found_rows, strict=True)]
        return found[0] if single else found

    def count(self, where: str | None = None) -> int:
        """How many rows fit a filter."""
        return int(self.kept(where).sum())

    def kept(self, where: str | None = None, space: str | None = None) -> np.ndarray:
        """(R,) bool over all rows, deleted ones included: which ones fit a filter and have a vector in a space."""
        return kept_rows(self.snapshot, where, self.space(space))

    def vectors(self, numbers: np.ndarray, space: str | None = None) -> np.ndarray:
        """Vectors (P, D) float32 of rows by number; 0 where a row has none."""
        return self.snapshot.vectors(numbers, self.space(space))

    def hits(self, numbers: np.ndarray, scores: np.ndarray) -> list[Hit]:
        """Rows by number with their scores, columns included."""
        return hits_of(self.snapshot, numbers, scores)

    def space(self, name: str | None = None) -> str:
        """The name of a space that is there; the first one by default. A field's name stands for its space."""
        return space_name(self.manifest.spaces, name)

    def check_model(self, model_id: str | None) -> None:
        """Refuse what another model made.

        Raises:
            InputError: Names both.
        """
        if model_id is not None and model_id != self.model_id:
            raise InputError(
                f"the index is of model {self.model_id or '(unknown)'}, this is model {model_id or '(unsaved)'}",
                where="Vectors of two models cannot be compared",
                fix="Index the table with this model, or search with the other one",
            )

    def make_graph(self, space: str | None = None) -> bool:
        """Make the graph of a space, or let it grow to all rows; whether there is one now.

        Without usearch there is none, and searches stay exact.
        """
        if not can_make_graphs():
            return False
        name = self.space(space)
        with self._changing() as snapshot:
            stored = self.graphs.grown(snapshot, name)
            self._commit(snapshot.manifest.changed(graphs={**snapshot.manifest.graphs, name: stored}))
        return True

    def join(self) -> None:
        """Write small segments anew as one; row numbers stay as they are."""
        with self._changing() as snapshot:
            segments = snapshot.joined(self.folder, MOST_SEGMENTS // 4)
            self._commit(snapshot.manifest.changed(segments=segments))

    def save(self, folder: str | Path) -> Index:
        """A copy in another folder, without the deleted rows.

        Raises:
            InputError: The folder holds an index already.
        """
        now = self.manifest
        copy = Index.create(
            folder, now.spaces, model_id=now.model_id, model_folder=now.model_folder, precision=now.precision,
            fields=now.fields, labels=now.labels,
        )  # fmt: skip
        with copy._changing() as fresh:
            segments = self.snapshot.copied(copy.folder)
            copy._commit(fresh.manifest.changed(columns=now.columns, segments=segments))
        for name in now.graphs:
            copy.make_graph(name)
        return copy

    def _chosen(self, scores: np.ndarray, numbers: np.ndarray, k: int, diversity: float, space: str) -> list[Hit]:
        if diversity and len(numbers):
            order = diverse_order(scores, self.vectors(numbers, space), k, diversity)
            scores, numbers = scores[order], numbers[order]
        return self.hits(numbers[:k], scores[:k])

    @contextmanager
    def _changing(self) -> Iterator[Snapshot]:
        """The newest snapshot, while nobody else writes."""
        with sole_writer(self.folder):
            self.refresh()
            yield self.snapshot

    def _commit(self, manifest: Manifest) -> None:
        """Make a change last, see it, and remove what no longer belongs to the index."""
        commit(self.folder, manifest)
        self.snapshot = self.snapshot.advanced(manifest)
        remove_unnamed(self.folder, manifest)


def _newest(folder: Path, opened: Callable[[Manifest], Opened]) -> Opened:
    """What `opened` makes of the newest document; again where another process joined segments since it was read."""
    for _ in range(3):
        manifest = Manifest.read(folder)
        try:
            return opened(manifest)
        except ArtefactError:
            if Manifest.read(folder).serial == manifest.serial:
                raise
    return opened(Manifest.read(folder))
