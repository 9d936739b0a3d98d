from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.battles.swap import swap_battles
from ensemble.oof.eval_set import EvalSet
from ensemble.review.find import (
    contradicted_by_duplicates,
    contradicted_by_predictions,
    identical_answers,
)

Make = Callable[..., pl.DataFrame]


def _labeled(battles: pl.DataFrame, labels: list[tuple[float, float, float]]) -> pl.DataFrame:
    return battles.with_columns(
        pl.Series(name, [label[i] for label in labels]) for i, name in enumerate(LABEL_COLUMNS)
    )


def _clusters(battles: pl.DataFrame) -> pl.DataFrame:
    return battles.select("id", cluster=pl.lit(0, pl.Int64))


A, B, TIE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def test_a_swapped_copy_with_the_swapped_label_agrees(make_battles: Make) -> None:
    one = _labeled(make_battles(1), [A])
    copy = swap_battles(one).with_columns(id=pl.lit("copy"))
    both = pl.concat([one, copy])
    assert not len(contradicted_by_duplicates(both, _clusters(both)))
    odd = pl.concat([one, _labeled(copy, [A])])
    found = contradicted_by_duplicates(odd, _clusters(odd))
    assert found["id"].to_list() == ["arena-0", "copy"]
    assert found["others"].to_list() == ["copy", "arena-0"]
    assert found["label"].to_list() == ["A", "A"]


def test_case_and_white_space_make_no_other_answer(make_battles: Make) -> None:
    one = _labeled(make_battles(1), [A])
    copy = one.with_columns(
        id=pl.lit("copy"),
        response_a=pl.col("response_a").list.eval("  " + pl.element().str.to_uppercase() + "\n"),
    )
    both = pl.concat([one, _labeled(copy, [TIE])])
    assert len(contradicted_by_duplicates(both, _clusters(both))) == 2


def test_other_clusters_and_other_answers_are_no_duplicates(make_battles: Make) -> None:
    rows = _labeled(make_battles(3), [A, B, TIE])
    assert not len(contradicted_by_duplicates(rows, _clusters(rows)))
    copies = pl.concat([rows[:1], _labeled(rows[:1].with_columns(id=pl.lit("c")), [B])])
    apart = copies.select("id", cluster=pl.Series([0, 1]))
    assert not len(contradicted_by_duplicates(copies, apart))


def test_identical_answers_are_ties(make_battles: Make) -> None:
    rows = _labeled(make_battles(3), [A, TIE, B]).with_columns(response_b=pl.col("response_a"))
    found = identical_answers(pl.concat([rows, _labeled(make_battles(1, source="x"), [A])]))
    assert found["id"].to_list() == ["arena-0", "arena-2"]
    assert set(found["suggestion"]) == {"tie"}


def test_the_most_contradicted_come_first_and_nothing_else_comes(make_battles: Make) -> None:
    rows = _labeled(make_battles(5), [A, A, B, TIE, A]).with_columns(
        fold=pl.lit(0, pl.Int64), cluster=pl.int_range(5)
    )
    predicted = np.array(
        [[0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.98, 0.01, 0.01], [0.5, 0.3, 0.2], [np.nan] * 3]
    )
    found = contradicted_by_predictions(EvalSet(rows), predicted, 10)
    assert found["id"].to_list() == ["arena-2", "arena-0", "arena-3"]
    assert found["suggestion"].to_list() == ["A", "B", "A"]
    assert contradicted_by_predictions(EvalSet(rows), predicted, 1)["id"].to_list() == ["arena-2"]
