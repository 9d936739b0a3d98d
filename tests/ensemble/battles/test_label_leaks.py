"""Columns that tell the label, and columns that only say something of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from ensemble.battles.label_leaks import label_leaks
from ensemble.battles.privileged import read_columns
from tests.fixture_types import MakeBattles

ROWS = 200


@pytest.fixture
def battles(make_battles: MakeBattles) -> pl.DataFrame:
    return make_battles(ROWS, prompts=10)


def _found(battles: pl.DataFrame, **columns: Any) -> dict[tuple[str, ...], bool]:
    metadata = pl.DataFrame({"id": battles["id"], **columns})
    table = read_columns(battles, metadata, [*columns]).table
    return {leak.columns: leak.is_certain for leak in label_leaks(battles, table, [*columns])}


def _winners(battles: pl.DataFrame) -> Any:
    return battles.select("label_a", "label_b", "label_tie").to_numpy().argmax(axis=1)


def test_the_label_in_other_words_is_certain(battles: pl.DataFrame) -> None:
    winner = _winners(battles)
    assert _found(battles, words=np.array(["left", "right", "neither"])[winner])[("words",)]
    assert _found(battles, apart=(winner == 2))[("apart",)]
    assert _found(battles, shifted=(winner + 1) % 3)[("shifted",)]
    # Of two values neither tells, and both together do.
    half = np.random.default_rng(9).integers(3, size=ROWS)
    both = _found(battles, one=half, two=(winner - half) % 3)
    assert both == {("one", "two"): True}


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_whose_greater_one_is_the_winners_are_found(
    battles: pl.DataFrame, sign: int
) -> None:
    winner, rng = _winners(battles), np.random.default_rng(1)
    points = {
        f"points_{side}": sign * (winner == place) + rng.random(ROWS) / 9
        for place, side in enumerate("ab")
    }
    assert _found(battles, **points)[("points_a", "points_b")]


def test_one_number_that_divides_the_labels_is_found(battles: pl.DataFrame) -> None:
    """Each row has a number of its own, so that no other row of its value names its label."""
    winner, rng = _winners(battles), np.random.default_rng(5)
    margin = np.array([1.0, -1.0, 0.0])[winner] + rng.uniform(-0.4, 0.4, ROWS)
    assert _found(battles, margin=margin) == {("margin",): True}
    assert _found(battles, reversed=7.0 - margin) == {("reversed",): True}
    assert _found(battles, closeness=1 - np.abs(margin)) == {("closeness",): True}
    noisy = np.where(rng.random(ROWS) < 0.06, -margin, margin)
    assert _found(battles, noisy=noisy) == {("noisy",): False}


def test_labels_that_are_numbered_are_found(battles: pl.DataFrame) -> None:
    words = np.array(["left was better", "right was better", "equal"])[_winners(battles)]
    numbered = [f"{said}, note {i}" for i, said in enumerate(words)]
    assert _found(battles, note=numbered) == {("note",): True}


def test_numbers_of_both_sides_are_found_whatever_their_names(battles: pl.DataFrame) -> None:
    winner, rng = _winners(battles), np.random.default_rng(1)
    first, second = ((winner == place) + rng.random(ROWS) / 9 for place in (0, 1))
    strength = 9 * rng.random(ROWS)
    found = _found(battles, p1=first + strength, other=strength, p2=second + strength)
    assert found == {("p1", "p2"): True}


def test_sides_are_found_in_whatever_order_they_stand(battles: pl.DataFrame) -> None:
    half = np.random.default_rng(9).integers(3, size=ROWS)
    sides = {"verdict_b": half, "verdict_a": (_winners(battles) - half) % 3}
    turns = np.random.default_rng(4).integers(50, size=ROWS)
    assert _found(battles, **sides, turns=turns)[("verdict_a", "verdict_b")]


def _won_by(battles: pl.DataFrame, shares: list[float]) -> pl.DataFrame:
    winner = np.random.default_rng(6).choice(3, size=ROWS, p=shares)
    labels = np.eye(3, dtype=np.float32)[winner]
    names = ("label_a", "label_b", "label_tie")
    return battles.with_columns(**dict(zip(names, labels.T, strict=True)))


def test_a_winner_that_is_nearly_always_the_same_makes_no_number_suspect(
    battles: pl.DataFrame,
) -> None:
    rng, uneven = np.random.default_rng(8), _won_by(battles, [0.09, 0.9, 0.01])
    numbers = {
        "turns": rng.integers(9, size=ROWS),
        "time": 1.7e9 + rng.random(ROWS),  # always greater
        "length": rng.integers(100, 9_000, size=ROWS),
    }
    assert _found(uneven, **numbers) == {}
    # But numbers that do tell the rarer winner are found.
    margin = np.array([1.0, -1.0, 0.0])[_winners(uneven)] + rng.uniform(-0.4, 0.4, ROWS)
    assert _found(uneven, margin=margin) == {("margin",): True}


def test_a_noisy_copy_is_warned_of(battles: pl.DataFrame) -> None:
    rng = np.random.default_rng(2)
    noisy = np.where(rng.random(ROWS) < 0.06, rng.integers(3, size=ROWS), _winners(battles))
    assert _found(battles, second=noisy) == {("second",): False}


def test_names_and_other_facts_tell_no_label(battles: pl.DataFrame) -> None:
    rng, winner = np.random.default_rng(3), _winners(battles)
    strength = rng.integers(9, size=(ROWS, 2))
    facts = {
        "model_a": [f"m{i}" for i in strength[:, 0]],
        "model_b": [f"m{i}" for i in strength[:, 1]],
        "each": np.arange(ROWS),  # a value of its own for each row settles nothing of others
        "constant": np.ones(ROWS),
        "time": rng.random(ROWS),
        "rare": np.arange(ROWS) == int(np.flatnonzero(winner == 2)[0]),
        "0": rng.integers(4, size=ROWS),
        "leaning": np.where(rng.random(ROWS) < 0.4, winner, rng.integers(3, size=ROWS)),
    }
    named = battles.with_columns(
        model_a=pl.Series(facts["model_a"]), model_b=pl.Series(facts["model_b"])
    )
    assert _found(named, **facts) == {}


def test_few_rows_tell_nothing(make_battles: MakeBattles) -> None:
    few = make_battles(20, prompts=10)
    assert _found(few, copy=_winners(few)) == {}
