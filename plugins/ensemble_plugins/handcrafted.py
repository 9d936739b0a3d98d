"""LightGBM on feature sets, indifferent to which response stands on which side.

Every battle is learned in both orders, and a prediction is the mean of both orders' scores, so
that exchanging the responses exchanges the logits exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ensemble.battles.swap import stack_orders
from ensemble.battles.trees import MULTICLASS, common_settings
from ensemble.errors import ArtifactError
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.manager import get_manager
from ensemble.plugin.suggestion import Suggestion
from ensemble.storage.json_files import read_json, write_json
from ensemble_features.catalog import FAMILIES
from ensemble_plugins.binned_rows import BinnedRows
from ensemble_plugins.boosted_trees import BoostedTrees
from ensemble_plugins.estimates import BASIS, cheap_minutes
from ensemble_plugins.group_split import group_split
from ensemble_plugins.priors import smoothed_prior
from ensemble_plugins.privileged_levels import Levels
from ensemble_plugins.soft_labels import LearnsSoftLabels, TeacherMean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray
    from ensemble.plugin.feature import FeatureSet
    from ensemble.plugin.suggestion import DataSummary, Machine

_FACTS = "handcrafted.json"
_FEW_GROUPS = 12
"""Groups to learn from, below which as many models as by default are too many."""
_MILLISECONDS = 3.5
"""Measured time for a row, of one core."""
_SOONER_COMPUTED = 8
"""Rows that take less time to compute than to look up."""


class Handcrafted(LearnsSoftLabels, BaseLearner):
    """Boosted trees on the columns of feature sets.

    Each of ``n_models`` models holds other groups out for early stopping; their scores are
    averaged, so that all rows are learned from. Where rows of other sources are learned from too,
    only those of the target are held out for it. Labels may be soft: a row enters once a class,
    weighted by the class's share.

    Rows of role ``pretrain`` are learned by trees of their own, whose scores are where the other
    trees start.

    Parameters
    ----------
    features
        Names of feature sets; those that come with the toolkit by default.
    n_models
        Number of models, each stopped on its own part of the groups; 2 or more.
    n_estimators
        Greatest number of boosting rounds.
    early_stopping_rounds
        Rounds without gain on the held-out groups after which a model stops.
    learning_rate, num_leaves, min_child_samples, feature_fraction, bagging_fraction, lambda_l2
        As LightGBM has them. ``min_child_samples`` counts a battle twice, once in each order.
    teachers, distillation, teacher_mean, teacher_weights
        See ``LearnsSoftLabels``.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    version = "4"
    takes_offset = True
    cheap = True
    symmetric = True

    def __init__(
        self,
        *,
        features: Sequence[str] = FAMILIES,
        n_models: int = 4,
        n_estimators: int = 2000,
        early_stopping_rounds: int = 50,
        learning_rate: float = 0.03,
        num_leaves: int = 16,
        min_child_samples: int = 10,
        feature_fraction: float = 0.15,
        bagging_fraction: float = 0.7,
        lambda_l2: float = 3.0,
        teachers: Sequence[str] = (),
        distillation: float = 0.5,
        teacher_mean: TeacherMean = "logits",
        teacher_weights: Sequence[float] = (),
    ) -> None:
        self.features = features
        self.n_models = n_models
        self.n_estimators = n_estimators
        self.early_stopping_rounds = early_stopping_rounds
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.feature_fraction = feature_fraction
        self.bagging_fraction = bagging_fraction
        self.lambda_l2 = lambda_l2
        self.teachers = teachers
        self.distillation = distillation
        self.teacher_mean: TeacherMean = teacher_mean
        self.teacher_weights = teacher_weights
        self.levels_ = Levels()
        self._cache_directory: Path | None = None
        self._before: BoostedTrees | None = None
        self._check_ranges()

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:
        """Suggest the defaults, with fewer models where there are few groups to stop them on."""
        minutes = cheap_minutes(data, machine, _MILLISECONDS, pretrains=True)
        note = "boosted trees on features of the texts"
        # Of a pair of folds neither side is learned from.
        groups = data.prompts * max(1, data.n_splits - 2) // data.n_splits
        few = {"n_models": 2} if 0 < groups < _FEW_GROUPS else {}
        told = dict.fromkeys(few, f"{data.prompts} different prompts are few")
        return [Suggestion(few, told, note, minutes=minutes, basis=BASIS)]

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Learn from battles; see ``BaseLearner.fit``.

        Raises
        ------
        LearnerError
            There are fewer groups than models.
        """
        matrix, before = self._prepare(battles, context), self._before
        base = np.zeros_like(labels) if before is None else before.scores(matrix)
        self.levels_ = Levels.of(battles, context.privileged)
        matrix, labels = self.levels_.beside(matrix, battles), self._taught(labels, context)
        trees = self._learn(matrix, base, labels, sample_weight, groups, context)
        self.stages_ = (
            {"model": trees} if before is None else {"pretrained": before, "model": trees}
        )
        self._before = None  # what was fitted is no start for another fit
        return self

    def pretrain(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Learn trees whose scores are where those of ``fit`` start; see ``BaseLearner.fit``.

        They see no privileged columns: other sources may have other ones.
        """
        matrix, base = self._prepare(battles, context), np.zeros_like(labels)
        self._before = self._learn(matrix, base, labels, sample_weight, groups, context)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)``; exchanging A and B exchanges the first two exactly."""
        matrix = self._compute(battles)
        if matrix.names != self.columns_:
            raise ArtifactError(
                "the feature sets have other columns than those that were learned from",
                hint="fit the learner again, or install the version that it was fitted with",
            )
        seen = {"model": self.levels_.beside(matrix, battles)}
        scores = [trees.scores(seen.get(name, matrix)) for name, trees in self.stages_.items()]
        total = np.sum(scores, axis=0)
        return np.asarray(total, dtype=np.float32)

    def save(self, directory: Path) -> None:
        """Write LightGBM's text format, and JSON with the columns and the hash of each model."""
        stages = {name: trees.save(directory, name) for name, trees in self.stages_.items()}
        write_json(directory / _FACTS, {"columns": self.columns_, "stages": stages})
        self.levels_.save(directory)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote; errors as ``BoostedTrees.load``."""
        facts = read_json(directory / _FACTS)
        self.stages_ = {
            name: BoostedTrees.load(directory, name, stage)
            for name, stage in facts["stages"].items()
        }
        self.columns_ = tuple(facts["columns"])
        self.levels_ = Levels.load(directory)
        return self

    def preflight(self, battles: pl.DataFrame, *, context: FitContext) -> None:  # noqa: ARG002
        """Compute all columns of a few battles."""
        from ensemble.battles.features import compute_features

        compute_features(battles, self._sets())

    def dependencies(self) -> dict[str, Any]:
        """Name the feature sets as they are installed: their versions are part of the key."""
        return {name: get_manager().feature_identity(name) for name in self.features}

    def _check_ranges(self) -> None:
        self._check_teachers()
        if not self.features:
            raise ValueError("features must name at least one feature set")
        for name, most in (("n_models", 100), ("num_leaves", 131_072), ("n_estimators", 100_000)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be {most} or less")
        for name in ("n_models", "num_leaves"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be 2 or more")
        for name in ("n_estimators", "early_stopping_rounds", "min_child_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        for name in ("learning_rate", "feature_fraction", "bagging_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and not above 1")
        if self.lambda_l2 < 0:
            raise ValueError("lambda_l2 must not be negative")

    def _compute(self, battles: pl.DataFrame) -> FeatureMatrix:
        from ensemble.battles.features import compute_features

        # To look up a few rows, what is known of all rows would be read.
        cache = self._cache_directory if len(battles) > _SOONER_COMPUTED else None
        return compute_features(battles, self._sets(), cache_directory=cache)

    def _sets(self) -> list[FeatureSet]:
        return [get_manager().feature_sets.get(name) for name in self.features]

    def _prepare(self, battles: pl.DataFrame, context: FitContext) -> FeatureMatrix:
        self._cache_directory = context.cache_directory
        matrix = self._compute(battles)
        self.columns_ = matrix.names
        return matrix

    def _learn(
        self,
        matrix: FeatureMatrix,
        base: FloatArray,
        labels: FloatArray,
        weight: FloatArray | None,
        groups: IntArray | None,
        context: FitContext,
    ) -> BoostedTrees:
        """Learn what the labels have beside ``base``, scores ``(n, 3)`` of the rows."""
        weight = np.ones(len(matrix)) if weight is None else weight
        # The penalties are on the scale of the weights: only their ratios may matter.
        weight = weight / weight.mean()
        groups = np.arange(len(matrix)) if groups is None else groups
        part = group_split(groups, self.n_models, context.seed, labels, context.eval_mask)
        beside = base if context.offset is None else base + context.offset
        start = smoothed_prior(labels, weight, beside)
        settings = self._settings(context.threads)
        binned = BinnedRows.of(
            matrix.stacked_orders(),
            stack_orders(labels),
            np.tile(weight, 2),
            stack_orders(start + beside),
            settings,
        )
        boosters = []
        for number in range(self.n_models):
            watched = part == number
            learned = ~np.isin(groups, groups[watched])
            boosters.append(
                binned.train(
                    np.tile(learned, 2),
                    np.tile(watched, 2),
                    {**settings, "seed": context.seed + number},
                    rounds=self.n_estimators,
                    patience=self.early_stopping_rounds,
                )
            )
            context.progress((number + 1) / self.n_models, f"model {number + 1}")
        return BoostedTrees(start, tuple(boosters))

    def _settings(self, threads: int) -> dict[str, Any]:
        return {
            **MULTICLASS,
            **common_settings(threads),
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_child_samples": self.min_child_samples,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "lambda_l2": self.lambda_l2,
            # Random thresholds overfit less than the best ones where battles are few.
            "extra_trees": True,
        }
