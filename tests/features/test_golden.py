"""Exact values of every column for a handful of battles, and bugs seen in public feature code."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from ensemble.battles.features import compute_features
from ensemble.storage.json_files import read_json
from ensemble_features.catalog import feature_sets

GOLDEN = Path(__file__).with_name("golden.json")


def columns(
    prompt: list[str | None], response_a: list[str | None], response_b: list[str | None]
) -> dict[str, float]:
    """Compute all columns of one battle."""
    battle = pl.DataFrame(
        {"id": ["1"], "prompt": [prompt], "response_a": [response_a], "response_b": [response_b]},
        schema_overrides=dict.fromkeys(("prompt", "response_a", "response_b"), pl.List(pl.String)),
    )
    matrix = compute_features(battle, feature_sets())
    return dict(zip(matrix.names, matrix.values[0].tolist(), strict=True))


@pytest.mark.parametrize("case", read_json(GOLDEN), ids=lambda case: case["name"])
def test_every_column_has_its_recorded_value(case: dict[str, dict[str, float | None]]) -> None:
    battle = case["battle"]
    got = columns(battle["prompt"], battle["response_a"], battle["response_b"])  # type: ignore[arg-type]
    expected = {k: math.nan if v is None else v for k, v in case["columns"].items()}
    assert got.keys() == expected.keys()
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True)


def test_counts_of_b_are_counted_in_b() -> None:
    got = columns(["Q?"], ["plain"], ["**x** and **y**\n- one\n- two\n```py\n1\n```"])
    assert (got["bold_a"], got["bold_b"], got["bold_diff"]) == (0, 2, -2)
    assert (got["bullets_a"], got["bullets_b"], got["bullets_diff"]) == (0, 2, -2)
    assert (got["code_fences_a"], got["code_fences_b"], got["code_fences_diff"]) == (0, 2, -2)
    assert (got["newlines_a"], got["newlines_b"], got["newlines_diff"]) == (0, 5, -5)


def test_punctuation_is_not_read_as_a_regular_expression() -> None:
    got = columns(["what?"], ["One. Two (2)."], ["no end mark"])
    assert (got["periods_a"], got["periods_b"]) == (2, 0)
    assert (got["question_marks_prompt"], got["question_marks_a"]) == (1, 0)
    assert (got["parentheses_a"], got["parentheses_b"]) == (1, 0)


def test_a_smaller_count_of_a_gives_a_negative_difference() -> None:
    # Counts are unsigned in Polars: 1 - 3 must not become 4,294,967,294.
    got = columns(["x"], ["a"], ["a b c"])
    assert got["words_diff"] == -2
    assert got["chars_diff"] == -4


def test_null_turns_are_skipped_and_counted() -> None:
    got = columns(["one", None, "three"], ["ab", None, "cd"], [None, "e", None])
    assert got["turns"] == 3
    assert (got["null_turns_prompt"], got["null_turns_a"], got["null_turns_b"]) == (1, 1, 2)
    assert got["null_turns_diff"] == -1
    assert (got["chars_a"], got["chars_b"]) == (len("ab\ncd"), 1)
    assert got["last_chars_a"] == 2
    assert math.isnan(got["last_chars_b"])
    assert math.isnan(got["last_chars_diff"])
    assert (got["shortest_turn_a"], got["shortest_turn_b"]) == (2, 1)


@pytest.mark.parametrize("missing", [[], [None], [None, None]])
def test_what_is_measured_on_no_text_is_undefined_not_zero(missing: list[str | None]) -> None:
    got = columns(["x"], missing, ["there"])
    assert math.isnan(got["chars_a"])
    assert math.isnan(got["bold_a"])
    assert math.isnan(got["jaccard_1grams"])
    assert got["chars_b"] == 5
    assert got["empty_turns_a"] == len(missing)


def test_empty_and_blank_responses_are_counted() -> None:
    got = columns(["x", "y"], ["", " \n"], ["a", "b"])
    assert (got["empty_turns_a"], got["empty_turns_b"], got["empty_turns_diff"]) == (2, 0, 2)
    assert got["null_turns_a"] == 0
    assert got["words_a"] == 0
    assert math.isnan(got["word_length_a"])


def test_identical_responses_are_known() -> None:
    same = columns(["x"], ["One two three four"], ["One two three four"])
    assert same["identical_responses"] == 1
    assert same["jaccard_1grams"] == same["jaccard_3grams"] == 1
    assert same["cosine_words"] == pytest.approx(1)
    assert same["chars_diff"] == same["chars_log_ratio"] == 0
    other = columns(["x"], ["One two three four"], ["one two three four"])
    assert other["identical_responses"] == 0
    assert other["begins_alike"] == 1


def test_null_turns_make_no_responses_identical_to_empty_ones() -> None:
    assert columns(["x"], [None], [None])["identical_responses"] == 1
    assert columns(["x"], [None], [""])["identical_responses"] == 0


def test_order_matters_to_2_grams_but_not_to_words() -> None:
    got = columns(["x"], ["dog bites man"], ["man bites dog"])
    assert got["jaccard_1grams"] == 1
    assert got["jaccard_2grams"] == 0


def test_repeated_2_grams_are_found_at_odd_and_even_places() -> None:
    got = columns(["x"], ["a b c d"], ["z b c d"])
    assert got["common_2grams"] == 2
    assert got["common_3grams"] == 1
    assert got["jaccard_2grams"] == pytest.approx(2 / 4)


def test_overlap_with_the_prompt_is_measured_on_both_sides() -> None:
    got = columns(["red green blue"], ["red green"], ["black white red"])
    assert got["prompt_covered_a"] == pytest.approx(2 / 3)
    assert got["prompt_covered_b"] == pytest.approx(1 / 3)
    assert got["from_prompt_1grams_a"] == 1
    assert got["from_prompt_1grams_b"] == pytest.approx(1 / 3)


def test_typographic_apostrophes_do_not_hide_a_refusal() -> None:
    got = columns(["x"], ["I\u2019m sorry, I can\u2019t do that."], ["Sure, here."])
    assert (got["refusals_a"], got["apologies_a"]) == (1, 1)
    assert (got["refusals_b"], got["courtesies_b"]) == (0, 1)


def test_a_lone_dollar_sum_is_not_latex() -> None:
    got = columns(["x"], ["It costs $5 and $6"], [r"$$\frac{1}{2}$$ and \(x\)"])
    assert got["latex_a"] == 0
    assert got["latex_b"] == 4


def test_characters_outside_the_basic_plane_count_once() -> None:
    got = columns(["\U0001f600"], ["\U0001f600\ufffd"], ["a"])
    assert got["chars_prompt"] == 1
    assert got["non_ascii_a"] == 2
