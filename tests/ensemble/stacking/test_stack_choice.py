from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble import MetaFeatures
from ensemble.stacking.candidates import Blend, Candidate, simple_candidates
from ensemble.stacking.choice import make_verdict
from ensemble.stacking.data import StackData
from ensemble.stacking.nested import NestingRules
from ensemble.stacking.tries import TryStore
from ensemble.storage.hashing import canonical_json

ROWS, TOPICS, FOLDS = 1500, 300, 5
CANDIDATES = [*simple_candidates(1), Candidate("lightgbm", 4, Blend, simple=False)]
PARTS: dict[str, Any] = {"folds": {"shares": {"fold-0": {"key": "x", "oof": "y"}}}, "seed": 1}


@pytest.fixture(scope="module")
def data() -> StackData:
    """Coin flips in topics, label shares by topic, and a feature that tells the topic."""
    rng = np.random.default_rng(0)
    topics, labels = rng.integers(TOPICS, size=ROWS), np.eye(3)[rng.integers(3, size=ROWS)]
    folds = rng.permutation(np.arange(ROWS) % FOLDS)
    logits = np.empty((ROWS, 1, 3), np.float32)
    for fold in range(FOLDS):
        kept = folds != fold
        counts = np.column_stack([np.bincount(topics[kept], y[kept], TOPICS) for y in labels.T])
        logits[folds == fold, 0] = np.log(counts[topics] + 0.3)[folds == fold]
    feature = (topics * 7919 % 1009).astype(np.float32)[:, None]
    meta = MetaFeatures(logits, ("shares",), feature, ("topic",), np.arange(1), np.ones(1, "f4"))
    ids = [f"b{i}" for i in range(ROWS)]
    return StackData(ids, ["s"] * ROWS, meta, labels, np.arange(ROWS), folds)


@pytest.fixture
def losses() -> np.ndarray:
    """The meta-learner gains 0.02, and the interval of its gain lies above 0."""
    rng = np.random.default_rng(1)
    shared = rng.exponential(size=(ROWS, 1))
    apart = 0.02 * rng.normal(size=(ROWS, 3))
    return np.asarray(shared + apart - apart.mean(axis=0) + [0.03, 0.02, 0.0])


def test_a_gain_that_leaked_labels_can_give_chooses_no_stack(
    data: StackData, losses: np.ndarray
) -> None:
    found = make_verdict(CANDIDATES, losses, data, parts=PARTS, resamples=300)
    assert found["chosen"] == "vector_scaling"
    assert found["bias_bound"]["learners"] == ["shares"]
    assert found["bias_bound"]["nats"] > 0.03
    assert found["nesting"] == {"exact": [], "plain": ["shares"]}
    canonical_json(found)


def test_the_same_gain_on_exact_logits_chooses_it(data: StackData, losses: np.ndarray) -> None:
    exact = replace(data, nested_learners=("shares",))
    found = make_verdict(CANDIDATES, losses, exact, parts=PARTS, resamples=300)
    assert found["chosen"] == "lightgbm"
    assert found["bias_bound"]["nats"] == 0.0
    assert found["nesting"] == {"exact": ["shares"], "plain": []}
    assert "leaked labels" not in found["sentence"]


@pytest.mark.parametrize("unproven", [(), ("shares",)])
def test_blocks_of_time_are_nested_exactly_as_far_as_training_rows_are_known(
    data: StackData, losses: np.ndarray, unproven: tuple[str, ...]
) -> None:
    ordered = replace(data, rules=NestingRules(is_ordered=True))
    found = make_verdict(CANDIDATES, losses, ordered, parts=PARTS, unproven=unproven, resamples=300)
    assert found["nesting"]["plain"] == list(unproven)
    assert (found["bias_bound"]["nats"] > 0.03) is bool(unproven)


def test_nothing_is_tested_where_there_is_no_meta_learner(
    data: StackData, losses: np.ndarray
) -> None:
    found = make_verdict(CANDIDATES[:-1], losses[:, :-1], data, parts=PARTS, resamples=300)
    assert found["bias_bound"]["nats"] == 0.0


def test_tries_of_other_settings_widen_the_interval_and_the_same_again_does_not(
    data: StackData, losses: np.ndarray, tmp_path: Path
) -> None:
    store = TryStore(tmp_path, "rows")

    def again(seed: int) -> dict[str, Any]:
        parts = {**PARTS, "seed": seed}
        return make_verdict(CANDIDATES, losses, data, parts=parts, tries=store, resamples=300)

    first, same, other = again(1), again(1), again(2)
    assert first["tries"]["n"] == same["tries"]["n"] == 4
    assert (first["tries"]["meta_learners"], first["gain_level"]) == (1, 0.95)
    assert (other["tries"]["n"], other["tries"]["meta_learners"]) == (5, 2)
    assert other["gain_level"] == pytest.approx(0.975)
    assert "a choice of the best of 5" in other["sentence"]


def test_a_better_earlier_try_does_not_make_the_chosen_score_better(
    data: StackData, losses: np.ndarray
) -> None:
    found = make_verdict(CANDIDATES, losses, data, parts=PARTS, resamples=300)
    tries = found["tries"]
    assert tries["log_loss"] == pytest.approx(losses[:, 1].mean())
    assert tries["corrected_log_loss"] >= tries["log_loss"]
