"""What every fold of every learner of a run shares: battles, plan, seed, machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.prepare import read_battles
from ensemble.battles.split import read_split, split_key
from ensemble.battles.up_to_date import check_settings
from ensemble.errors import EnsembleError
from ensemble.oof.store import FoldStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.battles.folds import FoldPlan
    from ensemble.config import Config


@dataclass(frozen=True)
class Workspace:
    """What all folds of all learners of a run share.

    Parameters
    ----------
    run
        The run directory.
    battles
        ``BATTLE_SCHEMA``, in the order of the plan.
    plan
        The fold plan.
    data_key
        Names the prepared battles.
    weights
        Weight of each source's rows in training.
    seed
        Of the run.
    threads
        CPU threads for a fit.
    device
        As in ``FitContext``.
    """

    run: Path
    battles: pl.DataFrame
    plan: FoldPlan
    data_key: str
    weights: Mapping[str, float]
    seed: int
    threads: int
    device: str

    def __post_init__(self) -> None:
        # The plan's masks select battles by position; this is what makes that sound.
        if not self.battles["id"].equals(self.plan.frame["id"]):
            raise EnsembleError("the battles and the fold plan do not have the same rows")

    @property
    def store(self) -> FoldStore:
        """The folds of this run's learners."""
        return FoldStore(self.run, self.plan.fingerprint, self.data_key, self.plan.n_splits)

    def shared_key(self) -> dict[str, Any]:
        """Parts of the key that every learner of the run shares."""
        return {
            "data": self.data_key,
            "plan": self.plan.fingerprint,
            "weights": dict(self.weights),
            "seed": self.seed,
        }

    def test_rows(self) -> pl.DataFrame:
        """Battles of the test set."""
        return self.battles.filter(pl.col("is_test"))


def open_workspace(config: Config) -> Workspace:
    """Read what ``prepare`` and ``split`` wrote; the sources themselves are not needed.

    Raises
    ------
    ArtifactError
        One of them has not been run or ran with other settings, or its files are damaged.
    """
    check_settings(config)
    run = Path(config.run_dir)
    battles, data_key = read_battles(run)
    plan = read_split(run, split_key(data_key, config.folds.n_splits, config.seed))
    return Workspace(
        run=run,
        battles=battles,
        plan=plan,
        data_key=data_key,
        weights=config.source_weights(),
        seed=config.seed,
        threads=config.threads(),
        device=config.execution.device,
    )
