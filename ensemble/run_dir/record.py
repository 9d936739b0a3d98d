"""What the JSON files of a run hold: one class a file, for those who write it and who read it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ensemble.errors import ArtifactError
from ensemble.storage.json_files import read_checksummed, read_json, write_checksummed

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

HINT = "run `ensemble run CONFIG` again"


def missing_record(record: Path, table: Path, *, of: str, never: str, hint: str) -> ArtifactError:
    """Say that a stage's record is not there, or that the stage has never been run.

    Parameters
    ----------
    record, table
        What the stage writes.
    of
        What the record is of.
    never
        What to say where the stage has not been run.
    hint
        What runs it.
    """
    if os.path.lexists(table):
        return ArtifactError(
            f"the record of {of} is not there", where=str(record), hint=f"{hint} again"
        )
    return ArtifactError(never, where=str(record.parent), hint=hint)


class Record(BaseModel):
    """One JSON object of a run; keys that nobody here knows are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def validated(cls, content: Any, path: Path, hint: str = HINT) -> Self:
        """Take what a file holds.

        Raises
        ------
        ArtifactError
            It says something else than its stage writes.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            at = f" at {place}" if place else ""
            raise ArtifactError(
                f"a stored file says something unexpected{at}: {first['msg']}",
                where=str(path),
                hint=hint,
            ) from error

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a file; None where no stage has written it yet.

        Raises
        ------
        ArtifactError
            The file is damaged or says something else than its stage writes.
        """
        if not path.exists():
            return None
        try:
            return cls.validated(read_json(path), path)
        except ArtifactError as error:
            raise ArtifactError(error.message, where=str(path), hint=HINT) from error

    @classmethod
    def read_checksummed(cls, path: Path, hint: str = HINT) -> Self:
        """Read a file that ``write`` has written.

        Raises
        ------
        ArtifactError
            It is missing, or not what was written.
        """
        return cls.validated(read_checksummed(path, hint=hint), path, hint)

    def write(self, path: Path) -> None:
        """Write it, with the fingerprint of all of it."""
        write_checksummed(path, self.model_dump())
