"""Vectors that the user brings: battles whose vectors point the same way ask the same.

No text method finds a paraphrase or a translation. An encoder does, more or less, and which one
serves is the user's choice; so vectors come from a file, by id, and a cosine similarity decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.files.parquet_columns import check_parquet
from ensemble.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.battles.partition import Partition
    from ensemble.battles.shingles import Integers

PARAPHRASE = "paraphrase"
"""Kind of the pairs that vectors tell of."""
COLUMNS = ("id", "embedding")
"""Columns of the file: an id of the run, and a list of numbers."""

_BLOCK = 2_048
"""Vectors a side that are compared at a time: a table of 16 MiB."""
_ROUNDING = 1e-4
"""More than single precision errs by in the product of two unit vectors; the rest is verified."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit vectors of battles.

    Parameters
    ----------
    ids
        ``(m,)`` ids, each once.
    vectors
        ``(m, d)`` float32, of length 1.
    threshold
        Least cosine similarity of two battles that say the same, in (0, 1].
    """

    ids: pl.Series
    vectors: NDArray[np.float32]
    threshold: float

    def rows(self, ids: pl.Series) -> tuple[Integers, Integers]:
        """Find which of ``ids`` have a vector: their places, and the places of their vectors."""
        known = pl.DataFrame({"id": self.ids}).with_row_index("vector")
        found = pl.DataFrame({"id": ids}).with_row_index("row").join(known, on="id")
        found = found.sort("row")
        return (
            found["row"].to_numpy().astype(np.int64),
            found["vector"].to_numpy().astype(np.int64),
        )

    def pairs(self, ids: pl.Series, rows: Partition) -> pl.DataFrame:
        """Connect battles that are not connected yet and whose vectors are as near as asked.

        Parameters
        ----------
        ids
            ``(n,)`` of the battles.
        rows
            What is connected already; pairs that are found are merged into it.

        Returns
        -------
        pl.DataFrame
            ``a``, ``b``, ``kind``, ``similarity``: the pairs that connect, each verified in double
            precision. Every two battles with vectors are compared, so that none is missed: the
            time grows with the square of their number.
        """
        place, vector = self.rows(ids)
        found = [_NOTHING]
        for left in range(0, len(place), _BLOCK):
            for right in range(left, len(place), _BLOCK):
                ours, theirs = slice(left, left + _BLOCK), slice(right, right + _BLOCK)
                edges = self._near(place[ours], place[theirs], vector[ours], vector[theirs], rows)
                rows.merge(edges["a"].to_numpy(), edges["b"].to_numpy())
                found.append(edges)
        return pl.concat(found).with_columns(kind=pl.lit(PARAPHRASE)).select(_ORDER)

    def _near(
        self, a: Integers, b: Integers, at: Integers, bt: Integers, rows: Partition
    ) -> pl.DataFrame:
        """Give the verified pairs of one block that connect what is apart."""
        roughly = self.vectors[at] @ self.vectors[bt].T
        left, right = np.nonzero(roughly >= self.threshold - _ROUNDING)
        apart = (a[left] < b[right]) & (rows.labels[a[left]] != rows.labels[b[right]])
        left, right = left[apart], right[apart]
        exact = _cosine(self.vectors[at[left]], self.vectors[bt[right]])
        near = exact >= self.threshold
        edges = pl.DataFrame({"a": a[left[near]], "b": b[right[near]], "similarity": exact[near]})
        return _forest(edges, rows)


_NOTHING = pl.DataFrame(schema={"a": pl.Int64, "b": pl.Int64, "similarity": pl.Float64})
_ORDER = ("a", "b", "kind", "similarity")


def read_embeddings(path: Path, threshold: float) -> Embeddings:
    """Read a file of vectors.

    Parameters
    ----------
    path
        Parquet with :data:`COLUMNS`: ``id`` as in the run (with its source's ``id_prefix``), and
        ``embedding``, a list of as many finite numbers in each row.
    threshold
        Least cosine similarity.

    Raises
    ------
    DataError
        The file is missing or no Parquet, lacks a column, names an id twice, or has a vector of
        another length, with a number that is not finite, or of zeros alone.
    """
    frame = _read(path)
    _refuse(frame, frame["id"].is_null(), "has no id", path)
    repeated = frame.filter(pl.col("id").is_duplicated())["id"]
    if len(repeated):
        raise DataError(
            f'two vectors have the id "{repeated[0]}"',
            where=str(path),
            hint="give each battle one vector",
        )
    lengths = frame["embedding"].list.len()
    size = max(lengths.drop_nulls().to_list(), default=0)
    _refuse(frame, (lengths != size) | (lengths == 0), f"has not {size or 'any'} numbers", path)
    finite = frame["embedding"].list.eval(pl.element().is_finite().fill_null(value=False))
    _refuse(frame, ~finite.list.all(), _BAD, path)
    flat = frame["embedding"].explode().to_numpy().reshape(len(frame), size)
    # Scaled first: squares of large and of small numbers leave the range of floats.
    largest = np.abs(flat).max(axis=1, keepdims=True, initial=0.0)
    _refuse(frame, pl.Series(largest[:, 0] == 0), "is 0 everywhere and points nowhere", path)
    flat = flat / largest
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return Embeddings(frame["id"], (flat / norms).astype(np.float32), threshold)


_BAD = "holds a number that is missing or not finite"
_HINT = (
    "give a Parquet file with the columns id (as in the run, with the source's id_prefix) and "
    "embedding (a list of numbers)"
)


def _read(path: Path) -> pl.DataFrame:
    try:
        check_parquet(path, COLUMNS)
        frame = pl.read_parquet(path, columns=list(COLUMNS), glob=False)
        return frame.select(
            pl.col("id").cast(pl.String), pl.col("embedding").cast(pl.List(pl.Float64))
        )
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"the vectors cannot be read: {error}", where=str(path), hint=_HINT
        ) from error


def _refuse(frame: pl.DataFrame, bad: pl.Series, what: str, path: Path) -> None:
    rows = bad.fill_null(value=True).arg_true()
    if len(rows):
        raise DataError(
            f'the vector of "{frame["id"][rows[0]]}" {what}',
            where=f"{path}, row {rows[0] + 1}",
            hint="fix the row, or leave it out: a battle needs no vector",
        )


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compare vectors row by row in double precision."""
    one, two = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.asarray(np.einsum("ij,ij->i", one, two) / lengths)


def _forest(edges: pl.DataFrame, rows: Partition) -> pl.DataFrame:
    """Keep, nearest first, the edges that connect components, and no more than are needed."""
    ordered = edges.sort("similarity", "a", "b", descending=[True, False, False])
    parent: dict[int, int] = {}

    def root(item: int) -> int:
        while (above := parent.get(item, item)) != item:
            parent[item] = parent.get(above, above)
            item = above
        return item

    kept = []
    for number, (a, b) in enumerate(ordered.select("a", "b").iter_rows()):
        one, two = root(int(rows.labels[a])), root(int(rows.labels[b]))
        if one != two:
            parent[max(one, two)] = min(one, two)
            kept.append(number)
    return ordered[kept]
