"""Battles that are alike in some part."""

from __future__ import annotations

import random

import polars as pl

from ensemble import find_duplicates
from ensemble.battles.normalization import normalized
from ensemble.battles.shingles import WIDTH

LIST = pl.List(pl.String)
SCHEMA = {"id": pl.String(), "prompt": LIST, "response_a": LIST, "response_b": LIST}
LONG_A = "the first long answer goes on and on about bees " * 3
LONG_B = "another answer, about wasps this time, is as long " * 3

Row = tuple[str, list[str | None], list[str | None], list[str | None]]
DRAW = random.Random(9)
WORDS_APART = ["".join(DRAW.choices("bcdfglmnprstaeiou", k=14)) for _ in range(60)]
QUESTION = "How long does a honey bee live, and how far does it fly in its life?"


def make_battle(name: str, *prompt: str | None, a: str | None = None, b: str | None = None) -> Row:
    rest = [""] * (len(prompt) - 1)
    return name, list(prompt), [a, *rest], [b, *rest]


def make_table(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def numbers(*rows: Row, threshold: float = 0.8) -> list[int]:
    found = find_duplicates(make_table(*rows), threshold=threshold)
    assert found.clusters["id"].to_list() == [row[0] for row in rows]
    return found.clusters["cluster"].to_list()


def whole_prompts(battles: pl.DataFrame) -> list[str]:
    turns = battles.select(pl.col("prompt").list.eval(normalized(pl.element())))["prompt"]
    return [" ".join(turn for turn in one if turn) for one in turns.to_list()]


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
