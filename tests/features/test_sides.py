from __future__ import annotations

import math

import polars as pl
import pytest

from ensemble import FeatureSet
from ensemble.battles.features import compute_features
from ensemble_features.sides import antisymmetric, log_ratio, on, share, sided, symmetric
from ensemble_features.text import needed

FEATURES = (
    *sided("turns", lambda column: pl.col(column).list.len(), "Turns of {}", "count", prompt=True),
    *sided("half", lambda column: on(column, "turns") / 2, "Half of {}", "count"),
    antisymmetric("ratio", log_ratio("turns"), "Ratio", "natural log"),
    symmetric("most", pl.max_horizontal("turns_a", "turns_b"), "Most turns", "count"),
)


def values(a: int, b: int) -> dict[str, float]:
    battle = pl.DataFrame(
        {"id": ["1"], "prompt": [["x"]], "response_a": [["x"] * a], "response_b": [["x"] * b]},
        schema_overrides=dict.fromkeys(("response_a", "response_b"), pl.List(pl.String)),
    )
    matrix = compute_features(battle, [FeatureSet("made up", FEATURES)])
    return dict(zip(matrix.names, matrix.values[0].tolist(), strict=True))


def test_a_sided_feature_has_both_sides_their_difference_and_the_prompt() -> None:
    got = values(1, 3)
    assert [got[f"turns_{side}"] for side in ("a", "b", "diff", "prompt")] == [1, 3, -2, 1]
    a, b, difference, prompt = FEATURES[:4]
    assert (a.swap, b.swap, difference.swap, prompt.swap) == (
        "turns_b",
        "turns_a",
        "turns_diff",
        "turns_prompt",
    )
    assert [feature.sign for feature in FEATURES[:4]] == [1, 1, -1, 1]
    assert a.description == "Turns of response A; count."
    assert difference.description == "Turns of a response, A minus B; count."


def test_features_can_build_upon_one_another() -> None:
    got = values(1, 3)
    assert (got["half_a"], got["half_b"], got["most"]) == (0.5, 1.5, 3)


def test_the_log_ratio_is_finite_for_nothing_and_changes_sign_on_a_swap() -> None:
    assert values(0, 3)["ratio"] == pytest.approx(-math.log(4))
    assert values(3, 0)["ratio"] == -values(0, 3)["ratio"]
    assert values(0, 0)["ratio"] == 0


def test_a_share_of_nothing_is_undefined() -> None:
    frame = pl.DataFrame({"part": [1, 0], "whole": [4, 0]})
    assert frame.select(share(pl.col("part"), pl.col("whole"))).to_series().to_list() == [
        0.25,
        None,
    ]


def test_only_the_helpers_that_are_needed_are_taken_and_all_of_them() -> None:
    words = symmetric("n", pl.col("words:prompt").list.len(), "Words", "count")
    assert set(needed([words])) == {"words:prompt", "lower:prompt", "text:prompt"}
    assert needed(FEATURES) == {}
