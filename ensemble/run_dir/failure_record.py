"""``learners/<name>/failure.json``: why a learner is not complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.failure import Failure
from ensemble.run_dir.layout import FAILURE, LEARNERS
from ensemble.run_dir.record import Record
from ensemble.storage.atomic import remove_file

if TYPE_CHECKING:
    from pathlib import Path


class FailureRecord(Record):
    """A failure, and what it is a failure of.

    Parameters
    ----------
    key
        Key of the fit that failed: with other settings or other code it is no failure yet.
    held_out
        What that fit holds out, as ``HeldOut.to_json`` gives it.
    """

    key: str
    held_out: int | list[int] | str | None = None
    name: str
    at: str
    reason: str
    line: str | None = None
    hint: str | None = None
    needs: str | None = None

    @property
    def failure(self) -> Failure:
        """Give what is told of it."""
        told = self.model_dump(exclude={"key", "held_out"})
        return Failure(**told)


def write_failure(
    run: Path, failure: Failure, key: str, held_out: int | list[int] | str | None
) -> None:
    """Keep a learner's failure beside its folds; a former one is replaced."""
    told = failure.to_json()
    del told["is_meta_learner"]
    place = run / LEARNERS / failure.name / FAILURE
    FailureRecord(key=key, held_out=held_out, **told).write(place)


def read_failure(run: Path, learner: str) -> FailureRecord | None:
    """Read a learner's failure; None where there is none, or the file is damaged."""
    try:
        return FailureRecord.read_checksummed(run / LEARNERS / learner / FAILURE)
    except ArtifactError:
        return None


def forget_failure(run: Path, learner: str) -> None:
    """Take a learner's failure away: it has been fitted since."""
    remove_file(run / LEARNERS / learner / FAILURE)
