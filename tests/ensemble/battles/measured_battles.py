"""Battles and columns that tests compute."""

from __future__ import annotations

import numpy as np
import polars as pl

from ensemble import Feature, FeatureSet
from ensemble.battles.features import FeatureMatrix

Turns = list[str | None]


def make_turns(*rows: tuple[Turns, Turns, Turns]) -> pl.DataFrame:
    columns = {
        name: pl.Series([row[i] for row in rows], dtype=pl.List(pl.String))
        for i, name in enumerate(("prompt", "response_a", "response_b"))
    }
    ids = pl.Series([f"id{i}" for i in range(len(rows))], dtype=pl.String)
    return pl.DataFrame({"id": ids, **columns})


THREE = make_turns((["p"], ["a"], ["bbb"]), (["pp"], [None], ["b", "b"]), (["p"], ["aaaa"], []))


def pair_set(name: str = "pair", version: str = "1") -> FeatureSet:
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


def single_set(name: str, expression: pl.Expr, set_name: str = "single") -> FeatureSet:
    return FeatureSet(set_name, (Feature(name, expression, "x", name),))


def same_values(one: FeatureMatrix, other: FeatureMatrix) -> bool:
    return np.array_equal(one.values, other.values, equal_nan=True)


LENGTH = pl.col("response_a").list.first().str.len_chars().cast(float)
