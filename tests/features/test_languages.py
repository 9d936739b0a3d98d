"""Words, sentences, refusals and languages in texts whose counts were made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.battles.feature_plan import definition
from ensemble.battles.features import compute_features
from ensemble.storage.json_files import read_json
from ensemble_features.catalog import feature_sets
from ensemble_features.language import FEATURE_SET
from ensemble_features.phrases import PHRASES

LANGUAGES: dict[str, Any] = read_json(Path(__file__).with_name("languages.json"))["languages"]
REFUSING = [name for name, item in LANGUAGES.items() if "refusals" in item]
UNSPACED = ("Chinese", "Chinese, traditional", "Japanese", "Thai")


def columns(responses: list[str], prompt: str = "1") -> list[dict[str, float]]:
    """Compute all columns, each response as A against an empty one."""
    rows = len(responses)
    battles = pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "prompt": [[prompt]] * rows,
            "response_a": [[text] for text in responses],
            "response_b": [[""]] * rows,
        }
    )
    matrix = compute_features(battles, feature_sets())
    return [dict(zip(matrix.names, row.tolist(), strict=True)) for row in matrix.values]


def refusing(texts: list[str]) -> list[str]:
    """Give those texts that are found to refuse, or to speak as an AI."""
    found = columns(texts)
    return [
        text
        for text, got in zip(texts, found, strict=True)
        if got["refusals_a"] or got["ai_mentions_a"]
    ]


@pytest.mark.parametrize("name", LANGUAGES)
def test_words_and_sentences_are_about_as_many_as_a_reader_counts(name: str) -> None:
    texts = LANGUAGES[name]["texts"]
    for text, got in zip(texts, columns([text["text"] for text in texts]), strict=True):
        assert got["words_a"] == pytest.approx(text["words"], rel=0.13), text
        assert abs(got["sentences_a"] - text["sentences"]) <= 1, text


def test_words_and_sentences_are_not_counted_by_spaces_where_there_are_none() -> None:
    off = {
        name: [
            got["words_a"] / text["words"] - 1
            for text, got in zip(
                LANGUAGES[name]["texts"],
                columns([text["text"] for text in LANGUAGES[name]["texts"]]),
                strict=True,
            )
        ]
        for name in UNSPACED
    }
    assert all(abs(error) <= 0.1 for errors in off.values() for error in errors), off


@pytest.mark.parametrize(
    ("text", "words", "sentences"),
    [
        ("", 0, 0),
        ("。", 0, 1),
        ("好", 1, 1),
        ("ก", 1, 1),
        ("你好吗?我很好!谢谢.", 5, 3),
        ("GPT模型有3个版本", 6, 1),
        ("コーヒー", 1, 1),
        ("ສະບາຍດີ", 2, 1),
        ("តើអ្នកសុខសប្បាយទេ។ខ្ញុំសុខសប្បាយ។", 6, 2),
        ("यह पहला है।यह दूसरा है।", 6, 2),
        ("یہ پہلا ہے۔ یہ دوسرا ہے۔", 6, 2),
        ("هل أنت بخير؟ نعم.", 4, 2),
        ('He said "No." She left.', 5, 2),
        ("Pi is 3.14 or so.", 6, 1),
        ("**Note.** It rains.", 3, 2),
    ],
)
def test_words_and_sentence_ends_in_any_script(text: str, words: int, sentences: int) -> None:
    got = columns([text])[0]
    assert (got["words_a"], got["sentences_a"]) == (words, sentences)


def test_overlap_is_seen_where_no_spaces_part_words() -> None:
    prompt = "自転車のチェーンの錆を落とす"
    near, far = columns(["チェーンの錆は油で落とす。", "空はなぜ青いのですか。"], prompt)
    assert near["prompt_covered_a"] > far["prompt_covered_a"]
    assert near["from_prompt_2grams_a"] > far["from_prompt_2grams_a"] == 0
    assert 0.5 < near["distinct_words_a"] <= 1


def test_punctuation_of_other_scripts_is_counted() -> None:
    got = columns(["（一）：好，很好、非常好。是吗？是！", "٣ أسئلة، أليس كذلك؟", "ЁЛКА"])
    names = ("commas", "colons", "parentheses", "periods", "question_marks", "exclamation_marks")
    assert [got[0][f"{name}_a"] for name in names] == [2, 1, 1, 1, 1, 1]
    assert [got[1][f"{name}_a"] for name in ("digits", "commas", "question_marks")] == [1, 1, 1]
    assert got[2]["capitals_a"] == 4


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("这样就好。", 1),
        ("「好」", 1),
        ("这样就", 0),
        ("ठीक है।", 1),
        ("كيف حالك؟ ", 1),
        ("« Bonjour »", 1),
        ("and then", 0),
        ("สวัสดีครับ", math.nan),
        ("", 0),
    ],
)
def test_an_end_is_known_by_its_mark_or_not_at_all(text: str, complete: float) -> None:
    assert columns([text])[0]["complete_a"] == pytest.approx(complete, nan_ok=True)


@pytest.mark.parametrize("name", REFUSING)
def test_refusals_are_found(name: str) -> None:
    assert refusing(LANGUAGES[name]["refusals"]) == LANGUAGES[name]["refusals"]


def test_refusals_that_no_phrase_was_written_for_are_mostly_found() -> None:
    later = [text for name in REFUSING for text in LANGUAGES[name]["later_refusals"]]
    assert len(refusing(later)) >= 0.9 * len(later)


@pytest.mark.parametrize("name", REFUSING)
def test_no_answer_is_taken_for_a_refusal(name: str) -> None:
    """Among them what the writer, or somebody else, can not do for other reasons."""
    item = LANGUAGES[name]
    texts = [text["text"] for text in item["texts"]]
    assert refusing([*item["answers"], *item["later_answers"], *item["prompts"], *texts]) == []


def test_phrases_are_tested_in_every_language_that_has_some() -> None:
    assert set(PHRASES) == {name.removesuffix(", traditional") for name in REFUSING}
    assert len(PHRASES) >= 12


@pytest.mark.slow
def test_apologies_are_found_in_every_language() -> None:
    for name in REFUSING:
        found = columns(LANGUAGES[name]["refusals"])
        assert sum(got["apologies_a"] for got in found) >= 1, name
        assert [got["apologies_a"] for got in columns(LANGUAGES[name]["answers"])] == [0] * 11, name


def test_whether_responses_are_in_the_language_of_the_prompt() -> None:
    spanish, english = (LANGUAGES[name]["texts"][0]["text"] for name in ("Spanish", "English"))
    same, other, none = columns(
        [spanish, english, "x = 17 * 3"], LANGUAGES["Spanish"]["prompts"][0]
    )
    assert (same["same_language_a"], other["same_language_a"]) == (1, 0)
    assert (same["in_english_a"], other["in_english_a"]) == (0, 1)
    assert (same["prompt_in_es"], same["prompt_in_en"]) == (1, 0)
    assert (same["language_known_a"], none["language_known_a"]) == (1, 0)
    assert math.isnan(none["same_language_a"])
    assert math.isnan(same["same_language_b"])


def test_scripts_that_change_are_seen() -> None:
    same, other = columns(["как это", "the end of it"], "и в не на что")
    assert same["script_change_a"] < other["script_change_a"]
    assert other["script_cyrillic_a"] == 0


def test_the_values_of_the_language_set_are_cached_under_the_version_of_the_library() -> None:
    """It calls Python, so that its expressions do not say what it computes."""
    assert None in FEATURE_SET.digests.values()
    assert FEATURE_SET.code is not None
    assert "py3langid 0." in FEATURE_SET.code
    assert definition(FEATURE_SET) is not None
