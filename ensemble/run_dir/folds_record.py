"""``folds.json``: what ``split`` says of the fold plan."""

from __future__ import annotations

from pydantic import Field

from ensemble.run_dir.battles_record import VectorsRecord
from ensemble.run_dir.record import Record


class FoldRecord(Record):
    """One fold of the plan."""

    fold: int
    rows: int
    clusters: int | None = None
    label_shares: tuple[float | None, ...] | None = None
    training_rows: int | None = None
    pretraining_rows: int | None = None


class Cut(Record):
    """Rows kept out of a fold's training, and why."""

    fold: int
    source: str
    role: str
    reason: str
    rows: int


class ClusterRecord(Record):
    """Battles that are duplicates or near duplicates of each other."""

    cluster: int
    rows: int
    target_rows: int | None = None
    share_of_target: float | None = None
    sources: dict[str, int] = Field(default_factory=dict)
    text: str | None = None
    shared_text: str | None = None


class TestOverlap(Record):
    """Labeled rows whose cluster holds a test row."""

    # pytest takes every class called Test… for a collection of tests.
    __test__ = False

    rows: int
    clusters: int | None = None
    test_rows: int | None = None
    of: int | None = None


class FoldsRecord(Record):
    """All of it.

    Parameters
    ----------
    key
        Names the plan that these battles and settings give.
    files
        SHA-256 of the table, by name.
    fingerprint
        Of the plan, by what it says.
    n_splits, seed, near_duplicate_threshold, embedding_threshold
        As in the config.
    embeddings
        What vectors told; None without.
    clusters
        How many there are.
    folds
        One record a fold.
    cuts
        Rows that are kept out of a fold's training, by source and reason.
    largest_clusters
        Those with the most target rows.
    test_overlap
        Labeled rows whose cluster holds a test row.
    warnings
        In sentences.
    """

    key: str
    files: dict[str, str]
    fingerprint: str
    n_splits: int
    seed: int | None = None
    near_duplicate_threshold: float | None = None
    embedding_threshold: float | None = None
    embeddings: VectorsRecord | None = None
    clusters: int | None = None
    folds: tuple[FoldRecord, ...] = ()
    cuts: tuple[Cut, ...] | None = None
    largest_clusters: tuple[ClusterRecord, ...] = ()
    test_overlap: TestOverlap | None = None
    warnings: tuple[str, ...] = ()
