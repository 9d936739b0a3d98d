"""The key that names one fit of a learner.

A fold is good only under the key that made it: data, fold plan, plugin, its code and its version,
parameters, what its teachers were, seed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.dependencies import is_asked, labelers, resolve_sources
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.spec import LearnerSpec

VERSION = 6
"""Raise it when cross-fitting comes to hand a learner other rows, weights or seeds, or to store
something else of what it predicts: folds of before are then made anew."""


def fold_name(fold: FoldLike) -> str:
    """Name a fold, a pair or the refit on everything (None), as its directory is called."""
    return HeldOut.of(fold).name


def shared_parts(
    data: str | None, plan: str | None, uses: Mapping[str, SourceSettings], seed: int
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
    """
    return {
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
    learned = {
        **shared,
        "uses": {name: asdict(use) for name, use in resolve_sources(spec, uses).items()},
        "teachers": _keys(spec.teachers(), fold, shared),
        "labelers": {
            source: _keys(named, fold, shared) for source, named in labelers(spec, uses).items()
        },
    }
    if held_out.is_pair:  # the other kinds keep it always
        own["keeps_model"] = is_asked(spec, uses)
    parts = {**own, **spec.key_parts(), **learned}
    return fingerprint(parts), parts


def _keys(
    specs: Sequence[LearnerSpec], fold: FoldLike, shared: Mapping[str, Any]
) -> dict[str, str]:
    return {spec.name: fold_key(spec, fold, shared)[0] for spec in specs}
