"""The kit on feature sets: sound ones pass, and each broken one is told what is wrong with it."""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl
import pytest

from ensemble.errors import PluginError
from ensemble.plugin.feature import Feature, FeatureSet
from ensemble.plugin.manager import get_manager
from ensemble.testing import check_feature_set

NAMES = [entry.name for entry in get_manager().feature_sets]


def _chars(side: str) -> pl.Expr:
    return pl.col(side).list.join(" ", ignore_nulls=True).str.len_chars().cast(pl.Float64)


def _unsigned(side: str) -> pl.Expr:
    return pl.col(side).list.join(" ", ignore_nulls=True).str.len_chars()


A, B = _chars("response_a"), _chars("response_b")


def _set(expression: Any, swap: str = "x", sign: int = 1, **others: tuple[Any, str]) -> FeatureSet:
    features = [Feature("x", expression, "Something.", swap, sign)]
    features += [Feature(name, e, "Something.", other, sign) for name, (e, other) in others.items()]
    return FeatureSet("mine", tuple(features))


def _drawn(column: pl.Series) -> pl.Series:
    import numpy as np

    return pl.Series(np.random.default_rng().random(len(column)))


NUMBERS = itertools.count()


BROKEN: dict[str, tuple[FeatureSet, str]] = {
    "sign": (_set(A - B), "x. does not become x when A and B .*declare swap=.x., sign=-1"),
    "unsigned": (_set(_unsigned("response_a") - _unsigned("response_b"), sign=-1), "pl.Int64"),
    "swap": (_set(A, y=(B, "y")), 'declare swap="y", sign=1'),
    "one side": (_set(A), "no column of the set is its like"),
    "sign of 2": (_set(A + B, sign=2), "the sign of feature .x. is 2"),
    "there and not back": (_set(A, swap="y", y=(B, "y")), "exchanging twice must give"),
    "mean": (_set((A + B) - (A + B).mean()), "another value in another batch|has another value"),
    "rank": (_set((A + B).rank()), "has another value"),
    "shift": (_set((A + B).shift(1)), "has another value"),
    "drawn": (_set(pl.col("prompt").map_batches(_drawn, pl.Float64)), "has another value"),
    "counted": (
        _set(pl.col("prompt").map_elements(lambda _: float(next(NUMBERS)), pl.Float64)),
        "has another value",
    ),
    "text": (_set(pl.col("prompt").list.first()), "gives String|cannot be computed|one number"),
    "list": (
        _set(pl.col("prompt").list.eval(pl.element().str.len_chars())),
        "cannot be|one number",
    ),
    "infinite": (_set((A + B) / 0), "is infinite on some battle"),
    "no null": (
        _set(
            pl.col("prompt")
            .list.first()
            .map_elements(lambda text: 1 / len(text), pl.Float64, skip_nulls=False)
        ),
        "cannot be computed",
    ),
    "unknown column": (_set(pl.col("model_a").str.len_chars()), 'refers to "model_a"'),
    "id": (_set(pl.col("id").str.len_chars()), 'refers to "id"'),
    "no expression": (_set(1.0), "no Polars expression"),
    "no description": (
        FeatureSet("mine", (Feature("x", A + B, " ", "x"),)),
        "has no description",
    ),
    "empty": (FeatureSet("mine", ()), "has no feature"),
    "all null": (_set(pl.lit(None, pl.Float64) + A), "is null or NaN for every battle"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_a_broken_feature_set_is_caught(name: str) -> None:
    found = check_feature_set(BROKEN[name][0], raises=False)
    told = [one.detail for one in (*found.failed, *found.warnings)]
    with pytest.raises(ValueError, match=f"(?s){BROKEN[name][1]}"):
        raise ValueError("\n".join(told))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_feature_sets_of_the_toolkit_pass(name: str) -> None:
    report = check_feature_set(name)
    assert [one.line() for one in report.warnings] == []


def test_a_sound_set_passes() -> None:
    sound = _set(A, swap="y", y=(B, "x"))
    assert check_feature_set(sound).warnings == ()
    assert check_feature_set(_set(A - B, sign=-1)).ok


def test_faults_are_raised() -> None:
    with pytest.raises(PluginError, match="mine fails 1 check"):
        check_feature_set(BROKEN["sign"][0])
    with pytest.raises(PluginError, match="is no FeatureSet"):
        check_feature_set(3)  # type: ignore[arg-type]
