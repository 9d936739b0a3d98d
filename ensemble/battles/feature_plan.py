"""In which order the columns of feature sets can be computed, and whether they can at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import PluginError, nearest
from ensemble.plugin.expressions import serialized
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from ensemble.plugin.feature import FeatureSet


def check_sets(sets: tuple[FeatureSet, ...]) -> None:
    """Refuse sets that cannot stand side by side.

    Raises
    ------
    PluginError
        Two sets (or a set given twice) have a column of the same name, or a helper of the same
        name with another expression; both sets are named.
    """
    for feature_set in sets:
        _check_types(feature_set)
    owner: dict[str, str] = dict.fromkeys(TEXT_COLUMNS, "battles")
    for feature_set in sets:
        for feature in feature_set.features:
            _claim(owner, feature.name, feature_set.name)
    helpers: dict[str, tuple[str, pl.Expr]] = {}
    for feature_set in sets:
        for name, expression in feature_set.helpers.items():
            first, known = helpers.setdefault(name, (feature_set.name, expression))
            if name in owner or not _same(expression, known):
                raise _clash(name, owner.get(name, first), feature_set.name)


def stages(sets: tuple[FeatureSet, ...]) -> list[list[pl.Expr]]:
    """Order helpers and features so that each stage rests on the text and former stages alone.

    Raises
    ------
    PluginError
        An expression refers to a column that is not there, or to itself in a circle.
    """
    waiting: dict[str, pl.Expr] = {}
    for feature_set in sets:
        _check_roots(feature_set)
        waiting |= feature_set.expressions()
    ready = set(TEXT_COLUMNS)
    plan: list[list[pl.Expr]] = []
    while waiting:
        stage = {n: e for n, e in waiting.items() if ready.issuperset(e.meta.root_names())}
        if not stage:
            raise PluginError(f"features refer to each other in a circle: {sorted(waiting)}")
        plan.append([expression.alias(name) for name, expression in stage.items()])
        ready |= stage.keys()
        waiting = {name: e for name, e in waiting.items() if name not in stage}
    return plan


def definition(feature_set: FeatureSet) -> str | None:
    """Name what a set computes: 64 hex digits that change with any expression, version or code.

    None where that cannot be told of some expression, as ``expression_digests`` says, and the set
    does not name its code.
    """
    digests = dict(feature_set.digests)
    if None in digests.values() and feature_set.code is None:
        return None
    return fingerprint(
        {
            "set": feature_set.name,
            "version": feature_set.version,
            "code": feature_set.code,
            "columns": [feature.name for feature in feature_set.features],
            "expressions": digests,
            "polars": pl.__version__,
        }
    )


def _check_types(feature_set: FeatureSet) -> None:
    for name, expression in feature_set.expressions().items():
        if not isinstance(expression, pl.Expr):
            raise PluginError(
                f'column "{name}" is a {type(expression).__name__}, no Polars expression',
                where=f'feature set "{feature_set.name}"',
                hint="build it from pl.col(...)",
            )


def _check_roots(feature_set: FeatureSet) -> None:
    expressions = feature_set.expressions()
    known = {*TEXT_COLUMNS, *expressions}
    for name, expression in expressions.items():
        for root in expression.meta.root_names():
            if root not in known:
                raise PluginError(
                    f'column "{name}" refers to "{root}", which is not there',
                    where=f'feature set "{feature_set.name}"',
                    hint=nearest(root, known),
                )


def _same(one: pl.Expr, other: pl.Expr) -> bool:
    form = serialized(one)
    return one is other or (form is not None and form == serialized(other))


def _claim(owner: dict[str, str], name: str, claimant: str) -> None:
    if name in owner:
        raise _clash(name, owner[name], claimant)
    owner[name] = claimant


def _clash(name: str, first: str, second: str) -> PluginError:
    return PluginError(
        f'column "{name}" is defined twice',
        where=f'feature sets "{first}" and "{second}"',
        hint="rename one of the columns, or leave one set out",
    )
