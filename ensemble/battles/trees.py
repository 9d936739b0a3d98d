"""What boosted trees on battles have in common: settings, and rows for soft labels.

Stored fits, stacks and source studies depend on both: with others, raise ``VERSION`` of
``oof.fold_key``, ``stacking.stack`` and ``sources.study``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

MULTICLASS: dict[str, Any] = {"objective": "multiclass", "num_class": len(CLASSES)}
"""LightGBM's settings for scores in ``CLASSES`` order."""


class HardRows(NamedTuple):
    """Rows with one class each, as LightGBM takes them.

    Parameters
    ----------
    row
        ``(m,)`` row with soft labels that each one comes from, in ascending order.
    label
        ``(m,)`` number of its class.
    weight
        ``(m,)`` positive.
    """

    row: IntArray
    label: IntArray
    weight: FloatArray


def hard_rows(labels: FloatArray, weight: FloatArray) -> HardRows:
    """Turn soft labels into hard ones: a row enters with each class's share of its weight.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions.
    weight
        ``(n,)`` positive.
    """
    row, label = np.nonzero(labels)
    return HardRows(row, label, weight[row] * labels[row, label])


def common_settings(threads: int) -> dict[str, Any]:
    """Give LightGBM's settings that all share: repeatable, silent, other rows in every round.

    Parameters
    ----------
    threads
        CPU threads.
    """
    return {
        "bagging_freq": 1,
        "num_threads": threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
