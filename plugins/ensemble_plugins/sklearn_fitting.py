"""Fitting an estimator to battles, and asking it: weights, threads, NaN, classes."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemble.errors import EnsembleError, LearnerError
from ensemble.plugin.base import CLASSES
from ensemble.processes import one_thread_of_blas
from ensemble_plugins.sklearn_estimators import weight_keyword
from ensemble_plugins.sklearn_inputs import take_inputs

if TYPE_CHECKING:
    from ensemble.battles.trees import HardRows
    from ensemble.plugin.base import FloatArray

_TRIED = 60
"""Rows that an estimator is tried on before a run: copies of a few, labeled with each class."""
_EVEN = 1e-9
"""Weights that differ by less are all the same."""
_IGNORED_WEIGHTS = ".*does not appear to accept sample_weight"
_SUM_TOLERANCE = 1e-3


class Told(NamedTuple):
    """What errors say of an estimator.

    Parameters
    ----------
    reference
        As the config names it.
    columns
        Names of the feature columns, where nothing fills what is undefined in them.
    """

    reference: str
    columns: tuple[str, ...]


def fit_estimator(estimator: Any, inputs: Any, rows: HardRows, told: Told, threads: int) -> Any:
    """Fit an estimator to rows with one class each, and give it.

    Parameters
    ----------
    estimator
        Not fitted. Where all rows have one class, that class is all that is learned.
    inputs
        What ``rows.row`` takes rows of.
    rows
        Rows, numbers of classes and weights.
    told
        For errors.
    threads
        CPU threads, where the estimator does not say ``n_jobs``.

    Raises
    ------
    LearnerError
        Rows count differently and the estimator takes no weights, or it takes no NaN.
    """
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    if len(np.unique(rows.label)) == 1:
        from sklearn.dummy import DummyClassifier

        estimator = DummyClassifier()  # no other could say more, and many refuse
    weights = _weights(estimator, rows, told)
    learned = take_inputs(inputs, rows.row)
    with (
        parallel_config(backend="threading", n_jobs=threads),
        threadpool_limits(threads, user_api="openmp"),
        one_thread_of_blas(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message=_IGNORED_WEIGHTS)
        try:
            return estimator.fit(learned, rows.label, **weights)
        except (ValueError, UserWarning) as error:
            _explain(error, learned, told)
            raise


def try_estimator(estimator: Any, inputs: Any, count: int, told: Told) -> None:
    """Fit an estimator to copies of a few rows; pass on what would fail on more of them too.

    Raises
    ------
    LearnerError
        It takes no NaN.
    Exception
        What it raised, where that is a value that it refuses, or a mistake in code.
    """
    from sklearn.utils._param_validation import InvalidParameterError

    tried = take_inputs(inputs, np.resize(np.arange(count), _TRIED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.fit(tried, np.arange(_TRIED) % len(CLASSES))
        except Exception as error:
            _explain(error, tried, told)
            stays = EnsembleError | InvalidParameterError | TypeError | AttributeError | NameError
            if isinstance(error, stays):
                raise


def class_probabilities(estimator: Any, inputs: Any, rows: int, reference: str) -> FloatArray:
    """Give probabilities ``(rows, 3)``; 0 for a class that no training row had.

    Raises
    ------
    LearnerError
        The estimator gives what is no distribution.
    """
    probability = np.zeros((rows, len(CLASSES)))
    if not rows:
        return probability
    with one_thread_of_blas():
        given = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
    known = np.asarray(estimator.classes_, dtype=np.int64)
    if given.shape != (rows, len(known)) or not (
        (given >= -_SUM_TOLERANCE).all()
        and np.allclose(given.sum(axis=1), 1, rtol=0, atol=_SUM_TOLERANCE)
    ):
        raise LearnerError(
            f'predict_proba of "{reference}" gives no distributions over classes',
            hint="rows must be of 0 or more and sum to 1; take another classifier",
        )
    probability[:, known] = given
    return probability


def _weights(estimator: Any, rows: HardRows, told: Told) -> dict[str, FloatArray]:
    """Give the keyword of ``fit`` that weighs the rows; none where all count the same."""
    if np.ptp(rows.weight) <= _EVEN * rows.weight.max():
        return {}
    keyword = weight_keyword(estimator)
    if keyword is None:
        raise _takes_no_weights(told)
    return {keyword: rows.weight}


def _explain(error: Exception, inputs: Any, told: Told) -> None:
    """Say how to go on, where that is known."""
    if re.match(_IGNORED_WEIGHTS, str(error)):
        raise _takes_no_weights(told) from error
    if "NaN" not in str(error) or not told.columns:
        return
    undefined = [told.columns[i] for i in np.flatnonzero(np.isnan(inputs).any(axis=0))]
    if undefined:
        raise LearnerError(
            f'"{told.reference}" takes no NaN, and {len(undefined)} features are undefined on some '
            f"battle: {', '.join(undefined[:5])}",
            hint='set impute = "median", or take an estimator that takes NaN',
        ) from error


def _takes_no_weights(told: Told) -> LearnerError:
    return LearnerError(
        f'"{told.reference}" takes no weights of rows, and the rows count differently: they have '
        "soft labels, or weights of their sources",
        hint="take an estimator whose fit has sample_weight (most of scikit-learn's have), or give "
        "every source the same weight and no pseudo-labels",
    )
