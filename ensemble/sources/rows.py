"""The rows that one source is studied on: the target's and its own, and no one else's.

What other sources hold does not reach the measurement, nor its key: a source that changes leaves
the fits of the others as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.battles.sides import sides_by_hash
from ensemble.battles.source_rows import rows_within
from ensemble.config.source_settings import SourceSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BoolArray

_ROWS_AT_A_TIME = 8_192
_ALONE = "_target"
"""Directory of the baseline's fits; no source can be called so."""


@dataclass(frozen=True)
class SourceRows:
    """The target's rows with one source's, or alone.

    Parameters
    ----------
    workspace
        Battles and plan of these rows alone; the target is used as the config says, the source is
        ignored until a treatment says otherwise.
    source
        Name of the source; None for the target alone.
    rows_without_label
        Rows of the source that have no label, and so no effect to measure.
    budget
        As given to ``take_rows``.
    sides
        ``"file"``, as the run has them, or ``"hash"``, drawn by a hash of the id.
    """

    workspace: Workspace
    source: str | None
    rows_without_label: int = 0
    budget: int | None = None
    sides: str = "file"

    @property
    def key(self) -> dict[str, str]:
        """Name the rows and the plan over them."""
        return {"data": self.workspace.data_key, "plan": self.workspace.plan.fingerprint}

    @property
    def folder(self) -> str:
        """Directory of its fits."""
        if self.source is None:
            return _ALONE
        return self.source if self.sides == "file" else f"{self.source}/sides-{self.sides}"

    def part(self, of_source: bool) -> pl.DataFrame:
        """Give the battles of the source, or those of the target."""
        side = pl.col("source") == self.source if of_source else pl.col("role") == "target"
        return self.workspace.battles.filter(side)


def take_rows(
    workspace: Workspace,
    source: str | None,
    budget: int | None,
    *,
    labeled: bool = True,
    sides: str = "file",
) -> SourceRows:
    """Take the target's rows, and those of a source, out of a run.

    Rows of the hold-out's clusters are left out: the plan of these rows has no hold-out that could
    cut them from training, and no study may know what they say.

    Parameters
    ----------
    workspace
        Of the run.
    source
        Name of the source; None takes the target alone.
    budget
        Most rows of either side, by whole clusters in the order of their hashes; the last cluster
        may exceed it. None takes all.
    labeled
        Whether to take the source's labeled rows only.
    sides
        As in ``SourceRows``.
    """
    frame = workspace.plan.frame
    target, own = (
        (frame[column] == value).to_numpy()
        for column, value in (("role", "target"), ("source", source or ""))
    )
    apart = ~workspace.plan.linked(workspace.plan.kept_to_the_end())
    target, own = target & apart, own & apart
    without = own & workspace.battles[LABEL_COLUMNS[0]].is_null().to_numpy()
    wanted = own & ~without if labeled else own
    kept = pl.Series(np.any([rows_within(frame, s, budget, "budget") for s in (target, wanted)], 0))
    battles = _with_sides(workspace.battles.filter(kept), source, sides)
    uses = {name: use for name, use in workspace.uses.items() if use.role == "target"}
    roles = {} if source is None else {source: "ignore"}
    # An unused role, whatever the config has: the keys of fits do not depend on it.
    plan = _renumbered(workspace.plan, kept).with_roles(roles)
    taken = replace(
        workspace,
        battles=battles.with_columns(plan.frame["role"]),
        plan=plan,
        data_key=_digest(battles),
        uses=uses | {name: SourceSettings(role) for name, role in roles.items()},
    )
    return SourceRows(taken, source, int(without.sum()), budget, sides)


def with_hashed_sides(material: SourceRows) -> SourceRows:
    """Draw the sides of a source's rows by a hash of their ids; the target's stay."""
    workspace = material.workspace
    battles = _with_sides(workspace.battles, material.source, "hash")
    hashed = replace(workspace, battles=battles, data_key=_digest(battles))
    return replace(material, workspace=hashed, sides="hash")


def usable_rows(workspace: Workspace, source: str, folds: Sequence[int]) -> list[BoolArray]:
    """Say of each fold which labeled rows of a source its plan lets it learn from: ``(n,)`` each.

    Parameters
    ----------
    workspace
        Of a run, or of some of its rows.
    source
        Name of the source, whatever its role.
    folds
        The folds that are scored.
    """
    frame = workspace.plan.frame
    own = (frame["source"] == source).to_numpy()
    labeled = workspace.battles[LABEL_COLUMNS[0]].is_not_null().to_numpy()
    plan = workspace.plan.with_roles({source: "train"})
    return [plan.training(fold, ("train",)).to_numpy() & own & labeled for fold in folds]


def _with_sides(battles: pl.DataFrame, source: str | None, sides: str) -> pl.DataFrame:
    if sides == "file":
        return battles
    drawn = sides_by_hash(battles)
    own = pl.Series(battles["source"] == source)
    return battles.select(
        pl.when(own).then(drawn[name]).otherwise(battles[name]).alias(name)
        for name in battles.columns
    )


def _renumbered(plan: FoldPlan, kept: pl.Series) -> FoldPlan:
    """Keep rows, and give clusters numbers by their first: those that are gone leave no trace."""
    frame = plan.frame.filter(kept)
    numbers = np.unique(frame["cluster"].to_numpy(), return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(numbers[1]))[numbers[2]]
    return replace(plan, frame=frame.with_columns(cluster=pl.Series(place, dtype=pl.Int64)))


def _digest(battles: pl.DataFrame) -> str:
    """Name rows by all that is in them but their role, 64 hex digits."""
    digest = hashlib.sha256()
    for rows in battles.drop("role").iter_slices(_ROWS_AT_A_TIME):
        digest.update(rows.write_ndjson().encode())
    return digest.hexdigest()
