"""How long a fold takes by what plugins estimate from data and machine."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.schema import PSEUDO_ROLE
from ensemble.battles.split import n_splits_of
from ensemble.battles.tokens import estimated_tokens
from ensemble.errors import EnsembleError
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion
from ensemble.setup.machine import find_machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec

_LOOKED_AT = 2_000


def suggestions(
    summary: Callable[[], DataSummary], n_splits: int
) -> Callable[[LearnerSpec], tuple[float, str] | None]:
    """Give what says how long one fold of a learner takes by what its plugin suggests.

    A plugin estimates a learner with the parameters that it would suggest here; where the config
    gives one of these another value, nothing is known.

    Parameters
    ----------
    summary
        Describes the battles; it is called once, where it is needed.
    n_splits
        Number of folds.
    """

    @cache
    def machine(*, gpus: bool) -> Machine:
        found = find_machine() if gpus else Machine(1)
        return Machine(1, found.memory_gib, found.gpus)

    @cache
    def data() -> DataSummary:
        return summary()

    def suggested(spec: LearnerSpec) -> tuple[float, str] | None:
        kind: Any = type(spec.prototype)
        if not hasattr(kind, "suggest") or not kind.trains:
            return None
        try:
            here = machine(gpus=not kind.cheap)
            found = call_plugin("suggest", spec.where, lambda: tuple(kind.suggest(data(), here)))
        except EnsembleError:
            return None
        return _seconds(spec, found, n_splits)

    return suggested


def _seconds(spec: LearnerSpec, found: tuple[Any, ...], n_splits: int) -> tuple[float, str] | None:
    for one in found:
        if not isinstance(one, Suggestion) or one.minutes is None:
            continue
        asked = spec.parameters
        if all(asked.get(name, value) == value for name, value in one.parameters.items()):
            return 60 * one.minutes / _fits(spec, n_splits), one.basis or "its plugin says so"
    return None


def _fits(spec: LearnerSpec, n_splits: int) -> float:
    """Count the fits of which an estimate is the sum, in units of a fold: a cheap one has pairs."""
    if not type(spec.prototype).cheap or n_splits < 3:
        return n_splits
    return n_splits + n_splits * (n_splits - 1) / 2 * (n_splits - 2) / (n_splits - 1)


def summary_of(battles: pl.DataFrame, config: Config) -> DataSummary:
    """Describe battles for plugins that estimate.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``.
    config
        Of the run.
    """
    target = battles.filter(pl.col("role") == "target")
    some = target.gather_every(max(1, len(target) // _LOOKED_AT))
    counts = dict(battles.group_by("role").len().iter_rows())
    return DataSummary(
        target_ids=target["id"],
        test_ids=battles.filter(pl.col("is_test"))["id"],
        train_rows=counts.get("train", 0) + counts.get(PSEUDO_ROLE, 0),
        pretrain_rows=counts.get("pretrain", 0),
        prompts=target.select(pl.col("prompt").n_unique()).item(),
        tokens=tuple(sorted(estimated_tokens(some).to_list())),
        n_splits=n_splits_of(config),
        ties=config.task.ties,
    )
