"""Lists of numbers beside answers: ranks, or the answers in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import DataError
from tests.ensemble.battles.formats.readings import A as FIRST
from tests.ensemble.battles.formats.readings import B as SECOND
from tests.ensemble.battles.formats.readings import check, load, write

if TYPE_CHECKING:
    from pathlib import Path

RANKS = [(["q"], ["a"], ["b"], FIRST), (["q"], ["a"], ["c"], SECOND), (["q"], ["b"], ["c"], SECOND)]
"""[1, 2, 0] as ranks: c, a, b."""
ORDER = [(["q"], ["a"], ["b"], SECOND), (["q"], ["a"], ["c"], SECOND), (["q"], ["b"], ["c"], FIRST)]
"""[1, 2, 0] as an order: b, c, a."""


def _file(path: Path, column: str, numbers: list[Any]) -> Path:
    answers = ["a", "b", "c"][: len(numbers)]
    return write(path / "t.jsonl", [{"prompt": "q", "answers": answers, column: numbers}])


@pytest.mark.parametrize("column", ["ranking", "rankings"])
@pytest.mark.parametrize("numbers", [[1, 2, 0], [2, 3, 1], [1.0, 2.0, 0.0]])
def test_a_list_that_may_be_ranks_or_an_order_is_refused_until_it_is_said(
    tmp_path: Path, column: str, numbers: list[Any]
) -> None:
    path = _file(tmp_path, column, numbers)
    with pytest.raises(DataError, match='say ranking = "ranks" or ranking = "order"'):
        load(path)
    check(load(path, ranking="ranks"), RANKS)
    check(load(path, ranking="order"), ORDER)


@pytest.mark.parametrize("column", ["rank", "ranks"])
def test_columns_of_ranks_go_by_their_name(tmp_path: Path, column: str) -> None:
    path = _file(tmp_path, column, [1, 2, 0])
    check(load(path), RANKS)
    check(load(path, ranking="order"), ORDER)


def test_a_list_that_says_the_same_either_way_is_read(tmp_path: Path) -> None:
    check(load(_file(tmp_path, "ranking", [1, 0])), [(["q"], ["a"], ["b"], SECOND)])
    same = load(_file(tmp_path, "ranking", [0, 2, 1]))
    check(same, [(q, a, b, FIRST) for q, a, b, _ in RANKS[:2]] + [(["q"], ["b"], ["c"], SECOND)])
    tied = load(_file(tmp_path, "ranking", [1, 1, 2]))
    assert tied.battles["label_tie"].sum() == 1  # no order names an answer twice


def test_what_is_no_order_is_refused_as_one(tmp_path: Path) -> None:
    path = _file(tmp_path, "ranking", [1, 1, 2])
    with pytest.raises(DataError, match="does not name each answer once"):
        load(path, ranking="order")
    plain = write(tmp_path / "p.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match="ranking: nothing in this file"):
        load(plain, ranking="order")
