"""The search for duplicates looks at a few texts at a time: it finds the same, in little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble import find_duplicates
from ensemble.battles import (
    compared,
    containment,
    fingerprints,
    gram_index,
    looked,
    passage_keys,
    template_cuts,
    template_runs,
)
from tests.ensemble.battles.alike_battles import SCHEMA

BOUNDS = [
    (compared, "_BYTES_AT_A_TIME", 700),
    (containment, "_TEXTS_AT_A_TIME", 2),
    (fingerprints, "_TEXTS_AT_A_TIME", 3),
    (gram_index, "_ENTRIES_AT_A_TIME", 50),
    (gram_index, "_PAIRS_AT_A_TIME", 20),
    (looked, "_LETTERS_AT_A_TIME", 300),
    (passage_keys, "BLOCK", 40),
    (passage_keys, "_FREED_TOGETHER", 100),
    (template_cuts, "_TEXTS_AT_A_TIME", 3),
    (template_runs, "_PLACES_AT_A_TIME", 60),
]
WORDS = [f"{first}{last}" for first in ("am", "but", "漢", "ещё", "é", "tr") for last in "enortz"]


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(f"{draw.choice(WORDS)}{draw.randrange(30)}" for _ in range(words))


def alike_battles(seed: int) -> pl.DataFrame:
    """Battles in templates, told again in part, in one another's answers, and on their own."""
    draw = random.Random(seed)
    template, answers = sentence(draw, 30), [sentence(draw, 60) for _ in range(12)]
    asked = [sentence(draw, 8 + n) for n in range(30)]
    rows = []
    for n in range(90):
        prompt = draw.choice(asked) if n % 3 else sentence(draw, 12)
        if n % 9 == 1:
            prompt = f"{sentence(draw, 40)} {asked[n // 9]} {sentence(draw, 20)}"
        if n % 4 == 0:
            prompt = f"{template} {prompt}"
        turns = [prompt, sentence(draw, 9)] if n % 7 == 0 else [prompt]
        a = f"user: {draw.choice(asked)}" if n % 11 == 0 else sentence(draw, 40)
        b = f"{sentence(draw, 5)} {draw.choice(answers)}" if n % 5 == 0 else sentence(draw, 40)
        rows.append((f"id-{n}", turns, [a, ""][: len(turns)], [b, ""][: len(turns)]))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000))
def test_a_few_at_a_time_finds_what_all_at_once_does(seed: int) -> None:
    battles = alike_battles(seed)
    whole = find_duplicates(battles)
    kinds = set(whole.pairs["kind"])
    assert {"contained prompt", "contained response"} <= kinds
    with pytest.MonkeyPatch.context() as patch:
        for module, name, bound in BOUNDS:
            assert bound < getattr(module, name)
            patch.setattr(module, name, bound)
        parts = find_duplicates(battles)
    assert parts.pairs.equals(whole.pairs)
    assert parts.clusters.equals(whole.clusters)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=6), st.integers(1, 9))
def test_keys_are_gathered_in_order_and_each_once(grams: list[list[int]], bound: int) -> None:
    parts, expected, renumbered = [], set(), []
    for number, values in enumerate(grams):
        hashes = np.array(values, dtype=np.uint64) << np.uint64(passage_keys.NUMBER_BITS)
        parts.append(passage_keys.with_numbers(hashes, np.array(values, dtype=np.int64) % 3))
        renumbered.append(np.array([3 * number, -1, number], dtype=np.int64))
        expected |= {
            (v << 24) | (3 * number if v % 3 == 0 else number) for v in values if v % 3 - 1
        }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passage_keys, "BLOCK", bound)
        found = passage_keys.gathered(parts, renumbered)
        cut = [block.tolist() for block in passage_keys.blocks(found)]
        counts = passage_keys.count_keys(found, 20)
    assert parts == []
    assert found.tolist() == sorted(expected)
    assert [key for block in cut for key in block] == sorted(expected)
    grams_of = [{key >> 24 for key in block} for block in cut]
    assert sum(map(len, grams_of)) == len(set().union(*grams_of))
    assert counts.tolist() == [sum(key % (1 << 24) == n for key in expected) for n in range(20)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1000)), max_size=60))
def test_packed_rows_are_unpacked_in_place(entries: list[tuple[int, int]]) -> None:
    packed = np.array([(row << 40) | column for row, column in entries], dtype=np.uint64)
    columns, offsets = passage_keys.as_rows(packed, 10)
    rows = np.repeat(np.arange(10), np.diff(offsets))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == sorted(entries)


_PROGRAM = """
import resource, sys
from pathlib import Path
import ensemble.pipeline
from ensemble.battles.duplicates import find_duplicates
from ensemble.run_dir.tables import read_table
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
find_duplicates(read_table(Path(sys.argv[1])))
print(peak() - before)
"""
MOST_TIMES_THE_TEXT = 3.0
"""With the text itself: 2.1, and 6.2 where all fingerprints are held several times at once."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="bytes are counted as Linux does")
def test_the_search_holds_little_beside_the_text(tmp_path: Path) -> None:
    draw = random.Random(5)
    pool = sentence(draw, 600_000)

    def texts(length: int) -> list[list[str]]:
        starts = (draw.randrange(len(pool) - length) for _ in range(16_000))
        return [[f"{pool[start : start + length]} {start}"] for start in starts]

    columns = {"prompt": texts(700), "response_a": texts(1_150), "response_b": texts(1_150)}
    battles = pl.DataFrame({"id": [str(n) for n in range(16_000)], **columns})
    battles.write_parquet(tmp_path / "battles.parquet")
    size = sum(len(text.encode()) for cells in columns.values() for [text] in cells)
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "battles.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(found.stdout) < MOST_TIMES_THE_TEXT * size, f"{int(found.stdout) / size:.2f} times"
