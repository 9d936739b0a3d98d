"""What names a feature set: a model that was fitted on another must not be fed by it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl
import pytest

from ensemble import Feature, FeatureSet
from ensemble.plugin.expressions import expression_digests
from ensemble.storage.hashing import canonical_json

LENGTH = pl.col("words").list.len()


def _set(**changes: Any) -> FeatureSet:
    features = (
        Feature("one", LENGTH, "a", swap="other"),
        Feature("other", LENGTH + 1, "b", swap="one"),
    )
    helpers = {"words": pl.col("prompt").list.first().str.split(" ")}
    return replace(FeatureSet("mine", features, helpers=helpers), **changes)


def _with_first(**changes: Any) -> FeatureSet:
    features = _set().features
    return _set(features=(replace(features[0], **changes), features[1]))


@pytest.mark.parametrize(
    "other",
    [
        _set(version="2"),
        _set(features=_set().features[::-1]),
        _set(helpers={"words": pl.col("prompt").list.first().str.split(",")}),
        _with_first(expression=LENGTH * 2),
        _with_first(swap="one"),
        _with_first(sign=-1),
    ],
)
def test_whatever_changes_a_value_changes_the_identity(other: FeatureSet) -> None:
    assert other.identity() != _set().identity()


def test_a_description_is_no_part_of_the_identity() -> None:
    assert _with_first(description="said better").identity() == _set().identity()
    assert canonical_json(_set().identity()) == canonical_json(_set().identity())


def test_python_functions_are_known_by_the_version_alone() -> None:
    """Polars keeps them by name or by memory: a digest would lie, or change with the process."""

    def shift(values: pl.Series, by: float) -> pl.Series:
        return values + by

    def mapped(by: float) -> pl.Expr:
        return pl.col("x").map_batches(partial(shift, by=by), return_dtype=pl.Float64)

    digests = expression_digests({"plain": LENGTH, "python": mapped(1.0)})
    assert digests["python"] is None
    assert digests["plain"] is not None
    one, other = (_with_first(expression=mapped(by)) for by in (1.0, 2.0))
    assert one.identity() == other.identity()
    assert replace(one, version="2").identity() != other.identity()
