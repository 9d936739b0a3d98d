from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import errors
from ensemble.battles.times import latest_rows, time_blocks, times_of

DAY = 86_400.0


def _times(values: list[object], *roles: str) -> list[float | None]:
    ids = pl.Series([f"r{i}" for i in range(len(values))])
    metadata = pl.DataFrame({"id": ids, "t": pl.Series(values, strict=False)})
    named = pl.Series(roles or ["target"] * len(values))
    return times_of(ids, named, metadata, "t").to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1_700_000_000, 5], [1_700_000_000.0, 5.0]),
        ([1.5, -2.0], [1.5, -2.0]),
        (["1700000000.25", " 7 "], [1_700_000_000.25, 7.0]),
        (["1970-01-02", "1970-01-01T12:00:00"], [DAY, DAY / 2]),
        (["1970-01-02T01:00:00+01:00", "1970-01-02T00:00:00Z"], [DAY, DAY]),
        (["1970-01-02 00:00:00.500000", "1970-01-01 00:00:00 UTC"], [DAY + 0.5, 0.0]),
        ([dt.date(1970, 1, 3), dt.date(1970, 1, 1)], [2 * DAY, 0.0]),
        ([dt.datetime(1970, 1, 2), dt.datetime(1970, 1, 1, 0, 0, 1)], [DAY, 1.0]),
        ([dt.datetime(1970, 1, 2, tzinfo=dt.UTC)], [DAY]),
        ([Decimal("1700000000.25"), Decimal("-7")], [1_700_000_000.25, -7.0]),
    ],
)
def test_times_are_read_in_whatever_form(values: list[object], expected: list[float]) -> None:
    assert _times(values) == expected


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["2024-01-01", "yesterday"], "1 rows have a time that is none, such as 'yesterday'"),
        (["2024-01-01", "1700000000", "2024-01-03"], "such as '1700000000'"),
        ([1.0, float("inf")], "1 rows have a time that is none"),
        ([1, None], "1 target rows have no time"),
        (["2024-01-01", " "], "1 target rows have no time"),
        ([1.0, float("nan")], "1 target rows have no time"),
        (["2024-01-01", "NaN"], "1 target rows have no time"),
        ([True, False], "are no times"),
        ([dt.time(1), dt.time(2)], "are no times"),
    ],
)
def test_what_is_no_time_is_refused_with_its_row(values: list[object], told: str) -> None:
    with pytest.raises(errors.FoldError, match=told):
        _times(values)


@pytest.mark.parametrize("as_text", [False, True])
def test_seconds_among_milliseconds_are_told(as_text: bool) -> None:
    values: list[object] = [1_714_521_600_000, 1_714_521_601_000, 1_714_521_602]
    told = r"2 rows look like milliseconds \(such as id r0\)"
    with pytest.raises(
        errors.FoldError, match=r"1 rows look like seconds \(such as id r2\), " + told
    ):
        _times([str(value) for value in values] if as_text else values)
    assert _times([1, 10**6, 1_714_521_600]) == [1.0, 1e6, 1_714_521_600.0]


def test_rows_of_other_sources_may_have_no_time() -> None:
    assert _times([1, None], "train", "train") == [1.0, None]


def test_nobody_asks_for_times_of_test_rows() -> None:
    assert _times(["1", "2", "soon"], "target", "train", "test") == [1.0, 2.0, None]
    assert _times([1_714_521_600, 1_714_521_600_000], "target", "test") == [1_714_521_600.0, None]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=80), st.integers(2, 6))
def test_blocks_follow_each_other_and_none_is_empty(values: list[int], n_blocks: int) -> None:
    times = np.array(values, dtype=np.float64)
    if len(set(values)) < n_blocks:
        with pytest.raises(errors.FoldError, match="different times cannot fill"):
            time_blocks(times, n_blocks)
        return
    blocks = time_blocks(times, n_blocks)
    assert set(blocks.tolist()) == set(range(n_blocks))
    for earlier in range(n_blocks - 1):
        assert times[blocks == earlier].max() < times[blocks == earlier + 1].min()


def test_blocks_of_evenly_spread_rows_are_of_one_size() -> None:
    assert np.bincount(time_blocks(np.arange(100.0), 5)).tolist() == [20] * 5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.floats(0, 0.5))
def test_the_latest_rows_are_later_than_all_others(values: list[int], share: float) -> None:
    times = np.array(values, dtype=np.float64)
    late = latest_rows(times, share)
    assert late.sum() <= share * len(times)
    assert late.all() or not late.any() or times[late].min() > times[~late].max()
