"""Estimators of a user, and how a learner is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import FitContext
from ensemble_plugins.sklearn_learner import SklearnLearner

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

TREES: dict[str, Any] = {
    "estimator": "sklearn.ensemble.ExtraTreesClassifier",
    "parameters": {"n_estimators": 40, "min_samples_leaf": 5},
    "features": ["length", "markdown"],
}
LINEAR: dict[str, Any] = {
    "estimator": "sklearn.linear_model.LogisticRegression",
    "parameters": {"C": 0.05},
    "impute": "median",
    "scale": True,
}
PIPELINES = """
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC


class Length(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.most_ = max(map(len, X))
        return self

    def transform(self, X):
        return [[len(text) / self.most_] for text in X]


def make(ngram_range=(1, 1)):
    return Pipeline(
        [
            ("tfidf", TfidfVectorizer(ngram_range=ngram_range, min_df=3)),
            ("model", LogisticRegression()),
        ]
    )


def own():
    return make_pipeline(Length(), LogisticRegression())


def columns():
    parts = [(c, TfidfVectorizer(min_df=3), c) for c in ("prompt", "response_a", "response_b")]
    return make_pipeline(ColumnTransformer(parts), LogisticRegression())


def calibrated():
    return CalibratedClassifierCV(LinearSVC())


def neighbors():
    return CalibratedClassifierCV(KNeighborsClassifier())


def unnamed():
    return make_pipeline(FunctionTransformer(lambda X: [[len(x)] for x in X]), LogisticRegression())


def number():
    return 3


def raises():
    raise RuntimeError("no such weather")


class Odd(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = sorted(set(y))
        return self

    def predict_proba(self, X):
        return [[0.9] * len(self.classes_)] * len(X)


READY = LogisticRegression(C=0.5)
"""


def fit(
    world: tuple[pl.DataFrame, FloatArray], rows: slice = slice(None), **parameters: Any
) -> SklearnLearner:
    battles, labels = world
    return SklearnLearner(**parameters).fit(battles[rows], labels[rows], context=FitContext(seed=1))


def loss(logits: Any, labels: FloatArray) -> float:
    return float(row_log_loss(labels, softmax(logits)).mean())
