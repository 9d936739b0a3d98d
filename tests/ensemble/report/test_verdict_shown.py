"""What a report shows of the verdict, and what is held against the scores."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ensemble.report.made_up_runs import Run, write_json
from tests.ensemble.report.pages import section

pytestmark = pytest.mark.figures


def test_a_verdict_without_evidence_shows_its_sentence(run: Run) -> None:
    del run.verdict["evidence"]
    write_json(run.path / "stack" / "verdict.json", run.verdict)
    assert f'<p class="verdict">{run.verdict["sentence"]}</p>' in run.report()


def _judge(run: Run, **changes: Any) -> str:
    """Give the text of the candidates' section of a report whose verdict says more."""
    write_json(run.path / "stack" / "verdict.json", {**run.verdict, **changes})
    return " ".join(section(run.report(), "candidates").split())


def test_what_is_held_against_the_scores_is_that_of_this_run(run: Run) -> None:
    nesting = {"exact": ["learner-0"], "plain": ["learner-1", "learner-2"]}
    leak = {"learners": ["learner-1"], "location": "feature topic", "tests": 12}
    leak |= {"nats": 0.0512, "statistic": 9.04, "threshold": 2.64}
    tries = {"n": 17, "corrected_log_loss": 1.0432, "low": None, "high": None, "optimism": 0.01}
    shown = _judge(
        run,
        nesting=nesting,
        bias_bound=leak,
        tries=tries,
        stratification={"optimism": 0.0123},
    )
    assert "Closed for learner-0:" in shown
    assert "Open for learner-1, learner-2." in shown
    assert "logits of learner-1 know labels of other folds, and feature topic tells where" in shown
    assert "A stack can gain up to 0.0512 nats a battle by that alone" in shown
    assert "Corrected for a choice of the best of 17, the candidate in use has" in shown
    assert "flatters every log loss here by up to 0.0123" in shown
    quiet = _judge(run, nesting=nesting, bias_bound={**leak, "nats": 0.0, "learners": []})
    assert "no logits were found to know labels of other folds (12 tests" in quiet
    assert "at most about 0.003" not in shown + quiet


def test_a_small_sample_is_said_to_be_one_and_has_no_interval(run: Run) -> None:
    candidates = [
        {**c, "low": None, "high": None, "gain_over_best_simple": {"mean": -0.01}}
        for c in run.verdict["candidates"]
    ]
    scored = [{**c, "low": None, "high": None} for c in run.candidates["candidates"]]
    write_json(run.path / "stack" / "candidates.json", {**run.candidates, "candidates": scored})
    shown = _judge(run, candidates=candidates, small_sample=True, effective_clusters=7.0)
    assert "The sample is small: 7 effective clusters allow no interval" in shown
    assert "interval not measured" in shown
    assert "small sample: no interval" in run.report()


@pytest.mark.parametrize("plain", [[], ["learner-1"]])
def test_the_gap_of_plain_nesting_is_shown_with_and_without_an_interval(
    run: Run, plain: list[str]
) -> None:
    first, second, *others = run.verdict["candidates"]
    gap = {"mean": 0.0123, "low": 0.0011, "high": 0.0235}
    measured = [
        {**first, "plain_log_loss": 1.0123, "gap": gap},
        {**second, "plain_log_loss": 1.0456, "gap": {"mean": -0.0321, "low": None, "high": None}},
    ]
    nesting = {"exact": ["learner-0", "learner-2"], "plain": plain}
    shown = _judge(run, candidates=[*measured, *others], nesting=nesting)
    table = shown[shown.index("The gap measured in this very run") :]
    assert ("for the learners named first" in table) == bool(plain)
    assert "1.0123 +0.0123 [+0.0011, +0.0235]" in table
    assert "1.0456 \N{MINUS SIGN}0.0321 interval not measured" in table
    assert "[not measured" not in table
