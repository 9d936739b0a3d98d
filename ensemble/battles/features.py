"""Evaluating feature sets: every column of every set for every battle, and nothing by name.

Rows are taken in batches of bounded text, so that memory does not grow with the table; within a
batch one lazy Polars query computes all columns in parallel, shared helpers once. A value depends
on its own row's text alone, never on the batch; a few rows of each table are computed once more,
in a batch of their own, to hold the sets to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import gettempdir
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.feature_cache import FeatureCache
from ensemble.battles.feature_plan import check_sets, stages
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.text_sizes import text_bytes
from ensemble.errors import EnsembleError, PluginError
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.storage.atomic import how_to_mend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ensemble.plugin.base import IntArray, LogitArray
    from ensemble.plugin.feature import FeatureSet

_BATCH_BYTES = 16 << 20
"""Text of one batch; the token lists of all columns together need some twenty times as much."""

_PROBED = 28
"""Rows that are computed once more, apart from the others."""

_TWINS = 4
"""Of these, how many stand there twice: a column that looks for its like finds one."""

_WORTH_PROBING = 8
"""Tables of so few rows are not probed: they would cost as much again."""

_TOLERANCE = 1e-6
"""Relative: what rounding in another order of additions may change in a float32."""


@dataclass(frozen=True)
class FeatureMatrix:
    """Values of some feature sets.

    Parameters
    ----------
    ids
        Battle ids, ``(n,)`` String.
    names
        Column names, ``k`` of them, unique.
    values
        ``(n, k)`` float32, NaN where a feature is undefined, never infinite.
    swap
        ``(k,)`` index of the column that takes each one's place when sides are exchanged.
    sign
        ``(k,)`` float32, 1 or -1 as in ``Feature.sign``.
    """

    ids: pl.Series
    names: tuple[str, ...]
    values: LogitArray
    swap: IntArray
    sign: LogitArray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> FeatureMatrix:
        """Keep some rows, by index."""
        return FeatureMatrix(self.ids[rows], self.names, self.values[rows], self.swap, self.sign)

    def swapped(self) -> FeatureMatrix:
        """Exchange sides A and B in every row."""
        # Adding 0 turns -0 into 0, as a computation on exchanged texts would give it.
        values = self.values[:, self.swap] * self.sign + np.float32(0)
        return FeatureMatrix(self.ids, self.names, values, self.swap, self.sign)

    def stacked_orders(self) -> LogitArray:
        """Give the values of all rows, then those with A and B exchanged: ``(2 n, k)``."""
        return np.concatenate([self.values, self.swapped().values])


def compute_features(
    battles: pl.DataFrame, sets: Sequence[FeatureSet], *, cache_directory: Path | None = None
) -> FeatureMatrix:
    """Compute all columns of some feature sets.

    Parameters
    ----------
    battles
        ``LEARNER_COLUMNS`` (others are ignored), ``n`` rows.
    sets
        Feature sets; their columns follow one another in this order.
    cache_directory
        Where values are kept by set and by row text, and looked up first. None keeps nothing.

    Raises
    ------
    PluginError
        Sets clash in a name, refer to a column that is not there, or a column cannot be computed
        or comes out infinite, or a value depends on other rows.
    """
    sets = tuple(sets)
    check_sets(sets)
    if cache_directory is None or not sets:
        values = _evaluate(battles, sets)
    else:
        values = _evaluate_cached(battles, sets, cache_directory)
    features = [feature for feature_set in sets for feature in feature_set.features]
    names = tuple(feature.name for feature in features)
    place = {name: index for index, name in enumerate(names)}
    return FeatureMatrix(
        ids=battles["id"],
        names=names,
        values=values,
        swap=np.array([place[feature.swap] for feature in features], dtype=np.int64),
        sign=np.array([feature.sign for feature in features], dtype=np.float32),
    )


def _evaluate_cached(
    battles: pl.DataFrame, sets: tuple[FeatureSet, ...], directory: Path
) -> LogitArray:
    """Look values up; compute those rows of those sets that are not there, and keep them."""
    cache = FeatureCache(directory, battles)
    blocks = [cache.read(feature_set) for feature_set in sets]
    lacking = tuple(s for s, block in zip(sets, blocks, strict=True) if not block.found.all())
    if lacking:
        rows = np.flatnonzero(
            ~np.logical_and.reduce([block.found for block in blocks]) & cache.first
        )
        fresh = _evaluate(battles[rows], lacking)
        cache.write(lacking, rows, fresh)
        start = 0
        for index, feature_set in enumerate(sets):
            if feature_set in lacking:
                stop = start + len(feature_set.features)
                blocks[index] = cache.completed(blocks[index], rows, fresh[:, start:stop])
                start = stop
    return np.concatenate([block.values for block in blocks], axis=1, dtype=np.float32)


def _evaluate(battles: pl.DataFrame, sets: tuple[FeatureSet, ...]) -> LogitArray:
    """Compute all columns: ``(n, k)`` float32, NaN where undefined."""
    names = [feature.name for feature_set in sets for feature in feature_set.features]
    values = np.empty((battles.height, len(names)), dtype=np.float32)
    plan = stages(sets)
    for start, stop in _batches(battles) if names else ():
        values[start:stop] = _run(battles[start:stop].select(TEXT_COLUMNS), plan, names, sets)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        raise PluginError(
            f'feature "{names[int(infinite.argmax())]}" is infinite on some battle',
            hint="make it null where it is undefined",
        )
    if names and battles.height > _WORTH_PROBING:
        _probe(battles, values, plan, sets)
    return values


def _probe(
    battles: pl.DataFrame,
    values: LogitArray,
    plan: list[list[pl.Expr]],
    sets: tuple[FeatureSet, ...],
) -> None:
    """Compute some rows by themselves, out of order, a few of them twice, and those few each alone.

    A mean, rank or shift over rows shows, and so does what is rare: of a row that has its like in
    one batch and stands alone in another, a column that counts rows has two values.

    It has to be done here: once values are in the cache, they are the same in every batch.
    """
    some = min(_PROBED, battles.height)
    rows = np.random.default_rng(0).choice(battles.height, some, replace=False)
    twins = rows[-_TWINS:]
    # The last of them stands beside its twin, the others apart.
    for batch in (np.concatenate([rows, twins[::-1]]), *np.split(twins, len(twins))):
        _compare(battles, values, batch, plan, sets)


def _compare(
    battles: pl.DataFrame,
    values: LogitArray,
    rows: IntArray,
    plan: list[list[pl.Expr]],
    sets: tuple[FeatureSet, ...],
) -> None:
    """Compute some rows as a batch of their own and hold them against their values."""
    owners = [(feature.name, s.name) for s in sets for feature in s.features]
    again = _run(battles[rows].select(TEXT_COLUMNS), plan, [name for name, _ in owners], sets)
    same = np.isclose(again, values[rows], rtol=_TOLERANCE, atol=0, equal_nan=True)
    if not same.all():
        row, column = (int(index[0]) for index in np.nonzero(~same))
        name, owner = owners[column]
        raise PluginError(
            f'feature "{name}" has another value in another batch: '
            f"{again[row, column]:.9g} instead of {values[rows[row], column]:.9g}",
            where=f'feature set "{owner}", battle {battles["id"][int(rows[row])]}',
            hint="compute each row from its own text alone: no mean, rank or shift over rows",
        )


def _run(
    texts: pl.DataFrame,
    plan: list[list[pl.Expr]],
    names: list[str],
    sets: tuple[FeatureSet, ...],
) -> LogitArray:
    query = texts.lazy()
    columns = pl.col(names).cast(pl.Float32).fill_null(np.nan)
    try:
        for stage in plan:
            query = query.with_columns(stage)
        with staying():
            return query.select(columns).collect().to_numpy().astype(np.float32)
    except plugin_errors() as error:
        culprit = next((s for s in sets if len(sets) > 1 and _fails(texts, s)), sets[0])
        where, line = f'feature set "{culprit.name}"', own_line(error)
        mended = how_to_mend(error)  # libraries unpack their models to the disk
        raise (EnsembleError if mended else PluginError)(
            f"a column cannot be computed: {error}",
            where=f"{where}, {line}" if line else where,
            hint=f"{mended}; temporary files go to {gettempdir()} (TMPDIR)" if mended else None,
        ) from error


def _fails(texts: pl.DataFrame, feature_set: FeatureSet) -> bool:
    names = [feature.name for feature in feature_set.features]
    try:
        _run(texts, stages((feature_set,)), names, (feature_set,))
    except PluginError:
        return True
    return False


def _batches(battles: pl.DataFrame) -> Iterator[tuple[int, int]]:
    """Cut rows into consecutive ranges of about ``_BATCH_BYTES`` of text."""
    upto = np.cumsum(text_bytes(battles))
    start = 0
    while start < battles.height:
        done = upto[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(upto, done + _BATCH_BYTES, side="right")))
        yield start, stop
        start = stop
