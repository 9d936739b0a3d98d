"""Whether prepared battles are still those that the config describes and the files hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.artifacts import hash_file
from ensemble.battles.prepare import SUMMARY, prepared_settings, read_summary
from ensemble.errors import ArtifactError

if TYPE_CHECKING:
    from ensemble.config import Config

_MEND = "run `ensemble prepare CONFIG` again"


def check_settings(config: Config) -> None:
    """Refuse prepared battles that the config does not describe; no source need be there.

    Raises
    ------
    ArtifactError
        ``prepare`` has not been run, or ran with other sources, with other settings of theirs, or
        with another threshold.
    """
    run = Path(config.run_dir)
    if read_summary(run).get("settings") != prepared_settings(config):
        raise ArtifactError(
            "the battles were prepared with other sources or settings than the config now says",
            where=str(run / SUMMARY),
            mend=_MEND,
        )


def check_sources(config: Config) -> None:
    """Refuse prepared battles whose files have changed since, too.

    A file that is not there has not changed: a run directory goes where its sources do not.

    Raises
    ------
    ArtifactError
        A file has another content than was prepared; or as ``check_settings``.
    """
    check_settings(config)
    prepared = read_summary(Path(config.run_dir))["sources"]
    for reading, source in zip(config.readings(), prepared, strict=True):
        known, path = source["sha256"], reading.path
        if known and os.path.isfile(path) and hash_file(Path(path)) != known:  # noqa: PTH113
            raise ArtifactError(
                f'the file of source "{source["name"]}" is not the one that was prepared',
                where=path,
                mend=f"{_MEND}, or put the former file back",
            )
