"""The LightGBM meta-learner: small trees that correct a scaled blend.

The trees start from the blend's scaled logits and learn only what is left over. On generated logits
of six kinds that start was as good as any other or better, above all where learners are badly
calibrated, and it makes a stack safe: where the trees find nothing, the scaled blend remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ensemble.battles.swap import stack_orders, swap_classes
from ensemble.battles.trees import MULTICLASS, common_settings
from ensemble.plugin.base import MetaLearner
from ensemble.stacking.candidates import Blend, Mean, VectorScaling
from ensemble.stacking.logits import labels_for, probabilities_of
from ensemble.storage.json_files import read_json, write_json
from ensemble_plugins.boosted_trees import text_of
from ensemble_plugins.stacker_trees import (
    TrainingTable,
    Trees,
    both_orders,
    column_names,
    columns_of,
    fit_trees,
    views_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray, MetaFeatures

_STARTS: Mapping[str, type[Mean | Blend | VectorScaling]] = {
    "mean": Mean,
    "blend": Blend,
    "scaled": VectorScaling,
}
_MODEL_FILE = "stacker.json"
_START_DIRECTORY = "start"
_TREES_FILE = "trees-{}.txt"


class LightGBMStacker(MetaLearner):
    """Gradient-boosted trees on every learner's centered logits and the chosen features.

    Every battle is trained on in both orders, and the predictions of both orders are averaged, so
    that exchanging A and B exchanges the probabilities, exactly. Each of several seeds carves out
    its own clusters to stop early on; a seed whose trees do not beat the start on them has none.

    Parameters
    ----------
    start
        What the trees correct: the ``"mean"`` of logits, their ``"blend"``, or the blend
        ``"scaled"`` per class.
    num_leaves
        Leaves of a tree.
    learning_rate
        Shrinkage of each tree.
    n_estimators
        Most rounds; each round grows three trees, one a class.
    min_child_samples
        Fewest rows in a leaf; each battle counts twice, once for each order.
    feature_fraction, bagging_fraction
        Share of columns a tree, and share of rows a round.
    max_columns
        Most columns a tree, however many learners there are: each takes its time.
    lambda_l2
        Pull of leaf values towards 0.
    max_bin
        Most histogram bins a column.
    early_stopping_rounds
        Rounds without gain on the inner clusters before a seed stops.
    inner_fraction
        Share of clusters held out for that.
    seeds
        Models to average.

    Raises
    ------
    ValueError
        A share is outside (0, 1], there is no seed, or a number is beyond all use.
    """

    symmetric = True

    def __init__(
        self,
        start: Literal["mean", "blend", "scaled"] = "scaled",
        num_leaves: int = 8,
        learning_rate: float = 0.05,
        n_estimators: int = 400,
        min_child_samples: int = 100,
        feature_fraction: float = 0.5,
        bagging_fraction: float = 0.5,
        max_columns: int = 64,
        lambda_l2: float = 10.0,
        max_bin: int = 63,
        early_stopping_rounds: int = 25,
        inner_fraction: float = 0.2,
        seeds: int = 3,
    ) -> None:
        self.start = start
        self.num_leaves = num_leaves
        self.learning_rate = learning_rate
        self.n_estimators = n_estimators
        self.min_child_samples = min_child_samples
        self.feature_fraction = feature_fraction
        self.bagging_fraction = bagging_fraction
        self.max_columns = max_columns
        self.lambda_l2 = lambda_l2
        self.max_bin = max_bin
        self.early_stopping_rounds = early_stopping_rounds
        self.inner_fraction = inner_fraction
        self.seeds = seeds
        if not 0 < inner_fraction < 1:
            raise ValueError(f"inner_fraction must lie between 0 and 1, got {inner_fraction}")
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {seeds}")
        if max_columns < 1:
            raise ValueError(f"max_columns must be at least 1, got {max_columns}")
        for name, most in (("seeds", 100), ("num_leaves", 131_072), ("n_estimators", 100_000)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be {most} or less, got {getattr(self, name)}")

    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Fit the start on all rows, then each seed's trees.

        Parameters
        ----------
        meta
            Logits and features of ``n`` battles.
        labels
            ``(n, 3)`` distributions; a soft label counts as its classes, weighted.
        sample_weight
            ``(n,)`` positive weights.
        groups
            ``(n,)`` clusters, held out whole; without them each battle is one.
        context
            Seed and threads.

        Raises
        ------
        LearnerError
            There are fewer than two clusters, so that none can be held out.
        """
        self.learners_, self.feature_names_ = meta.learners, meta.feature_names
        self.views_ = views_of(meta)
        weights = Mean() if self.start == "mean" else Blend()
        # Exchanging sides moves no loss of a weighted sum: one order settles the weights.
        weights.fit(meta, labels, sample_weight=sample_weight, context=context)
        doubled = both_orders(meta)
        labels, weight, clusters = _double(labels_for(meta, labels), sample_weight, groups)
        self.start_ = (
            VectorScaling().fit_scaling(weights, doubled, labels, weight)
            if self.start == "scaled"
            else weights
        )
        table = TrainingTable(
            self._columns(doubled),
            labels,
            weight / weight.mean(),
            clusters,
            self.start_.predict_logits(doubled),
        )
        self.trees_ = self._fit_trees(table, context)
        return self

    def predict_proba(self, meta: MetaFeatures) -> FloatArray:
        """Give probabilities ``(n, 3)``: logits averaged over seeds and over both orders."""
        other = swap_classes(self._logits(meta.swapped()))
        return probabilities_of((self._logits(meta) + other) / 2)

    def save(self, directory: Path) -> None:
        """Write the start, LightGBM's text files, and JSON."""
        for index, trees in enumerate(self.trees_):
            if trees.booster is not None:
                path = directory / _TREES_FILE.format(index)
                path.write_text(text_of(trees.booster), encoding="utf-8")
        stored = {
            "start": self.start,
            "learners": self.learners_,
            "features": self.feature_names_,
            "views": self.views_,
            "rounds": [trees.rounds for trees in self.trees_],
        }
        write_json(directory / _MODEL_FILE, stored)
        (directory / _START_DIRECTORY).mkdir()
        self.start_.save(directory / _START_DIRECTORY)

    def load(self, directory: Path) -> Self:
        """Read what ``save`` wrote."""
        import lightgbm as lgb

        stored = read_json(directory / _MODEL_FILE)
        self.learners_, self.feature_names_ = tuple(stored["learners"]), tuple(stored["features"])
        self.views_ = tuple(stored["views"])
        self.start_ = _STARTS[stored["start"]]().load(directory / _START_DIRECTORY)
        self.trees_ = [
            Trees(lgb.Booster(model_file=directory / _TREES_FILE.format(i)) if rounds else None)
            for i, rounds in enumerate(stored["rounds"])
        ]
        return self

    def describe(self) -> dict[str, Any]:
        """Give the start, the rounds of each seed, and each column's share of the gain."""
        names = column_names(self.learners_, self.feature_names_, self.views_)
        gain = np.sum([trees.gain(len(names)) for trees in self.trees_], axis=0)
        share = gain / gain.sum() if gain.any() else gain
        return {
            "start": {"kind": self.start, **self.start_.describe()},
            "rounds": [trees.rounds for trees in self.trees_],
            "importance": dict(zip(names, share.tolist(), strict=True)),
        }

    def _columns(self, meta: MetaFeatures) -> LogitArray:
        return columns_of(meta, self.learners_, self.feature_names_)

    def _logits(self, meta: MetaFeatures) -> FloatArray:
        """Start plus the seeds' mean correction, for battles in the order they come."""
        columns = self._columns(meta)
        start = self.start_.predict_logits(meta)
        corrections = [trees.corrections(columns, start.shape[1]) for trees in self.trees_]
        return np.asarray(start + np.mean(corrections, axis=0))

    def _fit_trees(self, table: TrainingTable, context: FitContext) -> list[Trees]:
        settings = self._settings(table.columns.shape[1], context.threads)
        settings["num_class"] = table.labels.shape[1]
        binned = table.binned(settings)
        # LightGBM takes seeds of 31 bits.
        states = np.random.SeedSequence(context.seed).generate_state(self.seeds) >> 1
        return [
            fit_trees(
                table,
                binned,
                settings,
                rounds=self.n_estimators,
                patience=self.early_stopping_rounds,
                inner_fraction=self.inner_fraction,
                seed=int(state),
            )
            for state in states
        ]

    def _settings(self, columns: int, threads: int) -> dict[str, Any]:
        return {
            **MULTICLASS,
            **common_settings(threads),
            "num_leaves": self.num_leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_child_samples,
            "feature_fraction": min(self.feature_fraction, self.max_columns / columns),
            "bagging_fraction": self.bagging_fraction,
            "lambda_l2": self.lambda_l2,
            "max_bin": self.max_bin,
        }


def _double(
    labels: FloatArray, sample_weight: FloatArray | None, groups: IntArray | None
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Labels, weights and clusters of the battles in both orders, one below the other."""
    rows = len(labels)
    weight = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, np.float64)
    clusters = np.arange(rows) if groups is None else groups
    return (stack_orders(labels), np.tile(weight, 2), np.tile(clusters, 2))
