from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors
from ensemble.stacking.candidates import Blend, Candidate, simple_candidates
from ensemble.stacking.leakage import Leakage
from ensemble.stacking.verdict import decide
from ensemble.storage.hashing import canonical_json

CANDIDATES = [*simple_candidates(2), Candidate("lightgbm", 4, Blend, simple=False)]
ROWS = 800
CLUSTERS = np.arange(ROWS) // 2
NAMES = ["best_single", "mean", "blend", "vector_scaling", "lightgbm"]


def losses_with(offsets: list[float], noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """Losses of five candidates: shared by row, apart by ``offsets`` and a little noise."""
    rng = np.random.default_rng(seed)
    shared = rng.exponential(size=(ROWS, 1))
    apart = noise * rng.normal(size=(ROWS, 5))
    return np.asarray(shared + apart - apart.mean(axis=0) + np.array(offsets))


def test_a_stack_that_gains_for_sure_is_used() -> None:
    found = decide(CANDIDATES, losses_with([0.1, 0.05, 0.04, 0.03, 0.0]), CLUSTERS, resamples=500)
    assert found["chosen"] == found["would_have_chosen"] == "lightgbm"
    assert found["best_simple"] == "vector_scaling"
    gain = found["candidates"][4]["gain_over_best_simple"]
    assert gain["mean"] == pytest.approx(0.03)
    assert 0 < gain["low"] < 0.03 < gain["high"]
    assert "interval above 0" in found["rule"]
    assert found["sentence"].startswith(
        f"lightgbm is used: log loss {found['candidates'][4]['log_loss']:.4f} ("
    )
    assert (
        "lightgbm gains over vector_scaling, the best simple candidate: +0.0300 nats a battle (95% "
        in found["sentence"]
    )


def test_a_stack_that_gains_by_chance_is_not_used() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.0005, 0.0], noise=0.1)
    found = decide(CANDIDATES, losses, CLUSTERS, resamples=500)
    assert found["chosen"] == "vector_scaling"
    gain = found["candidates"][4]["gain_over_best_simple"]
    assert gain["low"] < 0 < gain["mean"]
    assert found["rule"].startswith("the best simple candidate: no meta-learner is shown to gain")
    assert found["sentence"].startswith("vector_scaling is used: log loss ")
    assert found["evidence"] == (
        f"lightgbm is not shown to gain over it: +{gain['mean']:.4f} nats a battle "
        f"(95% interval \N{MINUS SIGN}{-gain['low']:.4f} to +{gain['high']:.4f})."
    )
    assert found["sentence"].endswith(f". {found['evidence']}")


def test_the_simplest_candidate_that_is_not_worse_is_used() -> None:
    losses = losses_with([0.1, 0.0005, 0.0, 0.0003, 0.2], noise=0.1)
    found = decide(CANDIDATES, losses, CLUSTERS, resamples=500)
    assert (found["best_simple"], found["chosen"]) == ("blend", "mean")
    assert found["rule"].startswith("the simplest candidate that is not shown to be worse")
    assert found["sentence"].startswith("mean is used: log loss ")
    gain = found["candidates"][1]["gain_over_best_simple"]
    assert found["evidence"].startswith(
        "mean is simpler than blend, the best simple candidate, and not shown to be worse: "
        f"its loss is {-gain['mean']:.4f} nats a battle higher (95% interval of the difference "
        f"\N{MINUS SIGN}{gain['high']:.4f} to +{-gain['low']:.4f})."
    )
    assert "lightgbm is shown to lose against blend: \N{MINUS SIGN}0.2" in found["evidence"]


def test_equal_candidates_give_the_simplest() -> None:
    losses = np.repeat(np.random.default_rng(0).exponential(size=(ROWS, 1)), 5, axis=1)
    found = decide(CANDIDATES, losses, CLUSTERS, resamples=100)
    assert found["chosen"] == found["best_simple"] == "best_single"
    # There is none simpler that could have been shown to be worse.
    assert found["rule"] == (
        "the best simple candidate, which is the simplest of all: no meta-learner is shown to gain "
        "over it"
    )
    assert "is not shown to gain over it: 0.0000 nats" in found["evidence"]


def test_the_config_can_choose_and_the_evidence_is_kept() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.03, 0.0])
    found = decide(CANDIDATES, losses, CLUSTERS, choose="mean", resamples=100)
    assert found["chosen"] == "mean"
    assert found["rule"] == "chosen by the config"
    assert found["would_have_chosen"] == "lightgbm"
    assert found["sentence"].startswith("mean is used, as the config asks: log loss ")
    assert found["sentence"].endswith(" By the evidence it would be lightgbm.")


def test_the_config_can_choose_what_the_evidence_says() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.0, 0.2])
    found = decide(CANDIDATES, losses, CLUSTERS, choose="vector_scaling", resamples=100)
    assert found["rule"] == "chosen by the config"
    assert "By the evidence" not in found["sentence"]


def test_without_a_meta_learner_the_sentence_is_the_outcome_alone() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.0, 0.2])[:, :4]
    found = decide(CANDIDATES[:4], losses, CLUSTERS, resamples=100)
    assert found["evidence"] == ""
    assert found["sentence"].startswith("vector_scaling is used: log loss ")
    assert found["sentence"].endswith(").")


def test_an_unknown_choice_names_the_nearest() -> None:
    with pytest.raises(errors.UnknownNameError, match='unknown candidate "blind"') as caught:
        decide(CANDIDATES, losses_with([0.0] * 5), CLUSTERS, choose="blind", resamples=10)
    assert 'did you mean "blend"' in str(caught.value)


def test_the_verdict_is_json_with_the_promised_keys() -> None:
    found = decide(CANDIDATES, losses_with([0.0] * 5), CLUSTERS, resamples=100)
    canonical_json(found)
    assert found["clusters"] == ROWS // 2
    assert found["resamples"] == 100
    assert [entry["name"] for entry in found["candidates"]] == NAMES
    for entry in found["candidates"]:
        assert set(entry) == {
            "name",
            "log_loss",
            "low",
            "high",
            "gain_over_best_simple",
            "corrected_gain",
            "bias_bound",
        }
        assert entry["low"] < entry["log_loss"] < entry["high"]


def test_clusters_and_not_rows_decide_how_sure_it_is() -> None:
    values = np.random.default_rng(1).normal(0.05, 0.5, 40)
    gain = np.repeat(values, 100)
    losses = np.column_stack([np.ones(4000), 1 - gain])
    pair = [CANDIDATES[0], CANDIDATES[4]]
    by_row = decide(pair, losses, np.arange(4000), resamples=500)
    by_cluster = decide(pair, losses, np.repeat(np.arange(40), 100), resamples=500)
    assert (by_row["chosen"], by_cluster["chosen"]) == ("lightgbm", "best_single")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5), st.integers(0, 99))
def test_the_choice_obeys_the_rule(offsets: list[float], seed: int) -> None:
    losses = losses_with(offsets, noise=0.2, seed=seed)
    found = decide(CANDIDATES, losses, CLUSTERS, resamples=200, seed=seed)
    gains = {entry["name"]: entry["gain_over_best_simple"] for entry in found["candidates"]}
    assert gains[found["best_simple"]] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    if gains["lightgbm"]["low"] > 0:
        assert found["chosen"] == "lightgbm"
    else:
        as_good = [name for name in NAMES[:4] if gains[name]["high"] >= 0]
        assert found["chosen"] == as_good[0]


LEAK = Leakage(0.05, ("shares",), "feature topic", 9.0, 3.0, 12, ("shares", "other"))


def test_the_bound_of_leaked_labels_is_taken_off_before_the_gain_is_compared() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.03, 0.0])
    found = decide(CANDIDATES, losses, CLUSTERS, leakage=LEAK, resamples=500)
    without = decide(CANDIDATES, losses, CLUSTERS, resamples=500)
    assert (without["chosen"], found["chosen"]) == ("lightgbm", "vector_scaling")
    gain, plain = (f["candidates"][4]["gain_over_best_simple"] for f in (found, without))
    for key in ("mean", "low", "high"):
        assert gain[key] == pytest.approx(plain[key] - 0.05)
    assert found["candidates"][4]["bias_bound"] == found["bias_bound"]["nats"] == 0.05
    assert found["candidates"][3] == without["candidates"][3], "simple ones are compared as before"
    assert "after 0.0500 nats are taken off for leaked labels" in found["evidence"]
    assert "Logits of shares know labels" in found["evidence"]
    assert "a stack can tell where by feature topic" in found["evidence"]
    canonical_json(found)


def test_what_equal_shares_in_sources_may_give_is_taken_off_too() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.03, 0.0])
    plain = decide(CANDIDATES, losses, CLUSTERS, resamples=500)
    found = decide(CANDIDATES, losses, CLUSTERS, flattery=0.05, resamples=500)
    both = decide(CANDIDATES, losses, CLUSTERS, leakage=LEAK, flattery=0.01, resamples=500)
    assert (plain["chosen"], found["chosen"]) == ("lightgbm", "vector_scaling")
    assert found["candidates"][4]["bias_bound"] == pytest.approx(0.05)
    assert found["candidates"][3] == plain["candidates"][3], "simple ones are compared as before"
    assert "are taken off for equal class shares in sources" in found["evidence"]
    assert both["candidates"][4]["bias_bound"] == pytest.approx(0.06)
    assert "for leaked labels and equal class shares in sources" in both["evidence"]


def test_a_stack_that_gains_more_than_the_bound_is_used() -> None:
    losses = losses_with([0.2, 0.2, 0.2, 0.2, 0.0])
    assert decide(CANDIDATES, losses, CLUSTERS, leakage=LEAK, resamples=500)["chosen"] == "lightgbm"


def test_few_clusters_choose_no_stack_and_give_no_interval() -> None:
    losses = losses_with([0.5, 0.4, 0.4, 0.4, 0.0])
    found = decide(CANDIDATES, losses, np.arange(ROWS) % 19, resamples=200)
    assert found["chosen"] == "best_single"
    assert (found["small_sample"], found["effective_clusters"]) == (True, 19.0)
    assert found["rule"].startswith("small sample")
    assert "Small sample: 19 effective clusters, fewer than 20" in found["sentence"]
    for entry in found["candidates"]:
        assert entry["low"] is entry["high"] is None
        assert entry["gain_over_best_simple"]["low"] is None
    canonical_json(found)
    enough = decide(CANDIDATES, losses, np.arange(ROWS) % 20, resamples=200)
    assert (enough["chosen"], enough["small_sample"]) == ("lightgbm", False)


def test_one_large_cluster_leaves_few_effective_ones() -> None:
    clusters = np.where(np.arange(ROWS) < ROWS // 2, 0, np.arange(ROWS))
    found = decide(CANDIDATES, losses_with([0.5, 0.4, 0.4, 0.4, 0.0]), clusters, resamples=200)
    assert found["clusters"] == ROWS // 2 + 1
    assert found["effective_clusters"] == pytest.approx(4.0, abs=0.1)
    assert found["small_sample"]


def test_more_meta_learners_scored_widen_the_interval_of_the_gain() -> None:
    losses = losses_with([0.1, 0.05, 0.04, 0.002, 0.0], noise=0.02)
    one, many = (decide(CANDIDATES, losses, CLUSTERS, attempts=n) for n in (1, 40))
    assert (one["chosen"], many["chosen"]) == ("lightgbm", "vector_scaling")
    assert many["gain_level"] == pytest.approx(1 - 0.05 / 40)
    assert "40 meta-learners scored on these folds" in many["sentence"]
    assert many["candidates"][3] == one["candidates"][3]
