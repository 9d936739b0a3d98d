from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble_plugins.group_split import group_split


def test_only_rows_that_the_learner_is_judged_on_are_watched() -> None:
    eval_mask = np.arange(40) % 4 == 0
    labels = np.eye(3)[np.arange(40) % 3]
    parts = group_split(np.arange(40), 2, 0, labels, eval_mask)
    assert (parts[~eval_mask] == -1).all()
    assert np.bincount(parts[eval_mask]).tolist() == [5, 5]


@given(
    st.lists(st.integers(-5, 12), min_size=4, max_size=60),
    st.integers(2, 6),
    st.integers(0, 2**32 - 1),
)
def test_groups_stay_whole_and_no_part_is_empty(groups: list[int], n_parts: int, seed: int) -> None:
    if len(set(groups)) < n_parts:
        with pytest.raises(errors.LearnerError, match="cannot be stopped early"):
            group_split(np.array(groups), n_parts, seed)
        return
    parts = group_split(np.array(groups), n_parts, seed)
    assert set(parts) == set(range(n_parts))
    for group in set(groups):
        assert len(set(parts[np.array(groups) == group])) == 1
    np.testing.assert_array_equal(parts, group_split(np.array(groups), n_parts, seed))


def test_parts_are_about_equally_large_and_depend_on_the_seed() -> None:
    groups = np.repeat(np.arange(100), np.arange(100) % 7 + 1)
    parts = group_split(groups, 4, seed=0)
    counts = np.bincount(parts)
    assert counts.max() - counts.min() <= 7
    assert not np.array_equal(parts, group_split(groups, 4, seed=1))


def test_ties_are_spread_over_the_parts_as_far_as_whole_groups_allow() -> None:
    labels = np.eye(3)[np.repeat([2, 0, 1], [8, 76, 76])]
    groups = np.arange(160) // 2  # ties stand in 4 groups
    parts = [group_split(groups, 4, seed, labels) for seed in range(20)]
    for part in parts:
        np.testing.assert_array_equal(np.bincount(part, weights=labels[:, 2]), [2, 2, 2, 2])
        np.testing.assert_array_equal(np.bincount(part), [40, 40, 40, 40])
    assert not np.array_equal(parts[0], parts[1])
