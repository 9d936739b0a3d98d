"""What ``prepare`` has written, read back: battles, clusters, pairs, and the record of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError
from ensemble.run_dir.battles_record import BattlesRecord
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CLUSTERS,
    CORRECTIONS,
    DUPLICATES,
    METADATA,
)
from ensemble.run_dir.record import missing_record
from ensemble.run_dir.tables import read_table
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_checksummed

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

VERSION = 14
"""Raise it when the same files come to give other battles or clusters, or another summary."""

_HINT = "run `ensemble prepare CONFIG`"


def read_battles(run: Path) -> tuple[pl.DataFrame, str]:
    """Read the prepared battles and the key that names them.

    Returns
    -------
    tuple[pl.DataFrame, str]
        ``BATTLE_SCHEMA`` and 64 hex digits.

    Raises
    ------
    ArtifactError
        ``prepare`` has not been run, or its files are damaged.
    """
    return _read(run, BATTLES), read_summary(run).data


def read_clusters(run: Path) -> pl.DataFrame:
    """Read ``id``, ``cluster`` of every battle; errors as ``read_battles``."""
    return _read(run, CLUSTERS)


def read_pairs(run: Path) -> pl.DataFrame:
    """Read the verified duplicate pairs; errors as ``read_battles``."""
    return _read(run, DUPLICATES)


def read_stored_corrections(run: Path) -> pl.DataFrame | None:
    """Read the labels that training takes in place of others: ``CORRECTION_SCHEMA``, or None.

    Raises
    ------
    ArtifactError
        As ``read_battles``.
    """
    return _read(run, CORRECTIONS) if CORRECTIONS in read_summary(run).files else None


def read_metadata(run: Path) -> pl.DataFrame:
    """Read ``id`` and what the files say beside the battles; errors as ``read_battles``."""
    return _read(run, METADATA)


def read_summary(run: Path) -> BattlesRecord:
    """Read what ``prepare`` wrote; errors as ``read_battles``."""
    if not os.path.lexists(run / BATTLES_RECORD):
        never = "the battles have not been prepared"
        raise missing_record(
            run / BATTLES_RECORD, run / BATTLES, of="the battles", never=never, hint=_HINT
        )
    summary = read_checksummed(run / BATTLES_RECORD, hint=f"{_HINT} again")
    made_by = summary.get("made_by")
    if not isinstance(made_by, dict) or made_by.get("version") != VERSION:
        raise ArtifactError(
            "the battles were prepared by another version of the toolkit",
            where=str(run / BATTLES_RECORD),
            hint=f"{_HINT} again, with this version",
        )
    return BattlesRecord.validated(summary, run / BATTLES_RECORD, f"{_HINT} again")


def _read(run: Path, name: str) -> pl.DataFrame:
    path, hint = run / name, f"{_HINT} again"
    if not holds(path, read_summary(run).files.get(name, "")):
        raise ArtifactError(
            "a file of the run is missing or not what was written", where=str(path), hint=hint
        )
    return read_table(path, hint=hint)


def holds(path: Path, digest: str) -> bool:
    """Say whether a file is there and has this SHA-256."""
    try:
        return hash_file(path) == digest
    except OSError:
        return False
