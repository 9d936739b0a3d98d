"""``folds.json``: what ``split`` says of the fold plan."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ensemble.run_dir.battles_record import VectorsRecord
from ensemble.run_dir.record import Record


class FoldRecord(Record):
    """One fold of the plan; ``name`` is the user's, ``starts`` the first time of a block."""

    fold: int
    name: str | None = None
    rows: int
    clusters: int | None = None
    starts: float | None = None
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


class GroupRecord(Record):
    """What a column joins among the clusters that texts make.

    Parameters
    ----------
    column
        Its name.
    rows, values
        Rows with a value, and how many different ones.
    rows_joined
        Rows whose value stands in more than one cluster.
    clusters_joined
        By how many this column alone makes clusters fewer.
    largest, largest_rows, largest_share
        The value with the most target rows, its rows, and their share of the target.
    """

    column: str
    rows: int
    values: int
    rows_joined: int
    clusters_joined: int
    largest: str | None = None
    largest_rows: int = 0
    largest_share: float = 0.0


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
    scheme
        ``"clusters"``, ``"time"``, or ``"given"`` for the user's own folds.
    given_sha256
        Of the file of the user's folds, where they are from one.
    allow_split_clusters, split_clusters, split_rows
        Whether the user's folds may split clusters, and how many clusters and rows they do split.
    time_column, undated, undated_rows
        Of folds that are blocks of time; how many rows that could be learned from have no time.
    groups
        One record a column that joins clusters.
    unscored_rows
        Target rows that are in no fold and no hold-out: before the first block of time, or near the
        hold-out.
    holdout_rows, holdout_clusters
        Target rows that are kept for the last score, and their clusters.
    holdout_cut
        Rows of other sources and of the target that no fit sees, since their cluster has some.
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
    scheme: str = "clusters"
    given_sha256: str | None = None
    allow_split_clusters: bool = False
    split_clusters: int = 0
    split_rows: int = 0
    time_column: str | None = None
    undated: Literal["cut", "train"] = "cut"
    undated_rows: int = 0
    groups: tuple[GroupRecord, ...] = ()
    unscored_rows: int = 0
    holdout_rows: int = 0
    holdout_clusters: int = 0
    holdout_cut: int = 0
    clusters: int | None = None
    folds: tuple[FoldRecord, ...] = ()
    cuts: tuple[Cut, ...] | None = None
    largest_clusters: tuple[ClusterRecord, ...] = ()
    test_overlap: TestOverlap | None = None
    warnings: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """What of the plan leaves every score unproven; empty where nothing does.

        The user's folds may split clusters, and rows without a time may be later than those scored.
        """
        return " ".join(filter(None, (self.split_doubt, self._undated_doubt)))

    @property
    def split_doubt(self) -> str:
        """That the user's folds split clusters; empty where they do not."""
        if not self.split_clusters:
            return ""
        return (
            f"Unproven: the folds split {self.split_clusters:,} clusters ({self.split_rows:,} "
            "rows), as allow_split_clusters asks, so that models are trained on near duplicates of "
            "rows that they are scored on."
        )

    @property
    def _undated_doubt(self) -> str:
        if self.undated == "cut" or not self.undated_rows:
            return ""
        return (
            f"Unproven: {self.undated_rows:,} rows without a time are trained on in every fold, as "
            'undated = "train" asks, and nothing shows that they are earlier than the rows scored.'
        )
