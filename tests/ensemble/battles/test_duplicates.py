from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors, find_duplicates
from ensemble.battles.duplicates import STOCK_PHRASE
from ensemble.battles.near_pairs import near_pairs
from ensemble.battles.normalization import normalized
from ensemble.battles.partition import Partition
from ensemble.battles.passages import MIN_RESPONSE_CHARACTERS
from ensemble.battles.shingles import WIDTH
from ensemble.battles.swap import swap_battles

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
LIST = pl.List(pl.String)
SCHEMA = {"id": pl.String(), "prompt": LIST, "response_a": LIST, "response_b": LIST}
LONG_A = "the first long answer goes on and on about bees " * 3
LONG_B = "another answer, about wasps this time, is as long " * 3

Row = tuple[str, list[str | None], list[str | None], list[str | None]]
DRAW = random.Random(9)
WORDS_APART = ["".join(DRAW.choices("bcdfglmnprstaeiou", k=14)) for _ in range(60)]
QUESTION = "How long does a honey bee live, and how far does it fly in its life?"


def battle(name: str, *prompt: str | None, a: str | None = None, b: str | None = None) -> Row:
    rest = [""] * (len(prompt) - 1)
    return name, list(prompt), [a, *rest], [b, *rest]


def table(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def numbers(*rows: Row, threshold: float = 0.8) -> list[int]:
    found = find_duplicates(table(*rows), threshold=threshold)
    assert found.clusters["id"].to_list() == [row[0] for row in rows]
    return found.clusters["cluster"].to_list()


def kinds(*rows: Row) -> list[tuple[str, str, str]]:
    return find_duplicates(table(*rows)).pairs.drop("similarity").rows()


# Golden cases


def test_exact_prompts_ignore_case_blanks_and_width() -> None:
    rows = (
        battle("1", "What is a bee?"),
        battle("2", "what  is\na BEE? "),
        battle("3", "What is a bee\uff1f"),
        battle("4", "What is a wasp?"),
    )
    assert numbers(*rows) == [0, 0, 0, 1]
    assert kinds(*rows) == [("1", "2", "same prompt"), ("1", "3", "same prompt")]


def test_near_prompts_carry_their_exact_similarity() -> None:
    rows = (battle("1", QUESTION), battle("2", QUESTION.replace("its life", "all its life")))
    pairs = find_duplicates(table(*rows)).pairs
    assert pairs.drop("similarity").rows() == [("1", "2", "near prompt")]
    assert pairs["similarity"].to_list() == [best_jaccard(table(*rows), "1", "2")]
    assert 0.8 <= pairs["similarity"].item() < 1


def test_a_question_and_a_conversation_that_opens_with_it() -> None:
    rows = (
        battle("1", QUESTION, "And a bumblebee? Please answer at some length, with sources."),
        battle("2", "Something else"),
        battle("3", QUESTION),
        battle("4", QUESTION.replace("fly", "flies"), "Now say it in French, and in verse."),
    )
    assert numbers(*rows) == [0, 1, 0, 0]
    assert ("1", "3", "same opening") in kinds(*rows)
    assert "near opening" in {kind for _, _, kind in kinds(*rows)}


def test_two_conversations_with_one_opening() -> None:
    rows = (
        battle("1", QUESTION, "And a bumblebee? Please answer at some length, with sources."),
        battle("2", QUESTION, "Now say that in French and in verse, please, and once more."),
    )
    assert kinds(*rows) == [("1", "2", "same opening")]


def test_a_later_turn_that_is_a_question_by_itself() -> None:
    rows = (battle("1", "Tell me a long story about a garden", QUESTION), battle("2", QUESTION))
    assert numbers(*rows) == [0, 0]
    assert kinds(*rows) == [("1", "2", "same turn")]


def test_a_short_later_turn_says_nothing() -> None:
    thanks = "Thank you, go on please"
    rows = (battle("1", "Tell me a story", thanks), battle("2", "What is a bee?", thanks))
    assert numbers(*rows) == [0, 1]


def test_a_stock_phrase_connects_nothing() -> None:
    phrase = "Could you please explain the last part of that to me once more?"
    rows = [battle(str(n), f"What is {WORDS_APART[n]}?", phrase) for n in range(STOCK_PHRASE + 1)]
    assert numbers(*rows) == list(range(STOCK_PHRASE + 1))
    assert numbers(*rows[:3]) == [0, 0, 0]


@pytest.mark.parametrize("empty", [[""], [" \n"], [None], [], [None, ""]])
def test_empty_prompts_are_not_alike(empty: list[str | None]) -> None:
    rows = (battle("1", *empty, a="x"), battle("2", *empty, a="y"), battle("3", "", a="z"))
    assert numbers(*rows) == [0, 1, 2]


@pytest.mark.parametrize("empty", [[""], [" \n"], [None], []])
def test_without_a_prompt_a_battle_stays_with_its_swap(empty: list[str | None]) -> None:
    rows = (
        battle("1", *empty, a="Yes", b="No"),
        battle("2", "Is it raining?", a="Yes", b="No"),
        battle("3", *empty, a="No", b="yes"),
        battle("4", *empty, a="No", b="maybe"),
    )
    assert numbers(*rows) == [0, 1, 0, 2]


def test_null_turns_are_left_out() -> None:
    assert numbers(battle("1", None, QUESTION), battle("2", QUESTION, None)) == [0, 0]


def test_same_responses_on_either_side() -> None:
    rows = (
        battle("1", "One question", a=LONG_A, b=LONG_B),
        battle("2", "Quite another", a=LONG_B.upper(), b=LONG_A),
        battle("3", "Yet a third one", a=LONG_A, b=LONG_A),
    )
    assert numbers(*rows) == [0, 0, 1]
    assert kinds(*rows) == [("1", "2", "same responses")]


@pytest.mark.parametrize(
    ("a", "b"), [("Yes", "No"), ("", ""), (None, None), (LONG_A[:90], LONG_B[:90])]
)
def test_short_or_missing_responses_link_nothing(a: str | None, b: str | None) -> None:
    assert numbers(battle("1", "One question", a=a, b=b), battle("2", "Other", a=a, b=b)) == [0, 1]


@pytest.mark.parametrize(("length", "expected"), [(0, [0, 0]), (-1, [0, 1])])
def test_the_least_amount_of_response_text(length: int, expected: list[int]) -> None:
    long, short = "x" * (MIN_RESPONSE_CHARACTERS - 50 + length), "y" * 50
    rows = (battle("1", "One", a=long, b=short), battle("2", "Two", a=short, b=long))
    assert numbers(*rows) == expected


def test_where_one_response_ends_matters() -> None:
    a, b = LONG_A[:90], LONG_B[:100]
    rows = (
        battle("1", "One question", a=f"{a} {b}", b=b),
        battle("2", "Quite another", a=a, b=f"{b} {b}"),
    )
    assert numbers(*rows) == [0, 1]


def test_short_prompts_of_one_word_apart_stay_apart() -> None:
    capitals = [
        battle(name, f"What is the capital of {name}?") for name in ("France", "Peru", "Chad")
    ]
    assert numbers(*capitals) == [0, 1, 2]


def test_other_scripts() -> None:
    chinese = "请用简单的语言解释量子力学的基本原理,并举一个日常生活中的例子来说明它的应用。"
    rows = (
        battle("1", chinese),
        battle("2", chinese.replace("简单", "通俗")),
        battle("3", "用一句话介绍一下你自己的爱好和工作经历。"),
        battle("4", "👩‍💻" * 20),
        battle("5", "👩‍💻" * 21),
    )
    assert numbers(*rows, threshold=0.7) == [0, 0, 1, 2, 2]


def test_links_chain_into_one_cluster() -> None:
    rows = (
        battle("1", "Some question", a=LONG_A, b=LONG_B),
        battle("2", "Nothing to do with it"),
        battle("3", QUESTION, a=LONG_B, b=LONG_A),
        battle("4", QUESTION.lower(), "A long second turn that says a lot more about the subject."),
    )
    assert numbers(*rows) == [0, 1, 0, 0]


def test_unseen_characters_make_no_difference() -> None:
    assert numbers(battle("1", "hello"), battle("2", "hel\u00adlo\u200b")) == [0, 0]
    # A prompt of nothing else is an empty one.
    assert numbers(battle("1", "\ufeff", a="x"), battle("2", "\u200b", a="y")) == [0, 1]


def test_the_seed_of_the_search_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def search(texts: pl.Series, threshold: float, *, seed: int) -> pl.DataFrame:
        seen.append(seed)
        return near_pairs(texts, threshold, seed=seed)

    monkeypatch.setattr("ensemble.battles.duplicates.near_pairs", search)
    find_duplicates(table(battle("1", QUESTION)), seed=5)
    assert seen == [5]


def test_many_exact_duplicates_make_a_star() -> None:
    rows = [battle(str(n), QUESTION) for n in range(50)]
    assert kinds(*rows) == [("0", str(n), "same prompt") for n in range(1, 50)]


def test_a_template_connects_nothing_and_what_is_in_it_does() -> None:
    frame = f"{QUESTION} {LONG_A} Answer for the case of "
    rows = [battle(f"{n}-{k}", f"{frame}{WORDS_APART[n]}.") for n in range(60) for k in "ab"]
    assert numbers(*rows) == [n for n in range(60) for _ in "ab"]


def test_a_text_of_which_a_few_have_variants_is_one_cluster() -> None:
    rows = [battle(str(n), f"{QUESTION} {LONG_A} Answer for case number {n}.") for n in range(6)]
    assert numbers(*rows) == [0] * 6


def test_no_battles() -> None:
    found = find_duplicates(table())
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
        find_duplicates(table(), threshold=threshold)


# Properties

WORDS = ["bee", "Bee", "wasp", "honey", "flies", "蜂蜜", "é", "over", "the", "garden"]
TURN = st.one_of(
    st.none(), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.just(QUESTION)
)
ANSWER = st.sampled_from([LONG_A, LONG_B, "Yes", "", None])


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    prompts = draw(st.lists(st.lists(TURN, max_size=3), max_size=12))
    rows = [
        (f"id-{n}", prompt, [draw(ANSWER)] * len(prompt), [draw(ANSWER)] * len(prompt))
        for n, prompt in enumerate(prompts)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def partition(battles: pl.DataFrame, **options: Any) -> set[frozenset[str]]:
    clusters = find_duplicates(battles, **options).clusters
    groups = clusters.group_by("cluster").agg("id")["id"]
    return {frozenset(ids) for ids in groups}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 99))
def test_row_order_makes_no_difference(battles: pl.DataFrame, seed: int) -> None:
    shuffled = battles.sample(fraction=1, shuffle=True, seed=seed)
    assert partition(shuffled) == partition(battles)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tables())
def test_swapping_sides_makes_no_difference(battles: pl.DataFrame) -> None:
    assert partition(swap_battles(battles)) == partition(battles)


def whole_prompts(battles: pl.DataFrame) -> list[str]:
    turns = battles.select(pl.col("prompt").list.eval(normalized(pl.element())))["prompt"]
    return [" ".join(turn for turn in one if turn) for one in turns.to_list()]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tables())
def test_equal_prompts_are_always_together(battles: pl.DataFrame) -> None:
    clusters = find_duplicates(battles).clusters["cluster"]
    text = pl.DataFrame({"text": whole_prompts(battles)}).with_columns(clusters)
    groups = text.filter(pl.col("text") != "").group_by("text")
    assert groups.agg(pl.col("cluster").n_unique())["cluster"].to_list() == [1] * len(
        text.filter(pl.col("text") != "")["text"].unique()
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(tables())
def test_clusters_are_numbered_by_first_appearance(battles: pl.DataFrame) -> None:
    numbers = find_duplicates(battles).clusters["cluster"].to_list()
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))


@settings(max_examples=25, deadline=None)
@given(tables(), st.sampled_from([0.5, 0.8, 1.0]))
def test_every_pair_holds_and_pairs_give_the_clusters(
    battles: pl.DataFrame, threshold: float
) -> None:
    found = find_duplicates(battles, threshold=threshold)
    place = {name: row for row, name in enumerate(battles["id"])}
    connected = Partition(len(battles))
    for a, b, kind, similarity in found.pairs.iter_rows():
        assert place[a] < place[b]
        assert similarity >= (threshold if kind.startswith("near") else 0.9)
        connected.merge(np.array([place[a]]), np.array([place[b]]))
        if kind == "same responses":
            assert responses(battles, a) == responses(battles, b)
            assert similarity == 1.0
        elif kind.startswith(("same t", "same response", "contained")):
            assert similarity >= 0.9
        else:
            assert similarity <= best_jaccard(battles, a, b)
            assert (similarity == 1.0) or kind.startswith("near")
    assert found.clusters["cluster"].to_list() == connected.numbers().tolist()


def documents(battles: pl.DataFrame, name: str) -> list[set[bytes]]:
    row = battles.filter(pl.col("id") == name)
    first = row.select(normalized(pl.col("prompt").list.drop_nulls().list.first())).item()
    texts = [*whole_prompts(row), first or ""]
    return [shingles_of(text) for text in texts if text]


def shingles_of(text: str) -> set[bytes]:
    content = text.ljust(WIDTH, "\0").encode()
    return {content[start : start + WIDTH] for start in range(len(content) - WIDTH + 1)}


def best_jaccard(battles: pl.DataFrame, a: str, b: str) -> float:
    return max(
        len(first & second) / len(first | second)
        for first in documents(battles, a)
        for second in documents(battles, b)
    )


def responses(battles: pl.DataFrame, name: str) -> list[str]:
    row = battles.row(by_predicate=pl.col("id") == name, named=True)
    sides = [[turn for turn in row[side] if turn] for side in ("response_a", "response_b")]
    return sorted("\n".join(side) for side in sides)


# Processes and real battles

_PROGRAM = """
import json, sys
import polars as pl
from ensemble.battles.duplicates import find_duplicates
lists = pl.List(pl.String)
schema = {"id": pl.String, "prompt": lists, "response_a": lists, "response_b": lists}
found = find_duplicates(pl.DataFrame(json.load(sys.stdin), schema=schema, orient="row"))
print(json.dumps([found.clusters.rows(), found.pairs.rows()]))
"""


@pytest.mark.slow
def test_every_process_finds_the_same() -> None:
    rows = [
        battle(
            str(n), f"{WORDS_APART[n // 2]} once more {'xy'[n % 2]}", LONG_A[: n % 5 * 9], a=LONG_A
        )
        for n in range(60)
    ]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(rows),
            env={**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": threads},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    ]
    assert outputs[0] == outputs[1]
    assert '"near' in outputs[0]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_sources_share_questions_and_do_not_run_together() -> None:
    columns = ["id", "prompt", "response_a", "response_b"]
    files = sorted((DATA / "sources").glob("*.parquet"))
    battles = pl.concat(
        pl.read_parquet(file).select(pl.lit(file.stem).alias("source"), *columns) for file in files
    ).with_columns(pl.format("{}:{}", "source", "id").alias("id"))
    found = find_duplicates(battles)
    clusters = battles.select("id", "source").join(found.clusters, on="id")
    sizes = clusters.group_by("cluster").agg(pl.len(), pl.col("source").n_unique().alias("sources"))
    # 80 questions with many judgments each are one cluster each.
    assert sizes["len"].max() == 67
    assert (sizes["sources"] > 1).sum() >= 3
    assert found.pairs["similarity"].min() >= 0.8  # type: ignore[operator]


@pytest.mark.parametrize("empty", [[], [""], [None]])
def test_battles_without_texts_say_nothing_that_they_could_share(empty: list[str | None]) -> None:
    texts = pl.Series([empty] * 20, dtype=pl.List(pl.String))
    ids = [f"i{number}" for number in range(20)]
    columns = dict.fromkeys(("prompt", "response_a", "response_b"), texts)
    found = find_duplicates(pl.DataFrame({"id": ids, **columns}))
    assert found.clusters["cluster"].n_unique() == 20
    assert not len(found.pairs)
