"""Slices by columns of any registered feature set; the core knows none of them by name."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.features import compute_features
from ensemble.compare.slices import Slice, by_number, by_value, numbers
from ensemble.errors import PluginError, unknown_name
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.compare.runs import ComparedRun
    from ensemble.plugin.base import FloatArray
    from ensemble.plugin.feature import FeatureSet

_NONE = "none"
"""Rows on which every column of a group is 0 or missing."""


def column_slices(compared: ComparedRun, asked: Sequence[str]) -> list[Slice]:
    """Slice by feature columns.

    Parameters
    ----------
    compared
        The rows.
    asked
        A column, which is cut into quartiles (or by value, where it has few); or a pattern with
        ``*`` or ``?`` over several columns that measure the same thing, where a row belongs to the
        one that is largest, and to ``none`` where all are 0 or missing.

    Raises
    ------
    UnknownNameError
        No feature set has such a column.
    PluginError
        The column cannot be computed.
    """
    if not asked:
        return []
    owners, broken = _owners()
    wanted = {text: _matching(text, owners, broken) for text in dict.fromkeys(asked)}
    sets = {s.name: s for names in wanted.values() for s in (owners[name] for name in names)}
    matrix = compute_features(compared.eval_set.rows, list(sets.values()))
    place = {name: index for index, name in enumerate(matrix.names)}
    return [
        one
        for text, names in wanted.items()
        for one in _slices(
            text, names, matrix.values[:, [place[n] for n in names]].astype(np.float64)
        )
    ]


def _owners() -> tuple[dict[str, FeatureSet], list[str]]:
    """Find the set of each column, and the sets that cannot be loaded."""
    registry = get_manager().feature_sets
    owners: dict[str, FeatureSet] = {}
    broken = []
    for entry in registry:
        try:
            feature_set = registry.get(entry.name)
        except PluginError as error:
            broken.append(f'feature set "{entry.name}" was skipped: {error.message}')
            continue
        for feature in feature_set.features:
            owners.setdefault(feature.name, feature_set)
    return owners, broken


def _matching(text: str, owners: dict[str, FeatureSet], broken: list[str]) -> list[str]:
    names = [text] if text in owners else [name for name in owners if fnmatchcase(name, text)]
    if not names:
        error = unknown_name("feature column", text, owners)
        error.hint = "\n  note:  ".join([error.hint or "", *broken])
        raise error
    return names


def _slices(text: str, names: list[str], values: FloatArray) -> list[Slice]:
    if len(names) == 1:
        return by_number(names[0], values[:, 0], write=numbers)
    filled = np.nan_to_num(values, nan=0.0)
    labels = np.array(_varying(names), dtype=object)[filled.argmax(axis=1)]
    found = np.where(filled.max(axis=1) > 0, labels, _NONE)
    return by_value(text, pl.Series("value", found.tolist(), dtype=pl.String))


def _varying(names: list[str]) -> list[str]:
    """Keep the part of each name that tells it from the others.

    Examples
    --------
    >>> _varying(["words_english_prompt", "words_french_prompt"])
    ['english', 'french']
    """
    words = [name.split("_") for name in names]
    for end in (0, -1):
        while all(len(left) > 1 for left in words) and len({left[end] for left in words}) == 1:
            for left in words:
                left.pop(end)
    return ["_".join(left) for left in words]
