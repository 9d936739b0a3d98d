from __future__ import annotations

import polars as pl
import pytest

from ensemble import errors, find_duplicates
from ensemble.battles.compared import MIN_RESPONSE_CHARACTERS
from ensemble.battles.duplicates import STOCK_PHRASE
from ensemble.battles.near_pairs import near_pairs
from tests.ensemble.battles.alike_battles import (
    LONG_A,
    LONG_B,
    QUESTION,
    WORDS_APART,
    Row,
    best_jaccard,
    make_battle,
    make_table,
    numbers,
)


def kinds(*rows: Row) -> list[tuple[str, str, str]]:
    return find_duplicates(make_table(*rows)).pairs.drop("similarity").rows()


# Golden cases


def test_exact_prompts_ignore_case_blanks_and_width() -> None:
    rows = (
        make_battle("1", "What is a bee?"),
        make_battle("2", "what  is\na BEE? "),
        make_battle("3", "What is a bee\uff1f"),
        make_battle("4", "What is a wasp?"),
    )
    assert numbers(*rows) == [0, 0, 0, 1]
    assert kinds(*rows) == [("1", "2", "same prompt"), ("1", "3", "same prompt")]


def test_near_prompts_carry_their_exact_similarity() -> None:
    rows = (
        make_battle("1", QUESTION),
        make_battle("2", QUESTION.replace("its life", "all its life")),
    )
    pairs = find_duplicates(make_table(*rows)).pairs
    assert pairs.drop("similarity").rows() == [("1", "2", "near prompt")]
    assert pairs["similarity"].to_list() == [best_jaccard(make_table(*rows), "1", "2")]
    assert 0.8 <= pairs["similarity"].item() < 1


def test_a_question_and_a_conversation_that_opens_with_it() -> None:
    rows = (
        make_battle("1", QUESTION, "And a bumblebee? Please answer at some length, with sources."),
        make_battle("2", "Something else"),
        make_battle("3", QUESTION),
        make_battle("4", QUESTION.replace("fly", "flies"), "Now say it in French, and in verse."),
    )
    assert numbers(*rows) == [0, 1, 0, 0]
    assert ("1", "3", "same opening") in kinds(*rows)
    assert "near opening" in {kind for _, _, kind in kinds(*rows)}


def test_two_conversations_with_one_opening() -> None:
    rows = (
        make_battle("1", QUESTION, "And a bumblebee? Please answer at some length, with sources."),
        make_battle("2", QUESTION, "Now say that in French and in verse, please, and once more."),
    )
    assert kinds(*rows) == [("1", "2", "same opening")]


def test_a_later_turn_that_is_a_question_by_itself() -> None:
    rows = (
        make_battle("1", "Tell me a long story about a garden", QUESTION),
        make_battle("2", QUESTION),
    )
    assert numbers(*rows) == [0, 0]
    assert kinds(*rows) == [("1", "2", "same turn")]


def test_a_short_later_turn_says_nothing() -> None:
    thanks = "Thank you, go on please"
    rows = (make_battle("1", "Tell me a story", thanks), make_battle("2", "What is a bee?", thanks))
    assert numbers(*rows) == [0, 1]


def test_a_stock_phrase_connects_nothing() -> None:
    phrase = "Could you please explain the last part of that to me once more?"
    rows = [
        make_battle(str(n), f"What is {WORDS_APART[n]}?", phrase) for n in range(STOCK_PHRASE + 1)
    ]
    assert numbers(*rows) == list(range(STOCK_PHRASE + 1))
    assert numbers(*rows[:3]) == [0, 0, 0]


@pytest.mark.parametrize("empty", [[""], [" \n"], [None], [], [None, ""]])
def test_empty_prompts_are_not_alike(empty: list[str | None]) -> None:
    rows = (
        make_battle("1", *empty, a="x"),
        make_battle("2", *empty, a="y"),
        make_battle("3", "", a="z"),
    )
    assert numbers(*rows) == [0, 1, 2]


@pytest.mark.parametrize("empty", [[""], [" \n"], [None], []])
def test_without_a_prompt_a_battle_stays_with_its_swap(empty: list[str | None]) -> None:
    rows = (
        make_battle("1", *empty, a="Yes", b="No"),
        make_battle("2", "Is it raining?", a="Yes", b="No"),
        make_battle("3", *empty, a="No", b="yes"),
        make_battle("4", *empty, a="No", b="maybe"),
    )
    assert numbers(*rows) == [0, 1, 0, 2]


def test_null_turns_are_left_out() -> None:
    assert numbers(make_battle("1", None, QUESTION), make_battle("2", QUESTION, None)) == [0, 0]


def test_same_responses_on_either_side() -> None:
    rows = (
        make_battle("1", "One question", a=LONG_A, b=LONG_B),
        make_battle("2", "Quite another", a=LONG_B.upper(), b=LONG_A),
        make_battle("3", "Yet a third one", a=LONG_A, b=LONG_A),
    )
    assert numbers(*rows) == [0, 0, 1]
    assert kinds(*rows) == [("1", "2", "same responses")]


@pytest.mark.parametrize(
    ("a", "b"), [("Yes", "No"), ("", ""), (None, None), (LONG_A[:90], LONG_B[:90])]
)
def test_short_or_missing_responses_link_nothing(a: str | None, b: str | None) -> None:
    assert numbers(
        make_battle("1", "One question", a=a, b=b), make_battle("2", "Other", a=a, b=b)
    ) == [0, 1]


@pytest.mark.parametrize(("length", "expected"), [(0, [0, 0]), (-1, [0, 1])])
def test_the_least_amount_of_response_text(length: int, expected: list[int]) -> None:
    long, short = "x" * (MIN_RESPONSE_CHARACTERS - 50 + length), "y" * 50
    rows = (make_battle("1", "One", a=long, b=short), make_battle("2", "Two", a=short, b=long))
    assert numbers(*rows) == expected


def test_where_one_response_ends_matters() -> None:
    a, b = LONG_A[:90], LONG_B[:100]
    rows = (
        make_battle("1", "One question", a=f"{a} {b}", b=b),
        make_battle("2", "Quite another", a=a, b=f"{b} {b}"),
    )
    assert numbers(*rows) == [0, 1]


def test_short_prompts_of_one_word_apart_stay_apart() -> None:
    capitals = [
        make_battle(name, f"What is the capital of {name}?") for name in ("France", "Peru", "Chad")
    ]
    assert numbers(*capitals) == [0, 1, 2]


def test_other_scripts() -> None:
    chinese = "请用简单的语言解释量子力学的基本原理,并举一个日常生活中的例子来说明它的应用。"
    rows = (
        make_battle("1", chinese),
        make_battle("2", chinese.replace("简单", "通俗")),
        make_battle("3", "用一句话介绍一下你自己的爱好和工作经历。"),
        make_battle("4", "👩‍💻" * 20),
        make_battle("5", "👩‍💻" * 21),
    )
    assert numbers(*rows, threshold=0.7) == [0, 0, 1, 2, 2]


def test_links_chain_into_one_cluster() -> None:
    rows = (
        make_battle("1", "Some question", a=LONG_A, b=LONG_B),
        make_battle("2", "Nothing to do with it"),
        make_battle("3", QUESTION, a=LONG_B, b=LONG_A),
        make_battle(
            "4", QUESTION.lower(), "A long second turn that says a lot more about the subject."
        ),
    )
    assert numbers(*rows) == [0, 1, 0, 0]


def test_unseen_characters_make_no_difference() -> None:
    assert numbers(make_battle("1", "hello"), make_battle("2", "hel\u00adlo\u200b")) == [0, 0]
    # A prompt of nothing else is an empty one.
    assert numbers(make_battle("1", "\ufeff", a="x"), make_battle("2", "\u200b", a="y")) == [0, 1]


def test_the_seed_of_the_search_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def search(texts: pl.Series, threshold: float, *, seed: int) -> pl.DataFrame:
        seen.append(seed)
        return near_pairs(texts, threshold, seed=seed)

    monkeypatch.setattr("ensemble.battles.duplicates.near_pairs", search)
    find_duplicates(make_table(make_battle("1", QUESTION)), seed=5)
    assert seen == [5]


def test_many_exact_duplicates_make_a_star() -> None:
    rows = [make_battle(str(n), QUESTION) for n in range(50)]
    assert kinds(*rows) == [("0", str(n), "same prompt") for n in range(1, 50)]


def test_a_template_connects_nothing_and_what_is_in_it_does() -> None:
    frame = f"{QUESTION} {LONG_A} Answer for the case of "
    rows = [make_battle(f"{n}-{k}", f"{frame}{WORDS_APART[n]}.") for n in range(60) for k in "ab"]
    assert numbers(*rows) == [n for n in range(60) for _ in "ab"]


def test_a_text_of_which_a_few_have_variants_is_one_cluster() -> None:
    rows = [
        make_battle(str(n), f"{QUESTION} {LONG_A} Answer for case number {n}.") for n in range(6)
    ]
    assert numbers(*rows) == [0] * 6


def test_no_battles() -> None:
    found = find_duplicates(make_table())
    assert found.clusters.schema == {"id": pl.String, "cluster": pl.Int64}
    assert found.pairs.schema == {
        "id_a": pl.String,
        "id_b": pl.String,
        "kind": pl.String,
        "similarity": pl.Float64,
    }
    assert found.clusters.is_empty()
    assert found.pairs.is_empty()


@pytest.mark.parametrize("threshold", [0.0, 0.05, 1.01, -1.0, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(errors.ConfigError, match="near-duplicate threshold of .* is out of range"):
        find_duplicates(make_table(), threshold=threshold)


@pytest.mark.parametrize("empty", [[], [""], [None]])
def test_battles_without_texts_say_nothing_that_they_could_share(empty: list[str | None]) -> None:
    texts = pl.Series([empty] * 20, dtype=pl.List(pl.String))
    ids = [f"i{number}" for number in range(20)]
    columns = dict.fromkeys(("prompt", "response_a", "response_b"), texts)
    found = find_duplicates(pl.DataFrame({"id": ids, **columns}))
    assert found.clusters["cluster"].n_unique() == 20
    assert not len(found.pairs)
