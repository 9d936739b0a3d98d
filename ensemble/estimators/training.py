"""What a fit in scikit-learn learns from: rows by role, groups and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ensemble.battles.fold_plan import TRAINING_ROLES
from ensemble.battles.schema import learner_view
from ensemble.battles.split_inputs import clusters_of, of_length, read_roles
from ensemble.errors import DataError, InputError
from ensemble.estimators.labels import read_labels
from ensemble.oof.rows import TrainingRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ensemble.estimators.external import ExternalRows, Kept
    from ensemble.estimators.labels import ReadLabels
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

USED_ROLES = (*TRAINING_ROLES, "pretrain")


class Stages(NamedTuple):
    """The rows of each stage of a fit, and the classes of the target."""

    train: TrainingRows
    pretrain: TrainingRows
    read: ReadLabels


def training_stages(
    battles: pl.DataFrame,
    y: Any,
    *,
    sample_weight: ArrayLike | None,
    groups: ArrayLike | None,
    roles: Sequence[str] | None,
    external: ExternalRows | None,
) -> Stages:
    """Lay out what a fit learns from.

    Parameters
    ----------
    battles
        As ``read_table`` gives them; their columns say what is not given.
    y, sample_weight, groups, roles, external
        As ``BattleClassifier.fit`` takes them.

    Raises
    ------
    InputError
        They do not fit together, or no row of the target is there.
    """
    said = _said_roles(battles, roles)
    used = np.flatnonzero(np.isin(said, USED_ROLES))
    if "target" not in said:
        raise DataError("no row that is learned from is of the target", hint="see their roles")
    battles, role = battles[used], said[used]
    read = read_labels(_rows_of(y, used, len(said)), len(used))
    weight = _weights(sample_weight, len(said))[used]
    given = None if groups is None else of_length(groups, len(said), "groups")[used]
    if external is not None:
        kept = external.kept(battles["id"])
        role = np.concatenate([role, kept.battles["role"].to_numpy()])
        rows = _Rows(battles, read.labels, weight, kept.own_groups).with_external(kept)
    else:
        rows = _Rows(battles, read.labels, weight, _groups(battles, given))
    pretrains = role == "pretrain"
    return Stages(rows.stage(~pretrains, role), rows.stage(pretrains, role), read)


class _Rows(NamedTuple):
    battles: pl.DataFrame
    labels: FloatArray
    weight: FloatArray
    groups: IntArray

    def with_external(self, kept: Kept) -> _Rows:
        return _Rows(
            pl.concat([learner_view(table) for table in (self.battles, kept.battles)]),
            np.concatenate([self.labels, kept.labels]),
            np.concatenate([self.weight, kept.weight]),
            np.concatenate([self.groups, kept.groups]),
        )

    def stage(self, mask: BoolArray, role: NDArray[Any]) -> TrainingRows:
        is_target = role[mask] == "target"
        return TrainingRows(
            learner_view(self.battles).filter(pl.Series(mask)),
            self.labels[mask],
            self.weight[mask],
            self.groups[mask],
            eval_mask=is_target if is_target.any() and not is_target.all() else None,
        )


def _said_roles(battles: pl.DataFrame, roles: Sequence[str] | None) -> NDArray[Any]:
    if roles is not None:
        _refuse_unrouted(roles)
    elif "role" in battles.columns:
        roles = battles["role"].to_list()
    return read_roles(roles, len(battles))


def _refuse_unrouted(roles: Sequence[str]) -> None:
    """Refuse roles that a splitter does not get: external rows would be validated.

    Raises
    ------
    InputError
        Some row is not of the target, and scikit-learn hands metadata to ``fit`` alone.
    """
    from sklearn import get_config

    if set(map(str, roles)) != {"target"} and not get_config()["enable_metadata_routing"]:
        raise InputError(
            "roles are given to fit, and scikit-learn gives them to no splitter as it is set: "
            "external rows would be validated",
            hint="put them into X, as a column `role`, or call "
            "sklearn.set_config(enable_metadata_routing=True)",
        )


def _rows_of(y: Any, rows: IntArray, length: int) -> Any:
    if y is None or len(rows) == length:
        return y
    if hasattr(y, "columns"):
        return y.iloc[rows] if hasattr(y, "iloc") else y[rows]
    return of_length(y, length, "y")[rows]


def _weights(sample_weight: ArrayLike | None, rows: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(rows)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (rows,):
        raise DataError(f"sample_weight has the shape {weight.shape}, and X has {rows} rows")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise DataError("sample_weight must be finite, not negative, and above 0 for some row")
    return weight


def _groups(battles: pl.DataFrame, given: NDArray[Any] | None) -> IntArray:
    if given is None and "cluster" in battles.columns:
        given = battles["cluster"].to_numpy()
    if given is None:
        return clusters_of(battles)
    return np.unique(given, return_inverse=True)[1].astype(np.int64)
