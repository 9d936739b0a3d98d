"""``battles.json``: what ``prepare`` says of the battles."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ensemble.run_dir.record import Record


class BadRow(Record):
    """A row of a source that could not be used."""

    file: str
    line: int | None = None
    reason: str


class SourceRecord(Record):
    """Where rows come from.

    Parameters
    ----------
    name, role
        As in the config; ``"test"`` for the test file.
    path
        Without secrets.
    sha256
        Of the file; None where a loader reads no file.
    table
        SHA-256 of what a loader makes of a place that is no file; else None.
    rows
        Battles that are used.
    label_shares
        Share of each class in ``CLASSES`` order; None where there are no labels.
    label_shares_before
        The same with the rows that were dropped; None where nothing is known.
    multi_turn_rows
        Battles with more than one turn.
    read_as, notes
        The format of its files, and what else there is to say of how they were read.
    dropped_rows, dropped_for
        Rows that are left out, and how many of them for which reason.
    warnings
        In sentences.
    bad_rows
        The first of the rows that are left out.
    corrected
        How many rows training leaves out (``excluded``) and learns with another label
        (``relabeled``), where the source has a list of them.
    """

    name: str
    role: str
    path: str | None = None
    sha256: str | None = None
    table: str | None = None
    rows: int | None = None
    label_shares: tuple[float | None, ...] = ()
    label_shares_before: tuple[float, ...] | None = None
    multi_turn_rows: int | None = None
    read_as: str = ""
    notes: tuple[str, ...] = ()
    dropped_rows: int = 0
    dropped_for: dict[str, int] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    corrected: dict[str, int] = Field(default_factory=dict)


class VectorsRecord(Record):
    """What vectors told of battles that say the same.

    Parameters
    ----------
    path, sha256
        Of the file of vectors.
    with_vector, without_vector, unknown_ids
        Battles with and without one, and vectors of no battle.
    pairs
        Pairs of paraphrases.
    """

    path: str | None = None
    sha256: str | None = None
    with_vector: int
    without_vector: int
    unknown_ids: int
    pairs: int


class BattlesRecord(Record):
    """All of it.

    Parameters
    ----------
    key
        The fingerprint of ``made_by``.
    made_by
        All that decides which battles a config gives.
    data
        Names the battles by what they are.
    settings
        What the config says about battles and clusters.
    files
        SHA-256 of each table, by name.
    sources
        In the order of the config, the test file last.
    embeddings
        None where the config names no vectors.
    """

    key: str
    made_by: dict[str, Any]
    data: str
    settings: dict[str, Any]
    files: dict[str, str]
    sources: tuple[SourceRecord, ...]
    embeddings: VectorsRecord | None = None

    @property
    def ties(self) -> bool:
        """Whether the task that they were prepared for has ties."""
        return bool(self.settings.get("ties", True))
