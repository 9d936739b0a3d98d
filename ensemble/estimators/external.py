"""External rows beside a target that scikit-learn splits, each cut where its cluster is held out.

``cross_val_predict`` asks that every row is predicted once, so that rows which are never validated
cannot be among them. They come with the fit instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.fold_plan import CUT_ROLES
from ensemble.battles.frames import read_table
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.split_inputs import clusters_of, read_roles
from ensemble.battles.training_cut import cut_from_training
from ensemble.errors import DataError, FoldError, nearest
from ensemble.estimators.labels import read_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

_HINT = "give ExternalRows all battles of the target, with the ids that fit sees"


@dataclass(frozen=True)
class Kept:
    """The external rows that one fit may learn from, and the clusters of the target's own."""

    battles: pl.DataFrame
    labels: FloatArray
    weight: FloatArray
    groups: IntArray
    own_groups: IntArray


class ExternalRows:
    """Rows that a fit learns from beside those of the target, and that are never validated.

    Clusters of near duplicates are found among both. A fit is given all external rows but those
    whose cluster has a row of the target that this fit does not see: what is not learned from is
    taken as held out.

    Parameters
    ----------
    target
        All battles of the target, with ids: what is split.
    battles
        The external battles, whose ids are others. A column ``role`` may say ``train`` (as where
        there is none), ``pseudo`` or ``pretrain``. Where both tables have a column ``cluster``,
        that is taken.
    labels
        Of the external battles, as ``y`` of ``BattleClassifier.fit``.
    weight
        Of each external row, or of all; a row of the target weighs 1.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn.

    Raises
    ------
    DataError
        A table cannot be read, has no ids, or they share an id.
    FoldError
        A role is none that external rows can have.

    Examples
    --------
    >>> external = ExternalRows(X, extra, labels, weight=0.5)  # doctest: +SKIP
    >>> cross_val_predict(
    ...     BattleClassifier("tfidf"), X, y, cv=SourceAwareGroupKFold(5),
    ...     method="predict_proba", params={"external": external},
    ... )  # doctest: +SKIP
    """

    # No length, shape or array: scikit-learn would take rows of it by those of the target.

    def __init__(
        self,
        target: Any,
        battles: Any,
        labels: Any,
        *,
        weight: ArrayLike = 1.0,
        text_format: TextFormat = "json",
    ) -> None:
        own, others = (_with_ids(table, text_format) for table in (target, battles))
        shared = set(own["id"]) & set(others["id"])
        if shared:
            raise DataError(f'id "{min(shared)}" is in the target and among the external rows')
        self._labels = read_labels(labels, len(others)).labels
        self._weight = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(others)).copy()
        self._target, self._battles = own["id"], _with_roles(others)
        self._clusters = _joint_clusters(own, others)

    def __repr__(self) -> str:
        return f"ExternalRows({len(self._battles)} rows beside {len(self._target)} of the target)"

    def kept(self, ids: pl.Series) -> Kept:
        """Give what a fit may learn from.

        Parameters
        ----------
        ids
            Battles of the target that it learns from; the others are held out.

        Raises
        ------
        FoldError
            An id is not the target's, or a cluster stands on both sides.
        """
        places = self._places(ids)
        learned = np.zeros(len(self._target), dtype=bool)
        learned[places] = True
        held_out = np.concatenate([~learned, np.zeros(len(self._battles), dtype=bool)])
        cut = cut_from_training(self._clusters, held_out)
        _refuse_crossing(cut[: len(learned)] & learned)
        rows = np.flatnonzero(~cut[len(learned) :])
        clusters = self._clusters[len(learned) :]
        return Kept(
            self._battles[rows],
            self._labels[rows],
            self._weight[rows],
            clusters[rows],
            self._clusters[places],
        )

    def _places(self, ids: pl.Series) -> IntArray:
        known = {name: place for place, name in enumerate(self._target)}
        unknown = [name for name in ids if name not in known]
        if unknown:
            raise FoldError(
                f"{len(unknown)} rows are none of the target that the external rows stand beside: "
                f'"{unknown[0]}"',
                hint=_HINT,
            )
        return np.array([known[name] for name in ids], dtype=np.int64)


def _with_ids(table: Any, text_format: TextFormat) -> pl.DataFrame:
    if not {"id", "question_id"} & set(getattr(table, "columns", ())):
        raise DataError("external rows are joined by id, and a table has none", hint=_HINT)
    return read_table(table, text_format)


def _with_roles(battles: pl.DataFrame) -> pl.DataFrame:
    if "role" not in battles.columns:
        return battles.with_columns(role=pl.lit("train"))
    for role in read_roles(battles["role"].to_list(), len(battles)):
        if role not in CUT_ROLES:
            raise FoldError(f'external rows cannot be "{role}"', hint=nearest(role, CUT_ROLES))
    return battles


def _joint_clusters(target: pl.DataFrame, external: pl.DataFrame) -> IntArray:
    """Give the cluster of each row of both, those of the target first.

    Raises
    ------
    FoldError
        Both bring clusters, and rows with the same texts have other numbers: those of two tables
        that were numbered apart say nothing of each other.
    """
    both = [name for name in ("cluster", "source") if all(name in t for t in (target, external))]
    columns = ["id", *TEXT_COLUMNS, *both]
    joint = pl.concat([table.select(columns) for table in (target, external)])
    if "source" not in both:
        sources = ["target"] * len(target) + ["external"] * len(external)
        joint = joint.with_columns(source=pl.Series(sources))
    if "cluster" not in both:
        return clusters_of(joint)
    numbers = joint.select(*TEXT_COLUMNS, "cluster").unique()
    if numbers.select(TEXT_COLUMNS).is_duplicated().any():
        raise FoldError(
            "rows with the same texts have different numbers in the column cluster",
            hint="find clusters once for both tables, by ensemble.find_duplicates of their rows "
            "together, or leave the column out",
        )
    given: IntArray = joint["cluster"].cast(pl.Int64).to_numpy()
    return given


def _refuse_crossing(crossing: BoolArray) -> None:
    if crossing.any():
        raise FoldError(
            f"{int(crossing.sum())} rows that are learned from are near duplicates of rows that "
            "are held out",
            hint="split with cv=SourceAwareGroupKFold(...), which keeps clusters whole",
        )
