"""The key that names one fit of a learner.

A fold is good only under the key that made it: data, fold plan, plugin, its code and its version,
parameters, what its teachers were, seed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.battles.held_out import HeldOut
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.dependencies import is_labeler, labelers, resolve_sources
from ensemble.oof.teaching import PlanShape, teaching_fits
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.spec import LearnerSpec

VERSION = 8
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
    return FitKeys(shared).of(spec, fold)


class FitKeys:
    """Keys of many fits as they are at one moment: what fits of a learner share is asked once.

    Code and files of a learner may change while a run goes on, so nothing is kept longer than one
    look at all fits.

    Parameters
    ----------
    shared
        As in ``fold_key``.
    """

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared, self._shape = shared, shared[APART]["shape"]
        self._uses = {name: SourceSettings(**use) for name, use in shared["uses"].items()}
        self._learners: dict[int, _Learner] = {}
        self._known: dict[tuple[int, HeldOut], tuple[str, dict[str, Any]]] = {}

    def of(self, spec: LearnerSpec, fold: FoldLike) -> tuple[str, dict[str, Any]]:
        """Give key and parts of one fit, as ``fold_key`` does."""
        held_out = HeldOut.of(fold)
        name = id(spec), held_out  # the learner is kept, so that no other one has its place
        if name not in self._known:
            self._known[name] = self._made(self._learner(spec), held_out)
        return self._known[name]

    def _learner(self, spec: LearnerSpec) -> _Learner:
        if id(spec) not in self._learners:
            self._learners[id(spec)] = _Learner.of(spec, self._uses)
        return self._learners[id(spec)]

    def _made(self, learner: _Learner, held_out: HeldOut) -> tuple[str, dict[str, Any]]:
        spec = learner.spec
        own: dict[str, Any] = {
            "crossfit": VERSION,
            "learner": spec.name,
            "fold": held_out.to_json(),
        }
        learned = {
            **{name: part for name, part in self._shared.items() if name != APART},
            "uses": learner.uses,
            "teachers": {
                teacher.name: {
                    fit.name: self.of(teacher, fit)[0]
                    for fit in teaching_fits(held_out, self._shape).values()
                }
                for teacher in learner.teachers
            },
            "labelers": {
                source: {one.name: self.of(one, held_out)[0] for one in named}
                for source, named in learner.labelers.items()
            },
        }
        if held_out.is_joint:  # the other kinds keep it always
            own["keeps_model"] = is_labeler(spec, self._uses)
        if spec.privileged:
            digests = self._shared[APART]["columns"] or {}
            own["privileged"] = {name: digests.get(name) for name in spec.privileged}
        parts = {**own, **learner.parts, **learned}
        return fingerprint(parts), parts


class _Learner(NamedTuple):
    """What the keys of all fits of a learner share."""

    spec: LearnerSpec
    parts: dict[str, Any]
    uses: dict[str, Any]
    teachers: list[LearnerSpec]
    labelers: dict[str, list[LearnerSpec]]

    @classmethod
    def of(cls, spec: LearnerSpec, uses: Mapping[str, SourceSettings]) -> _Learner:
        own = {name: asdict(use) for name, use in resolve_sources(spec, uses).items()}
        return cls(spec, spec.key_parts(), own, spec.teachers(), labelers(spec, uses))
