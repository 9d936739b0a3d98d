"""Which items are connected, as pairs come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Collection

    from ensemble.battles.shingles import Integers


class Partition:
    """Items in connected components, at first each alone.

    A union-find for pairs that come in large batches: a batch costs one pass over the items.

    Parameters
    ----------
    n_items
        Items are numbered ``0`` to ``n_items - 1``.

    Attributes
    ----------
    labels : ndarray of int64, shape (n_items,)
        For each item the lowest item of its component, whatever the order the pairs came in.
    """

    def __init__(self, n_items: int) -> None:
        self.labels: Integers = np.arange(n_items, dtype=np.int64)

    def merge(self, left: Integers, right: Integers) -> None:
        """Connect ``left[i]`` with ``right[i]`` for every ``i``; shape ``(m,)`` each."""
        both = np.concatenate([self.labels[left], self.labels[right]])
        touched, node = np.unique(both, return_inverse=True)
        ends = (node[: len(left)], node[len(left) :])
        ones = np.ones(len(left), dtype=np.bool_)
        graph = coo_array((ones, ends), shape=(len(touched), len(touched)))
        _, component = connected_components(graph, directed=False)
        # `touched` ascends, so the first label met in a component is its lowest.
        _, first = np.unique(component, return_index=True)
        renamed = np.arange(len(self.labels), dtype=np.int64)
        renamed[touched] = touched[first][component]
        self.labels = renamed[self.labels]

    def numbers(self) -> Integers:
        """Give each item the number of its component; components in order of their first items."""
        _, number = np.unique(self.labels, return_inverse=True)
        return number.astype(np.int64)


def connect_rows(ids: pl.Series, pairs: pl.DataFrame, kinds: Collection[str]) -> Integers:
    """Connect rows by the pairs of some kinds.

    Parameters
    ----------
    ids
        ``(n,)``, each once.
    pairs
        ``id_a``, ``id_b``, ``kind``; pairs with other ids are passed over.
    kinds
        Which pairs connect.

    Returns
    -------
    ndarray of int64, shape (n,)
        The component of each row: the number of its first row.
    """
    numbers = pl.DataFrame({"id": ids}).with_row_index("row")
    edges = (
        pairs.filter(pl.col("kind").is_in(list(kinds)))
        .join(numbers, left_on="id_a", right_on="id")
        .join(numbers, left_on="id_b", right_on="id", suffix="_b")
    )
    partition = Partition(len(ids))
    partition.merge(*(edges[name].to_numpy().astype(np.int64) for name in ("row", "row_b")))
    return partition.labels
