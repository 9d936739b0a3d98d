"""Differences and intervals on losses whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.compare.measure import BETTER, OPEN, UNMEASURED, WORSE, measure
from ensemble.compare.slices import Slice
from ensemble.evaluation.bootstrap import bootstrap_means, effective_clusters
from ensemble.evaluation.intervals import MIN_CLUSTERS, estimate, expanded_interval


def _measure(
    losses: np.ndarray,
    clusters: np.ndarray,
    slices: dict[str, np.ndarray] | None = None,
    **options: Any,
) -> dict[str, Any]:
    names = ["reference", *(f"other-{k}" for k in range(losses.shape[1] - 1))]
    parts = [Slice("part", name, rows) for name, rows in (slices or {}).items()]
    return measure(names, losses, clusters, parts, **{"resamples": 500, "seed": 0} | options)


def _mask(rows: int, start: int, stop: int) -> np.ndarray:
    return (np.arange(rows) >= start) & (np.arange(rows) < stop)


def test_known_differences_come_out_and_are_judged() -> None:
    base = np.linspace(0.5, 1.5, 120)
    shift = np.where(np.arange(120) < 60, 0.25, -0.5)
    found = _measure(
        np.column_stack([base, base + shift]),
        np.arange(120),
        {"first": _mask(120, 0, 60), "second": _mask(120, 60, 120)},
    )
    whole = found["overall"]["differences"]["other-0"]
    assert whole["mean"] == pytest.approx(-0.125)
    assert whole["conclusion"] == BETTER
    first, second = (part["differences"]["other-0"] for part in found["slices"])
    assert (first["mean"], first["conclusion"]) == (pytest.approx(0.25), WORSE)
    assert (second["mean"], second["conclusion"]) == (pytest.approx(-0.5), BETTER)
    # A difference that never varies is known exactly.
    assert (first["low"], first["high"]) == pytest.approx((0.25, 0.25))
    losses = found["slices"][1]["losses"]
    assert losses["reference"]["mean"] == pytest.approx(base[60:].mean())
    assert losses["other-0"]["mean"] == pytest.approx(base[60:].mean() - 0.5)


def test_the_numbers_of_all_rows_are_those_of_the_stack_stage() -> None:
    rng = np.random.default_rng(1)
    losses, clusters = rng.normal(1.0, 0.3, (200, 2)), rng.integers(0, 70, 200)
    found = _measure(losses, clusters, seed=5)["overall"]
    samples = bootstrap_means(losses, clusters, resamples=500, seed=5)
    effective = effective_clusters(clusters)
    for k, name in enumerate(("reference", "other-0")):
        assert found["losses"][name] == pytest.approx(
            estimate(losses[:, k], samples[:, k], effective).to_json()
        )
    ends = expanded_interval(samples[:, 1] - samples[:, 0], effective)
    difference = found["differences"]["other-0"]
    assert (difference["low"], difference["high"]) == pytest.approx(ends)


def test_several_candidates_have_wider_intervals() -> None:
    rng = np.random.default_rng(2)
    losses = rng.normal(1.0, 0.3, (300, 4))
    alone = _measure(losses[:, :2], np.arange(300), resamples=4000)
    together = _measure(losses, np.arange(300), resamples=4000)
    one, four = (r["overall"]["differences"]["other-0"] for r in (alone, together))
    ratio = (four["high"] - four["low"]) / (one["high"] - one["low"])
    # Normal quantiles at 1 - 0.05/6 and at 1 - 0.05/2.
    assert ratio == pytest.approx(2.394 / 1.960, rel=0.06)
    assert together["family"]["overall"] == 3


def test_a_slice_is_a_mean_over_its_rows_and_not_over_its_clusters() -> None:
    clusters = np.repeat(np.arange(60), np.where(np.arange(60) % 2, 1, 3))
    large = np.isin(clusters, np.arange(0, 60, 2))
    difference = np.where(large, 1.0, 0.0)
    losses = np.column_stack([np.ones(len(clusters)), 1.0 + difference])
    found = _measure(losses, clusters, {"part": _mask(len(clusters), 0, len(clusters) - 1)})
    part = found["slices"][0]
    assert part["differences"]["other-0"]["mean"] == pytest.approx(difference[:-1].mean())
    assert part["differences"]["other-0"]["mean"] > 0.7


def test_what_has_too_few_clusters_is_not_measured_and_counted() -> None:
    rows = np.full(200, 1.0)
    clusters = np.concatenate([np.arange(100), np.repeat(100, 81), np.arange(101, 120)])
    few = {"one": _mask(200, 100, 181), "lopsided": _mask(200, 100, 200)}
    found = _measure(np.column_stack([rows, rows + 1]), clusters, few)
    one, lopsided = found["slices"]
    assert (one["rows"], one["clusters"], one["effective_clusters"]) == (81, 1, 1.0)
    # 20 clusters, of which one has nearly all rows.
    assert (lopsided["rows"], lopsided["clusters"]) == (100, 20)
    assert lopsided["effective_clusters"] < 2
    for part in (one, lopsided):
        assert not part["measured"]
        assert part["losses"] is None
        assert part["differences"] is None
    assert found["family"] == {
        "overall": 1,
        "slices": 0,
        "too_small": 2,
        "smallest": MIN_CLUSTERS,
    }


def test_few_clusters_in_all_give_means_without_an_interval() -> None:
    losses = np.column_stack([np.full(50, 1.0), np.full(50, 2.0)])
    found = _measure(losses, np.arange(50) % 5)["overall"]
    assert not found["measured"]
    assert found["differences"]["other-0"] == {
        "mean": 1.0,
        "low": None,
        "high": None,
        "conclusion": UNMEASURED,
    }
    assert found["losses"]["reference"] == {"mean": 1.0, "low": None, "high": None}


def test_what_parts_nothing_is_named_and_not_measured_again() -> None:
    losses = np.random.default_rng(0).normal(1, 0.1, (60, 2))
    found = _measure(losses, np.arange(60), {"all": _mask(60, 0, 60), "none": _mask(60, 0, 0)})
    assert found["uniform"] == {"part": "all"}
    assert found["slices"] == []
    assert found["family"]["slices"] == 0


def test_the_same_predictions_show_no_difference() -> None:
    losses = np.random.default_rng(0).normal(1, 0.1, (60, 1)).repeat(2, axis=1)
    found = _measure(losses, np.arange(60), {"half": _mask(60, 0, 30)})
    for part in (found["overall"], found["slices"][0]):
        difference = part["differences"]["other-0"]
        assert (difference["mean"], difference["low"], difference["high"]) == (0, 0, 0)
        assert difference["conclusion"] == OPEN


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(40, 90))
def test_exchanging_the_two_changes_the_sign_and_nothing_else(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    losses, clusters = rng.gamma(2.0, 0.5, (rows, 2)), rng.permutation(rows)
    part = {"part": _mask(rows, 0, 30)}
    one = _measure(losses, clusters, part, resamples=60)
    other = _measure(losses[:, ::-1], clusters, part, resamples=60)
    for mine, theirs in zip(
        (one["overall"], *one["slices"]), (other["overall"], *other["slices"]), strict=True
    ):
        a, b = mine["differences"]["other-0"], theirs["differences"]["other-0"]
        assert (a["mean"], a["low"], a["high"]) == pytest.approx(
            (-b["mean"], -b["high"], -b["low"])
        )
    order = rng.permutation(rows)
    again = _measure(losses[order], clusters[order], {"part": part["part"][order]}, resamples=60)
    assert again["slices"][0]["differences"]["other-0"]["low"] == pytest.approx(
        one["slices"][0]["differences"]["other-0"]["low"]
    )


def _simulated(rng: np.random.Generator) -> dict[str, Any]:
    """240 rows in 120 clusters that share an effect; no difference anywhere; 12 slices of them."""
    clusters = np.repeat(np.arange(120), 2)
    effect = rng.normal(0, 0.3, 120)[clusters] + rng.normal(0, 0.3, 240)
    # Skewed, as differences of log losses are.
    difference = np.where(rng.random(240) < 0.1, 3.0, 0.5) * effect
    losses = np.column_stack([np.ones(240), 1.0 + difference])
    slices = {str(k): clusters % 4 == k for k in range(4)}
    slices |= {f"random {k}": rng.random(240) < 0.3 for k in range(8)}
    return _measure(losses, clusters, slices, resamples=300)


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say_and_those_of_slices_all_at_once() -> None:
    rng = np.random.default_rng(7)
    runs = [_simulated(rng) for _ in range(300)]
    whole = np.mean([_holds(run["overall"]["differences"]["other-0"]) for run in runs])
    every = np.mean(
        [all(_holds(part["differences"]["other-0"]) for part in run["slices"]) for run in runs]
    )
    alone = np.mean(
        [
            all(_holds(part["differences"]["other-0"]["alone"]) for part in run["slices"])
            for run in runs
        ]
    )
    # 0.95 give or take three standard errors of 300 runs.
    assert 0.91 <= whole <= 0.99
    assert every >= 0.91
    # Without correction a dozen slices find something far more often than in 5% of the runs.
    assert alone < 0.8


def _holds(found: dict[str, Any]) -> bool:
    return bool(found["low"] <= 0 <= found["high"])
