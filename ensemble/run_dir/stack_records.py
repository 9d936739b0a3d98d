"""The JSON of ``stack/``: what it was made from, the scores of all candidates, the verdict."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ensemble.run_dir.record import Record


class Origin(Record):
    """What names a fold that the stack was made from."""

    key: str | None = None
    oof: str | None = None


class StackKeyParts(Record):
    """What the key of the stack names."""

    folds: dict[str, dict[str, Origin]] = Field(default_factory=dict)


class StackManifest(Record):
    """``stack/manifest.json``."""

    plan: str | None = None
    data: str | None = None
    key_parts: StackKeyParts = StackKeyParts()


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


class Scored(Record):
    """A learner or a candidate with its log loss on the rows that all of them were scored on."""

    name: str
    log_loss: float | None = None
    low: float | None = None
    high: float | None = None
    per_fold: tuple[PartScore, ...] = ()
    seeds: Seeds | None = None


class Candidate(Scored):
    """One way to combine the learners."""

    complexity: int | float | None = None
    per_source: tuple[PartScore, ...] = ()
    description: dict[str, Any] = Field(default_factory=dict)
    seconds: float | None = None


class Candidates(Record):
    """``stack/candidates.json``."""

    candidates: tuple[Candidate, ...]
    learners: tuple[Scored, ...] = ()
    rows_scored: int | None = None
    rows_missing: int | None = None
    clusters: int | None = None
    resamples: int | None = None
    class_prior: float | None = None
    doubts: tuple[str, ...] = ()


class Interval(Record):
    """A mean with the ends of its interval."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


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


class Tries(Record):
    """What was scored on the fold plan, and the score corrected for choosing."""

    n: int
    corrected_log_loss: float | None = None
    low: float | None = None
    high: float | None = None
    optimism: float | None = None


class Stratification(Record):
    """What equal class shares flatter log losses by: where they are known, and by source."""

    optimism: float = 0.0
    by_source: float = 0.0


class VerdictCandidate(Scored):
    """A candidate as the verdict sees it."""

    gain_over_best_simple: Interval | None = None
    plain_log_loss: float | None = None
    gap: Interval | None = None


class Verdict(Record):
    """``stack/verdict.json``."""

    chosen: str
    rule: str | None = None
    sentence: str | None = None
    evidence: str | None = None
    best_simple: str | None = None
    would_have_chosen: str | None = None
    candidates: tuple[VerdictCandidate, ...] = ()
    clusters: int | None = None
    resamples: int | None = None
    effective_clusters: float | None = None
    small_sample: bool = False
    nesting: Nesting | None = None
    bias_bound: BiasBound | None = None
    tries: Tries | None = None
    stratification: Stratification | None = None
