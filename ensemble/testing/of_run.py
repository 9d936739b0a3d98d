"""The kit on the learners of a run: all of it for ``check``, what is fast before a fit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.errors import ArtifactError
from ensemble.oof.preflight import sample, target_rows
from ensemble.run_dir.layout import CHECKS
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_json, write_json
from ensemble.testing.base_learners import learner_findings
from ensemble.testing.checks import closing
from ensemble.testing.learners.rows import FRESH_IDS
from ensemble.testing.material import ROWS, Material
from ensemble.testing.subjects import subject_of_spec
from ensemble.testing.trial import LearnerTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ensemble.oof.check import Finding
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

VERSION = 1
"""Raise it when the kit asks more: learners that passed are then asked again."""
_FEWEST = 12
"""Rows of a run that are too few to be tried on."""


def spec_findings(
    workspace: Workspace, spec: LearnerSpec, *, fast: bool = False
) -> Iterator[Finding]:
    """Ask a learner of a run: on generated battles, then whether ids of its own rows matter.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner. One with a ``check`` of its own is only asked for its parameters here: the
        check itself is made with battles of the run.
    fast
        Only what ``run`` asks before it fits anything.
    """
    spec.check_secrets()
    options: dict[str, Any] = {
        "fast": fast,
        "device": workspace.device,
        "threads": workspace.threads,
    }
    subject, sound = subject_of_spec(spec), True
    with closing(LearnerTrial(subject, **options)) as trial:
        for finding in learner_findings(trial, own=False):
            sound = sound and finding.ok is not False
            yield finding
    if not sound or not _is_tried(spec) or len(target_rows(workspace)) < _FEWEST:
        return
    with closing(LearnerTrial(subject, _own_rows(workspace), **options)) as trial:
        yield replace(FRESH_IDS.finding(trial), what="other ids for battles of the run")


def learner_faults(
    workspace: Workspace,
    specs: Iterable[LearnerSpec],
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, list[str]]:
    """Find which learners break the contract, before anything dear is done with them.

    What passes is remembered in the run, under a key of code, parameters and data. Learners with a
    ``check`` of their own (language models) are left to ``ensemble check``, predictions that come
    from outside to the checks before.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    specs
        The learners.
    log
        Told of each learner in a line.

    Returns
    -------
    dict[str, list of str]
        By learner what is wrong with it, as it is printed; learners without a fault are left out.
    """
    faults: dict[str, list[str]] = {}
    place = workspace.run / CHECKS
    passed = _passed(place)
    for spec in specs:
        if not _is_tried(spec) or (key := _key(workspace, spec)) in passed:
            continue
        started = time.perf_counter()
        found = list(spec_findings(workspace, spec, fast=True))
        failed = [f"{one.what}: {one.detail}" for one in found if one.ok is False]
        for one in found:
            if one.warning:
                log(one.line())
        seconds = time.perf_counter() - started
        if failed:
            faults[spec.name] = failed
            continue
        log(f"{spec.name}  passes {len(found)} checks  {seconds:.1f} s")
        passed |= {key}
        write_json(place, sorted(passed))
    return faults


def _is_tried(spec: LearnerSpec) -> bool:
    kind = type(spec.prototype)
    return kind.trains and not hasattr(kind, "check")


def _key(workspace: Workspace, spec: LearnerSpec) -> str:
    return fingerprint([VERSION, workspace.data_key, workspace.device, spec.key_parts()])


def _passed(place: Path) -> set[str]:
    """Read what has passed; what cannot be read is asked again."""
    if not place.is_file():
        return set()
    try:
        return {*map(str, read_json(place))}
    except (ArtifactError, TypeError):
        return set()


def _own_rows(workspace: Workspace) -> Material:
    rows = sample(target_rows(workspace), ROWS).select(list(BATTLE_SCHEMA))
    clusters = dict(workspace.plan.frame.select("id", "cluster").iter_rows())
    return Material.of(rows, np.array([clusters[one] for one in rows["id"]], dtype=np.int64))
