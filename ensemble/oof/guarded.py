"""Calls into learners' own code: what it raises and returns is checked, and gets name and fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.atomic import is_refusal
from ensemble.errors import EnsembleError, LearnerError
from ensemble.plugin.faults import own_line, plugin_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from ensemble.plugin.base import BaseLearner, LogitArray


def guarded(verb: str, where: str, action: Callable[[], Any]) -> Any:
    """Run a plugin's own code.

    Raises
    ------
    LearnerError
        The code raised, whatever it was: also ``SystemExit``, and the panics of Polars, which are
        no ``Exception``. It names the last line of the plugin's own code.
    """
    try:
        return action()
    except EnsembleError as error:
        error.where = error.where or where
        raise
    except plugin_errors() as error:
        if is_refusal(error):
            raise  # a full disk is not the learner's fault
        line = own_line(error)
        raise LearnerError(
            f"{verb} raised {type(error).__name__}: {error}",
            where=f"{where}, {line}" if line else where,
        ) from error


def predict_checked(learner: BaseLearner, battles: pl.DataFrame, where: str) -> LogitArray:
    """Predict battles and check what comes back: ``(n, 3)`` float32, finite."""
    if not len(battles):
        return np.empty((0, 3), dtype=np.float32)
    logits = guarded("predict_logits", where, lambda: learner.predict_logits(battles))
    return check_logits(logits, battles["id"], where)


def check_logits(logits: object, ids: pl.Series, where: str) -> LogitArray:
    """Check what a learner returned.

    Raises
    ------
    LearnerError
        It is not an array of shape ``(len(ids), 3)`` of numbers that are finite as float32.
    """
    try:
        array = np.asarray(logits)
    except ValueError as error:
        raise LearnerError(f"predict_logits returned no array: {error}", where=where) from error
    if array.shape != (len(ids), 3):
        raise LearnerError(
            f"predict_logits returned shape {array.shape}, not {(len(ids), 3)}", where=where
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise LearnerError(f"predict_logits returned {array.dtype}, not floats", where=where)
    with np.errstate(over="ignore"):
        stored: LogitArray = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=1))
    if len(bad):
        examples = ", ".join(ids[int(i)] for i in bad[:3])
        raise LearnerError(
            f"predict_logits returned NaN or infinity for {len(bad)} of {len(ids)} rows",
            where=f"{where}, ids {examples}",
        )
    return stored


def check_same(
    first: LogitArray, again: LogitArray, tolerance: float, what: str, where: str
) -> None:
    """Check that two predictions of the same battles agree.

    Parameters
    ----------
    first, again
        ``(n, 3)``.
    tolerance
        Greatest difference allowed, in logits.
    what
        Finishes the sentence "predict_logits gives other logits ...".
    where
        Learner and fold.

    Raises
    ------
    LearnerError
        They differ by more.
    """
    gap = float(np.abs(first - again).max(initial=0.0))
    if gap > tolerance:
        raise LearnerError(
            f"predict_logits gives other logits {what}: they differ by up to {gap:.3g}",
            where=where,
            mend="give each battle the same logits wherever it stands; if a small drift is known "
            f"and accepted, raise the learner's batch_tolerance ({tolerance})",
        )
