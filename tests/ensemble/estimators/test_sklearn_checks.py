"""Scikit-learn's own checks of an estimator.

They give arrays of numbers and any labels. ``BattleClassifier`` takes tables of battles alone, and
its tags say so, upon which scikit-learn skips all checks that fit. They are run on a subclass that
writes each row of numbers as a battle, and nothing else: the code of ``BattleClassifier`` is
checked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_do_not_raise_errors_in_init_or_set_params,
    check_estimator_cloneable,
    check_estimator_repr,
    check_estimator_tags_renamed,
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
    check_valid_tag_types,
    parametrize_with_checks,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ensemble import CLASSES, BattleClassifier
from ensemble.plugin.base import BaseLearner

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray

WITHOUT_DATA = [
    check_do_not_raise_errors_in_init_or_set_params,
    check_estimator_cloneable,
    check_estimator_repr,
    check_estimator_tags_renamed,
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
    check_valid_tag_types,
]
OURS = "it is refused by ensemble.errors.DataError, which is no ValueError"
EXPECTED = {
    "check_all_zero_sample_weights_error": OURS,
    "check_sample_weights_shape": OURS,
    "check_dtype_object": "its labels are more than three classes",
}
"""Checks that do not apply, and why."""


class Numbers(BaseLearner):
    """Logistic regression on the numbers that stand in a response."""

    def __init__(self, *, strength: float = 1.0) -> None:
        self.strength = strength

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        number = labels.argmax(axis=1)
        self.seen = np.unique(number)
        if len(self.seen) > 1:
            self.model = LogisticRegression(C=self.strength, tol=1e-10, max_iter=5000)
            self.model.fit(_numbers(battles), number, sample_weight=sample_weight)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        logits = np.full((len(battles), 3), -20.0, dtype=np.float32)
        logits[:, self.seen] = 0.0
        if len(self.seen) > 1:
            logits[:, self.seen] = self.model.predict_log_proba(_numbers(battles))
        return logits

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    def load(self, directory: Path) -> Self:
        raise NotImplementedError


def _numbers(battles: pl.DataFrame) -> FloatArray:
    return np.array([json.loads(turns[0]) for turns in battles["response_a"]])


def _battles(rows: FloatArray) -> pl.DataFrame:
    texts = [[json.dumps(row)] for row in rows.tolist()]
    return pl.DataFrame(
        {
            "prompt": [["?"]] * len(texts),
            "response_a": texts,
            "response_b": [["!"]] * len(texts),
            "cluster": np.arange(len(texts)),
        }
    )


class NumbersAsBattles(BattleClassifier):
    """Takes the arrays and labels that scikit-learn checks with."""

    def __init__(
        self,
        learner: Any = Numbers,
        *,
        parameters: Any = None,
        random_state: int = 0,
    ) -> None:
        super().__init__(learner, parameters=parameters, random_state=random_state)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # type: ignore[override]  # noqa: N803
        rows, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        classes, number = np.unique(labels, return_inverse=True)
        super().fit(_battles(rows), np.array(CLASSES)[number], sample_weight=sample_weight)
        self.classes_ = classes
        return self

    def _logits(self, X: Any) -> FloatArray:  # noqa: N803
        check_is_fitted(self)
        return super()._logits(_battles(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        return tags


@pytest.mark.parametrize("check", WITHOUT_DATA, ids=lambda check: check.__name__)
def test_checks_that_need_no_data(check: Any) -> None:
    check("BattleClassifier", BattleClassifier())


def test_it_says_that_it_takes_texts() -> None:
    tags = get_tags(BattleClassifier())
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert tags.estimator_type == "classifier"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([NumbersAsBattles()], expected_failed_checks=lambda _: EXPECTED)  # type: ignore[untyped-decorator]
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
