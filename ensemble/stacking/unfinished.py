"""What a stack is made from where a time limit has left fits undone: the folds that are complete.

A learner takes part with the folds that it has. Rows that one of them has not predicted are scored
by no candidate. A learner without a fold in common with the others is left out, and that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ensemble.battles.held_out import REFIT, SOUP, HeldOut
from ensemble.oof.fold_key import fold_key
from ensemble.oof.origins import is_complete
from ensemble.run_dir.unfinished_record import read_unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace


class Available(NamedTuple):
    """What there is to make a stack from.

    Parameters
    ----------
    folds
        Folds of each learner that lacks some.
    left_out
        Why learners take no part.
    lacking
        Folds that learners lack, with their keys, by learner and name.
    """

    folds: dict[str, frozenset[int]]
    left_out: dict[str, str]
    lacking: dict[str, dict[str, str]]


def undone(workspace: Workspace, specs: Iterable[LearnerSpec]) -> dict[str, list[HeldOut]]:
    """Find the fits that a time limit has left undone, as learners are now, and that still are."""
    noted = read_unfinished(workspace.run).fits
    found: dict[str, list[HeldOut]] = {}
    for spec in specs:
        for name, key in noted.get(spec.name, {}).items():
            held_out = HeldOut.named(name)
            if key != fold_key(spec, held_out, workspace.shared_key())[0]:
                continue
            if not is_complete(workspace.store.directory(spec.name, held_out), key):
                found.setdefault(spec.name, []).append(held_out)
    return found


def available(config: Config, workspace: Workspace, specs: Sequence[LearnerSpec]) -> Available:
    """Say with which folds learners can be stacked, and who cannot be.

    Parameters
    ----------
    config
        The config.
    workspace
        The run's battles and plan.
    specs
        The learners to be stacked; none of them has failed.
    """
    missing = undone(workspace, specs)
    folds = {
        spec.name: workspace.store.planned(spec.name)
        - {one.folds[0] for one in missing.get(spec.name, ()) if len(one.folds) == 1}
        for spec in specs
    }
    left_out = {name: "no fold of it is fitted yet" for name, own in folds.items() if not own}
    left_out |= {
        name: f"its {config.models_of(name)} is not made yet"
        for name, fits in missing.items()
        if folds[name] and {"refit": REFIT, "soup": SOUP}.get(config.models_of(name)) in fits
    }
    apart = set(_without_common(folds, left_out))
    left_out |= dict.fromkeys(
        sorted(apart), "its folds are none that are fitted of the other learners"
    )
    relevant = {n: f for n, f in missing.items() if n not in left_out}
    keys = {name: _keys(workspace, specs, name, fits) for name, fits in relevant.items()}
    return Available(
        {name: folds[name] for name in relevant},
        {spec.name: left_out[spec.name] for spec in specs if spec.name in left_out},
        {name: own for name, own in keys.items() if own},
    )


def _without_common(
    folds: Mapping[str, frozenset[int]], left_out: Mapping[str, str]
) -> Iterator[str]:
    """Give the learners that would leave no fold in common; those with more folds come first."""
    names = sorted((name for name in folds if name not in left_out), key=lambda n: -len(folds[n]))
    common: frozenset[int] | None = None
    for name in names:
        both = folds[name] if common is None else common & folds[name]
        if both:
            common = both
        else:
            yield name


def _keys(
    workspace: Workspace, specs: Sequence[LearnerSpec], name: str, fits: Sequence[HeldOut]
) -> dict[str, str]:
    spec = next(one for one in specs if one.name == name)
    shared = workspace.shared_key()
    return {fit.name: fold_key(spec, fit, shared)[0] for fit in fits if len(fit.folds) == 1}


def lacks_refits(workspace: Workspace, specs: Iterable[LearnerSpec]) -> bool:
    """Say whether a refit of one of some learners is left undone."""
    return any(REFIT in fits for fits in undone(workspace, specs).values())
