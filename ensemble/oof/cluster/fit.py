"""What a worker process does for a job: it sees that it would fit the same, and fits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ensemble.errors import LearnerError
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.fold_key import fold_key
from ensemble.oof.staleness import compare_key
from ensemble.oof.worker_process import read_request
from ensemble.storage.atomic import without_flushing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace


def fit_as_asked(
    workspace: Workspace,
    config: Config,  # noqa: ARG001 - as every call of a worker
    details: Mapping[str, Any],
    start: Callable[[], None],
    progress: Callable[..., None],
) -> float:
    """Fit one fold under the key that whoever asks has for it.

    Parameters
    ----------
    workspace
        Of the run on this node.
    details
        As ``request_of`` gives it, with ``key`` and ``parts`` of the fold.
    start
        Starts the clock of a time limit.
    progress
        As for ``fit_fold``.

    Returns
    -------
    float
        Seconds that it took.

    Raises
    ------
    LearnerError
        The learner raised; or this node would fit something else.
    """
    spec, held_out = read_request(details)
    key, _ = fold_key(spec, held_out, workspace.shared_key())
    if key != details["key"]:
        raise LearnerError(
            f"a node would fit something else: {_difference(workspace, spec, details['parts'])}",
            where=spec.where,
            hint="install on every node what is installed here, in the same versions",
        )
    start()
    began = time.perf_counter()
    with without_flushing():  # what lies in a node's directory is sent on and removed
        fit_fold(workspace, spec, held_out, progress)
    return time.perf_counter() - began


def _difference(workspace: Workspace, spec: LearnerSpec, wanted: Mapping[str, Any]) -> str:
    code, asked = spec.code(), wanted["code"]
    if code["distribution"] != asked["distribution"]:
        return f"it has {code['distribution']}, and not {asked['distribution']}"
    if code["source"] != asked["source"]:
        return f"the code of its {code['distribution']} is another than here"
    found = compare_key(wanted, spec, workspace.shared_key())
    absent = [f"{name} is not there" for name in found.absent]
    return "; ".join([*found.different, *absent, found.code, found.unproven]).strip("; ")
