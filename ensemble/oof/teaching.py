"""Which fits of a teacher a pupil asks, so that no teacher speaks of rows that it has learned.

A fit that holds out some folds learns, of each other fold, what a fit of the teacher says that
holds out that fold too. So the teacher has seen neither the row nor anything of what the pupil
holds out, and neither has whoever taught the teacher, by the same rule. Rows that are in no fold
(other sources, the first rows of time) are learned by every fit of a teacher: nobody who has not
seen them could speak of them, and their own labels are all that is learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ensemble.battles.held_out import HeldOut
from ensemble.errors import ConfigError
from ensemble.oof.dependencies import fitted_before, labelers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.source_settings import SourceSettings
    from ensemble.oof.spec import LearnerSpec

    Uses = Mapping[str, SourceSettings]
    Fit = tuple[LearnerSpec, HeldOut]


class PlanShape(NamedTuple):
    """What of a fold plan decides which fits there are.

    Parameters
    ----------
    n_splits
        Number of folds.
    is_ordered
        Whether folds are blocks of time, each trained on earlier rows alone.
    """

    n_splits: int
    is_ordered: bool


def teaching_fits(held_out: FoldLike, shape: PlanShape) -> dict[int, HeldOut]:
    """Give, for each fold that a fit learns from, the fit that a teacher is asked of.

    Parameters
    ----------
    held_out
        What the pupil's fit holds out.
    shape
        Of the plan.

    Returns
    -------
    dict
        Empty where a teacher would have nothing left to learn from.

    Examples
    --------
    >>> [fit.name for fit in teaching_fits(1, PlanShape(3, False)).values()]
    ['pair-0-1', 'pair-1-2']
    >>> [fit.name for fit in teaching_fits(1, PlanShape(3, True)).values()]
    ['pair-0-1']
    """
    own = HeldOut.of(held_out)
    if own.is_soup:  # its folds were taught, each
        return {}
    earlier = min(own.folds) if shape.is_ordered and own.folds else shape.n_splits
    if not shape.is_ordered and len(own.folds) + 1 >= shape.n_splits:
        return {}
    return {fold: own.joined(fold) for fold in range(earlier) if fold not in own.folds}


def asked_fits(spec: LearnerSpec, held_out: HeldOut, uses: Uses, shape: PlanShape) -> list[Fit]:
    """Give the fits of other learners that a fit of this one asks: of teachers, and of labelers."""
    named = {one.name: one for many in labelers(spec, uses).values() for one in many}
    asked = [(one, held_out) for one in named.values()]
    fits = teaching_fits(held_out, shape).values()
    return [*asked, *((teacher, fit) for teacher in spec.teachers() for fit in fits)]


def with_asked(fits: Iterable[Fit], uses: Uses, shape: PlanShape) -> list[Fit]:
    """Give fits, and all that they ask, directly or not; each once."""
    found: dict[tuple[str, HeldOut], Fit] = {}
    waiting = list(fits)
    while waiting:
        spec, held_out = waiting.pop(0)
        if (spec.name, held_out) not in found:
            found[spec.name, held_out] = spec, held_out
            waiting += asked_fits(spec, held_out, uses, shape)
    return list(found.values())


def folds_needed(spec: LearnerSpec, uses: Uses) -> int:
    """Say how many folds are held out at once behind a fit that holds out one: 1 untaught."""
    behind = {one.name: folds_needed(one, uses) for one in fitted_before(spec, uses)}
    taught = [behind[teacher.name] + 1 for teacher in spec.teachers()]
    return max([1, *behind.values(), *taught])


def check_folds_left(spec: LearnerSpec, uses: Uses, shape: PlanShape) -> None:
    """Refuse teachers that would have no fold to learn from.

    Raises
    ------
    ConfigError
        Too few folds for teachers that have not seen what they speak of.
    """
    needed = folds_needed(spec, uses)
    if shape.is_ordered or needed == 1 or needed < shape.n_splits:
        return
    raise ConfigError(
        f"its teachers have to be fitted without {needed} folds at once, and there are "
        f"{shape.n_splits}: nothing is left to learn from",
        where=f'learner "{spec.name}", parameter "teachers"',
        hint=f"set folds.n_splits to {needed + 1} or more",
    )
