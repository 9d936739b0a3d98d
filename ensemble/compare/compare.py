"""Learners side by side on the same target rows: how much they differ, and where.

``compare`` reads verified predictions, keeps the rows that all of them have, and gives the content
of ``RUN/comparisons/<A>-<B>.json``; ``store_comparison`` writes it, and ``read_comparisons`` gives
back what is still of the run as it is now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.compare.candidates import read_contestants
from ensemble.compare.columns import column_slices
from ensemble.compare.eval_set import read_ground
from ensemble.compare.measure import measure
from ensemble.compare.records import VERSION, read_comparisons, store_comparison
from ensemble.compare.slices import builtin_slices
from ensemble.compare.text import sentences
from ensemble.config.load import load_run_config
from ensemble.errors import DataError
from ensemble.evaluation.losses import row_log_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.compare.candidates import Contestant
    from ensemble.compare.eval_set import Ground
    from ensemble.plugin.base import FloatArray

__all__ = ["compare", "read_comparisons", "store_comparison"]


def compare(run: Path, names: Sequence[str], by: Sequence[str] = ()) -> dict[str, Any]:
    """Compare learners on the target rows that all of them have predicted.

    Parameters
    ----------
    run
        The run directory.
    names
        Two or more learners of the run, candidates of its stack (``stack`` is the chosen one), or
        ``OTHER_RUN:NAME``. The first is the reference that every other is compared with.
    by
        Feature columns to slice by, besides the built-in slices; see ``column_slices``.

    Returns
    -------
    dict
        The content of ``comparisons/<A>-<B>.json``; see ``docs/comparing.md``. Differences are log
        losses minus that of the reference, nats a battle: negative is better.

    Raises
    ------
    ConfigError
        One of the runs is no run directory.
    UnknownNameError
        A name is no learner and no candidate, or a column is of no feature set.
    DataError
        Fewer than two names, one of them twice, another run has other battles or another fold plan,
        or no row has been predicted by all.
    ArtifactError
        What is stored is missing, damaged, or was made from something else than the run has now.
    """
    config = load_run_config(run)
    ground = read_ground(run)
    contestants = read_contestants(ground, config, names)
    losses = np.column_stack(
        [row_log_loss(ground.labels, one.probabilities) for one in contestants]
    )
    common = _common_rows(losses, contestants)
    found = measure(
        [one.name for one in contestants],
        losses[common],
        ground.clusters[common],
        [s.take(common) for s in (*builtin_slices(ground), *column_slices(ground, by))],
        resamples=config.stack.resamples,
        seed=config.seed,
    )
    result = {
        "version": VERSION,
        **_about_rows(ground, losses, common, contestants),
        **found,
        "plan": ground.plan.fingerprint,
        "data": ground.data,
    }
    return {**result, "sentences": sentences(result)}


def _common_rows(losses: FloatArray, contestants: Sequence[Contestant]) -> np.ndarray:
    """Mark the rows that all have predicted: ``(n,)``."""
    common = np.isfinite(losses).all(axis=1)
    if not common.any():
        counts = zip(contestants, np.isfinite(losses).sum(axis=0), strict=True)
        raise DataError(
            f"no target row has been predicted by all of {len(contestants)} learners",
            where=", ".join(f"{one.name}: {rows:,} rows" for one, rows in counts),
            mend="fit the same folds of each with `ensemble fit CONFIG --folds ...`",
        )
    return np.asarray(common)


def _about_rows(
    ground: Ground, losses: FloatArray, common: np.ndarray, contestants: Sequence[Contestant]
) -> dict[str, Any]:
    """Say whom the comparison is of, and which rows it leaves out."""
    predicted = np.isfinite(losses)
    return {
        "reference": contestants[0].name,
        "learners": [
            {
                "name": one.name,
                "rows_predicted": int(rows.sum()),
                "made_from": one.made_from,
                "settings": one.settings,
                "training_rows": one.training_rows,
            }
            for one, rows in zip(contestants, predicted.T, strict=True)
        ],
        "target_rows": len(ground.labels),
        "rows": int(common.sum()),
        "rows_left_out": int((~common).sum()),
    }
