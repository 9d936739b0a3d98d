from typing import Any

import polars as pl
import pytest

from ensemble.battles.language import UNDECIDED, languages
from ensemble.sources.describe import describe


def _battles(rows: list[dict[str, Any]]) -> pl.DataFrame:
    full = [
        {
            "prompt": ["What is the capital of France?"],
            "response_a": ["Paris"],
            "response_b": ["It is Paris."],
            "label_a": 1.0,
            "label_b": 0.0,
            "label_tie": 0.0,
            **row,
        }
        for row in rows
    ]
    return pl.DataFrame(full)


def test_shares_are_of_the_labeled_rows_alone() -> None:
    none = {"label_a": None, "label_b": None, "label_tie": None}
    tie = {"label_a": 0.0, "label_tie": 1.0}
    described = describe(_battles([{}, {}, {"label_a": 0.0, "label_b": 1.0}, tie, none]))
    assert (described["rows"], described["labeled"]) == (5, 4)
    assert described["label_shares"] == [0.5, 0.25, 0.25]
    assert described["a_over_b"] == pytest.approx(2 / 3)


def test_nothing_labeled_is_no_share_of_zero() -> None:
    described = describe(_battles([{"label_a": None, "label_b": None, "label_tie": None}]))
    assert described["label_shares"] is None
    assert described["a_over_b"] is None


def test_turns_lengths_and_distinct_prompts() -> None:
    long = {"prompt": ["one", "two"], "response_a": ["x" * 90, None], "response_b": ["", "yy"]}
    described = describe(_battles([{"response_a": ["x" * 10]}, {"response_a": ["x" * 10]}, long]))
    assert described["prompts"] == 2
    assert described["turns"] == {"mean": pytest.approx(4 / 3), "several": pytest.approx(1 / 3)}
    assert described["characters"]["response_a"] == pytest.approx([10, 10, 74])


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("What is the best way to learn the piano?", "English"),
        ("¿Cuál es la mejor manera de aprender el piano y los acordes?", "Spanish"),
        ("Wie kann ich das Klavier lernen und nicht aufgeben?", "German"),
        ("Jak najlepiej uczyć się gry na pianinie i czy jest to trudne?", "Polish"),
        ("I want to do it, what to do to do it?", "English"),
        ("Как лучше всего научиться играть на пианино?", "Russian"),
        ("ピアノを学ぶ最良の方法は何ですか", "Japanese"),
        ("学习钢琴的最佳方法是什么", "Chinese"),
    ],
)
def test_the_prompt_names_the_language(prompt: str, language: str) -> None:
    battles = _battles([{"prompt": [prompt], "response_a": ["1234"]}])
    assert languages(battles).to_list() == [language]


def test_an_undecided_prompt_leaves_it_to_the_response_and_never_means_english() -> None:
    code = {"prompt": ["x = 17 * 3"]}
    by_response = {**code, "response_a": ["The answer to this is not what you think of."]}
    battles = _battles(
        [by_response, {**code, "response_a": ["51"]}, {**code, "response_a": [None]}]
    )
    assert languages(battles).to_list() == ["English", UNDECIDED, UNDECIDED]


def test_languages_sum_to_one_with_the_rare_ones_together() -> None:
    prompts = [
        "и в не на что",
        "ピアノ",
        "学习钢琴",
        "피아노",
        "ما هذا",
        "τι είναι",
        "ประเทศ",
        "पियानो",
    ]
    prompts += ["שלום עולם", "What is the point of it?"]
    shares = describe(_battles([{"prompt": [p], "response_a": ["0"]} for p in prompts]))[
        "languages"
    ]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["other"] == pytest.approx(0.2)
