from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.groups import assign_by_hash, assign_groups


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_parts_hold_about_equally_much_and_none_is_empty(
    sizes: list[int], n_parts: int, seed: int
) -> None:
    loads = np.array(sizes, dtype=np.float64)[:, None]
    part = assign_groups(loads, n_parts, seed)
    held = np.bincount(part, weights=loads[:, 0], minlength=n_parts)
    assert held.max() - held.min() <= max(sizes)
    assert (held > 0).sum() == min(n_parts, len(sizes))
    np.testing.assert_array_equal(part, assign_groups(loads, n_parts, seed))


def test_every_load_is_spread_and_the_seed_decides_between_equals() -> None:
    loads = np.column_stack([np.full(80, 2.0), np.repeat([2.0, 0.0], [8, 72])])
    one, other = (assign_groups(loads, 4, seed) for seed in (0, 1))
    for part in (one, other):
        held = [np.bincount(part, weights=load).tolist() for load in loads.T]
        assert held == [[40.0] * 4, [4.0] * 4]
    assert not np.array_equal(one, other)


def test_a_load_that_is_nowhere_changes_nothing() -> None:
    sizes = np.random.default_rng(0).integers(1, 5, 50).astype(np.float64)
    with_none = np.column_stack([sizes, np.zeros(50)])
    np.testing.assert_array_equal(
        assign_groups(sizes[:, None], 3, 7), assign_groups(with_none, 3, 7)
    )


def test_a_load_below_the_least_total_hardly_counts() -> None:
    sizes = np.random.default_rng(0).uniform(1, 5, 50)  # no two are equal: nothing hangs on a hair
    rounding = np.column_stack([sizes, np.repeat([1e-17, 0.0], 25)])
    alone, kept, ignored = (
        assign_groups(loads, 3, 7, least_total=least)
        for loads, least in ((sizes[:, None], 0.0), (rounding, 0.0), (rounding, 1e-12))
    )
    np.testing.assert_array_equal(ignored, alone)
    assert not np.array_equal(kept, alone)


@given(st.lists(st.integers(-5, 30), min_size=1, max_size=60), st.integers(1, 5), st.data())
def test_a_hash_assigns_clusters_whole_and_in_turn(
    clusters: list[int], n_parts: int, data: st.DataObject
) -> None:
    numbers = np.array(clusters)
    strata = data.draw(st.sampled_from([None, numbers % 3]))
    part = assign_by_hash(numbers, n_parts, "test", strata)
    known, first = np.unique(numbers, return_index=True)
    for number in known:
        assert len(set(part[numbers == number])) == 1
    for stratum in [None] if strata is None else np.unique(strata):
        within = first if strata is None else first[strata[first] == stratum]
        assert np.ptp(np.bincount(part[within], minlength=n_parts)) <= 1
    order = data.draw(st.permutations(range(len(clusters))))
    shuffled = assign_by_hash(
        numbers[order], n_parts, "test", None if strata is None else strata[order]
    )
    np.testing.assert_array_equal(shuffled, part[order])


def test_another_purpose_assigns_other_clusters() -> None:
    one, other = (assign_by_hash(np.arange(300), 3, purpose) for purpose in ("x", "y"))
    assert 0.2 < (one == other).mean() < 0.5
