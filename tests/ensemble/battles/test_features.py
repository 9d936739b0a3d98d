"""Evaluation of feature sets, on sets made up here: the core knows none by name."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import FeatureSet, errors
from ensemble.battles import features as core
from ensemble.battles.feature_plan import definition
from ensemble.battles.features import compute_features
from tests.ensemble.battles.measured_battles import (
    LENGTH,
    THREE,
    Turns,
    make_turns,
    pair_set,
    same_values,
    single_set,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_columns_come_in_order_with_their_swaps_and_signs() -> None:
    matrix = compute_features(THREE, [pair_set()])
    assert matrix.names == ("pair_diff", "pair_a", "pair_b")
    assert matrix.ids.to_list() == ["id0", "id1", "id2"]
    assert matrix.values.dtype == np.float32
    assert matrix.values[0].tolist() == [-2, 1, 3]
    assert matrix.swap.tolist() == [0, 2, 1]
    assert matrix.sign.tolist() == [-1, 1, 1]


def test_what_is_null_is_not_a_number() -> None:
    values = compute_features(THREE, [pair_set()]).values
    assert np.isnan(values[1]).tolist() == [True, True, False]
    assert np.isnan(values[2]).tolist() == [True, False, True]


def test_swapping_exchanges_sides_and_has_no_negative_zero() -> None:
    swapped = compute_features(make_turns((["p"], ["ab"], ["cd"])), [pair_set()]).swapped()
    assert swapped.values[0].tolist() == [0, 2, 2]
    assert not np.signbit(swapped.values).any()
    assert compute_features(THREE, [pair_set()]).swapped().values[0].tolist() == [2, 3, 1]


def test_orders_are_stacked_with_the_exchanged_rows_below() -> None:
    matrix = compute_features(
        make_turns((["p"], ["ab"], ["cde"]), (["p"], ["a"], ["bc"])), [pair_set()]
    )
    assert matrix.stacked_orders().tolist() == [[-1, 2, 3], [-1, 1, 2], [1, 3, 2], [1, 2, 1]]


def test_rows_can_be_taken_by_index() -> None:
    taken = compute_features(THREE, [pair_set()]).take(np.array([2, 0]))
    assert taken.ids.to_list() == ["id2", "id0"]
    assert taken.values[:, 1].tolist() == [4, 1]
    assert len(taken) == 2


def test_several_sets_follow_one_another_and_share_helpers() -> None:
    matrix = compute_features(THREE, [pair_set("one"), pair_set("two")])
    assert matrix.names[:4] == ("one_diff", "one_a", "one_b", "two_diff")
    assert np.array_equal(matrix.values[:, :3], matrix.values[:, 3:], equal_nan=True)
    assert matrix.swap.tolist() == [0, 2, 1, 3, 5, 4]


def test_no_rows_and_no_sets_give_empty_matrices() -> None:
    assert compute_features(THREE.clear(), [pair_set()]).values.shape == (0, 3)
    assert compute_features(THREE, []).values.shape == (3, 0)


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_batches_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[Turns, Turns, Turns]] = [(["p" * i], ["a"], ["b" * i]) for i in range(9)]
    table = make_turns(*rows)
    whole = compute_features(table, [pair_set()])
    monkeypatch.setattr(core, "_BATCH_BYTES", size)
    assert same_values(compute_features(table, [pair_set()]), whole)


def test_a_column_of_two_sets_is_refused_with_both_named() -> None:
    sets = [single_set("x", pl.lit(1), "first"), single_set("x", pl.lit(2), "second")]
    with pytest.raises(
        errors.PluginError, match=r'column "x" is defined twice\n.*"first" and "second"'
    ):
        compute_features(THREE, sets)


def test_a_helper_with_two_meanings_is_refused() -> None:
    other = FeatureSet("other", (), helpers={"text_a": pl.col("prompt").list.first()})
    with pytest.raises(
        errors.PluginError, match=r'column "text_a" is defined twice\n.*"pair" and "other"'
    ):
        compute_features(THREE, [pair_set(), other])


def test_a_helper_cannot_hide_a_column_of_the_battles() -> None:
    hiding = FeatureSet("hiding", (), helpers={"prompt": pl.lit(1)})
    with pytest.raises(
        errors.PluginError, match=r'"prompt" is defined twice\n.*"battles" and "hiding"'
    ):
        compute_features(THREE, [hiding])


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(
        errors.PluginError, match=r'"x" refers to "promt"(.|\n)*did you mean "prompt"'
    ):
        compute_features(THREE, [single_set("x", pl.col("promt"))])


@pytest.mark.parametrize("hidden", ["id", "label_a", "model_a"])
def test_only_the_texts_can_be_measured(hidden: str) -> None:
    table = THREE.with_columns(pl.lit(1.0).alias("label_a"), pl.lit("m").alias("model_a"))
    with pytest.raises(errors.PluginError, match=f'refers to "{hidden}", which is not there'):
        compute_features(table, [single_set("x", pl.col(hidden))])


def test_a_circle_of_columns_is_refused() -> None:
    circle = FeatureSet("circle", (), helpers={"u": pl.col("v"), "v": pl.col("u")})
    with pytest.raises(errors.PluginError, match=r"in a circle: \['u', 'v'\]"):
        compute_features(THREE, [circle])


def test_a_column_that_cannot_be_computed_is_blamed_on_its_set() -> None:
    broken = single_set("x", pl.col("prompt").str.len_chars(), "broken")
    with pytest.raises(errors.PluginError, match=r'cannot be computed(.|\n)*feature set "broken"'):
        compute_features(THREE, [pair_set(), broken])


def test_a_full_disk_is_no_fault_of_a_set_and_says_where_temporary_files_are() -> None:
    """Models of libraries are unpacked among temporary files."""

    def unpack(_: pl.Series) -> pl.Series:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    column = pl.col("prompt").map_batches(unpack, return_dtype=pl.Float32)
    with pytest.raises(errors.EnsembleError, match="No space left on device") as raised:
        compute_features(THREE, [pair_set(), single_set("x", column, "unpacks")])
    assert not isinstance(raised.value, errors.PluginError)
    assert str(raised.value.where).startswith('feature set "unpacks"')
    assert "free space or fix permissions" in str(raised.value.hint)
    assert f"temporary files go to {tempfile.gettempdir()}" in str(raised.value.hint)


def test_infinite_values_are_refused() -> None:
    with pytest.raises(errors.PluginError, match='feature "x" is infinite'):
        compute_features(THREE, [single_set("x", pl.col("prompt").list.len() / 0)])


NOT_ROW_WISE = {
    "mean": LENGTH - LENGTH.mean(),
    "share": LENGTH / LENGTH.sum(),
    "rank": LENGTH.rank(),
    "shift": LENGTH.shift(1),
    "reverse": LENGTH.reverse(),
    "sort": LENGTH.sort(),
    "running sum": LENGTH.cum_sum(),
    "height": LENGTH + pl.len(),
    "row number": pl.int_range(pl.len()),
    "over": LENGTH - LENGTH.max().over(pl.col("prompt").list.first()),
}


def many(rows: int = 40) -> pl.DataFrame:
    table: list[tuple[Turns, Turns, Turns]] = [
        (["p"], ["a" * (7 * i % 41)], [f"{i}"]) for i in range(rows)
    ]
    return make_turns(*table)


PROMPT = pl.col("prompt").list.first()
RARELY_NOT_ROW_WISE = {
    "is duplicated": PROMPT.is_duplicated(),
    "is first": PROMPT.is_first_distinct(),
    "count": pl.len().over(PROMPT),
    "number": PROMPT.cum_count().over(PROMPT),
    "repeats the one before": (PROMPT.shift(1) == PROMPT).fill_null(value=False),
    "filled": pl.when(LENGTH > 3).then(LENGTH).forward_fill(),
    "all different": PROMPT.n_unique() == pl.len(),
}


def unlike(rows: int = 200) -> pl.DataFrame:
    """Battles with a prompt of their own each, but for one pair."""
    table: list[tuple[Turns, Turns, Turns]] = [
        ([f"p{max(i, 1)}"], ["a" * (i % 41)], [f"{i}"]) for i in range(rows)
    ]
    return make_turns(*table)


@pytest.mark.parametrize("table", [unlike(), many()], ids=["distinct", "repeated"])
@pytest.mark.parametrize("name", RARELY_NOT_ROW_WISE)
def test_a_column_that_looks_for_its_like_is_refused(name: str, table: pl.DataFrame) -> None:
    sets = [single_set("odd", RARELY_NOT_ROW_WISE[name].cast(float), "unfair")]
    with pytest.raises(errors.PluginError, match=r'"odd" has another value in another batch'):
        compute_features(table, sets)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", NOT_ROW_WISE)
def test_a_column_that_looks_at_other_rows_is_refused(
    name: str, cached: bool, tmp_path: Path
) -> None:
    sets = [pair_set(), single_set("odd", NOT_ROW_WISE[name], "unfair")]
    message = r'"odd" has another value in another batch(.|\n)*set "unfair", battle id\d'
    with pytest.raises(errors.PluginError, match=message):
        compute_features(many(), sets, cache_directory=tmp_path if cached else None)
    assert not list(tmp_path.rglob("*.parquet"))


def test_only_fresh_rows_are_probed_and_only_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heights: list[int] = []
    run = core._run

    def counting(texts: pl.DataFrame, *others: Any) -> Any:
        heights.append(texts.height)
        return run(texts, *others)

    monkeypatch.setattr(core, "_run", counting)
    for rows in (20, 20, 25, 40):
        compute_features(many(rows), [pair_set()], cache_directory=tmp_path)
    assert heights == [20, 24, 1, 1, 1, 1, 5, 15, 19, 1, 1, 1, 1]


def test_what_is_undefined_or_rounded_is_no_difference() -> None:
    third = LENGTH / 3 + pl.col("response_a").list.eval(pl.element().str.len_chars() / 7).list.sum()
    undefined = pl.when(LENGTH > 20).then(LENGTH)
    values = compute_features(
        many(), [single_set("x", third), single_set("y", undefined, "other")]
    ).values
    assert np.isnan(values[:, 1]).any()
    assert np.isfinite(values[:, 0]).all()


def test_a_column_that_calls_python_with_a_closure_is_still_computed(tmp_path: Path) -> None:
    lock = threading.Lock()  # cannot be serialized

    def measure(series: pl.Series) -> pl.Series:
        with lock:
            return series.list.len()

    calls_python = single_set("x", pl.col("prompt").map_batches(measure, return_dtype=pl.UInt32))
    assert definition(calls_python) is None
    matrix = compute_features(THREE, [calls_python], cache_directory=tmp_path)
    assert matrix.values.tolist() == [[1], [1], [1]]
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_helper_that_cannot_be_serialized_can_be_shared_as_the_same_object() -> None:
    lock = threading.Lock()

    def measure(series: pl.Series) -> pl.Series:
        with lock:
            return series.list.len()

    def helper() -> pl.Expr:
        return pl.col("prompt").map_batches(measure, return_dtype=pl.UInt32)

    def using(name: str, expression: pl.Expr) -> FeatureSet:
        return FeatureSet(name, single_set(name, pl.col("h")).features, helpers={"h": expression})

    shared = helper()
    values = compute_features(THREE, [using("x", shared), using("y", shared)]).values
    assert values.tolist() == [[1, 1]] * 3
    with pytest.raises(errors.PluginError, match='column "h" is defined twice'):
        compute_features(THREE, [using("x", helper()), using("y", helper())])


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no luck"), pl.exceptions.PanicException("no luck")]
)
def test_what_a_python_function_raises_is_blamed_on_its_set(error: BaseException) -> None:
    def fail(_: pl.Series) -> pl.Series:
        raise error

    fails = single_set("x", LENGTH.map_batches(fail, return_dtype=pl.Float64), "fails")
    with pytest.raises(errors.PluginError, match='no luck(.|\n)*feature set "fails"'):
        compute_features(THREE, [pair_set(), fails])
