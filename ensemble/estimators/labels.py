"""Labels as scikit-learn's users have them, to distributions and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.labels import TOLERANCE
from ensemble.errors import DataError
from ensemble.evaluation.ties import with_no_tie
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.plugin.base import FloatArray, IntArray

_HINT = (
    f"give names ({', '.join(CLASSES)}), their numbers 0, 1, 2, or an array of shares (n, 3), or "
    "(n, 2) where there are no ties"
)


@dataclass(frozen=True)
class ReadLabels:
    """What ``y`` says.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions in ``CLASSES`` order.
    classes
        ``(k,)`` the classes that occur, as ``y`` spells them, sorted; as many as ``y`` has columns
        where it holds shares.
    numbers
        ``(k,)`` the place of each in ``CLASSES``.
    """

    labels: FloatArray
    classes: NDArray[Any]
    numbers: IntArray


def read_labels(y: Any, rows: int) -> ReadLabels:
    """Read labels: names of ``CLASSES``, their numbers, or shares.

    Parameters
    ----------
    y
        ``(n,)`` names or numbers, ``(n, 3)`` shares, ``(n, 2)`` shares of A and B where there are
        no ties, or a table whose columns are ``CLASSES``.
    rows
        How many there have to be.

    Raises
    ------
    DataError
        It is none of these, or of another length.
    """
    if y is None:
        raise DataError("battles are learned from with labels: y is None", hint=_HINT)
    values = _as_array(y)
    if len(values) != rows:
        raise DataError(f"y has {len(values)} rows, and X has {rows}")
    if values.ndim == 2:
        k = values.shape[1]
        return ReadLabels(_shares(values), np.array(CLASSES[:k]), np.arange(k))
    classes, inverse = _classes(values)
    numbers = np.array([_number(one) for one in classes], dtype=np.int64)
    return ReadLabels(np.eye(3)[numbers[inverse]], classes, numbers)


def _as_array(y: Any) -> NDArray[Any]:
    if set(CLASSES) <= set(getattr(y, "columns", ())):
        return np.column_stack([np.asarray(y[name], dtype=np.float64) for name in CLASSES])
    values = np.asarray(y)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _classes(values: NDArray[Any]) -> tuple[NDArray[Any], IntArray]:
    if values.ndim != 1 or not len(values):
        raise DataError(f"y has the shape {values.shape}", hint=_HINT)
    try:
        classes, inverse = np.unique(values, return_inverse=True)
    except TypeError as error:
        raise DataError("y mixes names with numbers, or has gaps", hint=_HINT) from error
    return classes, inverse.astype(np.int64)


def _number(value: Any) -> int:
    """Find the place of a class in ``CLASSES``."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str) and value in CLASSES:
        return CLASSES.index(value)
    if not isinstance(value, str | bool) and value in (0, 1, 2):
        return int(value)
    raise DataError(f"{value!r} in y is no class of battles", hint=_HINT)


def _shares(values: NDArray[Any]) -> FloatArray:
    shares: FloatArray = values.astype(np.float64)
    if shares.shape[1:] == (2,):
        shares = with_no_tie(shares)
    is_label = shares.shape[1:] == (3,) and bool((shares >= 0).all())
    if not is_label or not (np.abs(shares.sum(axis=1) - 1) <= TOLERANCE).all():
        raise DataError("the rows of y are no distributions over three classes", hint=_HINT)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
