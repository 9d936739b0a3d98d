"""What a run has come to on which no process works."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.run_dir.layout import STACK, SUBMISSION, SUBMISSION_RECORD, UNFINISHED
from ensemble.storage.directories import MANIFEST
from ensemble.storage.hashing import hash_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.failure import Failure
    from ensemble.run_dir.jobs_record import LearnerJobs
    from ensemble.run_dir.status.files import RunFiles


def state_at_rest(
    files: RunFiles,
    planned: Sequence[LearnerJobs],
    counts: Mapping[str, int],
    failed: Sequence[Failure],
) -> str:
    """Say what became of a run on which no process works: ``finished``, say, or ``failed``."""
    if failed:
        return "failed"
    is_done = counts["total"] > 0 and counts["done"] == counts["total"]
    if is_done and _is_stacked(files, planned) and _is_submitted(files):
        return "finished"
    return "unfinished" if not is_done and (files.run / UNFINISHED).exists() else "incomplete"


def _is_stacked(files: RunFiles, planned: Sequence[LearnerJobs]) -> bool:
    """Say whether the stack is of the fits that the config asks for now, and lacks none."""
    keys = {one.name: one.fits for one in planned}
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        parts = files.manifest(STACK, exact=True)["key_parts"]
        made_from = [
            (keys[learner][fit], made["key"])
            for kind in ("folds", "pairs")
            for learner, fits in parts[kind].items()
            for fit, made in fits.items()
        ]
        whole = not any(map(parts.get, ("left_out", "unfinished", "plain")))
        return whole and all(now == then for now, then in made_from)
    return False


def _is_submitted(files: RunFiles) -> bool:
    """Say whether the submission is of the stack that is there, where there are test rows."""
    run = files.run
    if files.config is None:
        return False
    if "test" not in files.config:
        return True
    is_there = (run / SUBMISSION).exists()  # people move it away
    if is_there and not (run / SUBMISSION_RECORD).exists():
        files.damaged.add(SUBMISSION_RECORD)
    with suppress(LookupError, TypeError, ValueError, OSError):
        made_from = files.read(SUBMISSION_RECORD)["made_from"]
        is_ours: bool = made_from["stack"] == hash_file(run / STACK / MANIFEST)
        return is_ours and is_there
    return False
