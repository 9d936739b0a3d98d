from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.features import FeatureMatrix
from ensemble.errors import LearnerError
from ensemble_plugins.both_orders import both_orders, deal_groups, deal_watched

MATRIX = FeatureMatrix(
    ids=pl.Series(["x", "y"]),
    names=("c_a", "c_b", "d"),
    values=np.array([[1, 2, -1], [5, 3, 2]], dtype=np.float32),
    swap=np.array([1, 0, 2]),
    sign=np.array([1, 1, -1], dtype=np.float32),
)


def test_battles_are_taken_in_both_orders_with_labels_and_scores_exchanged() -> None:
    labels = np.array([[1.0, 0, 0], [0.75, 0, 0.25]])
    start = np.array([[1.0, 2, 3], [4, 5, 6]])
    rows = both_orders(MATRIX, labels, np.array([1.0, 2.0]), start)
    assert rows.values.tolist() == [[1, 2, -1], [5, 3, 2], [2, 1, 1], [3, 5, -2]]
    assert rows.labels.tolist() == [[1, 0, 0], [0.75, 0, 0.25], [0, 1, 0], [0, 0.75, 0.25]]
    assert rows.weight.tolist() == [1, 2, 1, 2]
    assert rows.start.tolist() == [[1, 2, 3], [4, 5, 6], [2, 1, 3], [5, 4, 6]]


def test_only_rows_that_the_learner_is_judged_on_are_watched() -> None:
    judged = np.arange(40) % 4 == 0
    labels = np.eye(3)[np.arange(40) % 3]
    parts = deal_watched(np.arange(40), 2, 0, labels, judged)
    assert (parts[~judged] == -1).all()
    assert np.bincount(parts[judged]).tolist() == [5, 5]


@given(
    st.lists(st.integers(-5, 12), min_size=4, max_size=60),
    st.integers(2, 6),
    st.integers(0, 2**32 - 1),
)
def test_groups_are_dealt_whole_and_no_part_is_empty(
    groups: list[int], n_parts: int, seed: int
) -> None:
    if len(set(groups)) < n_parts:
        with pytest.raises(LearnerError, match="cannot be stopped early"):
            deal_groups(np.array(groups), n_parts, seed)
        return
    parts = deal_groups(np.array(groups), n_parts, seed)
    assert set(parts) == set(range(n_parts))
    for group in set(groups):
        assert len(set(parts[np.array(groups) == group])) == 1
    np.testing.assert_array_equal(parts, deal_groups(np.array(groups), n_parts, seed))


def test_parts_are_about_equally_large_and_depend_on_the_seed() -> None:
    groups = np.repeat(np.arange(100), np.arange(100) % 7 + 1)
    parts = deal_groups(groups, 4, seed=0)
    counts = np.bincount(parts)
    assert counts.max() - counts.min() <= 7
    assert not np.array_equal(parts, deal_groups(groups, 4, seed=1))


def test_ties_are_spread_over_the_parts_as_far_as_whole_groups_allow() -> None:
    labels = np.eye(3)[np.repeat([2, 0, 1], [8, 76, 76])]
    groups = np.arange(160) // 2  # ties stand in 4 groups
    parts = [deal_groups(groups, 4, seed, labels) for seed in range(20)]
    for part in parts:
        np.testing.assert_array_equal(np.bincount(part, weights=labels[:, 2]), [2, 2, 2, 2])
        np.testing.assert_array_equal(np.bincount(part), [40, 40, 40, 40])
    assert not np.array_equal(parts[0], parts[1])
