"""The kit on the learners of a run: all of it for ``check``, what is fast before a fit."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.errors import LearnerError
from ensemble.oof.preflight import sample, target_rows
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.passed_checks import add_passed, read_passed
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import fingerprint
from ensemble.testing.base_learners import learner_findings
from ensemble.testing.checks import closing
from ensemble.testing.learners.rows import FRESH_IDS
from ensemble.testing.material import ROWS, Material
from ensemble.testing.subjects import subject_of_spec
from ensemble.testing.trial import LearnerTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ensemble.config.settings import Config
    from ensemble.oof.check import Finding
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

VERSION = 2
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


def unchecked(workspace: Workspace, specs: Iterable[LearnerSpec]) -> list[LearnerSpec]:
    """Give the learners that ``run`` asks before it fits anything, and has not asked yet.

    The toolkit's own are held to the kit by its tests. Learners with a ``check`` of their own
    (language models) are left to ``ensemble check``, predictions that come from outside to the
    checks before.
    """
    passed = read_passed(workspace.run)
    return [
        spec
        for spec in specs
        if _is_tried(spec)
        and not get_manager().base_learners.entry(spec.plugin).is_builtin
        and _key(workspace, spec) not in passed
    ]


def check_before_fit(
    workspace: Workspace, spec: LearnerSpec, log: Callable[[str], None] = lambda _: None
) -> None:
    """Hold a learner to its contract on a few battles; that it passes is remembered in the run.

    What passes is known by code, parameters and data.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner.
    log
        Told of warnings, and of what passed, in lines.

    Raises
    ------
    LearnerError
        All checks that fail, together.
    """
    started = time.perf_counter()
    found = list(spec_findings(workspace, spec, fast=True))
    failed = [f"{one.what}: {one.detail}" for one in found if one.ok is False]
    if failed:
        checks = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
        raise LearnerError(
            f"it fails {checks} of its contract: " + "; ".join(map(_in_one_line, failed)),
            where=spec.where,
            hint=f"`ensemble check {spec.plugin}` asks all of the contract",
        )
    for one in found:
        if one.warning:
            log(one.line())
    log(f"{spec.name}  passes {len(found)} checks  {time.perf_counter() - started:.1f} s")
    add_passed(workspace.run, _key(workspace, spec))


def check_in_worker(
    workspace: Workspace,
    config: Config,
    details: Mapping[str, Any],
    start: Callable[[], None],
    progress: Callable[..., None],
) -> bool:
    """Do as ``check_before_fit`` in a worker process; ``details`` names the learner.

    Returns
    -------
    bool
        Whether the process is as it was, so that another learner can be asked in it: the same
        threads, module path and variables, but for new ones, as libraries set.
    """
    (spec,) = (one for one in learner_specs(config) if one.name == details["learner"])
    before = _surroundings()
    start()
    check_before_fit(workspace, spec, lambda line: progress(0.0, line))
    after = _surroundings()
    return all(after.get(name) == value for name, value in before.items())


def _surroundings() -> dict[str, str]:
    threads = " ".join(sorted(str(one.ident) for one in threading.enumerate()))
    return {**os.environ, " path": repr(sys.path), " threads": threads}


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _is_tried(spec: LearnerSpec) -> bool:
    kind = type(spec.prototype)
    return kind.trains and not hasattr(kind, "check")


def _key(workspace: Workspace, spec: LearnerSpec) -> str:
    return fingerprint([VERSION, workspace.data_key, workspace.device, spec.key_parts()])


def _own_rows(workspace: Workspace) -> Material:
    rows = sample(target_rows(workspace), ROWS).select(list(BATTLE_SCHEMA))
    clusters = dict(workspace.plan.frame.select("id", "cluster").iter_rows())
    return Material.of(rows, np.array([clusters[one] for one in rows["id"]], dtype=np.int64))
