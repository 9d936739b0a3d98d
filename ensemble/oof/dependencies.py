"""Who learns from whom: teachers, and the learners whose predictions are labels of other rows.

A learner whose predictions label a source of role ``pseudo`` learns from no such source, nor does a
learner that teaches it. So nobody learns from what it has said itself, by whatever way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.config.source_settings import IGNORED, SourceSettings
from ensemble.errors import ConfigError, nearest
from ensemble.plugin.contract import teachers_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ensemble.oof.spec import LearnerSpec

    Uses = Mapping[str, SourceSettings]


def resolve_sources(spec: LearnerSpec, uses: Uses) -> dict[str, SourceSettings]:
    """Say how sources are used where one learner is fitted.

    Parameters
    ----------
    spec
        The learner.
    uses
        How the run uses its sources.

    Returns
    -------
    dict[str, SourceSettings]
        As ``uses``; sources of role ``pseudo`` are ignored where the learner has to do with their
        labels, or with those of another. Of a source that is ignored nothing but the role is said,
        nor of one of role ``pretrain`` where the learner has no such stage. A learner that brings
        its predictions from outside uses no source but the target.
    """
    learner = spec.prototype
    if not type(learner).trains:
        target = SourceSettings("target")
        return {name: target if use.role == "target" else IGNORED for name, use in uses.items()}
    own = {name: IGNORED if use.role == "ignore" else use for name, use in uses.items()}
    if spec.name in _behind_labels(spec, uses):
        own = {name: IGNORED if use.role == "pseudo" else use for name, use in own.items()}
    if not hasattr(learner, "pretrain"):
        unused = SourceSettings("pretrain")
        own = {name: unused if use.role == "pretrain" else use for name, use in own.items()}
    return own


def labelers(spec: LearnerSpec, uses: Uses) -> dict[str, list[LearnerSpec]]:
    """Find, for each pseudo source that a learner learns from, the learners that label it.

    Raises
    ------
    ConfigError
        There is none. Or one is no learner of the config, or brings its predictions from outside,
        so that nobody knows what they have seen.
    """
    pseudo = {n: use for n, use in resolve_sources(spec, uses).items() if use.role == "pseudo"}
    for source, use in pseudo.items():
        if not use.pseudo_labelers:
            raise ConfigError("nobody labels its rows", where=f'source "{source}", pseudo_labelers')
    return {
        source: [_labeler(spec, source, name) for name in use.pseudo_labelers]
        for source, use in pseudo.items()
    }


def check_labels_are_learned(specs: Sequence[LearnerSpec], uses: Uses) -> None:
    """Refuse a source whose labels nobody may learn: all that train are behind them.

    Parameters
    ----------
    specs
        All learners of the config.
    uses
        How the run uses its sources.

    Raises
    ------
    ConfigError
        There is such a source.
    """
    roles = [resolve_sources(spec, uses) for spec in specs]
    for source, use in uses.items():
        if use.role == "pseudo" and all(own[source].role == "ignore" for own in roles):
            raise ConfigError(
                "nobody learns from its rows: every learner that is fitted here labels rows of "
                'role "pseudo", or teaches one that does, and so learns from none',
                where=f'source "{source}", pseudo_labelers',
                hint='name fewer pseudo_labelers, add a learner, or use role "ignore"',
            )


def fitted_before(spec: LearnerSpec, uses: Uses) -> list[LearnerSpec]:
    """Find the learners that have to be fitted before this one: teachers and labelers."""
    found = {teacher.name: teacher for teacher in spec.teachers()}
    for named in labelers(spec, uses).values():
        found |= {labeler.name: labeler for labeler in named}
    return list(found.values())


def with_dependents(names: Collection[str], specs: Sequence[LearnerSpec], uses: Uses) -> set[str]:
    """Give the names of some learners, and of all that need one of them, directly or not."""
    found = set(names)
    needs = {spec.name: {one.name for one in fitted_before(spec, uses)} for spec in specs}
    while more := {name for name, needed in needs.items() if needed & found} - found:
        found |= more
    return found


def is_labeler(spec: LearnerSpec, uses: Uses) -> bool:
    """Say whether another learner may ask this one's models, for labels of a source."""
    return any(use.role == "pseudo" and spec.name in use.pseudo_labelers for use in uses.values())


def is_teacher(spec: LearnerSpec) -> bool:
    """Say whether another learner learns from what this one predicts."""
    return any(spec.name in teachers_of(peer.prototype, peer.where) for peer in spec.peers.values())


def dependency_depth(spec: LearnerSpec, uses: Uses) -> int:
    """Say how many learners have to be fitted before this one, one after the other."""
    return max(
        (1 + dependency_depth(needed, uses) for needed in fitted_before(spec, uses)), default=0
    )


def check_offset(spec: LearnerSpec, uses: Uses) -> None:
    """Refuse a source's offset to a learner that would train without it.

    Raises
    ------
    ConfigError
        A source that the learner trains on has ``logit_adjustment``, and the learner takes none.
    """
    learner = spec.prototype
    if not type(learner).trains or type(learner).takes_offset:
        return
    asking = [name for name, use in resolve_sources(spec, uses).items() if use.logit_adjustment]
    if asking:
        raise ConfigError(
            f'source "{asking[0]}" has logit_adjustment = true, and the learner takes none',
            where=f'learner "{spec.name}", plugin "{spec.plugin_name}"',
            hint='set logit_adjustment = false (reweight = "labels" serves every learner), or '
            "leave the learner out",
        )


def check_privileged(spec: LearnerSpec, uses: Uses) -> None:
    """Refuse privileged columns to a learner that nobody learns from, or that learns nothing.

    Raises
    ------
    ConfigError
        It teaches nobody and labels no source, so that nothing would come of it; or it brings its
        predictions from outside.
    """
    if not spec.privileged:
        return
    where = f'learner "{spec.name}", privileged'
    if not type(spec.prototype).trains:
        raise ConfigError("it brings its predictions from outside, and sees no column", where=where)
    if not is_teacher(spec) and not is_labeler(spec, uses):
        raise ConfigError(
            "it teaches nobody and labels no source: with columns that do not exist at test time "
            "that is all it can do",
            where=where,
            hint=f'name it among the `teachers` of another learner: teachers = ["{spec.name}"]',
        )


def _behind_labels(spec: LearnerSpec, uses: Uses) -> set[str]:
    """Names of all learners that have to do with pseudo-labels: who gives them, and who taught."""
    found: set[str] = set()
    asked = [name for use in uses.values() if use.role == "pseudo" for name in use.pseudo_labelers]
    while asked:
        name = asked.pop()
        if name not in found and name in spec.peers:
            found.add(name)
            asked += teachers_of(spec.peers[name].prototype, spec.peers[name].where)
    return found


def _labeler(spec: LearnerSpec, source: str, name: str) -> LearnerSpec:
    where = f'source "{source}", pseudo_labelers'
    if name not in spec.peers:
        hint = nearest(name, spec.peers)
        raise ConfigError(f'no learner is called "{name}"', where=where, hint=hint)
    labeler = spec.peers[name]
    if not type(labeler.prototype).trains:
        raise ConfigError(
            f'"{name}" cannot label: nobody knows which rows its predictions have seen',
            where=where,
            hint="name a learner that is fitted in this run",
        )
    return labeler
