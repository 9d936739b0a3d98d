from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.battles import similarity
from ensemble.battles.shingles import WIDTH, batches, shingle_lists, shingle_sets
from ensemble.battles.similarity import jaccard

TEXTS = st.lists(st.text("abé漢👩 ", min_size=1, max_size=30), min_size=1, max_size=12)


def by_definition(text: str) -> set[int]:
    content = text.ljust(WIDTH, "\0").encode()
    starts = range(len(content) - WIDTH + 1)
    return {int.from_bytes(content[start : start + WIDTH], "little") for start in starts}


@given(TEXTS)
def test_sets_are_those_of_the_definition(texts: list[str]) -> None:
    sets = shingle_sets(pl.Series(texts))
    assert sets.shape == (len(texts), 1 << 8 * WIDTH)
    rows = [sets.indices[start:stop].tolist() for start, stop in pairwise(sets.indptr)]
    assert rows == [sorted(by_definition(text)) for text in texts]


@given(TEXTS)
def test_lists_keep_order_and_repeats(texts: list[str]) -> None:
    shingles, offsets = shingle_lists(pl.Series(texts))
    sets = shingle_sets(pl.Series(texts))
    assert offsets[0] == 0
    assert offsets[-1] == len(shingles)
    for text in range(len(texts)):
        row = set(sets.indices[sets.indptr[text] : sets.indptr[text + 1]].tolist())
        assert set(shingles[offsets[text] : offsets[text + 1]].tolist()) == row


def test_no_text_at_all() -> None:
    sets = shingle_sets(pl.Series([], dtype=pl.String))
    none = np.empty(0, dtype=np.int64)
    assert sets.shape[0] == 0
    assert jaccard(sets, none, none).tolist() == []


@pytest.mark.parametrize("table_size", [0, 1 << 26], ids=["merged lists", "bits"])
@settings(max_examples=40)
@given(texts=TEXTS)
def test_jaccard_is_exact_for_all_pairs(table_size: int, texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_LARGEST_TABLE", table_size)
        patch.setattr(similarity, "_NUMBERS_AT_A_TIME", 50)
        left, right = np.nonzero(~np.eye(len(texts), dtype=np.bool_))
        sets = shingle_sets(pl.Series(texts))
        found = jaccard(sets, left, right)
    rows = [by_definition(text) for text in texts]
    expected = [
        len(rows[a] & rows[b]) / len(rows[a] | rows[b]) for a, b in zip(left, right, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)


def test_jaccard_golden() -> None:
    sets = shingle_sets(pl.Series(["abcdefg", "abcdefh", "hi", "hi there"]))
    left, right = np.array([0, 2]), np.array([1, 3])
    assert jaccard(sets, left, right).tolist() == [0.5, 0.0]


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_batches_cover_everything_within_the_budget(sizes: list[int], budget: int) -> None:
    cuts = list(batches(np.array(sizes, dtype=np.int64), budget))
    assert [place for cut in cuts for place in range(cut.start, cut.stop)] == list(
        range(len(sizes))
    )
    assert all(sum(sizes[cut]) <= budget or cut.stop - cut.start == 1 for cut in cuts)
