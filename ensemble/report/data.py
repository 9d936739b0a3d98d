"""What the report shows, collected: plain values, ready for figures and templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ensemble.battles.split_text import told_of
from ensemble.stacking.doubt import doubt_sentence, doubted_candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.audit.result import Audit
    from ensemble.evaluation.calibration import Reliability
    from ensemble.evaluation.intervals import Estimate
    from ensemble.evaluation.scores import Score
    from ensemble.failure import Failure
    from ensemble.plugin.base import FloatArray
    from ensemble.report.configured import Configured
    from ensemble.report.selected import SelectedModel
    from ensemble.report.tables import LabelShares
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.folds_record import FoldsRecord
    from ensemble.run_dir.holdout_record import HoldoutRecord
    from ensemble.run_dir.review_record import ReviewRecord
    from ensemble.run_dir.soup_record import SoupCheck
    from ensemble.run_dir.stack_records import Candidates, Interval, Verdict
    from ensemble.run_dir.truth_record import Truth


@dataclass(frozen=True)
class Submission:
    """What was predicted for the test rows.

    Parameters
    ----------
    rows
        How many rows the file has.
    shares
        Mean predicted probability of each class of the task, in ``CLASSES`` order, or how often it
        is the winner; None for an empty file.
    is_winner
        Whether the file names winners.
    """

    rows: int
    shares: tuple[float, ...] | None
    is_winner: bool = False


@dataclass(frozen=True)
class SourceStats:
    """What a learner was taught by one source, over its folds.

    Parameters
    ----------
    source, role
        Which, and as what.
    rows
        Least and most rows of a fold.
    weight
        Mean weight of its rows, and the least and the greatest; None where a manifest does not say.
    offset
        ``(3,)`` mean over folds of what its rows have added to their scores; None for no offset.
    labeled_by
        Learners whose predictions are its labels.
    """

    source: str
    role: str
    rows: tuple[int, int]
    weight: tuple[float, float, float] | None
    offset: tuple[float, ...] | None
    labeled_by: tuple[str, ...]


@dataclass(frozen=True)
class Learner:
    """One base learner: how good, how far, how long.

    Parameters
    ----------
    name, plugin, version
        What it is; None where no manifest says so.
    folds_done, folds_planned
        Folds with complete predictions, and how many the plan has.
    rows_predicted, rows_missing
        Target rows with and without an out-of-fold prediction.
    overall, accuracy
        Log loss and accuracy on all predicted target rows.
    per_fold, per_source
        Log loss on their parts.
    reliability
        One curve a class; empty where nothing is predicted.
    fit_seconds, predict_seconds
        Sums over the complete folds; None where a manifest does not say.
    training_rows
        ``"recorded"`` or ``"unknown"``: whether the audit can check what it was trained on.
    pretrain
        What it made of rows of role ``pretrain``.
    privileged
        Columns that it sees and that do not exist at test time: it teaches and labels alone.
    source_stats
        What it was taught by each source.
    parameters
        As the manifests have them.
    cautions
        What its plugin tells of its fits, doubts among them.
    wide_batch_tolerance
        How far the logits of a battle may differ between batches, where that is more than the
        default; None otherwise.
    """

    name: str
    plugin: str | None
    version: str | None
    folds_done: tuple[int, ...]
    folds_planned: int | None
    rows_predicted: int
    rows_missing: int
    overall: Score
    accuracy: Estimate
    per_fold: dict[int, Score]
    per_source: dict[str, Score]
    reliability: tuple[Reliability, ...]
    fit_seconds: float | None
    predict_seconds: float | None
    training_rows: str | None
    pretrain: str | None
    privileged: tuple[str, ...]
    source_stats: tuple[SourceStats, ...]
    parameters: dict[str, Any]
    cautions: tuple[str, ...] = ()
    wide_batch_tolerance: float | None = None


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate of the stack, with what candidates.json and verdict.json say of it.

    Parameters
    ----------
    name
        As in the config.
    score
        Log loss from nested cross-validation.
    accuracy
        The same; None where it is not measured.
    gain
        Log loss of the best simple candidate minus its own; by accuracy, its own minus the other.
    chosen, best_simple
        Whether it is the one used, and the one that others are measured against.
    seconds
        What it took to fit.
    description
        What it learned.
    per_source
        Log loss by source, where measured.
    """

    name: str
    score: Score
    accuracy: Interval | None
    gain: Interval | None
    chosen: bool
    best_simple: bool
    seconds: float | None
    description: dict[str, Any]
    per_source: dict[str, Score]


@dataclass(frozen=True)
class Agreement:
    """How alike the learners are.

    Parameters
    ----------
    names
        Learners, in the order of both axes.
    logits
        ``(m, m)`` correlation of centered logits.
    losses
        ``(m, m)`` correlation of row losses.
    """

    names: tuple[str, ...]
    logits: FloatArray
    losses: FloatArray


@dataclass(frozen=True, eq=False)
class Report:
    """A whole run, as far as it has got; None is what no stage has written.

    ``comparisons`` are as ``ensemble compare`` stored them, and ``studies`` as ``ensemble sources``
    did; ``damaged`` says of by-products that cannot be read what is wrong with them. ``audit`` is
    of the run as it is now, and ``audited_before`` says whether there is one at all;
    ``plan_fault`` is where the config describes other battles or another plan.
    """

    run: str
    config: Configured | None
    sources: BattlesRecord | None
    plan: FoldsRecord | None
    labels: tuple[LabelShares, ...] | None
    target_rows: int | None
    target_clusters: int | None
    target_shares: tuple[float, ...] | None
    class_prior: float | None
    class_prior_accuracy: float | None
    learners: tuple[Learner, ...]
    agreement: Agreement | None
    scored_candidates: tuple[ScoredCandidate, ...]
    candidates: Candidates | None
    verdict: Verdict | None
    stack_fault: str | None
    selected: SelectedModel | None
    truth: Truth | None
    failures: tuple[Failure, ...]
    audit: Audit | None
    audited_before: bool
    plan_fault: str | None
    submission: Submission | None
    comparisons: tuple[dict[str, Any], ...]
    studies: tuple[dict[str, Any], ...]
    review: ReviewRecord | None
    damaged: dict[str, str]
    left_out: tuple[str, ...]
    holdout: HoldoutRecord | None = None
    soups: Mapping[str, SoupCheck | None] = field(default_factory=dict)
    """Of the learners whose soup predicts; None where there is none of the run as it is."""

    @property
    def plan_doubt(self) -> str:
        """What of the fold plan leaves every score unproven; empty where nothing does."""
        return self.plan.doubt if self.plan else ""

    @property
    def plan_told(self) -> list[str]:
        """What there is to say of the plan beyond its folds."""
        return told_of(self.plan) if self.plan else []

    @property
    def ties(self) -> bool:
        """Whether the task has ties."""
        return self.sources is None or self.sources.ties

    @property
    def metric(self) -> str:
        """What candidates are chosen by."""
        return self.verdict.metric if self.verdict else "log_loss"

    @property
    def unproven(self) -> list[str]:
        """Learners of which nobody knows what they have seen, in the order of the config."""
        known = self.audit.unknown if self.audit else ()
        names = [
            one.name for one in self.learners if one.training_rows == "unknown" or one.name in known
        ]
        return list(dict.fromkeys([*names, *known]))

    @property
    def doubted(self) -> list[str]:
        """Candidates that use one of them."""
        # In the order of the stack, as its own sentence has them, and not best first.
        stacked = self.candidates.candidates if self.candidates else ()
        place = {one.name: at for at, one in enumerate(stacked)}
        ordered = sorted(self.scored_candidates, key=lambda one: place.get(one.name, len(place)))
        descriptions = {one.name: one.description for one in ordered}
        if self.plan_doubt:
            return list(descriptions)
        return list(doubted_candidates(descriptions, self.unproven))

    @property
    def doubt(self) -> str:
        """One sentence on both; empty where there is nothing to doubt."""
        of_learners = doubt_sentence(self.unproven, self.doubted)
        return " ".join(filter(None, (of_learners, self.plan_doubt)))

    @property
    def selected_is_unproven(self) -> bool:
        """Whether the predictions that are looked at most closely are in doubt."""
        if self.selected is None:
            return False
        if self.plan_doubt:
            return True
        return self.selected.name in (self.doubted if self.selected.is_chosen else self.unproven)

    @property
    def chosen(self) -> ScoredCandidate | None:
        """The candidate that the verdict chose."""
        return next((c for c in self.scored_candidates if c.chosen), None)

    @property
    def best_learner(self) -> Learner | None:
        """The learner with the lowest log loss so far; None before the first prediction."""
        measured = [one for one in self.learners if one.rows_predicted]
        return min(measured, key=lambda one: one.overall.log_loss, default=None)

    @property
    def closed(self) -> float | None:
        """Share of the way from the class prior to the best possible; None where not known."""
        best = self.truth.best if self.truth else None
        if self.chosen is None or self.class_prior is None or best is None:
            return None
        way = self.class_prior - best
        return (self.class_prior - self.chosen.score.log_loss) / way if way > 0 else None

    @property
    def labeled_rows(self) -> int | None:
        """Rows with a label, of all sources."""
        return None if self.labels is None else sum(one.labeled for one in self.labels)

    @property
    def target_sources(self) -> tuple[str, ...]:
        """Sources that scores are made on, in the order of the table."""
        return tuple(s.source for s in self.labels or () if s.role == "target")
