"""Evaluation of feature sets, on sets made up here: the core knows none by name."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble.battles import features as core
from ensemble.battles.feature_cache import row_keys
from ensemble.battles.feature_plan import definition
from ensemble.battles.features import FeatureMatrix, compute_features
from ensemble.errors import PluginError
from ensemble.plugin.base import Feature, FeatureSet
from ensemble.storage.atomic import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Turns = list[str | None]


def battles(*rows: tuple[Turns, Turns, Turns]) -> pl.DataFrame:
    columns = {
        name: pl.Series([row[i] for row in rows], dtype=pl.List(pl.String))
        for i, name in enumerate(("prompt", "response_a", "response_b"))
    }
    ids = pl.Series([f"id{i}" for i in range(len(rows))], dtype=pl.String)
    return pl.DataFrame({"id": ids, **columns})


THREE = battles((["p"], ["a"], ["bbb"]), (["pp"], [None], ["b", "b"]), (["p"], ["aaaa"], []))


def pair(name: str = "pair", version: str = "1") -> FeatureSet:
    """Lengths of both sides and their difference, over helpers."""
    return FeatureSet(
        name,
        (
            Feature(
                f"{name}_diff", pl.col(f"{name}_a") - pl.col(f"{name}_b"), "d", f"{name}_diff", -1
            ),
            Feature(f"{name}_a", pl.col("text_a").str.len_chars().cast(float), "a", f"{name}_b"),
            Feature(f"{name}_b", pl.col("text_b").str.len_chars().cast(float), "b", f"{name}_a"),
        ),
        version,
        {f"text_{s}": pl.col(f"response_{s}").list.first() for s in ("a", "b")},
    )


def single(name: str, expression: pl.Expr, set_name: str = "single") -> FeatureSet:
    return FeatureSet(set_name, (Feature(name, expression, "x", name),))


def same(one: FeatureMatrix, other: FeatureMatrix) -> bool:
    return np.array_equal(one.values, other.values, equal_nan=True)


def test_columns_come_in_order_with_their_swaps_and_signs() -> None:
    matrix = compute_features(THREE, [pair()])
    assert matrix.names == ("pair_diff", "pair_a", "pair_b")
    assert matrix.ids.to_list() == ["id0", "id1", "id2"]
    assert matrix.values.dtype == np.float32
    assert matrix.values[0].tolist() == [-2, 1, 3]
    assert matrix.swap.tolist() == [0, 2, 1]
    assert matrix.sign.tolist() == [-1, 1, 1]


def test_what_is_null_is_not_a_number() -> None:
    values = compute_features(THREE, [pair()]).values
    assert np.isnan(values[1]).tolist() == [True, True, False]
    assert np.isnan(values[2]).tolist() == [True, False, True]


def test_swapping_exchanges_sides_and_has_no_negative_zero() -> None:
    swapped = compute_features(battles((["p"], ["ab"], ["cd"])), [pair()]).swapped()
    assert swapped.values[0].tolist() == [0, 2, 2]
    assert not np.signbit(swapped.values).any()
    assert compute_features(THREE, [pair()]).swapped().values[0].tolist() == [2, 3, 1]


def test_orders_are_stacked_with_the_exchanged_rows_below() -> None:
    matrix = compute_features(battles((["p"], ["ab"], ["cde"]), (["p"], ["a"], ["bc"])), [pair()])
    assert matrix.stacked_orders().tolist() == [[-1, 2, 3], [-1, 1, 2], [1, 3, 2], [1, 2, 1]]


def test_rows_can_be_taken_by_index() -> None:
    taken = compute_features(THREE, [pair()]).take(np.array([2, 0]))
    assert taken.ids.to_list() == ["id2", "id0"]
    assert taken.values[:, 1].tolist() == [4, 1]
    assert len(taken) == 2


def test_several_sets_follow_one_another_and_share_helpers() -> None:
    matrix = compute_features(THREE, [pair("one"), pair("two")])
    assert matrix.names[:4] == ("one_diff", "one_a", "one_b", "two_diff")
    assert np.array_equal(matrix.values[:, :3], matrix.values[:, 3:], equal_nan=True)
    assert matrix.swap.tolist() == [0, 2, 1, 3, 5, 4]


def test_no_rows_and_no_sets_give_empty_matrices() -> None:
    assert compute_features(THREE.clear(), [pair()]).values.shape == (0, 3)
    assert compute_features(THREE, []).values.shape == (3, 0)


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_batches_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[Turns, Turns, Turns]] = [(["p" * i], ["a"], ["b" * i]) for i in range(9)]
    table = battles(*rows)
    whole = compute_features(table, [pair()])
    monkeypatch.setattr(core, "_BATCH_BYTES", size)
    assert same(compute_features(table, [pair()]), whole)


def test_a_column_of_two_sets_is_refused_with_both_named() -> None:
    sets = [single("x", pl.lit(1), "first"), single("x", pl.lit(2), "second")]
    with pytest.raises(PluginError, match=r'column "x" is defined twice\n.*"first" and "second"'):
        compute_features(THREE, sets)


def test_a_helper_with_two_meanings_is_refused() -> None:
    other = FeatureSet("other", (), helpers={"text_a": pl.col("prompt").list.first()})
    with pytest.raises(
        PluginError, match=r'column "text_a" is defined twice\n.*"pair" and "other"'
    ):
        compute_features(THREE, [pair(), other])


def test_a_helper_cannot_hide_a_column_of_the_battles() -> None:
    hiding = FeatureSet("hiding", (), helpers={"prompt": pl.lit(1)})
    with pytest.raises(PluginError, match=r'"prompt" is defined twice\n.*"battles" and "hiding"'):
        compute_features(THREE, [hiding])


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(PluginError, match=r'"x" refers to "promt"(.|\n)*did you mean "prompt"'):
        compute_features(THREE, [single("x", pl.col("promt"))])


@pytest.mark.parametrize("hidden", ["id", "label_a", "model_a"])
def test_only_the_texts_can_be_measured(hidden: str) -> None:
    table = THREE.with_columns(pl.lit(1.0).alias("label_a"), pl.lit("m").alias("model_a"))
    with pytest.raises(PluginError, match=f'refers to "{hidden}", which is not there'):
        compute_features(table, [single("x", pl.col(hidden))])


def test_a_circle_of_columns_is_refused() -> None:
    circle = FeatureSet("circle", (), helpers={"u": pl.col("v"), "v": pl.col("u")})
    with pytest.raises(PluginError, match=r"in a circle: \['u', 'v'\]"):
        compute_features(THREE, [circle])


def test_a_column_that_cannot_be_computed_is_blamed_on_its_set() -> None:
    broken = single("x", pl.col("prompt").str.len_chars(), "broken")
    with pytest.raises(PluginError, match=r'cannot be computed(.|\n)*feature set "broken"'):
        compute_features(THREE, [pair(), broken])


def test_infinite_values_are_refused() -> None:
    with pytest.raises(PluginError, match='feature "x" is infinite'):
        compute_features(THREE, [single("x", pl.col("prompt").list.len() / 0)])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many rows are computed each time."""
    heights: list[int] = []
    evaluate = core._evaluate

    def counting(table: pl.DataFrame, sets: tuple[FeatureSet, ...]) -> object:
        heights.append(table.height)
        return evaluate(table, sets)

    monkeypatch.setattr(core, "_evaluate", counting)
    return heights


def test_what_was_computed_is_found_again(tmp_path: Path, counted: list[int]) -> None:
    plain = compute_features(THREE, [pair()])
    for _ in range(2):
        assert same(compute_features(THREE, [pair()], cache_directory=tmp_path), plain)
    assert counted == [3, 3]


def test_rows_are_known_by_text_not_by_id_or_place(tmp_path: Path, counted: list[int]) -> None:
    compute_features(THREE, [pair()], cache_directory=tmp_path)
    other = battles((["p"], ["zz"], ["bbb"]), (["p"], ["a"], ["bbb"]))
    matrix = compute_features(other, [pair()], cache_directory=tmp_path)
    assert matrix.values.tolist() == [[-1, 2, 3], [-2, 1, 3]]
    assert counted == [3, 1]


def test_rows_of_equal_text_are_computed_once(tmp_path: Path, counted: list[int]) -> None:
    twice = pl.concat([THREE, THREE]).with_columns(id=pl.Series([f"{i}" for i in range(6)]))
    matrix = compute_features(twice, [pair()], cache_directory=tmp_path)
    assert same(matrix, compute_features(twice, [pair()]))
    assert counted[0] == 3


def test_a_set_that_is_known_stands_beside_one_that_is_not(
    tmp_path: Path, counted: list[int]
) -> None:
    compute_features(THREE[:2], [pair("one")], cache_directory=tmp_path)
    sets = [pair("one"), pair("two")]
    matrix = compute_features(THREE, sets, cache_directory=tmp_path)
    assert same(matrix, compute_features(THREE, sets))
    assert same(compute_features(THREE, sets[::-1], cache_directory=tmp_path), matrix)
    assert counted == [2, 3, 3]


@pytest.mark.parametrize(
    "other",
    [
        pair(version="2"),
        FeatureSet("pair", pair().features, "1", {**pair().helpers, "y": pl.lit(1)}),
    ],
)
def test_another_definition_shares_nothing(
    other: FeatureSet, tmp_path: Path, counted: list[int]
) -> None:
    compute_features(THREE, [pair()], cache_directory=tmp_path)
    compute_features(THREE, [other], cache_directory=tmp_path)
    assert counted == [3, 3]
    assert definition(other) != definition(pair())


LENGTH = pl.col("response_a").list.first().str.len_chars().cast(float)
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
    return battles(*table)


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
    return battles(*table)


@pytest.mark.parametrize("table", [unlike(), many()], ids=["distinct", "repeated"])
@pytest.mark.parametrize("name", RARELY_NOT_ROW_WISE)
def test_a_column_that_looks_for_its_like_is_refused(name: str, table: pl.DataFrame) -> None:
    sets = [single("odd", RARELY_NOT_ROW_WISE[name].cast(float), "unfair")]
    with pytest.raises(PluginError, match=r'"odd" has another value in another batch'):
        compute_features(table, sets)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", NOT_ROW_WISE)
def test_a_column_that_looks_at_other_rows_is_refused(
    name: str, cached: bool, tmp_path: Path
) -> None:
    sets = [pair(), single("odd", NOT_ROW_WISE[name], "unfair")]
    message = r'"odd" has another value in another batch(.|\n)*set "unfair", battle id\d'
    with pytest.raises(PluginError, match=message):
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
        compute_features(many(rows), [pair()], cache_directory=tmp_path)
    assert heights == [20, 24, 1, 1, 1, 1, 5, 15, 19, 1, 1, 1, 1]


def test_what_is_undefined_or_rounded_is_no_difference() -> None:
    third = LENGTH / 3 + pl.col("response_a").list.eval(pl.element().str.len_chars() / 7).list.sum()
    undefined = pl.when(LENGTH > 20).then(LENGTH)
    values = compute_features(many(), [single("x", third), single("y", undefined, "other")]).values
    assert np.isnan(values[:, 1]).any()
    assert np.isfinite(values[:, 0]).all()


def flip_one_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:-5], flip_one_bit])
def test_a_damaged_file_is_computed_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, counted: list[int]
) -> None:
    plain = compute_features(THREE, [pair()], cache_directory=tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(damage(file.read_bytes()))
    assert same(compute_features(THREE, [pair()], cache_directory=tmp_path), plain)
    assert same(compute_features(THREE, [pair()], cache_directory=tmp_path), plain)
    assert counted == [3, 3]


def test_a_column_that_calls_python_with_a_closure_is_still_computed(tmp_path: Path) -> None:
    lock = threading.Lock()  # cannot be serialized

    def measure(series: pl.Series) -> pl.Series:
        with lock:
            return series.list.len()

    calls_python = single("x", pl.col("prompt").map_batches(measure, return_dtype=pl.UInt32))
    assert definition(calls_python) is None
    matrix = compute_features(THREE, [calls_python], cache_directory=tmp_path)
    assert matrix.values.tolist() == [[1], [1], [1]]
    assert not list(tmp_path.rglob("*.parquet"))


def length_of(text: str) -> int:
    return len(text)


PYTHON = {
    "elements": LENGTH.map_elements(lambda x: len(str(x)), return_dtype=pl.Int64),
    "an importable function": pl.col("prompt")
    .list.first()
    .map_elements(length_of, return_dtype=pl.Int64),
    "a builtin": pl.col("prompt").map_elements(len, return_dtype=pl.Int64),
    "batches": LENGTH.map_batches(lambda x: x + 1, return_dtype=pl.Float64),
    "several columns": pl.map_batches(
        ["prompt", "response_a"], lambda x: x[0].list.len(), return_dtype=pl.UInt32
    ),
    "in a branch": pl.when(LENGTH > 3)
    .then(LENGTH.map_batches(lambda x: x + 1, return_dtype=pl.Float64))
    .otherwise(0),
    "in a list": pl.col("prompt")
    .list.eval(pl.element().map_elements(len, return_dtype=pl.Int64))
    .list.sum(),
    "reduce": pl.reduce(lambda x, y: x + y, [LENGTH, LENGTH]),
    "fold": pl.fold(pl.lit(0), lambda x, y: x + y, [LENGTH, LENGTH]),
}


@pytest.mark.parametrize("place", ["feature", "helper"])
@pytest.mark.parametrize("name", PYTHON)
def test_what_calls_python_is_never_kept(name: str, place: str, tmp_path: Path) -> None:
    calls = single("x", PYTHON[name])
    if place == "helper":
        calls = FeatureSet("x", single("x", pl.col("h")).features, helpers={"h": PYTHON[name]})
    assert definition(calls) is None
    compute_features(THREE[:1], [calls], cache_directory=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_calls_python_is_kept_where_the_set_names_its_code(tmp_path: Path) -> None:
    calls = single("x", PYTHON["batches"])
    named = [replace(calls, code=code) for code in ("measure 1", "measure 2")]
    assert len({definition(one) for one in named}) == 2
    assert named[0].identity() != named[1].identity()
    for number, one in enumerate(named, start=1):
        first = compute_features(THREE, [one], cache_directory=tmp_path)
        assert same(compute_features(THREE, [one], cache_directory=tmp_path), first)
        assert len(list(tmp_path.rglob("*.parquet"))) == number


def test_a_python_function_with_another_body_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("measures_of_somebody")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = []
    for body in ("x + 1", "x - 1"):
        exec(f"def measure(x):\n    return {body}", vars(module))  # noqa: S102
        length = pl.col("prompt").list.len().cast(pl.Int64)
        x = length.map_batches(module.measure, return_dtype=pl.Int64)
        # Polars writes an expression down in another way once it has been evaluated.
        compute_features(THREE, [single("x", x)])
        matrix = compute_features(THREE, [single("x", x)], cache_directory=tmp_path)
        found.append(matrix.values[:, 0].tolist())
    assert found == [[2, 2, 2], [0, 0, 0]]


def test_words_about_python_are_no_call_of_it() -> None:
    first = pl.col("prompt").list.first()
    for text in ("AnonymousFunction", '"callback":', "lambda", "\x80\x05\x95"):
        assert definition(single("x", first.str.contains(text, literal=True))) is not None
    table = {word: i for i, word in enumerate(("callback", "cloudpickle"))}
    assert definition(single("x", first.replace_strict(table, default=None))) is not None


def test_a_helper_that_cannot_be_serialized_can_be_shared_as_the_same_object() -> None:
    lock = threading.Lock()

    def measure(series: pl.Series) -> pl.Series:
        with lock:
            return series.list.len()

    def helper() -> pl.Expr:
        return pl.col("prompt").map_batches(measure, return_dtype=pl.UInt32)

    def using(name: str, expression: pl.Expr) -> FeatureSet:
        return FeatureSet(name, single(name, pl.col("h")).features, helpers={"h": expression})

    shared = helper()
    values = compute_features(THREE, [using("x", shared), using("y", shared)]).values
    assert values.tolist() == [[1, 1]] * 3
    with pytest.raises(PluginError, match='column "h" is defined twice'):
        compute_features(THREE, [using("x", helper()), using("y", helper())])


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("no luck"), pl.exceptions.PanicException("no luck")]
)
def test_what_a_python_function_raises_is_blamed_on_its_set(error: BaseException) -> None:
    def fail(_: pl.Series) -> pl.Series:
        raise error

    fails = single("x", LENGTH.map_batches(fail, return_dtype=pl.Float64), "fails")
    with pytest.raises(PluginError, match='no luck(.|\n)*feature set "fails"'):
        compute_features(THREE, [pair(), fails])


def test_row_keys_tell_turns_nulls_and_columns_apart() -> None:
    rows: list[tuple[Turns, Turns, Turns]] = [
        (["ab"], [""], [""]),
        (["a", "b"], [""], [""]),
        (["a"], ["b"], [""]),
        (["a"], [""], ["b"]),
        (["a"], [None], ["b"]),
        (["a"], [], ["b"]),
        (['a","b'], [""], [""]),
    ]
    keys = row_keys(battles(*rows))
    assert keys.n_unique() == len(rows)
    assert row_keys(battles(rows[0]))[0] == keys[0]


def test_a_file_is_read_and_checked_once_as_long_as_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compute_features(THREE, [pair()], cache_directory=tmp_path)
    read: list[Path] = []

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr("pathlib.Path.read_bytes", read_bytes)
    for _ in range(3):
        again = compute_features(THREE, [pair()], cache_directory=tmp_path)
        np.testing.assert_array_equal(first.values, again.values)
    assert len(read) == 1


def test_a_file_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Folds in processes of their own share one cache."""
    compute_features(THREE, [pair()], cache_directory=tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    being_written = file.with_name(f"{TEMPORARY}{'0' * 32}-{file.name}")
    being_written.write_bytes(b"half of it")
    compute_features(THREE, [pair()], cache_directory=tmp_path)
    assert being_written.read_bytes() == b"half of it"
