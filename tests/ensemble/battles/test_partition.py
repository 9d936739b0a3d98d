from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.partition import Partition, connect_rows

Pairs = list[tuple[int, int]]
PAIRS = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)))


def merged(*batches: Pairs) -> Partition:
    parts = Partition(15)
    for batch in batches:
        ends = np.array(batch, dtype=np.int64).reshape(-1, 2)
        parts.merge(ends[:, 0], ends[:, 1])
    return parts


def by_flooding(pairs: Pairs) -> list[int]:
    labels = list(range(15))
    for _ in labels:
        for a, b in pairs:
            labels[a] = labels[b] = min(labels[a], labels[b])
    return labels


@given(PAIRS, PAIRS)
def test_labels_are_the_lowest_items(first: Pairs, second: Pairs) -> None:
    assert merged(first, second).labels.tolist() == by_flooding(first + second)


@given(PAIRS)
def test_order_and_batches_make_no_difference(pairs: Pairs) -> None:
    one_by_one = merged(*([pair] for pair in reversed(pairs)))
    np.testing.assert_array_equal(merged(pairs).labels, one_by_one.labels)


@given(PAIRS)
def test_numbers_count_up_in_the_order_of_first_items(pairs: Pairs) -> None:
    numbers = merged(pairs).numbers().tolist()
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))


def test_no_items() -> None:
    none = np.empty(0, dtype=np.int64)
    parts = Partition(0)
    parts.merge(none, none)
    assert parts.numbers().tolist() == []


@given(PAIRS, PAIRS)
def test_rows_are_connected_by_the_kinds_that_are_asked_for(near: Pairs, far: Pairs) -> None:
    ids = pl.Series([f"r{i}" for i in range(15)])
    rows = [(f"r{a}", f"r{b}", kind) for pairs, kind in ((near, "n"), (far, "f")) for a, b in pairs]
    rows.append(("r0", "of another plan", "n"))
    pairs = pl.DataFrame(rows, schema=["id_a", "id_b", "kind"], orient="row")
    assert connect_rows(ids, pairs, ["n"]).tolist() == by_flooding(near)
    assert connect_rows(ids, pairs, ("n", "f")).tolist() == by_flooding(near + far)
    assert connect_rows(ids, pairs, []).tolist() == list(range(15))
