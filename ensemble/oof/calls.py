"""Calls into learners' own code: what it raises and returns is checked, and gets name and fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.errors import LearnerError
from ensemble.plugin.base import CLASSES
from ensemble.plugin.faults import call_plugin, plugin_errors

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from ensemble.plugin.base import BaseLearner, LogitArray

_HINT = "return a NumPy array of floats, (n, 3), in the order of the battles"
_SHORT_FLOATS = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}
"""Types of numbers that libraries add to NumPy's own, and that float32 holds without loss."""


def predict_validated(
    learner: BaseLearner, battles: pl.DataFrame, where: str, *, may_lack: bool = False
) -> LogitArray:
    """Predict battles and check what comes back: ``(n, 3)`` float32, finite.

    With ``may_lack``, a learner that brings its predictions from outside may give NaN, for whole
    rows.
    """
    if not len(battles):
        return np.empty((0, 3), dtype=np.float32)
    # A copy shares the data; columns that are put into it in place reach nobody else.
    logits = call_plugin("predict_logits", where, lambda: learner.predict_logits(battles.clone()))
    may_lack = may_lack and not type(learner).trains
    return check_logits(logits, battles["id"], where, may_lack=may_lack)


def check_logits(
    logits: object, ids: pl.Series, where: str, *, may_lack: bool = False
) -> LogitArray:
    """Check what a learner returned.

    Tensors, lists and frames are taken where it is plain what is meant: a gradient is left behind,
    a device left, a frame's columns taken by name where they have the names of the classes.

    Raises
    ------
    LearnerError
        It is not an array of shape ``(len(ids), 3)`` of numbers that are finite as float32; with
        ``may_lack``, rows of three NaN are allowed.
    """
    array = _as_array(logits, where)
    if array.shape != (len(ids), 3):
        raise LearnerError(
            f"predict_logits returned shape {array.shape}, not {(len(ids), 3)}",
            where=where,
            hint="give one row for each battle, and a column for each of " + ", ".join(CLASSES),
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise LearnerError(
            f"predict_logits returned {array.dtype}, not floats", where=where, hint=_HINT
        )
    with np.errstate(over="ignore"):
        stored: LogitArray = array.astype(np.float32)
    lacking = np.isnan(stored).all(axis=1) & may_lack
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=1) & ~lacking)
    if len(bad):
        examples = ", ".join(ids[int(i)] for i in bad[:3])
        raise LearnerError(
            f"predict_logits returned NaN or infinity for {len(bad)} of {len(ids)} rows",
            where=f"{where}, ids {examples}",
        )
    return stored


def _as_array(logits: object, where: str) -> NDArray[Any]:
    """Make an array of what stands for one, whichever library it is from.

    Raises
    ------
    LearnerError
        Nothing tells how.
    """
    try:
        plain = _by_class(_off_device(logits))
        if np.ma.is_masked(plain):
            raise LearnerError("predict_logits returned masked values", where=where, hint=_HINT)
        array = np.asarray(plain)
        return array.astype(np.float32) if array.dtype.name in _SHORT_FLOATS else array
    except LearnerError as error:
        error.where = error.where or where
        raise
    except plugin_errors() as error:
        kind = type(logits).__name__
        raise LearnerError(
            f"predict_logits returned no array, but a {kind}: {error}", where=where, hint=_HINT
        ) from error


def _off_device(logits: Any) -> Any:
    """Give a tensor's numbers: without gradient, in main memory, of a type that NumPy has."""
    if not hasattr(logits, "detach"):
        return logits
    tensor = logits.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _by_class(logits: Any) -> Any:
    """Take the columns of a frame in the order of the classes.

    Raises
    ------
    LearnerError
        Its columns have names of something else.
    """
    if isinstance(logits, np.ndarray) or not hasattr(logits, "columns"):
        return logits
    names = list(logits.columns)
    for known in (CLASSES, LOGIT_COLUMNS, range(3)):
        if len(names) == 3 and set(names) == set(known):
            return logits[list(known)].to_numpy()
    raise LearnerError(
        f"predict_logits returned a frame with the columns {', '.join(map(str, names))}",
        hint=f"name them {', '.join(CLASSES)}, or {_HINT}",
    )


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
    if not gap <= tolerance:  # NaN is no agreement
        raise LearnerError(
            f"predict_logits gives other logits {what}: they differ by up to {gap:.3g}",
            where=where,
            hint="give each battle the same logits wherever it stands; if a small drift is known "
            f"and accepted, raise the learner's batch_tolerance ({tolerance})",
        )
