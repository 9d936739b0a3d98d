"""Feature values on disk, found again by what a set computes and by the text of a row.

One directory a definition of a set, with the files of ``storage.shards``; rows of a damaged file
are computed anew.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.feature_plan import definition
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.storage.shards import add_shard, read_shard, shard_paths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.plugin.base import IntArray, LogitArray
    from ensemble.plugin.feature import FeatureSet

_KEY, _SUFFIX = "row:key", ".parquet"
_SMALL, _REMEMBERED = 1 << 21, 64
"""Bytes of a file that is kept in memory, and most such files: folds ask for the same ones."""


@dataclass(frozen=True)
class Block:
    """What the cache knows of one set.

    Parameters
    ----------
    values
        ``(n, k)`` float32; rows that were not found are to be ignored.
    found
        ``(n,)`` whether the row was found.
    """

    values: LogitArray
    found: NDArray[np.bool_]


class FeatureCache:
    """Values of feature sets for the rows of one table.

    Parameters
    ----------
    directory
        The cache directory; the values are in its subdirectory ``features``.
    battles
        The rows to look up; those of equal text share their values.
    """

    def __init__(self, directory: Path, battles: pl.DataFrame) -> None:
        self._directory = directory / "features"
        self._keys = row_keys(battles)
        self.first: NDArray[np.bool_] = self._keys.is_first_distinct().to_numpy()
        """``(n,)`` whether a row is the first of its text."""

    def read(self, feature_set: FeatureSet) -> Block:
        """Look up the values of a set."""
        names = [feature.name for feature in feature_set.features]
        place = self._place(feature_set)
        schema = {_KEY: pl.String, **dict.fromkeys(names, pl.Float32)}
        paths = [] if place is None else shard_paths(place, _SUFFIX)
        parts = [_read(path, schema) for path in paths]
        stored = pl.concat([pl.DataFrame(schema=schema), *parts]).unique(_KEY, keep="any")
        return self._block(stored.with_columns(found=True), names)

    def write(self, sets: Sequence[FeatureSet], rows: IntArray, values: LogitArray) -> None:
        """Keep values ``(len(rows), k)`` of some sets, whose columns follow one another."""
        start = 0
        for feature_set in sets:
            names = [feature.name for feature in feature_set.features]
            place = self._place(feature_set)
            if place is not None:
                _write(place, self._table(rows, values[:, start : start + len(names)], names))
            start += len(names)

    def completed(self, block: Block, rows: IntArray, values: LogitArray) -> Block:
        """Put fresh values of some rows in their places and in those of equal rows."""
        names = [f"{index}" for index in range(values.shape[1])]
        fresh = self._block(self._table(rows, values, names).with_columns(found=True), names)
        merged = np.where(fresh.found[:, None], fresh.values, block.values)
        return Block(merged, block.found | fresh.found)

    def _table(self, rows: IntArray, values: LogitArray, names: list[str]) -> pl.DataFrame:
        return pl.DataFrame(values, schema=names).insert_column(0, self._keys[rows])

    def _block(self, stored: pl.DataFrame, names: list[str]) -> Block:
        joined = self._keys.to_frame().join(stored, on=_KEY, how="left", maintain_order="left")
        found = joined["found"].fill_null(value=False).to_numpy()
        return Block(joined.select(names).to_numpy().astype(np.float32), found)

    def _place(self, feature_set: FeatureSet) -> Path | None:
        key = definition(feature_set)
        return None if key is None else self._directory / key[:32]


def row_keys(battles: pl.DataFrame) -> pl.Series:
    """Name each row by a 128-bit hash of its texts (turn by turn, nulls apart), 32 hex digits."""
    keys = [_row_key(row) for row in battles.select(TEXT_COLUMNS).iter_rows()]
    return pl.Series(_KEY, keys, dtype=pl.String)


def _row_key(row: tuple[list[str | None] | None, ...]) -> str:
    """Name a row: lengths first, so that no text can pass for the end of another."""
    lengths = [
        None if turns is None else [None if turn is None else len(turn) for turn in turns]
        for turns in row
    ]
    text = "".join(turn for turns in row for turn in turns or () if turn)
    content = f"{lengths}{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _write(place: Path, table: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    add_shard(place, buffer.getvalue(), _SUFFIX)


def _read(path: Path, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """Read the rows of a file; none where it is damaged or gone."""
    try:
        state = path.stat()
    except OSError:  # removed since it was listed
        return pl.DataFrame(schema=schema)
    read = _remembered if state.st_size <= _SMALL else _remembered.__wrapped__
    table = read(path, state.st_mtime_ns, state.st_size)
    return pl.DataFrame(schema=schema) if table is None else table.select(*schema)


@lru_cache(maxsize=_REMEMBERED)
def _remembered(path: Path, changed: int, size: int) -> pl.DataFrame | None:  # noqa: ARG001
    """Read a file, once as long as it stays; None where it is damaged."""
    content = read_shard(path)
    return None if content is None else pl.read_parquet(io.BytesIO(content))
