"""``unfinished.json``: fits that a time limit has left undone, so that a stack may lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import UNFINISHED
from ensemble.run_dir.record import Record
from ensemble.storage.atomic import remove_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class UnfinishedRecord(Record):
    """What was left undone.

    Parameters
    ----------
    fits
        Learner to fit (as its directory is called) to its key: with other settings it is another.
    limit
        The time limit, seconds.
    """

    fits: dict[str, dict[str, str]] = Field(default_factory=dict)
    limit: float | None = None


def write_unfinished(run: Path, fits: Mapping[str, Mapping[str, str]], limit: float | None) -> None:
    """Write down what is undone; nothing undone leaves no file."""
    if not fits:
        remove_file(run / UNFINISHED)
        return
    told = {name: dict(keys) for name, keys in fits.items()}
    UnfinishedRecord(fits=told, limit=limit).write(run / UNFINISHED)


def read_unfinished(run: Path) -> UnfinishedRecord:
    """Read what is undone; nothing where there is no file, or it is damaged."""
    try:
        return UnfinishedRecord.read_checksummed(run / UNFINISHED)
    except ArtifactError:
        return UnfinishedRecord()
