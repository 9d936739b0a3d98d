"""Rows as LightGBM has them: binned once, for all models that learn from parts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ensemble.battles.trees import hard_rows

if TYPE_CHECKING:
    import lightgbm

    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, LogitArray

WATCHED = "watched"
"""What LightGBM calls the rows that a model stops by."""

_BINNING = {"bin_construct_sample_cnt": 20_000, "data_random_seed": 1}
"""So many rows settle where the edges of bins lie, and the same ones whatever a model's seed is."""


@dataclass(frozen=True)
class BinnedRows:
    """Rows with soft labels, each of which enters once for every class that it holds.

    Parameters
    ----------
    whole
        What LightGBM has.
    row
        The row of each of LightGBM's rows.
    """

    whole: lightgbm.Dataset
    row: IntArray

    @classmethod
    def of(
        cls,
        values: LogitArray,
        labels: FloatArray,
        weight: FloatArray,
        start: FloatArray,
        settings: dict[str, Any],
    ) -> Self:
        """Bin rows.

        Parameters
        ----------
        values
            ``(n, k)`` float32.
        labels
            ``(n, k)`` distributions; a row enters with each class's share of its weight.
        weight
            ``(n,)`` positive.
        start
            ``(n, k)`` scores that the trees correct. All rows have them: LightGBM's own start for a
            class that rows lack is log(1e-15).
        settings
            LightGBM's parameters, but for the seed.
        """
        import lightgbm

        rows = hard_rows(labels, weight)
        whole = lightgbm.Dataset(
            values if len(rows.row) == len(labels) else values[rows.row],
            label=rows.label,
            weight=rows.weight,
            init_score=start[rows.row],
            params={**settings, **_BINNING},
        )
        return cls(whole.construct(), rows.row)

    def train(
        self,
        learned: BoolArray,
        watched: BoolArray,
        settings: dict[str, Any],
        *,
        rounds: int,
        patience: int,
    ) -> lightgbm.Booster:
        """Learn from some rows ``(n,)``, and stop by others.

        Parameters
        ----------
        learned, watched
            Masks ``(n,)``.
        settings
            As in ``of``, with a seed.
        rounds, patience
            Most rounds, and rounds without gain before it stops.
        """
        import lightgbm

        return lightgbm.train(
            {**settings, **_BINNING},
            self._part(learned),
            rounds,
            valid_sets=[self._part(watched)],
            valid_names=[WATCHED],
            callbacks=[lightgbm.early_stopping(patience, verbose=False)],
        )

    def _part(self, rows: BoolArray) -> lightgbm.Dataset:
        return self.whole.subset(np.flatnonzero(rows[self.row]).tolist()).construct()
