"""The JSON that earlier stages wrote into the run directory, as the report reads it.

Every field that a stage may leave out is None where it is missing: the report says "not measured".
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (pydantic resolves annotations at run time)
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ensemble.errors import ArtifactError
from ensemble.storage.json_files import read_checksummed, read_json

MEND = "run `ensemble run CONFIG` again"


class Record(BaseModel):
    """One JSON object; keys that the report does not show are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
            return cls.model_validate(read_json(path))
        except ArtifactError as error:
            raise ArtifactError(error.message, where=str(path), mend=MEND) from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ArtifactError(
                f"a stored file says something unexpected at {place}: {first['msg']}",
                where=str(path),
                mend=MEND,
            ) from error


class BadRow(Record):
    """A row of a source that could not be used."""

    file: str
    line: int | None = None
    reason: str


class Source(Record):
    """Where rows come from."""

    name: str
    role: str
    path: str | None = None
    rows: int | None = None
    dropped_rows: int | None = None
    dropped_for: dict[str, int] = {}
    bad_rows: tuple[BadRow, ...] = ()
    warnings: tuple[str, ...] = ()


class Sources(Record):
    """``battles.json``."""

    sources: tuple[Source, ...]
    data: str | None = None


class Fold(Record):
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


class Cluster(Record):
    """Battles that are duplicates or near duplicates of each other."""

    cluster: int
    rows: int
    target_rows: int | None = None
    share_of_target: float | None = None
    sources: dict[str, int] = {}
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


class Vectors(Record):
    """What vectors told of battles that say the same."""

    with_vector: int
    without_vector: int
    unknown_ids: int
    pairs: int


class FoldPlan(Record):
    """``folds.json``."""

    fingerprint: str
    n_splits: int
    seed: int | None = None
    near_duplicate_threshold: float | None = None
    embedding_threshold: float | None = None
    embeddings: Vectors | None = None
    folds: tuple[Fold, ...] = ()
    cuts: tuple[Cut, ...] | None = None
    largest_clusters: tuple[Cluster, ...] = ()
    warnings: tuple[str, ...] = ()
    test_overlap: TestOverlap | None = None


class Seconds(Record):
    """How long a learner took on one fold."""

    fit: float | None = None
    predict: float | None = None


class Rows(Record):
    """How many rows a learner saw on one fold."""

    train: int | None = None
    held_out: int | None = None
    pretrain: int | None = None
    test: int | None = None


class Weights(Record):
    """Weights of the rows of a source."""

    mean: float | None = None
    least: float | None = None
    greatest: float | None = None


class UsedSource(Record):
    """How the rows of a source counted in the training of one fold."""

    role: str
    rows: int
    weight: Weights = Weights()
    offset: tuple[float, ...] | None = None
    labelled_by: dict[str, str] = {}


class Manifest(Record):
    """``learners/<name>/fold-<k>/manifest.json``."""

    plan: str
    fold: int | str
    data: str | None = None
    key: str | None = None
    plugin: str | None = None
    plugin_version: str | None = None
    parameters: dict[str, Any] = {}
    training_rows: str | None = None
    pretrain: str | None = None
    rows: Rows = Rows()
    sources: dict[str, UsedSource] = {}
    seconds: Seconds = Seconds()
    files: dict[str, str] = {}


class DrawnTruth(Record):
    """Predictions and true distributions, scored on the same drawn labels."""

    log_loss: float | None = None
    best_log_loss: float | None = None


class Truth(Record):
    """``truth.json``: what only a generated data set can know."""

    @classmethod
    def read_whole(cls, path: Path) -> Self | None:
        """Read it as ``read`` does, and see that it is what was written."""
        if path.exists():
            read_checksummed(path, mend=MEND)
        return cls.read(path)

    best_log_loss_target: float | None = None
    target: DrawnTruth | None = None
    test: DrawnTruth | None = None

    @property
    def drawn(self) -> float | None:
        """Log loss of the true distributions on the labels that the target rows have."""
        return self.target.best_log_loss if self.target else None

    @property
    def best(self) -> float | None:
        """The best possible log loss on target rows: on their labels, or as an expectation."""
        return self.best_log_loss_target if self.drawn is None else self.drawn
