"""Worlds with a known truth for ``verdicts.py``: rows, learners of many kinds, stack features.

A world is arrays instead of texts: what a learner reads of a row is its topic, another key, a point
in a small space and a few words. Learners are as a plugin would be: fitted on rows and labels,
asked for logits of other rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

WORDS = 300
WORDS_A_ROW = 9
SOFTENING = 0.3
"""Rows' worth of prior that label shares are pulled by, as in shrunken target encoding."""


@dataclass(frozen=True)
class Rows:
    """What there is to know of ``n`` rows.

    Parameters
    ----------
    topic, key
        ``(n,)`` two numbers that a row shares with others.
    point
        ``(n, 3)`` where it lies, near the others of its topic.
    words
        ``(n, topics + WORDS)`` sparse counts; the first columns are the topics'.
    covariates
        ``(n, 6)`` standard normal.
    truth
        ``(n, 3)`` its true class probabilities.
    """

    topic: IntArray
    key: IntArray
    point: FloatArray
    words: sparse.csr_matrix
    covariates: FloatArray
    truth: FloatArray

    def take(self, rows: IntArray) -> Rows:
        """Keep some rows."""
        return Rows(
            self.topic[rows],
            self.key[rows],
            self.point[rows],
            self.words[rows],
            self.covariates[rows],
            self.truth[rows],
        )


Predict = Callable[[Rows], "FloatArray"]
Learner = Callable[[Rows, "FloatArray", int], Predict]
"""Fits on rows, labels ``(n, 3)`` and a seed; gives what predicts logits ``(m, 3)``."""


@dataclass(frozen=True)
class Scenario:
    """A world and what is stacked in it.

    Parameters
    ----------
    learners
        By name.
    features
        Stack features of rows: ``(n, f)``.
    truth
        True logits of rows by topic, key, point and covariates; None for coin flips.
    """

    learners: dict[str, Learner]
    features: Callable[[Rows], FloatArray]
    truth: Callable[[FloatArray], FloatArray] | None = None


def draw_rows(rows: int, topics: int, scenario: Scenario, seed: list[int]) -> Rows:
    """Draw rows of a scenario's world; topics, keys and words are drawn evenly."""
    rng = np.random.default_rng(seed)
    topic, key = rng.integers(topics, size=rows), rng.integers(topics, size=rows)
    centers = np.random.default_rng(topics).normal(size=(topics, 3))
    columns = np.column_stack([topic, topics + rng.integers(WORDS, size=(rows, WORDS_A_ROW))])
    where = (np.repeat(np.arange(rows), columns.shape[1]), columns.ravel())
    words = sparse.csr_matrix((np.ones(columns.size), where), shape=(rows, topics + WORDS))
    covariates = rng.normal(size=(rows, 6))
    logits = np.zeros((rows, 3)) if scenario.truth is None else scenario.truth(covariates)
    powers = np.exp(logits)
    return Rows(
        topic,
        key,
        centers[topic] + 0.01 * rng.normal(size=(rows, 3)),
        words,
        covariates,
        powers / powers.sum(axis=1, keepdims=True),
    )


def draw_labels(truth: FloatArray, seed: list[int]) -> FloatArray:
    """Draw one class a row: ``(n, 3)`` one-hot."""
    drawn = np.random.default_rng(seed).random(len(truth))[:, None]
    return np.asarray(np.eye(3)[(drawn > truth.cumsum(axis=1)[:, :2]).sum(axis=1)])


def label_shares(numbers: Callable[[Rows], IntArray]) -> Learner:
    """Give the learner of label shares among training rows with the same number."""

    def fit(rows: Rows, labels: FloatArray, _seed: int) -> Predict:
        prior = labels.mean(axis=0)
        size = int(numbers(rows).max()) + 1
        counts = np.column_stack(
            [np.bincount(numbers(rows), labels[:, c], minlength=size) for c in range(3)]
        )

        def predict(other: Rows) -> FloatArray:
            asked = numbers(other)
            known = np.where((asked < size)[:, None], counts[np.minimum(asked, size - 1)], 0.0)
            return _logits(known + 3 * SOFTENING * prior)

        return predict

    return fit


def opinion(rows: Rows, labels: FloatArray, _seed: int) -> Predict:
    """Fit the prior alone; the rest is a fixed opinion of each topic, which tells the topic."""
    prior = np.log(labels.mean(axis=0))
    fixed = 0.3 * np.random.default_rng(7).normal(size=(rows.words.shape[1] - WORDS, 3))
    return lambda other: np.asarray(prior + fixed[other.topic])


def nearest(neighbors: int) -> Learner:
    """Give label shares among the nearest training rows."""

    def fit(rows: Rows, labels: FloatArray, _seed: int) -> Predict:
        tree, prior = cKDTree(rows.point), labels.mean(axis=0)

        def predict(other: Rows) -> FloatArray:
            found = tree.query(other.point, k=neighbors)[1].reshape(len(other.point), -1)
            return _logits(labels[found].sum(axis=1) + 3 * SOFTENING * prior)

        return predict

    return fit


def ridge(strength: float) -> Learner:
    """Give a ridge regression of labels on words, turned into logits."""

    def fit(rows: Rows, labels: FloatArray, _seed: int) -> Predict:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=strength, solver="lsqr").fit(rows.words, labels)
        return lambda other: _logits(np.clip(model.predict(other.words), 0.05, None))

    return fit


def encoded_trees(rows: Rows, labels: FloatArray, seed: int) -> Predict:
    """Fit trees on the topic's and the key's label shares among other training rows."""
    import lightgbm as lgb

    sides = np.random.default_rng(seed).integers(2, size=len(labels))
    encoders = (label_shares(_topic), label_shares(_key))
    halves = []
    for side in (0, 1):
        some = np.flatnonzero(sides == side)
        halves.append([fit(rows.take(some), labels[some], seed) for fit in encoders])
    columns = np.empty((len(labels), 6))
    for side in (0, 1):
        some = np.flatnonzero(sides == side)
        columns[some] = np.hstack([p(rows.take(some)) for p in halves[1 - side]])
    settings = {
        "objective": "multiclass",
        "num_class": 3,
        "num_leaves": 15,
        "num_threads": 1,
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
    }
    model = lgb.train(settings, lgb.Dataset(columns, labels.argmax(axis=1)), 20)

    def predict(other: Rows) -> FloatArray:
        both = [np.hstack([p(other) for p in half]) for half in halves]
        return np.asarray(np.mean([model.predict(c, raw_score=True) for c in both], axis=0))

    return predict


def prior_and_noise(scale: float) -> Learner:
    """Give the prior with a fixed disturbance by row: no memory of any label but the shares."""

    def fit(_rows: Rows, labels: FloatArray, _seed: int) -> Predict:
        prior = np.log(labels.mean(axis=0))
        return lambda other: np.asarray(prior + scale * other.covariates[:, :3])

    return fit


def fixed(signal: Callable[[FloatArray], FloatArray]) -> Learner:
    """Give a learner whose logits were settled elsewhere: no label of this run is in them."""
    return lambda _rows, _labels, _seed: lambda other: signal(other.covariates)


def regression(columns: list[int]) -> Learner:
    """Give a multinomial logistic regression on some covariates."""

    def fit(rows: Rows, labels: FloatArray, _seed: int) -> Predict:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=1.0, max_iter=200)
            model.fit(rows.covariates[:, columns], labels.argmax(axis=1))
        return lambda other: np.asarray(model.decision_function(other.covariates[:, columns]))

    return fit


def _topic(rows: Rows) -> IntArray:
    return rows.topic


def _key(rows: Rows) -> IntArray:
    return rows.key


def _logits(shares: FloatArray) -> FloatArray:
    return np.asarray(np.log(shares / shares.sum(axis=1, keepdims=True)))


def _number(values: IntArray) -> FloatArray:
    return (values * 7919 % 10007).astype(np.float64)[:, None]


def _no_features(rows: Rows) -> FloatArray:
    return np.empty((len(rows.topic), 0))


def _both_signals(covariates: FloatArray) -> FloatArray:
    """Give true logits: which of two signals counts depends on the sign of a third column."""
    signal = np.where(covariates[:, 2] > 0, covariates[:, 0], covariates[:, 1])
    return 0.36 * np.column_stack([signal, -signal, np.zeros(len(signal))])


def _one_signal(column: int) -> Callable[[FloatArray], FloatArray]:
    def logits(covariates: FloatArray) -> FloatArray:
        signal = 0.25 * covariates[:, column]
        return np.column_stack([signal, -signal, np.zeros(len(signal))])

    return logits


def _third_covariate(rows: Rows) -> FloatArray:
    return rows.covariates[:, 2:3]


SCENARIOS: dict[str, Scenario] = {
    "topic shares, topic feature": Scenario(
        {"shares": label_shares(_topic)}, lambda rows: _number(rows.topic)
    ),
    "topic shares, topic opinion": Scenario(
        {"shares": label_shares(_topic), "opinion": opinion}, _no_features
    ),
    "topic shares, two of six features": Scenario(
        {"shares": label_shares(_topic)},
        lambda rows: np.column_stack([rows.topic // 20, rows.topic % 20, rows.covariates[:, :4]]),
    ),
    "key shares, five features": Scenario(
        {"shares": label_shares(_key)},
        lambda rows: np.hstack([rows.covariates[:, :4], _number(rows.key)]),
    ),
    "nearest 5, three coordinates": Scenario({"nearest": nearest(5)}, lambda rows: rows.point),
    "nearest 20, topic opinion": Scenario(
        {"nearest": nearest(20), "opinion": opinion}, _no_features
    ),
    "ridge on words, topic feature": Scenario(
        {"ridge": ridge(0.1)}, lambda rows: _number(rows.topic)
    ),
    "encoded trees, topic and key": Scenario(
        {"trees": encoded_trees},
        lambda rows: np.hstack([_number(rows.topic), _number(rows.key)]),
    ),
    "prior and noise": Scenario(
        {"a": prior_and_noise(0.1), "b": prior_and_noise(0.05)}, _third_covariate
    ),
    "gain: fixed signals": Scenario(
        {"a": fixed(_one_signal(0)), "b": fixed(_one_signal(1))}, _third_covariate, _both_signals
    ),
    "gain: fitted signals": Scenario(
        {"a": regression([0, 3, 4]), "b": regression([1, 4, 5])}, _third_covariate, _both_signals
    ),
}
