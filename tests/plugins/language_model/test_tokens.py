from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ensemble_plugins.language_model.text.tokenization as tokenization
from ensemble_plugins.language_model.text.tokenization import BattleTokenizer
from ensemble_plugins.language_model.text.tokens import Tokens

pytest.importorskip("transformers")
tiny = importlib.import_module("tests.plugins.language_model.tiny_tokenizers")

if TYPE_CHECKING:
    from pathlib import Path

Battles = tuple[list[list[str | None]], list[list[str | None]], list[list[str | None]]]

TINY: dict[str, Any] = {"gemma2": tiny.gemma2_tokenizer(), "llama3": tiny.llama3_tokenizer()}


def _rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.row(i).tolist() for i in range(len(tokens))]


class _Counting(BattleTokenizer):
    """Notes the texts that were tokenized and not looked up."""

    def __init__(self, directory: Path | None = None, family: str = "llama3") -> None:
        super().__init__(TINY[family], family, truncation="left", cache_directory=directory)
        self.seen: list[str] = []

    def _run_tokenizer(self, texts: list[str]) -> Tokens:
        self.seen += texts
        return super()._run_tokenizer(texts)


MANY: Battles = (
    [["one", "two"], ["one"], ["three"]],
    [["yes", "no"], ["no"], ["hello world"]],
    [["no", None], ["yes"], ["good"]],
)
TEXTS = sorted(["one", "two", "three", "yes", "no", "hello world", "good", ""])


def test_each_text_is_tokenized_once() -> None:
    model = _Counting()
    rows = model.encode(*MANY, max_length=200)
    assert sorted(model.seen) == TEXTS
    model.encode(*MANY, max_length=200, swapped=True)
    model.encode(*MANY, max_length=90)
    assert sorted(model.seen) == TEXTS
    assert _rows(model.encode(*MANY, max_length=200)) == _rows(rows)


def test_stored_texts_are_not_tokenized_again(tmp_path: Path) -> None:
    first, second = _Counting(tmp_path), _Counting(tmp_path)
    rows = first.encode(*MANY, max_length=200)
    assert _rows(second.encode(*MANY, max_length=200)) == _rows(rows)
    assert second.seen == []
    # Texts, not calls, are what is stored: other rows need only what is new in them.
    third = _Counting(tmp_path)
    third.encode([["two"]], [["new"]], [["no"]], max_length=200)
    assert third.seen == ["new"]


def test_small_chunks_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _Counting().encode(*MANY, max_length=200)
    monkeypatch.setattr(tokenization, "_CHUNK_CHARACTERS", 5)
    assert _rows(_Counting(tmp_path).encode(*MANY, max_length=200)) == _rows(rows)
    again = _Counting(tmp_path)
    assert _rows(again.encode(*MANY, max_length=200)) == _rows(rows)
    assert again.seen == []
    assert len(list(tmp_path.rglob("*.safetensors"))) > 2


@pytest.mark.parametrize("damage", ["altered", "cut off", "empty"])
def test_a_damaged_file_is_removed_and_made_anew(tmp_path: Path, damage: str) -> None:
    rows = _Counting(tmp_path).encode(*MANY, max_length=200)
    (path,) = tmp_path.rglob("*.safetensors")
    content = path.read_bytes()
    altered = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    path.write_bytes({"altered": altered, "cut off": content[:-4], "empty": b""}[damage])
    model = _Counting(tmp_path)
    assert _rows(model.encode(*MANY, max_length=200)) == _rows(rows)
    assert sorted(model.seen) == TEXTS
    assert path.read_bytes() == content


def test_tokenizers_and_versions_do_not_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Counting(tmp_path).encode(*MANY, max_length=200)
    other = _Counting(tmp_path, "gemma2")
    other.encode(*MANY, max_length=200)
    assert sorted(other.seen) == TEXTS
    monkeypatch.setattr(tokenization, "VERSION", tokenization.VERSION + 1)
    later = _Counting(tmp_path)
    later.encode(*MANY, max_length=200)
    assert sorted(later.seen) == TEXTS


def test_many_may_write_at_once(tmp_path: Path) -> None:
    prompts, a, b = ([[f"{side} {i}"] for i in range(60)] for side in ("one", "yes", "no"))
    expected = _rows(_Counting().encode(prompts, a, b, max_length=200))

    def work(first: int) -> list[list[int]]:
        rows = slice(first, first + 30)
        return _rows(_Counting(tmp_path).encode(prompts[rows], a[rows], b[rows], max_length=200))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [0, 10, 20, 30] * 2))
    assert found == [expected[first : first + 30] for first in [0, 10, 20, 30] * 2]
    last = _Counting(tmp_path)
    assert _rows(last.encode(prompts, a, b, max_length=200)) == expected
    assert last.seen == []


def test_tokens_are_ragged_rows() -> None:
    rows = [np.array(row, dtype=np.int32) for row in ([1, 2, 3], [], [4])]
    tokens = Tokens.from_rows(rows)
    assert tokens.ids.dtype == np.int32
    assert tokens.offsets.dtype == np.int64
    assert tokens.ids.tolist() == [1, 2, 3, 4]
    assert tokens.offsets.tolist() == [0, 3, 3, 4]
    assert tokens.lengths.tolist() == [3, 0, 1]
    assert _rows(tokens.take([2, 0, 2])) == [[4], [1, 2, 3], [4]]
    assert _rows(Tokens.concatenate([tokens, Tokens.from_rows([]), tokens.take([2])])) == [
        [1, 2, 3],
        [],
        [4],
        [4],
    ]
    assert len(Tokens.concatenate([])) == 0


@pytest.mark.parametrize("row", [-1, 1])
def test_a_row_that_is_not_there_is_an_error(row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of 1"):
        Tokens.from_rows([np.array([1], dtype=np.int32)]).row(row)
