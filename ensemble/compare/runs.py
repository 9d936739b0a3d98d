"""What learners are compared on: the labeled target rows of a run, with cluster and fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.battles.prepared import read_battles, read_summary
from ensemble.battles.split import read_split, read_split_summary
from ensemble.errors import DataError
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.store import FoldStore

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.folds_record import FoldsRecord


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run whose learners are compared, and the rows that they are compared on.

    Parameters
    ----------
    run
        The run directory.
    plan
        Its fold plan.
    data
        Key of its battles.
    eval_set
        The rows that scores are made on.
    ties
        Whether its task has ties.
    """

    run: Path
    plan: FoldPlan
    data: str
    eval_set: EvalSet
    ties: bool = True

    def store_of(self, run: Path, config: Config) -> FoldStore:
        """Give the folds of a run that has this plan and these battles: those that count there.

        Of a learner with ``folds`` others may lie there from before; its scores are not of them.
        """
        n_splits = self.plan.n_splits
        only = config.some_folds(n_splits)
        return FoldStore(run, self.plan.fingerprint, self.data, n_splits, self.ties, only)


def read_compared(run: Path) -> ComparedRun:
    """Read what a run's learners are scored on.

    Raises
    ------
    ArtifactError
        Battles or fold plan are missing or damaged.
    """
    battles, data = read_battles(run)
    plan = read_split(run)
    return ComparedRun(run, plan, data, EvalSet.of(battles, plan), read_summary(run).ties)


def check_same_rows(compared: ComparedRun, other: Path) -> None:
    """Refuse another run whose predictions are not of the same rows under the same plan.

    Raises
    ------
    DataError
        Its battles or its fold plan differ; says in what.
    ArtifactError
        They are missing or damaged.
    """
    battles, plan = read_summary(other), read_split_summary(other)
    if battles.data == compared.data and plan.fingerprint == compared.plan.fingerprint:
        return
    own_battles, own_plan = read_summary(compared.run), read_split_summary(compared.run)
    differences = [*_data_differences(own_battles, battles), *_plan_differences(own_plan, plan)]
    what = "set of battles" if battles.data != compared.data else "fold plan"
    raise DataError(
        f"the other run has another {what}: {'; '.join(differences) or 'other rows in folds'}",
        where=f"{other}, compared with {compared.run}",
        hint="give both configs the same [[sources]], [test], [folds] and seed, so that they "
        "differ in their learners alone, and run the other again",
    )


def _data_differences(own: BattlesRecord, other: BattlesRecord) -> list[str]:
    """Say how two sets of battles differ, source by source."""
    mine = {source.name: source for source in own.sources}
    theirs = {source.name: source for source in other.sources}
    ties = ("with ties", "without ties")
    found = [] if own.ties == other.ties else [f"the task is {ties[own.ties]} there, not here"]
    found += [f"source {name} is in one of them alone" for name in sorted({*mine} ^ {*theirs})]
    for name in sorted({*mine} & {*theirs}):
        found += [
            f"{key} of source {name} is {there} there and {here} here"
            for key in ("role", "rows")
            if (there := getattr(theirs[name], key)) != (here := getattr(mine[name], key))
        ]
    if not found and own.key != other.key:
        found.append("a file, or the way it is read, is another one")
    return found


def _plan_differences(own: FoldsRecord, other: FoldsRecord) -> list[str]:
    return [
        f"{key} is {there} there and {here} here"
        for key in (
            "n_splits",
            "seed",
            "near_duplicate_threshold",
            "embedding_threshold",
            "scheme",
            "time_column",
            "holdout_rows",
        )
        if (there := getattr(other, key)) != (here := getattr(own, key))
    ]
