"""Which fits a config asks for: folds and refits, and what they need of other fits."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ensemble.battles.held_out import REFIT, SOUP, HeldOut, fold_pairs
from ensemble.battles.split import n_splits_of
from ensemble.oof.dependencies import with_dependents
from ensemble.oof.teaching import with_asked
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.jobs_record import LearnerJobs, write_jobs
from ensemble.stacking.settings import learner_specs, nested_specs, shape_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec

    Fit = tuple[LearnerSpec, HeldOut]


class FitList(NamedTuple):
    """Fits by what they are for, each kind in the order in which they are made.

    Parameters
    ----------
    teaching
        Of teachers without several folds, for pupils' folds.
    folds
        The folds, with refits.
    soups
        Means of the folds' models; none where folds are named.
    pairs
        Of two folds, for the stack, with what they ask; where folds are named, those alone.
    """

    teaching: list[Fit]
    folds: list[Fit]
    soups: list[Fit]
    pairs: list[Fit]

    @property
    def every(self) -> list[Fit]:
        """All of them."""
        return [*chain(*self)]

    @property
    def first(self) -> list[Fit]:
        """What is fitted first: a pupil's fold comes right after what teachers say of it."""
        return [*self.folds, *self.teaching]


def list_fits(
    config: Config,
    learners: Sequence[str] | None,
    folds: Sequence[FoldLike] | None,
    failed: Collection[str] = (),
) -> FitList:
    """List what is to be fitted, whether it is there or not.

    Parameters
    ----------
    config
        The config.
    learners
        Names of learners; None for all.
    folds
        Folds, pairs of folds, the refit (None); without it all that the config asks for.
    failed
        Learners that have failed: for them, and those that need them, nothing is fitted of others.
    """
    specs = learner_specs(config)
    wanted = {spec.name for spec in chosen_specs(config, learners)}
    uses, shape = config.source_uses(), shape_of(config)
    able = {spec.name for spec in specs} - with_dependents(failed, specs, uses)
    if folds is None:
        refits = [(spec, REFIT) for spec in specs if config.wants_refit(spec.name)]
        refitted = {spec.name for spec, _ in refits}
        # And of whoever labels rows for a refit.
        asked = with_asked(_of(refits, able), uses, shape)
        refitted |= {spec.name for spec, fit in asked if fit.is_refit}
        every = [(spec, fit) for spec in specs for fit in _folds_and_refit(config, spec, refitted)]
        couples = fold_pairs(n_splits_of(config))
        pairs = [(spec, pair) for spec in nested_specs(config) for pair in couples]
    else:
        named = _named(config, specs, [HeldOut.of(fold) for fold in folds])
        every = [fit for fit in named if not fit[1].is_joint]
        pairs = [fit for fit in named if fit[1].is_joint]
    mine = [fit for fit in with_asked(_of(every, able), uses, shape) if fit[1].is_joint]
    known = {(spec.name, held_out) for spec, held_out in mine}
    others = [
        (spec, held_out)
        for spec, held_out in with_asked(_of(pairs, able), uses, shape)
        if (spec.name, held_out) not in known
    ]
    souped = [spec for spec in specs if config.wants_soup(spec.name)]
    soups = [(spec, SOUP) for spec in souped if folds is None]
    return FitList(*(_of(fits, wanted) for fits in (mine, every, soups, others)))


def _named(config: Config, specs: Sequence[LearnerSpec], fits: Sequence[HeldOut]) -> list[Fit]:
    """List what is asked for of learners; those with few folds have no others."""
    planned = {spec.name: set(_planned(config, spec)) for spec in specs}
    return [(s, fit) for s in specs for fit in fits if set(fit.folds) <= planned[s.name]]


def _of(fits: Sequence[Fit], names: Collection[str]) -> list[Fit]:
    return [(spec, held_out) for spec, held_out in fits if spec.name in names]


def fits_of(config: Config, specs: Sequence[LearnerSpec]) -> list[Fit]:
    """List all fits of learners that a config wants: folds, refits, soups, and several folds."""
    return list_fits(config, [spec.name for spec in specs], None).every


def _planned(config: Config, spec: LearnerSpec) -> list[int]:
    return config.learner(spec.name).planned_folds(n_splits_of(config))


def _folds_and_refit(config: Config, spec: LearnerSpec, refitted: set[str]) -> list[HeldOut]:
    """List a learner's folds and its refit: last, or second where nothing can be stacked without.

    However soon the time is over, a learner then has what the stack needs of it, or nearly so.
    """
    folds = [HeldOut.of(fold) for fold in _planned(config, spec)]
    if spec.name not in refitted:
        return folds
    at = 1 if config.models_of(spec.name) == "refit" else len(folds)
    return [*folds[:at], REFIT, *folds[at:]]


def record_jobs(config: Config) -> None:
    """Write down all fits that the config asks for, whichever are asked for now."""
    workspace, specs = open_workspace(config), learner_specs(config)
    fits: dict[str, dict[str, str]] = {spec.name: {} for spec in specs}
    keys = workspace.fit_keys()
    for spec, held_out in fits_of(config, specs):
        fits[spec.name][held_out.name] = keys.of(spec, held_out)[0]
    write_jobs(workspace.run, [LearnerJobs(name, own) for name, own in fits.items()])


def chosen_specs(config: Config, learners: Sequence[str] | None) -> list[LearnerSpec]:
    """Give the learners of some names, all without names; an unknown name is a ConfigError."""
    wanted = [config.learner(name).name for name in learners] if learners else None
    return [spec for spec in learner_specs(config) if wanted is None or spec.name in wanted]
