"""What holds of the search for duplicates whatever the battles are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import find_duplicates
from ensemble.battles.partition import Partition
from ensemble.battles.swap import swap_battles
from tests.ensemble.battles.alike_battles import (
    LONG_A,
    LONG_B,
    QUESTION,
    SCHEMA,
    WORDS_APART,
    best_jaccard,
    make_battle,
    whole_prompts,
)

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"


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
        make_battle(
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
