"""Columns are computed once, and only what is row-wise and whole is kept."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import FeatureSet
from ensemble.battles import features as core
from ensemble.battles.feature_cache import row_keys
from ensemble.battles.feature_plan import definition
from ensemble.battles.features import compute_features
from ensemble.storage.atomic import TEMPORARY
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
    from collections.abc import Callable
    from pathlib import Path


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
    plain = compute_features(THREE, [pair_set()])
    for _ in range(2):
        assert same_values(compute_features(THREE, [pair_set()], cache_directory=tmp_path), plain)
    assert counted == [3, 3]


def test_rows_are_known_by_text_not_by_id_or_place(tmp_path: Path, counted: list[int]) -> None:
    compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    other = make_turns((["p"], ["zz"], ["bbb"]), (["p"], ["a"], ["bbb"]))
    matrix = compute_features(other, [pair_set()], cache_directory=tmp_path)
    assert matrix.values.tolist() == [[-1, 2, 3], [-2, 1, 3]]
    assert counted == [3, 1]


def test_rows_of_equal_text_are_computed_once(tmp_path: Path, counted: list[int]) -> None:
    twice = pl.concat([THREE, THREE]).with_columns(id=pl.Series([f"{i}" for i in range(6)]))
    matrix = compute_features(twice, [pair_set()], cache_directory=tmp_path)
    assert same_values(matrix, compute_features(twice, [pair_set()]))
    assert counted[0] == 3


def test_a_set_that_is_known_stands_beside_one_that_is_not(
    tmp_path: Path, counted: list[int]
) -> None:
    compute_features(THREE[:2], [pair_set("one")], cache_directory=tmp_path)
    sets = [pair_set("one"), pair_set("two")]
    matrix = compute_features(THREE, sets, cache_directory=tmp_path)
    assert same_values(matrix, compute_features(THREE, sets))
    assert same_values(compute_features(THREE, sets[::-1], cache_directory=tmp_path), matrix)
    assert counted == [2, 3, 3]


@pytest.mark.parametrize(
    "other",
    [
        pair_set(version="2"),
        FeatureSet("pair", pair_set().features, "1", {**pair_set().helpers, "y": pl.lit(1)}),
    ],
)
def test_another_definition_shares_nothing(
    other: FeatureSet, tmp_path: Path, counted: list[int]
) -> None:
    compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    compute_features(THREE, [other], cache_directory=tmp_path)
    assert counted == [3, 3]
    assert definition(other) != definition(pair_set())


def flip_one_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:-5], flip_one_bit])
def test_a_damaged_file_is_computed_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, counted: list[int]
) -> None:
    plain = compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(damage(file.read_bytes()))
    assert same_values(compute_features(THREE, [pair_set()], cache_directory=tmp_path), plain)
    assert same_values(compute_features(THREE, [pair_set()], cache_directory=tmp_path), plain)
    assert counted == [3, 3]


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
    calls = single_set("x", PYTHON[name])
    if place == "helper":
        calls = FeatureSet("x", single_set("x", pl.col("h")).features, helpers={"h": PYTHON[name]})
    assert definition(calls) is None
    compute_features(THREE[:1], [calls], cache_directory=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_calls_python_is_kept_where_the_set_names_its_code(tmp_path: Path) -> None:
    calls = single_set("x", PYTHON["batches"])
    named = [replace(calls, code=code) for code in ("measure 1", "measure 2")]
    assert len({definition(one) for one in named}) == 2
    assert named[0].identity() != named[1].identity()
    for number, one in enumerate(named, start=1):
        first = compute_features(THREE, [one], cache_directory=tmp_path)
        assert same_values(compute_features(THREE, [one], cache_directory=tmp_path), first)
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
        compute_features(THREE, [single_set("x", x)])
        matrix = compute_features(THREE, [single_set("x", x)], cache_directory=tmp_path)
        found.append(matrix.values[:, 0].tolist())
    assert found == [[2, 2, 2], [0, 0, 0]]


def test_words_about_python_are_no_call_of_it() -> None:
    first = pl.col("prompt").list.first()
    for text in ("AnonymousFunction", '"callback":', "lambda", "\x80\x05\x95"):
        assert definition(single_set("x", first.str.contains(text, literal=True))) is not None
    table = {word: i for i, word in enumerate(("callback", "cloudpickle"))}
    assert definition(single_set("x", first.replace_strict(table, default=None))) is not None


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
    keys = row_keys(make_turns(*rows))
    assert keys.n_unique() == len(rows)
    assert row_keys(make_turns(rows[0]))[0] == keys[0]


def test_a_file_is_read_and_checked_once_as_long_as_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    read: list[Path] = []

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr("pathlib.Path.read_bytes", read_bytes)
    for _ in range(3):
        again = compute_features(THREE, [pair_set()], cache_directory=tmp_path)
        np.testing.assert_array_equal(first.values, again.values)
    assert len(read) == 1


def test_a_file_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Folds in processes of their own share one cache."""
    compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    being_written = file.with_name(f"{TEMPORARY}{'0' * 32}-{file.name}")
    being_written.write_bytes(b"half of it")
    compute_features(THREE, [pair_set()], cache_directory=tmp_path)
    assert being_written.read_bytes() == b"half of it"
