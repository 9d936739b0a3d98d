"""Candidates chosen by accuracy, where log loss would choose others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ensemble import FitContext
from ensemble.evaluation.losses import row_errors, row_log_loss, softmax
from ensemble.evaluation.ties import neutral_tie
from ensemble.stacking.candidates import BestSingle, Candidate, simple_candidates
from ensemble.stacking.leakage import Leakage
from ensemble.stacking.tries import TryStore, candidate_try
from ensemble.stacking.verdict import decide
from tests.ensemble.stacking.drawn_stacks import draw_data, small_stacker, stack_data

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.stacking.data import StackData

CONTEXT = FitContext(seed=1)
CANDIDATES = [
    *simple_candidates(2, "accuracy"),
    Candidate("lightgbm", 4, small_stacker, simple=False),
]


def overconfident_and_careful(rows: int = 1500) -> StackData:
    """Draw two classes: the first learner is right more often, the second has the lower loss."""
    data = draw_data(rows)
    rng = np.random.default_rng(3)
    truth = rng.normal(size=rows) * 2
    winner = (rng.random(rows) > 1 / (1 + np.exp(-truth))).astype(int)
    accurate, careful = truth * 6, truth * 0.5 + rng.normal(size=rows) * 0.5
    odds = np.column_stack([accurate, careful])[:, :, None] * np.array([0.5, -0.5, 0.0])
    meta = replace(data.meta, logits=neutral_tie(odds.astype(np.float32), ties=False), ties=False)
    return replace(data, meta=meta, labels=np.eye(3)[winner])


def test_the_best_single_learner_is_best_by_the_metric() -> None:
    data = overconfident_and_careful()
    chosen = {
        metric: BestSingle(metric).fit(data.meta, data.labels, context=CONTEXT).describe()
        for metric in ("log_loss", "accuracy")
    }
    assert chosen["log_loss"]["learner"] == "second"
    assert chosen["accuracy"]["learner"] == "first"


def test_of_equally_accurate_learners_the_lower_log_loss_counts() -> None:
    data = overconfident_and_careful()
    logits = data.meta.logits.copy()
    logits[:, 1] = logits[:, 0] / 6
    meta = replace(data.meta, logits=logits)
    found = BestSingle("accuracy").fit(meta, data.labels, context=CONTEXT).describe()
    assert found["learner"] == "second"


def test_the_metric_decides_the_verdict_and_both_are_measured(tmp_path: Path) -> None:
    data = overconfident_and_careful()
    found = {
        metric: stack_data(tmp_path / metric, data, meta_learner=None, metric=metric)
        for metric in ("log_loss", "accuracy")
    }
    entries = {m: {e["name"]: e for e in v["candidates"]} for m, v in found.items()}
    for metric, verdict in found.items():
        assert verdict["metric"] == metric
        tables = json.loads((tmp_path / metric / "candidates.json").read_text())
        assert tables["metric"] == metric
        assert 0.4 < tables["class_prior_accuracy"] < 0.6
        for one in (*verdict["candidates"], *tables["learners"], *tables["candidates"]):
            assert one["low"] < one["log_loss"] < one["high"]
            assert one["accuracy"]["low"] < one["accuracy"]["mean"] < one["accuracy"]["high"]
    singles = {m: e["best_single"] for m, e in entries.items()}
    assert singles["accuracy"]["accuracy"]["mean"] > singles["log_loss"]["accuracy"]["mean"] + 0.02
    assert singles["accuracy"]["log_loss"] > singles["log_loss"]["log_loss"] + 0.1
    by_accuracy = found["accuracy"]
    # All candidates but the best single one of log loss are about as accurate: the simplest wins.
    assert by_accuracy["chosen"] == "best_single"
    assert found["log_loss"]["chosen"] != "best_single"
    assert "Candidates are compared by accuracy." in by_accuracy["sentence"]
    own = singles["accuracy"]["accuracy"]["mean"]
    assert by_accuracy["sentence"].startswith(f"best_single is used: accuracy {own:.4f} (")
    assert by_accuracy["tries"]["accuracy"] == pytest.approx(own)
    assert by_accuracy["tries"]["corrected_accuracy"] <= own
    assert "corrected_log_loss" not in by_accuracy["tries"]


def test_a_gain_in_accuracy_is_told_as_one() -> None:
    errors = np.zeros((800, 5))
    rng = np.random.default_rng(0)
    errors[:] = (rng.random(800) < 0.4)[:, None]
    errors[rng.random(800) < 0.1, 4] = 0.0
    found = decide(CANDIDATES, errors, np.arange(800), metric="accuracy", resamples=300)
    assert found["chosen"] == "lightgbm"
    entry = found["candidates"][4]
    gain = errors[:, 0].mean() - errors[:, 4].mean()
    assert entry["gain_over_best_simple"]["mean"] == pytest.approx(gain)
    assert entry["accuracy"]["mean"] == pytest.approx(1 - errors[:, 4].mean())
    shown = entry["gain_over_best_simple"]["mean"]
    assert f"+{shown:.4f} in accuracy (95% interval" in found["sentence"]
    assert "nats" not in found["sentence"]


def test_leaked_labels_are_held_against_a_gain_in_accuracy() -> None:
    errors = np.zeros((800, 5))
    errors[:] = (np.arange(800) % 5 < 2)[:, None]
    errors[::20, 4] = 0.0
    leak = Leakage(0.02, ("first",), "feature length", 5.0, 3.0, 9, ("first",))
    options = {"metric": "accuracy", "resamples": 300}
    assert decide(CANDIDATES, errors, np.arange(800), **options)["chosen"] == "lightgbm"  # type: ignore[arg-type]
    found = decide(CANDIDATES, errors, np.arange(800), leakage=leak, **options)  # type: ignore[arg-type]
    assert found["chosen"] != "lightgbm"
    assert found["candidates"][4]["bias_bound"] == pytest.approx(0.1)  # the root of 0.02 / 2
    assert "0.0200 nats, or 0.1000 in accuracy, by that alone" in found["sentence"]


def test_tries_count_under_either_metric(tmp_path: Path) -> None:
    data = overconfident_and_careful(300)
    tries = TryStore(tmp_path, "rows")
    for metric in ("log_loss", "accuracy", "log_loss"):
        manifest = {"key": "k", "key_parts": {"task": {"metric": metric}}}
        verdict = stack_data(
            tmp_path / "stack",
            data,
            meta_learner=None,
            metric=metric,
            tries=tries,
            manifest=manifest,
        )
    # Two learners, the three candidates that metrics share, and a best single one for each.
    assert verdict["tries"]["n"] == verdict["tries"]["compared"] == 7
    by_error = tries.read(data.ids, "accuracy")
    assert len(by_error) == 7
    assert all(set(np.unique(one)) <= {0.0, 1.0} for one in by_error.values())
    learner = next(one for one in by_error if one.name == "first")
    shares = softmax(np.where(np.arange(3) == 2, -np.inf, data.meta.logits[:, 0]))
    np.testing.assert_array_equal(by_error[learner], row_errors(data.labels, shares))
    losses = tries.read(data.ids)[learner]
    np.testing.assert_allclose(losses, row_log_loss(data.labels, shares), rtol=1e-5)


def test_a_meta_learner_is_the_same_try_under_either_metric() -> None:
    parts = [{"folds": {}, "task": {"metric": one}} for one in ("log_loss", "accuracy")]
    first, second = (candidate_try("lightgbm", one, simple=False) for one in parts)
    assert first == second
    first, second = (candidate_try("best_single", one, simple=True) for one in parts)
    assert first != second
