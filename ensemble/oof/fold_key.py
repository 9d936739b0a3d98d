"""The key that names one fit of a learner.

A fold is good only under the key that made it: data, fold plan, plugin, its code and its version,
parameters, what its teachers were, seed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.dependencies import is_labeler, labelers, resolve_sources
from ensemble.oof.teaching import PlanShape, teaching_fits
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.spec import LearnerSpec

VERSION = 7
"""Raise it when cross-fitting comes to hand a learner other rows, weights or seeds, or to store
something else of what it predicts: folds of before are then made anew."""


APART = "apart"
"""Of what all learners share, what enters the keys of some alone."""


def fold_name(fold: FoldLike) -> str:
    """Name a fold, a pair or the refit on everything (None), as its directory is called."""
    return HeldOut.of(fold).name


def shared_parts(
    data: str | None,
    plan: str | None,
    uses: Mapping[str, SourceSettings],
    seed: int,
    *,
    shape: PlanShape = PlanShape(0, is_ordered=False),  # noqa: B008 - immutable
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Give what the keys of all learners of a run share.

    Parameters
    ----------
    data, plan
        Key of the prepared battles, and fingerprint of the fold plan; None where unknown.
    uses
        How the rows of each source are used.
    seed
        Of the run.
    shape
        Of the fold plan; no key is made without it of who has teachers.
    columns
        What names the content of each privileged column; None where unknown.
    """
    return {
        APART: {"shape": shape, "columns": columns},
        "data": data,
        "plan": plan,
        "uses": {name: asdict(use) for name, use in uses.items()},
        "seed": seed,
    }


def fold_key(
    spec: LearnerSpec, fold: FoldLike, shared: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name one fit of one learner by all that decides its content.

    Parameters
    ----------
    spec
        The learner. Its name counts: the seed depends on it.
    fold
        What is held out: a fold, a pair, or nothing (None) for the refit.
    shared
        What all learners of the run share: data, plan, uses of the sources, seed.

    Returns
    -------
    tuple[str, dict[str, Any]]
        The key (64 hex digits) and the parts it was made from.
    """
    held_out = HeldOut.of(fold)
    own: dict[str, Any] = {"crossfit": VERSION, "learner": spec.name, "fold": held_out.to_json()}
    uses = {name: SourceSettings(**use) for name, use in shared["uses"].items()}
    shape = shared[APART]["shape"]
    learned = {
        **{name: part for name, part in shared.items() if name != APART},
        "uses": {name: asdict(use) for name, use in resolve_sources(spec, uses).items()},
        "teachers": {
            teacher.name: {
                fit.name: fold_key(teacher, fit, shared)[0]
                for fit in teaching_fits(held_out, shape).values()
            }
            for teacher in spec.teachers()
        },
        "labelers": {
            source: _keys(named, fold, shared) for source, named in labelers(spec, uses).items()
        },
    }
    if held_out.is_joint:  # the other kinds keep it always
        own["keeps_model"] = is_labeler(spec, uses)
    if spec.privileged:
        digests = shared[APART]["columns"] or {}
        own["privileged"] = {name: digests.get(name) for name in spec.privileged}
    parts = {**own, **spec.key_parts(), **learned}
    return fingerprint(parts), parts


def _keys(
    specs: Sequence[LearnerSpec], fold: FoldLike, shared: Mapping[str, Any]
) -> dict[str, str]:
    return {spec.name: fold_key(spec, fold, shared)[0] for spec in specs}
