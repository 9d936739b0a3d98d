"""Files of a run that are not what was written, and that a stage would pass over without a word.

Tables, fits and the stack are looked at by whoever reads them, and made anew with a reason. What is
looked at here is only said of a run, or is read as if it were not there where it is damaged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import (
    AUDIT,
    COMPARISONS,
    FAILURE,
    HOLDOUT_RECORD,
    JOBS,
    LEARNERS,
    PLUGINS,
    REVIEW_RECORD,
    STUDIES,
    SUBMISSION_RECORD,
    TRUTH,
    UNFINISHED,
)
from ensemble.storage.directories import MANIFEST, read_manifest
from ensemble.storage.json_files import read_checksummed

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITTEN_ANEW = "it is made anew"
_MENDED_BY = {
    JOBS: WRITTEN_ANEW,
    AUDIT: WRITTEN_ANEW,
    SUBMISSION_RECORD: WRITTEN_ANEW,
    HOLDOUT_RECORD: WRITTEN_ANEW,
    UNFINISHED: "what is not fitted is fitted now",
    f"{LEARNERS}/*/{FAILURE}": "what failed is tried again",
    f"{COMPARISONS}/[!.]*.json": "`ensemble compare` makes it anew",
    f"{STUDIES}/[!.]*.json": "`ensemble sources` makes it anew",
    REVIEW_RECORD: "`ensemble review` makes it anew",
    f"{STUDIES}/parts/*/*.json": "`ensemble sources` makes it anew",
    f"{PLUGINS}/*/{MANIFEST}": "the code of now is kept anew; what other code was, nobody knows",
    TRUTH: "only whoever generated the data set can write it again; without it nothing is missing",
}
"""What becomes of each in the verbs that do work on a run, or which other one mends it."""


class Damaged(NamedTuple):
    """A file that is not what was written.

    Parameters
    ----------
    name
        Relative to the run directory.
    why
        What is wrong with it.
    mended_by
        What helps.
    """

    name: str
    why: str
    mended_by: str

    @property
    def sentence(self) -> str:
        """Say it on one line."""
        return f"{self.name} is damaged: {self.mended_by}"


def damaged_records(run: Path) -> Iterator[Damaged]:
    """Find such files, in the order of ``_MENDED_BY``; one that is not there is not damaged."""
    for pattern, mended_by in _MENDED_BY.items():
        for path in sorted(run.glob(pattern)):
            try:
                _check(path)
            except ArtifactError as error:
                damaged = Path(error.where or path).relative_to(run).as_posix()
                yield Damaged(damaged, error.message, mended_by)


def _check(path: Path) -> None:
    """See that a sealed file is what was written, and so is all that it is the manifest of."""
    if path.name == MANIFEST:
        read_manifest(path.parent)
    else:
        read_checksummed(path, hint="")
