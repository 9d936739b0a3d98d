from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ensemble_plugins.ngrams as ngrams
from ensemble_plugins.ngrams import BUCKET_BITS, count_char_ngrams, count_word_ngrams

GOLDEN_CHARS = [62950, 446817, 910775]
GOLDEN_WORDS = [343643, 365078, 591889, 642317, 965491]
TEXTS = st.lists(st.text(max_size=30), max_size=6)


def _expected_counts(tokens: list[str], least: int, greatest: int) -> list[int]:
    grams = Counter(
        tuple(tokens[i : i + n])
        for n in range(least, greatest + 1)
        for i in range(len(tokens) - n + 1)
    )
    return sorted(grams.values())


@settings(deadline=None)
@given(TEXTS)
def test_char_counts_are_those_of_a_counter(texts: list[str]) -> None:
    rows = count_char_ngrams(texts, (2, 3))
    assert rows.shape == (len(texts), 1 << BUCKET_BITS)
    for index, text in enumerate(texts):
        # Buckets rather than n-grams are counted: two n-grams may share one by chance.
        expected = Counter(bucket for n in (2, 3) for bucket in _buckets(text.lower(), n))
        row = rows[[index]]
        assert dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) == expected


def _buckets(text: str, n: int) -> list[int]:
    """Find the bucket of each n-gram of a text, each counted as a text of its own."""
    alone = count_char_ngrams([text[i : i + n] for i in range(len(text) - n + 1)], (n, n))
    assert (np.diff(alone.indptr) == 1).all()
    return [int(bucket) for bucket in alone.indices]


def test_ngrams_of_a_long_text_fall_into_buckets_of_their_own_but_for_a_few() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(3000))
    # By chance 4.3 pairs share one of the 2**20 buckets; ten times as many would be a poor hash.
    assert count_char_ngrams([text], (2, 2)).nnz > 2999 - 43


def test_word_counts_know_punctuation_and_line_ends() -> None:
    rows = count_word_ngrams(["One two, one\ntwo!", ""], (1, 2))
    tokens = ["one", "two", ",", "one", "\n", "two", "!"]
    assert sorted(rows[[0]].data.tolist()) == _expected_counts(tokens, 1, 2)
    assert rows[[1]].nnz == 0


def test_ngrams_do_not_cross_from_one_text_to_the_next() -> None:
    apart = count_char_ngrams(["ab", "cd"], (2, 2))
    joined = count_char_ngrams(["abcd"], (2, 2))
    assert apart.nnz == 2
    assert joined.nnz == 3
    assert set(apart.indices) < set(joined.indices)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_alone_has_the_counts_it_has_among_others(texts: list[str]) -> None:
    rows = count_char_ngrams(texts, (1, 3))
    for index, text in enumerate(texts):
        alone = count_char_ngrams([text], (1, 3))
        np.testing.assert_array_equal(rows[[index]].indices, alone.indices)
        np.testing.assert_array_equal(rows[[index]].data, alone.data)


def test_chunks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"some text number {number}" * number for number in range(12)]
    whole = count_char_ngrams(texts, (2, 3))
    monkeypatch.setattr(ngrams, "_CHUNK_TOKENS", 50)
    pieces = count_char_ngrams(texts, (2, 3))
    assert (whole != pieces).nnz == 0


def test_buckets_are_the_same_on_every_machine() -> None:
    assert count_char_ngrams(["abc"], (2, 3)).indices.tolist() == GOLDEN_CHARS
    assert count_word_ngrams(["good answer."], (1, 2)).indices.tolist() == GOLDEN_WORDS


def test_case_is_ignored_and_other_scripts_are_not() -> None:
    rows = count_char_ngrams(["HELLO", "hello", "привет", "🚀🚀"], (2, 2))
    assert (rows[[0]] != rows[[1]]).nnz == 0
    assert rows[[2]].nnz == 5
    assert rows[[3]].data.tolist() == [1.0]
