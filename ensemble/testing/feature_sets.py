"""All that is asked of a feature set."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.feature_plan import check_sets, stages
from ensemble.battles.features import FeatureMatrix, compute_features
from ensemble.battles.schema import learner_view
from ensemble.battles.swap import swap_battles
from ensemble.errors import EnsembleError, PluginError
from ensemble.testing.checks import CautionError, Check, NotAskedError, findings
from ensemble.testing.material import generated, odd_texts, rebuilt, renamed
from ensemble.testing.watch import changed, global_state, restoring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.oof.check import Finding
    from ensemble.plugin.feature import Feature, FeatureSet

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6
"""What rounding in another order of additions may change."""
_FROM_ITS_ROW = "compute each row from its own text alone: no mean, rank, shift or sort over rows"
_WRAPPED = 2**31
"""No count of a text is as large."""
_DEAR = 0.02
"""Seconds a battle that are told."""


class FeatureTrial:
    """A feature set that is tried out.

    Parameters
    ----------
    feature_set
        The set.
    battles
        ``LEARNER_COLUMNS``; generated ones, and odd texts among them, by default.
    """

    fast = False

    def __init__(self, feature_set: FeatureSet, battles: pl.DataFrame | None = None) -> None:
        self.set, self.name = feature_set, feature_set.name
        self.where = f'feature set "{feature_set.name}"'
        own = learner_view(generated().rows) if battles is None else battles
        self.battles = pl.concat([own, *odd_texts().values()])

    def close(self) -> None:
        """Do nothing: nothing is written."""

    @cached_property
    def matrix(self) -> FeatureMatrix:
        """Its values; the error is a fault of the check that asks."""
        return self.compute(self.battles)

    @property
    def known(self) -> FeatureMatrix:
        """Its values; ``NotAskedError`` where they cannot be computed."""
        try:
            return self.matrix
        except EnsembleError as error:
            raise NotAskedError("it cannot be computed") from error

    def compute(self, battles: pl.DataFrame) -> FeatureMatrix:
        """Compute all columns."""
        with restoring():
            return compute_features(rebuilt(battles), [self.set])

    def fault(self, message: str, hint: str) -> PluginError:
        """Make an error of this set."""
        return PluginError(message, where=self.where, hint=hint)

    def same(self, again: Any, what: str, hint: str, rows: Any = slice(None)) -> None:
        """See that values are those that are known; names the first column that differs."""
        found = _different(np.asarray(again), self.known.values[rows])
        if found is not None:
            row, column = found
            name, battle = self.known.names[column], self.battles["id"][rows][row]
            raise self.fault(
                f'feature "{name}" has another value {what}: {again[row][column]:.6g}, not '
                f"{self.known.values[rows][row, column]:.6g} (battle {battle})",
                hint,
            )


def _different(one: Any, other: Any) -> tuple[int, int] | None:
    same = np.isclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
    rows, columns = np.nonzero(~same)
    return (int(rows[0]), int(columns[0])) if len(rows) else None


def definition(trial: FeatureTrial) -> dict[str, Any]:
    """See that columns are expressions over texts, with descriptions and sensible signs."""
    check_sets((trial.set,))
    stages((trial.set,))
    if not trial.set.features:
        raise trial.fault("the set has no feature", "give it one at least")
    for feature in trial.set.features:
        if feature.sign not in (1, -1):
            raise trial.fault(
                f'the sign of feature "{feature.name}" is {feature.sign!r}, and 1 or -1 was '
                "expected",
                "-1 is for a column that changes its sign when A and B are exchanged",
            )
        if not str(feature.description).strip():
            raise trial.fault(
                f'feature "{feature.name}" has no description', "say what it measures, and its unit"
            )
        _check_there_and_back(trial, feature)
    return {"features": len(trial.set.features), "helpers": len(trial.set.helpers)}


def _check_there_and_back(trial: FeatureTrial, feature: Feature) -> None:
    by_name = {one.name: one for one in trial.set.features}
    other = by_name[feature.swap]
    if other.swap != feature.name or other.sign != feature.sign:
        raise trial.fault(
            f'feature "{feature.name}" becomes "{other.name}" when A and B are exchanged, and '
            f'"{other.name}" becomes "{other.swap}" with sign {other.sign}',
            "exchanging twice must give the feature back: two columns name each other, with the "
            "same sign",
        )


def values(trial: FeatureTrial) -> dict[str, Any]:
    """Compute all columns for generated battles and odd texts: one finite number or null a row."""
    started = time.perf_counter()
    matrix = trial.matrix
    seconds = (time.perf_counter() - started) / len(trial.battles)
    _check_numbers(trial)
    unknown = np.isnan(matrix.values).mean()
    measured = {"rows": len(matrix), "unknown": float(unknown), "ms a battle": seconds * 1e3}
    empty = [n for n, c in zip(matrix.names, matrix.values.T, strict=True) if np.isnan(c).all()]
    if empty:
        raise CautionError(
            f'feature "{empty[0]}" is null or NaN for every battle: see its expression', measured
        )
    if seconds > _DEAR:
        raise CautionError(
            f"a battle takes {seconds * 1e3:.0f} ms: 55,000 of them "
            f"{seconds * 55_000 / 60:.0f} minutes; use Polars expressions in place of Python",
            measured,
        )
    return measured


def _check_numbers(trial: FeatureTrial) -> None:
    query = trial.battles.lazy()
    for stage in stages((trial.set,)):
        query = query.with_columns(stage)
    for feature in trial.set.features:
        with restoring():
            column = query.select(feature.name).collect().to_series()
        if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            raise trial.fault(
                f'feature "{feature.name}" gives {column.dtype}, and one number a row was expected',
                "end the expression with what counts, measures or casts to a number",
            )
        largest = column.cast(pl.Float64).fill_null(0).to_numpy().max()
        if column.dtype.is_unsigned_integer() and largest > _WRAPPED:
            raise trial.fault(
                f'feature "{feature.name}" has values such as {largest:.0f}: a difference of '
                f"{column.dtype} that would be negative has come out of the other end",
                "cast lengths and counts to pl.Int64 before they are subtracted",
            )


def again(trial: FeatureTrial) -> dict[str, Any]:
    """Compute the same rows again."""
    trial.same(
        trial.compute(trial.battles).values,
        "the second time",
        "an expression may neither draw at random nor remember",
    )
    return {}


def row_by_row(trial: FeatureTrial) -> dict[str, Any]:
    """Compute some rows alone, all of them in another order, and a part of them."""
    battles = trial.battles
    order = np.random.default_rng(0).permutation(len(battles))
    known = trial.known
    turned = trial.compute(battles[order]).values[np.argsort(order)]
    trial.same(turned, "in another order of rows", _FROM_ITS_ROW)
    half = np.arange(0, len(battles), 2)
    trial.same(trial.compute(battles[half]).values, "in another batch", _FROM_ITS_ROW, half)
    some = np.unique(np.linspace(0, len(battles) - 1, 12).astype(int))
    alone = np.concatenate([trial.compute(battles[[row]]).values for row in some])
    trial.same(alone, "where its row is alone", _FROM_ITS_ROW, some)
    return {"columns": len(known.names)}


def other_ids(trial: FeatureTrial) -> dict[str, Any]:
    """Compute the same texts under other ids."""
    found = trial.compute(renamed(trial.battles)).values
    trial.same(found, "under other ids", "compute it from the texts")
    return {}


def exchange(trial: FeatureTrial) -> dict[str, Any]:
    """Exchange A and B: each column must become what its ``swap`` and ``sign`` say."""
    known, swapped = trial.known, trial.compute(swap_battles(trial.battles))
    found = _different(swapped.values, known.swapped().values)
    if found is None:
        return {"columns": len(known.names)}
    row, column = found
    feature = trial.set.features[column]
    sign = "" if feature.sign == 1 else "-"
    raise trial.fault(
        f'feature "{feature.name}" does not become {sign}{feature.swap} when A and B are '
        f"exchanged: {swapped.values[row, column]:.6g} came, and "
        f"{known.swapped().values[row, column]:.6g} was expected (battle "
        f"{trial.battles['id'][row]})",
        _suggestion(trial, swapped.values[:, column]),
    )


def _suggestion(trial: FeatureTrial, after: Any) -> str:
    """Say which ``swap`` and ``sign`` would be right."""
    for sign in (1, -1):
        for name, before in zip(trial.known.names, trial.known.values.T, strict=True):
            if np.allclose(after, sign * before, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True):
                return f'declare swap="{name}", sign={sign}, if the expression is what was meant'
    return (
        "no column of the set is its like with the sides exchanged: add that column, or correct "
        "the expression"
    )


def global_state_kept(trial: FeatureTrial) -> dict[str, Any]:
    """See what of the process its computation changes."""
    _ = trial.known
    with restoring():
        before = global_state()
        compute_features(rebuilt(trial.battles), [trial.set])
        seen = changed(before, global_state())
    if seen:
        raise CautionError(f"it changes what the whole process shares: {', '.join(seen)}")
    return {}


def digest(trial: FeatureTrial) -> dict[str, Any]:
    """See whether the expressions can be told from others."""
    python = [name for name, found in trial.set.digests.items() if found is None]
    if python and trial.set.code is None:
        raise CautionError(
            f"{', '.join(python[:3])} calls Python: a change of that function is seen by the code "
            "of its plugin alone; raise the version of the set when something else changes it"
        )
    return {"version": trial.set.version}


CHECKS: tuple[Check, ...] = (
    Check("definition", definition, fast=True),
    Check("values", values, fast=True),
    Check("same rows again", again),
    Check("rows", row_by_row, fast=True),
    Check("other ids", other_ids),
    Check("exchange of A and B", exchange, fast=True),
    Check("global state", global_state_kept),
    Check("expressions", digest),
)


def feature_findings(trial: FeatureTrial) -> Iterator[Finding]:
    """Ask a feature set."""
    yield from findings(trial, CHECKS, ("definition",))
