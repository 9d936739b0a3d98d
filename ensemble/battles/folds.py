"""Source-aware, label-stratified group folds: a splitter of scikit-learn, which plans rest on.

Validation rows are target rows; a fold trains on the target rows of the other folds and on external
rows whose cluster has no row in the held-out fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.fold_plan import TRAINING_ROLES
from ensemble.battles.groups import assign_groups
from ensemble.battles.split_inputs import of_length, read_roles, said_of_rows
from ensemble.battles.training_cut import cut_from_training
from ensemble.errors import FoldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray


_LEAST_MASS = 1e-12
"""Least label mass of a stratum: less is the rounding of soft labels, and counts as this much."""


class SourceAwareGroupKFold:
    """Group folds for a target and its external sources.

    Target rows are assigned to folds by whole groups, so that every fold has about the same number
    of rows and the same label shares in each target source. External rows are never validated, and
    are left out of the training side of a fold that holds a row of their group.

    It is a splitter of scikit-learn (``cv=``). Of a table of battles it takes groups, roles and
    sources from the columns ``cluster``, ``role`` and ``source``, where they are not given, and
    finds the clusters of near duplicates itself where nobody says them. See `docs/sklearn.md`.

    Parameters
    ----------
    n_splits
        Number of folds, at least 2.
    seed
        Decides among groups of the same size.
    training_roles
        Roles whose rows are learned from; with ``"pretrain"`` too a learner that has a stage for
        them gets those rows.
    text_format
        What a string in a table's text column is: a JSON list of turns, or one plain turn.
    group_columns
        Columns of a table of battles whose equal values join groups, such as a session or a judge;
        empty values join nothing.

    Notes
    -----
    Groups are assigned greedily, as ``assign_groups`` says. Unlike scikit-learn's
    ``StratifiedGroupKFold`` it takes soft labels and never leaves a fold empty.

    Examples
    --------
    >>> splitter = SourceAwareGroupKFold(n_splits=2)
    >>> roles = ["target", "target", "train", "train"]
    >>> for train, valid in splitter.split(None, groups=[0, 1, 1, 2], roles=roles):
    ...     print(train.tolist(), valid.tolist())
    [0, 3] [1]
    [1, 2, 3] [0]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        seed: int = 42,
        training_roles: Sequence[str] = TRAINING_ROLES,
        text_format: TextFormat = "json",
        group_columns: Sequence[str] = (),
    ) -> None:
        if n_splits < 2:
            raise FoldError(f"n_splits must be at least 2, got {n_splits}")
        self.n_splits = n_splits
        self.seed = seed
        self.training_roles = training_roles
        self.text_format = text_format
        self.group_columns = group_columns

    def __repr__(self) -> str:
        return f"SourceAwareGroupKFold(n_splits={self.n_splits}, seed={self.seed})"

    def get_n_splits(
        self,
        X: object = None,  # noqa: N803, ARG002 - scikit-learn's signature
        y: object = None,  # noqa: ARG002
        groups: object = None,  # noqa: ARG002
        **others: object,  # noqa: ARG002
    ) -> int:
        """Give the number of folds, as scikit-learn's splitters do."""
        return self.n_splits

    def get_metadata_routing(self) -> Any:
        """Ask scikit-learn for ``groups``, ``roles`` and ``sources``, wherever they are given."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        for name in ("groups", "roles", "sources"):
            request.split.add_request(param=name, alias=True)
        return request

    def split(
        self,
        X: object = None,  # noqa: N803 - scikit-learn's signature
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        roles: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield training and validation row indices, one pair a fold.

        Parameters
        ----------
        X
            A table of battles, Polars or pandas, whose columns say what is not given; anything
            else is not looked at.
        y
            ``(n,)`` class numbers or ``(n, k)`` label distributions; None stratifies by size alone.
        groups
            ``(n,)`` group of each row. None takes the column ``cluster``, or the clusters of near
            duplicates that ``find_duplicates`` finds among the battles.
        roles
            ``(n,)`` role of each row; None means that all are ``target``. Rows of roles other than
            ``target`` and the training roles are on neither side.
        sources
            ``(n,)`` source of each row, for stratifying several target sources.

        Raises
        ------
        FoldError
            No groups and no battles, lengths that differ, an unknown role, a missing column, or
            fewer target groups than folds.
        """
        said = said_of_rows(X, groups, roles, sources, self.text_format, self.group_columns)
        group_numbers = np.unique(said.groups, return_inverse=True)[1].astype(np.int64)
        rows = len(group_numbers)
        role_array = read_roles(said.roles, rows)
        target = role_array == "target"
        folds = np.full(rows, -1)
        folds[target] = self.assign(
            group_numbers[target],
            _one_hot(y, rows, target),
            None if said.sources is None else of_length(said.sources, rows, "sources")[target],
        )
        trains = np.isin(role_array, list(self.training_roles))
        for fold in range(self.n_splits):
            held_out = folds == fold
            cut = cut_from_training(group_numbers, held_out)
            yield np.flatnonzero(trains & ~cut), np.flatnonzero(held_out)

    def assign(
        self, clusters: IntArray, labels: FloatArray, sources: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Assign rows to folds by whole clusters.

        Parameters
        ----------
        clusters
            ``(n,)`` cluster of each target row.
        labels
            ``(n, k)`` label distributions.
        sources
            ``(n,)`` source of each row.

        Returns
        -------
        NDArray[np.int32]
            ``(n,)`` fold of each row, every fold with at least one row.

        Raises
        ------
        FoldError
            There are fewer clusters than folds.
        """
        numbers, inverse = np.unique(clusters, return_inverse=True)
        if len(numbers) < self.n_splits:
            raise FoldError(
                f"{len(numbers)} clusters of target rows cannot fill {self.n_splits} folds",
                hint=f"set n_splits to {len(numbers)} or less, or give more distinct prompts"
                if len(numbers) >= 2
                else "give more distinct prompts (group_columns, where given, join clusters)",
            )
        strata = _strata(labels, sources)
        totals = np.zeros((len(numbers), strata.shape[1]))
        np.add.at(totals, inverse, strata)
        folds = assign_groups(totals, self.n_splits, self.seed, least_total=_LEAST_MASS)
        return folds.astype(np.int32)[inverse]


def _strata(labels: FloatArray, sources: NDArray[Any] | None) -> FloatArray:
    """``(n, 1 + k * sources)``: a row count, then label mass per source."""
    counts = np.ones((len(labels), 1))
    if sources is None:
        return np.hstack([counts, labels])
    parts = [labels * (sources == source)[:, None] for source in np.unique(sources)]
    return np.hstack([counts, *parts])


def _one_hot(y: ArrayLike | None, rows: int, kept: BoolArray) -> FloatArray:
    """Give the kept rows' label distributions; the others may have no label."""
    if y is None:
        return np.ones((int(kept.sum()), 1))
    values = of_length(y, rows, "y")[kept]
    if values.ndim == 2:
        return values.astype(np.float64)
    classes, numbers = np.unique(values, return_inverse=True)
    return np.eye(len(classes))[numbers]
