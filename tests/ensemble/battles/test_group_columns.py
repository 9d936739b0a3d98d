from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ensemble import SourceAwareGroupKFold, errors
from ensemble.battles.group_columns import describe_groups, group_values, join_groups
from ensemble.battles.split_inputs import said_of_rows

IDS = pl.Series("id", ["a", "b", "c", "d", "e"])
ALONE = np.arange(5)


def _joined(**columns: list[object]) -> list[int]:
    metadata = pl.DataFrame({"id": IDS, **columns}, strict=False)
    return [int(k) for k in join_groups(IDS, ALONE, metadata, list(columns))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["x", "y", "x", None, None], [0, 1, 0, 2, 3]),
        (["", " ", "", " x", "x "], [0, 1, 2, 3, 3]),
        ([1, 2, 1, None, None], [0, 1, 0, 2, 3]),
        ([1.0, float("nan"), float("nan"), 1.0, None], [0, 1, 2, 0, 3]),
        (["1", "1.0", "1.00", "1.5", "01"], [0, 0, 0, 1, 2]),
        ([True, False, True, None, False], [0, 1, 0, 2, 1]),
        (["True", "true", "False", "FALSE", "x"], [0, 0, 1, 1, 2]),
        (["nan", "NaN", "None", "<NA>", "null"], [0, 1, 2, 3, 4]),
    ],
)
def test_equal_values_join_and_empty_ones_do_not(values: list[object], expected: list[int]) -> None:
    assert _joined(judge=values) == expected


def test_columns_join_transitively() -> None:
    joined = _joined(judge=["x", "x", "y", "z", None], session=["p", "q", "q", None, "r"])
    assert joined == [0, 0, 0, 1, 2]


def test_what_a_column_joins_is_counted() -> None:
    metadata = pl.DataFrame({"id": IDS, "judge": ["x", "x", "x", "y", None]})
    is_target = pl.Series([True, True, False, True, True])
    clusters = np.array([0, 0, 1, 2, 3])
    (found,) = describe_groups(IDS, clusters, is_target, metadata, ["judge"])
    assert (found.rows, found.values, found.rows_joined, found.clusters_joined) == (4, 2, 3, 1)
    assert (found.largest, found.largest_rows, found.largest_share) == ("x", 3, 0.5)


def test_a_missing_column_names_what_there_is() -> None:
    metadata = pl.DataFrame({"id": IDS, "judge": ["x"] * 5, "language": ["en"] * 5})
    with pytest.raises(errors.FoldError, match='"juge"(.|\n)*judge'):
        join_groups(IDS, ALONE, metadata, ["juge"])
    with pytest.raises(errors.FoldError, match="no columns of their own"):
        join_groups(IDS, ALONE, metadata.select("id"), ["judge"])


def test_values_of_any_type_are_written_as_text() -> None:
    assert group_values(pl.Series([3, None])).to_list() == ["3", None]
    assert group_values(pl.Series([3.0, float("nan")])).to_list() == ["3", None]
    assert group_values(pl.Series([1e16, -2.5])).to_list() == [str(10**16), "-2.5"]
    with pytest.raises(errors.FoldError, match='"tags" are lists or records'):
        group_values(pl.Series("tags", [["a"], ["b"]]))


@pytest.mark.parametrize("frame", [pl.DataFrame, pd.DataFrame])
def test_the_splitter_joins_groups_by_columns_of_a_table(frame: type) -> None:
    table = frame({"cluster": [0, 1, 2, 3], "judge": ["x", "y", "x", None]})
    splitter = SourceAwareGroupKFold(2, group_columns=["judge"])
    for train, valid in splitter.split(table):
        assert ({0, 2} <= set(train.tolist())) or ({0, 2} <= set(valid.tolist()))
    with pytest.raises(errors.FoldError, match='no column "session"'):
        next(iter(SourceAwareGroupKFold(2, group_columns=["session"]).split(table)))


def test_cells_of_pandas_that_hold_nothing_join_nothing() -> None:
    judge = pd.Series(["x", np.nan, np.nan, None, pd.NA, "x", 3, 3.0, "3"], dtype=object)
    table = pd.DataFrame({"cluster": range(9), "judge": judge})
    groups = said_of_rows(table, None, None, None, "plain", ["judge"]).groups
    assert groups.tolist() == [0, 1, 2, 3, 4, 0, 5, 5, 5]
    table["judge"] = [["x"]] * 9
    with pytest.raises(errors.FoldError, match='"judge" are lists'):
        said_of_rows(table, None, None, None, "plain", ["judge"])
