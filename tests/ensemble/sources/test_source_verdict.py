from typing import Any

import pytest

from ensemble.sources.verdict import HELPS, HURTS, NOTHING, UNKNOWN, decide


def _effect(**intervals: tuple[float, float] | None) -> dict[str, Any]:
    uses = {
        "train": {"role": "train", "weight": 1.0, "reweight": "none", "logit_adjustment": False},
        "light": {"role": "train", "weight": 0.3, "reweight": "none", "logit_adjustment": True},
        "pretrain": {
            "role": "pretrain",
            "weight": 1.0,
            "reweight": "none",
            "logit_adjustment": False,
        },
    }
    items = [
        {
            "name": name,
            "treatment": name,
            "measured": ends is not None,
            **(
                {"reason": "it failed"}
                if ends is None
                else {
                    "gain": {"mean": sum(ends) / 2},
                    "simultaneous": {"low": ends[0], "high": ends[1]},
                    **uses[name],
                }
            ),
        }
        for name, ends in intervals.items()
    ]
    scope = {"plugin": "trees", "scored_rows": 3317, "clusters": 348}
    scope |= {"source_rows": 1240, "usable_rows": 1240, "rows_by_fold": [1200, 1240]}
    return {"measured": True, "treatments": items, "folds": [0, 1], "all_folds": False, **scope}


def test_a_gain_that_is_shown_helps_and_is_recommended() -> None:
    verdict = decide("x", _effect(train=(0.001, 0.003), pretrain=(-0.001, 0.009)))
    assert verdict["word"] == HELPS
    assert verdict["recommended"]["treatment"] == "train"
    assert "x: helps." in verdict["sentence"]
    assert "lowers the log loss on the target by +0.0020 nats a battle" in verdict["sentence"]
    assert "(95% +0.0010 to +0.0030)" in verdict["sentence"]


def test_mixing_in_that_hurts_is_said_even_where_another_role_helps() -> None:
    verdict = decide(
        "x", _effect(train=(-0.05, -0.01), light=(0.001, 0.005), pretrain=(0.002, 0.003))
    )
    assert verdict["word"] == HURTS
    assert verdict["recommended"] == {
        "treatment": "pretrain",
        "role": "pretrain",
        "weight": 1.0,
        "reweight": "none",
        "logit_adjustment": False,
    }
    assert "raises the log loss on the target by +0.0300" in verdict["sentence"]
    assert "(95% +0.0100 to +0.0500)" in verdict["sentence"]
    assert 'Best is role = "pretrain"' in verdict["sentence"]


def test_the_recommendation_is_written_as_the_config_has_it() -> None:
    verdict = decide("x", _effect(train=(-0.01, 0.01), light=(0.001, 0.005)))
    assert verdict["word"] == HELPS
    assert 'Best is role = "train", weight = 0.3, logit_adjustment = true:' in verdict["sentence"]


def test_an_interval_over_zero_shows_nothing_and_the_source_is_left_out() -> None:
    verdict = decide("x", _effect(train=(-0.001, 0.004), pretrain=(-0.01, 0.0)))
    assert verdict["word"] == NOTHING
    assert verdict["recommended"]["role"] == "ignore"
    assert "not shown to differ from 0" in verdict["sentence"]
    assert "leave it out" in verdict["sentence"]


def test_a_loss_that_may_be_none_is_no_harm() -> None:
    assert decide("x", _effect(train=(-0.02, 0.001)))["word"] == NOTHING


def test_another_treatment_that_loses_is_no_harm_of_the_source() -> None:
    assert decide("x", _effect(train=(-0.001, 0.004), light=(-0.02, -0.01)))["word"] == NOTHING


def test_what_was_not_measured_is_not_harmless() -> None:
    verdict = decide("x", _effect(train=None, pretrain=(-0.01, 0.01)))
    assert verdict["word"] == NOTHING
    assert "What mixing it in as it is does is not measured" in verdict["sentence"]
    verdict = decide("x", {"measured": False, "reason": "the source has no labeled rows"})
    assert (verdict["word"], verdict["recommended"]) == (UNKNOWN, None)
    assert "not measured: the source has no labeled rows" in verdict["sentence"]


@pytest.mark.parametrize(
    "part",
    [
        "trees",
        "3,317 rows of folds 0, 1",
        "348 clusters",
        "1,240 rows (1,200 to 1,240 in each fold, after the cuts of the plan) of the source",
    ],
)
def test_the_sentence_says_what_it_holds_for(part: str) -> None:
    assert part in decide("x", _effect(train=(-0.1, 0.1)))["sentence"]


def test_the_effect_of_some_rows_is_not_that_of_the_source() -> None:
    some = _effect(train=(-0.05, -0.01)) | {"usable_rows": 24_000}
    said = decide("x", some)["sentence"]
    assert "1,240 of its 24,000 usable rows, mixed into training as they are, raise the" in said
    assert "not of all 24,000" in said
    assert "Mixed into training as it is" not in said
    assert "without --rows" not in decide("x", _effect(train=(-0.05, -0.01)))["sentence"]


@pytest.mark.parametrize(
    ("ends", "better", "told"),
    [
        ((0.01, 0.03), "hash", 'that is better: set sides = "hash"'),
        ((-0.03, -0.01), "file", "its sides as they are do better"),
        ((-0.01, 0.01), None, "neither is shown to be better"),
    ],
)
def test_both_ways_to_take_the_sides_of_a_one_sided_source_are_told(
    ends: tuple[float, float], better: str | None, told: str
) -> None:
    gain = {"mean": sum(ends) / 2, "low": ends[0], "high": ends[1]}
    sides: dict[str, Any] = {"treatments": [], "compared": "train", "gain": gain, "better": better}
    said = decide("x", _effect(train=(-0.1, 0.1)) | {"sides": sides})["sentence"]
    assert "One side of it never wins" in said
    assert told in said
