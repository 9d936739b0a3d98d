"""``learners/<name>/<fit>/manifest.json``: what a fit is made from, and what it took."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ensemble.run_dir.record import Record


class Seconds(Record):
    """How long a learner took on one fold.

    Parameters
    ----------
    fit, predict
        Its own methods, over all seeds.
    job
        All of it, from reading the rows to checking what was saved; None where it was resumed.
    """

    fit: float | None = None
    predict: float | None = None
    job: float | None = None


class Score(Record):
    """Log loss of a fold's predictions, on the rows that have some."""

    rows: int
    log_loss: float


class MadeOn(Record):
    """The machine that fitted, and the device that it was told to use."""

    host: str | None = None
    device: str | None = None


class Rows(Record):
    """How many rows a learner saw on one fold."""

    train: int | None = None
    held_out: int | None = None
    pretrain: int | None = None
    test: int | None = None
    missing: int = 0


class Weights(Record):
    """Weights of the rows of a source."""

    mean: float | None = None
    least: float | None = None
    greatest: float | None = None


class UsedSource(Record):
    """How the rows of a source counted in the training of one fold."""

    role: str
    rows: int
    label_shares: tuple[float, ...] = ()
    weight: Weights = Weights()
    clipped: float | None = None
    reweight: str | None = None
    offset: tuple[float, ...] | None = None
    labeled_by: dict[str, str] = Field(default_factory=dict)


class FitManifest(Record):
    """``learners/<name>/fold-<k>/manifest.json``; that of a pair, a refit or a soup likewise."""

    plan: str
    fold: int | tuple[int, ...] | str | None
    data: str | None = None
    key: str | None = None
    key_parts: dict[str, Any] = Field(default_factory=dict)
    learner: str | None = None
    plugin: str | None = None
    plugin_version: str | None = None
    distribution: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    seeds: int | None = None
    training_rows: str | None = None
    plugin_source: str | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    brought: dict[str, Any] = Field(default_factory=dict)
    pretrain: str | None = None
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    privileged: dict[str, dict[str, int]] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)
    rows: Rows = Rows()
    sources: dict[str, UsedSource] = Field(default_factory=dict)
    seconds: Seconds = Seconds()
    score: Score | None = None
    machine: MadeOn = MadeOn()
    batch_tolerance: float | None = None
    cautions: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    checkpoint: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
