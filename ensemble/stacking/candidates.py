"""The simple ways to combine learners: few parameters, all of them readable in a JSON file.

All work on logits. A weighted sum of logits is a normalized geometric mean of probabilities; its
log loss is convex in the weights, so that the best weights are found and not merely searched for.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ensemble.config.settings import Metric  # noqa: TC001 - annotates a constructor
from ensemble.evaluation.losses import METRICS, row_log_loss, softmax
from ensemble.plugin.base import CLASSES, MetaLearner
from ensemble.stacking.fitting import fit_scale_and_bias, fit_simplex_weights
from ensemble.stacking.logits import (
    labels_for,
    logits_of,
    probabilities_of,
    require_learners,
    row_weights,
    weighted_sum,
)
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, MetaFeatures

MODEL_FILE = "model.json"


@dataclass(frozen=True)
class Candidate:
    """One way to combine learners, and how simple it is.

    Parameters
    ----------
    name
        Its name in files and in the config's ``choose``.
    complexity
        Rank; where two candidates do equally well, the lower one is taken.
    make
        Makes an unfitted instance.
    simple
        False for a meta-learner, which has to show its gain over the simple candidates.
    """

    name: str
    complexity: int
    make: Callable[[], MetaLearner]
    simple: bool = True

    @property
    def where(self) -> str:
        """Names the candidate in errors."""
        return f'candidate "{self.name}"'


def simple_candidates(n_learners: int, metric: Metric = "log_loss") -> list[Candidate]:
    """List the simple candidates, simplest first.

    With one learner, its mean and its blend are the learner itself, and are left out. ``metric``
    picks the best single one; weights are fitted by log loss in any case.
    """
    both = [
        Candidate("best_single", 0, partial(BestSingle, metric)),
        Candidate("mean", 1, Mean),
        Candidate("blend", 2, Blend),
        Candidate("vector_scaling", 3, VectorScaling),
    ]
    return both if n_learners > 1 else [both[0], both[-1]]


META_COMPLEXITY = 4
"""A meta-learner stands behind every simple candidate."""


class WeightedSum(MetaLearner):
    """Softmax of a weighted sum of logits, with one weight a learner."""

    learners_: tuple[str, ...]
    weights_: FloatArray

    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,  # noqa: ARG002 - nothing is held out
        context: FitContext,  # noqa: ARG002 - no seed is needed
    ) -> Self:
        """Find one weight a learner; they are not negative and sum to 1."""
        self.learners_ = meta.learners
        logits = logits_of(meta, meta.learners)
        self.weights_ = self._find_weights(
            logits, labels_for(meta, labels), row_weights(len(meta), sample_weight)
        )
        return self

    @abstractmethod
    def _find_weights(
        self, logits: FloatArray, labels: FloatArray, row_weight: FloatArray
    ) -> FloatArray:
        """Give ``(n_learners,)`` weights for centred logits ``(n, n_learners, k)``."""

    def predict_logits(self, meta: MetaFeatures) -> FloatArray:
        """Give the weighted sum of centred logits ``(n, k)`` float64; ``k`` is 2 without ties."""
        require_learners(meta, self.learners_)
        used = np.flatnonzero(self.weights_)
        logits = logits_of(meta, [self.learners_[i] for i in used])
        return weighted_sum(logits, self.weights_[used])

    def predict_proba(self, meta: MetaFeatures) -> FloatArray:
        """Give probabilities ``(n, 3)`` in ``CLASSES`` order."""
        return probabilities_of(self.predict_logits(meta))

    def save(self, directory: Path) -> None:
        """Write the weights as JSON."""
        write_json(directory / MODEL_FILE, self.describe())

    def load(self, directory: Path) -> Self:
        """Read what ``save`` wrote."""
        weights = read_json(directory / MODEL_FILE)["weights"]
        self.learners_ = tuple(weights)
        self.weights_ = np.array(list(weights.values()), dtype=np.float64)
        return self

    def describe(self) -> dict[str, Any]:
        """Give the weight of each learner."""
        weights = self.weights_.tolist()
        return {"weights": dict(zip(self.learners_, weights, strict=True))}


class BestSingle(WeightedSum):
    """The learner that does best on the rows it is fitted on, as it is.

    Parameters
    ----------
    metric
        What is best by; of learners that are equal by it, the one with the lower log loss is taken.
    """

    def __init__(self, metric: Metric = "log_loss") -> None:
        self.metric = metric

    def _find_weights(
        self, logits: FloatArray, labels: FloatArray, row_weight: FloatArray
    ) -> FloatArray:
        singles = [softmax(logits[:, learner]) for learner in range(logits.shape[1])]
        measures = (METRICS[self.metric], row_log_loss)
        losses = [[float(row_weight @ m(labels, one)) for m in measures] for one in singles]
        return np.asarray(np.eye(len(losses))[losses.index(min(losses))])

    def describe(self) -> dict[str, Any]:
        """Give the weights and name the learner that has all of it."""
        return {**super().describe(), "learner": self.learners_[int(np.argmax(self.weights_))]}


class Mean(WeightedSum):
    """The mean of the learners' logits; nothing is fitted."""

    def _find_weights(
        self,
        logits: FloatArray,
        labels: FloatArray,  # noqa: ARG002
        row_weight: FloatArray,  # noqa: ARG002
    ) -> FloatArray:
        return np.full(logits.shape[1], 1.0 / logits.shape[1])


class Blend(WeightedSum):
    """The convex combination of logits with the lowest log loss.

    Logits rather than probabilities: the problem is convex, equal weights give the candidate
    ``mean``, and vector scaling can follow.
    """

    def _find_weights(
        self, logits: FloatArray, labels: FloatArray, row_weight: FloatArray
    ) -> FloatArray:
        return fit_simplex_weights(logits, labels, row_weight)


class VectorScaling(MetaLearner):
    """A scale and a bias per class on the blend's logits, fitted by log loss.

    Guo et al., *On Calibration of Modern Neural Networks* (ICML 2017), section 4.2. The biases of A
    and B are free to differ: learners that read A before B favor one of them.

    Parameters
    ----------
    l2
        Pull of the scales towards 1 and of the biases towards 0, in units of rows: the loss summed
        over rows has ``l2 / 2`` times the squared distance added.
    """

    def __init__(self, l2: float = 1.0) -> None:
        self.l2 = l2

    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Fit the blend, then scales and biases on its logits."""
        blend = Blend().fit(
            meta, labels, sample_weight=sample_weight, groups=groups, context=context
        )
        return self.fit_scaling(blend, meta, labels, sample_weight)

    def fit_scaling(
        self,
        blend: WeightedSum,
        meta: MetaFeatures,
        labels: FloatArray,
        sample_weight: FloatArray | None,
    ) -> Self:
        """Fit scales and biases on the logits of a weighted sum that has been fitted."""
        self.blend_ = blend
        weights = row_weights(len(meta), sample_weight)
        logits = blend.predict_logits(meta)
        labels = labels_for(meta, labels)
        self.scale_, self.bias_ = fit_scale_and_bias(logits, labels, weights, l2=self.l2)
        return self

    def predict_logits(self, meta: MetaFeatures) -> FloatArray:
        """Give scaled logits ``(n, k)`` float64; ``k`` is 2 without ties."""
        return np.asarray(self.blend_.predict_logits(meta) * self.scale_ + self.bias_)

    def predict_proba(self, meta: MetaFeatures) -> FloatArray:
        """Give probabilities ``(n, 3)`` in ``CLASSES`` order."""
        return probabilities_of(self.predict_logits(meta))

    def save(self, directory: Path) -> None:
        """Write weights, scales and biases as JSON."""
        write_json(directory / MODEL_FILE, self.describe())

    def load(self, directory: Path) -> Self:
        """Read what ``save`` wrote."""
        self.blend_ = Blend().load(directory)
        stored = read_json(directory / MODEL_FILE)
        self.scale_, self.bias_ = (
            np.array([stored[key][name] for name in CLASSES if name in stored[key]])
            for key in ("scale", "bias")
        )
        return self

    def describe(self) -> dict[str, Any]:
        """Give the weight of each learner, and scale and bias of each class."""
        return {
            **self.blend_.describe(),
            "scale": dict(zip(CLASSES, self.scale_.tolist(), strict=False)),
            "bias": dict(zip(CLASSES, self.bias_.tolist(), strict=False)),
        }
