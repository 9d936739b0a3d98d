"""The JSON of ``stack/``: what it was made from, the scores of all candidates, the verdict."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ensemble.run_dir.record import Record

Metric = Literal["log_loss", "accuracy"]


class Origin(Record):
    """What names a fold that the stack was made from."""

    key: str | None = None
    oof: str | None = None


class StackKeyParts(Record):
    """What the key of the stack names."""

    folds: dict[str, dict[str, Origin]] = Field(default_factory=dict)
    pairs: dict[str, dict[str, Origin]] = Field(default_factory=dict)
    version: int | None = None
    order: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    meta_learner: dict[str, Any] | None = None
    code: dict[str, Any] | None = None
    features: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    task: dict[str, Any] = Field(default_factory=dict)


class NestedFit(Record):
    """On which rows the candidates were fitted for an outer fold."""

    fold: int
    fitted_on: int
    ids_sha256: str
    exact: tuple[str, ...] = ()


class StackManifest(Record):
    """``stack/manifest.json``."""

    plan: str | None = None
    data: str | None = None
    key: str | None = None
    key_parts: StackKeyParts = StackKeyParts()
    learners: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    plan_doubt: str = ""
    left_out: tuple[str, ...] = ()
    nested: tuple[NestedFit, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)


class PartScore(Record):
    """A log loss on one fold or one source."""

    fold: int | None = None
    source: str | None = None
    rows: int | None = None
    log_loss: float | None = None
    low: float | None = None
    high: float | None = None


class Seeds(Record):
    """How far the seeds of a learner are apart: the log loss of each, and their deviation."""

    n: int
    log_losses: tuple[float, ...] = ()
    sd: float | None = None


class Interval(Record):
    """A mean with the ends of its interval."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Scored(Record):
    """A learner or a candidate with its scores on the rows that all of them were scored on."""

    name: str
    log_loss: float | None = None
    low: float | None = None
    high: float | None = None
    accuracy: Interval | None = None
    per_fold: tuple[PartScore, ...] = ()
    per_source: tuple[PartScore, ...] = ()
    seeds: Seeds | None = None


class Nested(Scored):
    """A candidate, and how plain nesting would have scored it where exact nesting is in use."""

    plain_log_loss: float | None = None
    gap: Interval | None = None


class Candidate(Nested):
    """One way to combine the learners."""

    complexity: int | float | None = None
    description: dict[str, Any] = Field(default_factory=dict)
    seconds: float | None = None


class Candidates(Record):
    """``stack/candidates.json``."""

    candidates: tuple[Candidate, ...]
    rows_scored: int
    rows_missing: int
    learners: tuple[Scored, ...] = ()
    missing_by_learner: dict[str, int] = Field(default_factory=dict)
    clusters: int | None = None
    resamples: int | None = None
    metric: Metric = "log_loss"
    class_prior: float | None = None
    class_prior_accuracy: float | None = None
    doubts: tuple[str, ...] = ()


class Nesting(Record):
    """Learners by how the logits were made that candidates are fitted on for an outer fold."""

    exact: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


class BiasBound(Record):
    """What a stack can gain by labels that leak through logits."""

    nats: float = 0.0
    learners: tuple[str, ...] = ()
    location: str | None = None
    statistic: float | None = None
    threshold: float | None = None
    tests: int = 0
    tested: tuple[str, ...] = ()
    method: str | None = None


class Tries(Record):
    """What was scored on the fold plan, and the score corrected for choosing."""

    n: int
    compared: int | None = None
    meta_learners: int | None = None
    log_loss: float | None = None
    corrected_log_loss: float | None = None
    accuracy: float | None = None
    corrected_accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    optimism: float | None = None


class Stratification(Record):
    """What equal class shares flatter scores by: where they are known, and by source."""

    optimism: float = 0.0
    by_source: float = 0.0


class VerdictCandidate(Nested):
    """A candidate as the verdict sees it."""

    gain_over_best_simple: Interval | None = None
    corrected_gain: float | None = None
    bias_bound: float = 0.0


class Unproven(Record):
    """Learners whose training rows nobody knows, and which of them each candidate uses."""

    learners: tuple[str, ...] = ()
    candidates: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class FailedCandidate(Record):
    """The meta-learner that failed, and why."""

    name: str
    reason: str
    line: str | None = None


class Verdict(Record):
    """``stack/verdict.json``."""

    chosen: str
    metric: Metric = "log_loss"
    sentence: str
    rule: str | None = None
    evidence: str | None = None
    best_simple: str | None = None
    would_have_chosen: str | None = None
    candidates: tuple[VerdictCandidate, ...] = ()
    rows: int | None = None
    clusters: int | None = None
    resamples: int | None = None
    effective_clusters: float | None = None
    small_sample: bool = False
    level: float | None = None
    gain_level: float | None = None
    nesting: Nesting | None = None
    bias_bound: BiasBound | None = None
    tries: Tries | None = None
    stratification: Stratification | None = None
    unproven: Unproven | None = None
    doubts: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    failed: tuple[FailedCandidate, ...] = ()
