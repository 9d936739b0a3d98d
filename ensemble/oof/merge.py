"""Folds that were fitted elsewhere, taken into a run with proof: by a teammate, on another machine.

A fold is taken where it is what this run would fit itself: made under the same key, so of the same
battles, fold plan, parameters and code, and whole; where it predicts just the rows that it should,
and has learned from just those that this run's plan says. Its own word on all that is not enough:
the key is made here, and rows are counted against this run's plan. Who computed the numbers, nobody
can see from files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ensemble.battles.held_out import SOUP, HeldOut
from ensemble.errors import ArtifactError, EnsembleError, printable
from ensemble.oof.adopt import adopt
from ensemble.oof.dependencies import resolve_sources
from ensemble.oof.fold_key import fold_key
from ensemble.oof.offered_fit import OfferedFit
from ensemble.oof.origins import is_complete
from ensemble.run_dir.layout import LEARNERS
from ensemble.storage.foreign import directories, links

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

TAKEN, WOULD_TAKE, THERE, REFUSED = "taken", "would be taken", "there already", "refused"
_LINK = "it is a link, and where it leads is not looked at"
_FIT = re.compile(r"refit|(?:fold|pair|triple|folds)(?:-\d{1,3})+")


@dataclass(frozen=True)
class Offer:
    """What became of one fit of another run.

    Parameters
    ----------
    run
        Name of the other run's directory.
    learner, fit
        Of which learner, and which fit.
    outcome
        ``TAKEN``, ``WOULD_TAKE``, ``THERE`` or ``REFUSED``.
    reason
        Why it is refused.
    """

    run: str
    learner: str
    fit: str
    outcome: str
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """Give it as JSON."""
        return {
            name: printable(getattr(self, name))
            for name in ("run", "learner", "fit", "outcome", "reason")
        }


def merge_run(
    workspace: Workspace, specs: Sequence[LearnerSpec], other: Path, *, dry_run: bool = False
) -> Iterator[Offer]:
    """Take what another run offers.

    Parameters
    ----------
    workspace
        Of this run; its lock is held, unless it is a dry run.
    specs
        This run's learners.
    other
        The other run's directory. Of it fits alone are read, not its config.
    dry_run
        Whether to say what would be taken, and write nothing.

    Yields
    ------
    Offer
        One for each fit that is there.

    Raises
    ------
    EnsembleError
        This run's disk takes nothing.
    """
    known = {spec.name: spec for spec in specs}
    for learner in links(other / LEARNERS):
        yield Offer(other.name, learner, "all fits", REFUSED, _LINK)
    for learner in directories(other / LEARNERS):
        fits = directories(other / LEARNERS / learner)
        if learner not in known:
            reason = "no learner of this run is called so"
            yield Offer(other.name, learner, f"{len(fits)} fits", REFUSED, reason)
            continue
        for fit in filter(_is_offered, links(other / LEARNERS / learner)):
            yield Offer(other.name, learner, fit, REFUSED, _LINK)
        for fit in filter(_is_offered, fits):
            place = other / LEARNERS / learner / fit
            yield _offer(workspace, known[learner], place, other.name, dry_run=dry_run)


def _is_offered(fit: str) -> bool:
    """Say whether it may be a fit to take: not one being written, nor a mean that is made here."""
    return not fit.startswith(".") and fit != SOUP.name


def _offer(
    workspace: Workspace, spec: LearnerSpec, place: Path, run: str, *, dry_run: bool
) -> Offer:
    fit = place.name
    try:
        held_out = _held_out(fit, workspace.plan.n_splits)
        key, own = _own_key(workspace, spec, held_out)
        target = workspace.store.directory(spec.name, held_out)
        if is_complete(target, key):
            return Offer(run, spec.name, fit, THERE)
        candidate = OfferedFit(own, spec, held_out, key)
        with candidate.copied(place, target, dry_run=dry_run) as copy:
            candidate.prove(copy)
            if not dry_run:
                adopt(copy, target)
    except ArtifactError as error:
        return Offer(run, spec.name, fit, REFUSED, error.message)
    return Offer(run, spec.name, fit, WOULD_TAKE if dry_run else TAKEN)


def _own_key(workspace: Workspace, spec: LearnerSpec, held_out: HeldOut) -> tuple[str, Workspace]:
    """Make the key that the fit has here, and give the workspace as the learner uses it."""
    try:
        key, _ = fold_key(spec, held_out, workspace.shared_key())
        return key, replace(workspace, uses=resolve_sources(spec, workspace.uses))
    except EnsembleError as error:
        told = f"what it should be made with cannot be told here: {error.message}"
        raise ArtifactError(told) from error


def _held_out(name: str, n_splits: int) -> HeldOut:
    """Read the name of a fit's directory."""
    try:
        held_out = HeldOut.named(name) if _FIT.fullmatch(name) else None
    except ValueError:
        held_out = None
    if held_out is None or held_out.name != name or any(k >= n_splits for k in held_out.folds):
        raise ArtifactError("no fit of this run is called so")
    return held_out


def refused(offers: Sequence[Offer]) -> bool:
    """Say whether anything was refused."""
    return any(offer.outcome == REFUSED for offer in offers)
