"""``jobs.json``: every fit that a run's config asks for, with the key that it has when complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import JOBS
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class LearnerJobs(NamedTuple):
    """The fits of one learner.

    Parameters
    ----------
    name
        Of the learner.
    fits
        Key of each fit, by what its directory is called.
    """

    name: str
    fits: dict[str, str]


def write_jobs(run: Path, learners: Sequence[LearnerJobs]) -> None:
    """Write down all fits, in the order of the config."""
    told = {"learners": [{"name": one.name, "fits": one.fits} for one in learners]}
    if read_jobs(run) != list(learners):
        write_checksummed(run / JOBS, told)


def read_jobs(run: Path) -> list[LearnerJobs] | None:
    """Read them back; None where the file is not there, or damaged."""
    try:
        content: dict[str, Any] = read_checksummed(run / JOBS, hint="run `ensemble run CONFIG`")
        return [LearnerJobs(one["name"], dict(one["fits"])) for one in content["learners"]]
    except (ArtifactError, LookupError, TypeError, ValueError):
        return None
