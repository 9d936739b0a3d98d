"""What a study of sources is asked for: by which learner, on which folds and rows, how often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.errors import ConfigError, nearest
from ensemble.evaluation.bootstrap import RESAMPLES
from ensemble.oof.spec import LearnerSpec
from ensemble.sources.variants import variants_of
from ensemble.stacking.settings import learner_specs

if TYPE_CHECKING:
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config

PROXY = "proxy"
"""The plugin that studies fit where no learner is asked for: whichever the registry has so."""

ENOUGH_ROWS = 20_000
"""Target rows whose scores are enough where no folds are asked for."""


@dataclass(frozen=True)
class StudySettings:
    """What a study is asked for.

    Parameters
    ----------
    learner
        Name of a learner of the config; None is a cheap one on feature sets.
    folds
        Folds to score; None takes as many, from the first, as ``ENOUGH_ROWS`` target rows need.
    rows
        Most rows of the target, and of a source, by whole clusters; None takes all.
    sources
        Names of the sources to study; None studies all that are not the target.
    treatments
        Names of the treatments to measure; None measures all.
    least_seeds
        Seeds that everything is fitted with, 2 or more: with one, what fits vary by is unknown.
    most_seeds
        Seeds that the baseline and those treatments get whose effect is near zero, where more
        fits would make it surer.
    resamples
        Bootstrap draws.
    shift, curve
        Whether to measure the shift, and the learning curve.

    Raises
    ------
    ConfigError
        A number is out of its range, or there is no such treatment.
    """

    learner: str | None = None
    folds: tuple[int, ...] | None = None
    rows: int | None = None
    sources: tuple[str, ...] | None = None
    treatments: tuple[str, ...] | None = None
    least_seeds: int = 2
    most_seeds: int = 4
    resamples: int = RESAMPLES
    shift: bool = True
    curve: bool = True

    def __post_init__(self) -> None:
        if self.least_seeds < 2:
            raise ConfigError(
                f"an effect needs 2 seeds or more, not {self.least_seeds}: with one nobody knows "
                "what is due to chance in fitting"
            )
        if self.rows is not None and self.rows < 1:
            raise ConfigError(f"a budget of {self.rows} rows leaves nothing to measure on")
        variants_of(self.treatments)

    @property
    def seeds(self) -> int:
        """Most seeds that anything is fitted with."""
        return max(self.least_seeds, self.most_seeds)


def learner_of(config: Config, name: str | None) -> LearnerSpec:
    """Find the learner that the effect is measured with.

    Parameters
    ----------
    config
        The config.
    name
        Name of one of its learners; None is the proxy.

    Raises
    ------
    ConfigError
        No learner is called so, or it cannot be fitted again on other rows.
    """
    if name is None:
        return LearnerSpec(f"_{PROXY}", PROXY, {}, Path(config.base_dir))
    spec = {each.name: each for each in learner_specs(config)}[config.learner(name).name]
    learner = spec.prototype
    if not learner.trains:
        raise ConfigError(
            f'learner "{name}" brings its predictions from outside: it cannot be fitted with and '
            "without a source",
            hint="name a learner that is fitted in this run, or none",
        )
    if spec.privileged:
        raise ConfigError(
            f'learner "{name}" has privileged columns, which do not exist at test time: what a '
            "source does for it says nothing of test rows",
            hint="name a learner without them, or none",
        )
    if learner.teachers:
        raise ConfigError(
            f'learner "{name}" is taught by others, which would have to be fitted with and without '
            "each source too",
            hint="name one of its teachers, or none",
        )
    return spec


def folds_of(plan: FoldPlan, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    """Decide which folds are scored.

    Raises
    ------
    ConfigError
        There is no such fold.
    """
    if wanted is None:
        return _enough_folds(plan)
    foreign = sorted(set(wanted) - set(range(plan.n_splits)))
    if foreign or not wanted:
        raise ConfigError(
            f"there is no fold {foreign[0] if foreign else ''}".strip(),
            hint=f"folds are 0 to {plan.n_splits - 1}",
        )
    return tuple(sorted(set(wanted)))


def sources_of(config: Config, wanted: tuple[str, ...] | None) -> list[str]:
    """Name the sources to study, in the order of the config.

    Raises
    ------
    ConfigError
        No source is called so, it is the target, or there is none beside the target.
    """
    roles = {source.name: source.role for source in config.sources}
    for name in wanted or ():
        if name not in roles:
            raise ConfigError(f'no source is called "{name}"', hint=nearest(name, roles))
        if roles[name] == "target":
            raise ConfigError(f'"{name}" is the target: others are measured on it')
    names = [name for name, role in roles.items() if role != "target"]
    if not names:
        raise ConfigError(
            "there is no source beside the target",
            hint='add [[sources]] to the config; role = "ignore" is enough to study one',
        )
    return [name for name in names if wanted is None or name in wanted]


def _enough_folds(plan: FoldPlan) -> tuple[int, ...]:
    scored = 0
    for fold in range(plan.n_splits):
        scored += int(plan.held_out(fold).sum())
        if scored >= ENOUGH_ROWS:
            return tuple(range(fold + 1))
    return tuple(range(plan.n_splits))
