from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from ensemble.battles.swap import side_pairs, stack_orders, swap_battles, swap_classes

if TYPE_CHECKING:
    from tests.fixture_types import MakeBattles


def test_swapping_twice_gives_the_battles_back(make_battles: MakeBattles) -> None:
    battles = make_battles(5)
    swapped = swap_battles(battles)
    assert swapped.columns == battles.columns
    assert swapped["response_a"].equals(battles["response_b"].alias("response_a"))
    assert swapped["label_b"].equals(battles["label_a"].alias("label_b"))
    assert swap_battles(swapped).equals(battles)


def test_swapping_classes_exchanges_a_and_b() -> None:
    values = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    assert swap_classes(values).tolist() == [[0.2, 0.1, 0.7], [0.3, 0.5, 0.2]]


@given(arrays(np.float32, array_shapes(max_dims=3, max_side=6).map(lambda shape: (*shape, 3))))
def test_swapping_classes_twice_gives_the_values_back(values: np.ndarray) -> None:
    np.testing.assert_array_equal(swap_classes(swap_classes(values)), values)


@pytest.mark.parametrize("orders", [1, 2])
def test_orders_are_stacked_with_the_exchanged_one_below(orders: int) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    stacked = stack_orders(values, orders)
    assert stacked.dtype == values.dtype
    np.testing.assert_array_equal(stacked[:4], values)
    np.testing.assert_array_equal(stacked[4:], swap_classes(values)[: 4 * (orders - 1)])


def test_both_orders_of_swapped_classes_are_the_same_rows_the_other_way_round() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(
        stack_orders(swap_classes(values)), np.roll(stack_orders(values), 4, axis=0)
    )


@pytest.mark.parametrize(
    ("columns", "pairs"),
    [
        (["a_mode_left", "b_mode_left"], [("a_mode_left", "b_mode_left")]),
        (["b_turn_1", "a_turn_1"], [("a_turn_1", "b_turn_1")]),
        (
            ["b_turn_1", "b_turn_2", "a_turn_1", "a_turn_2"],
            [("a_turn_1", "b_turn_1"), ("a_turn_2", "b_turn_2")],
        ),
        (["turn_1", "turn_2", "turn_3"], [("turn_1", "turn_2")]),
        (["a", "_a", "b", "_b", "x_b"], []),
    ],
)
def test_no_column_has_two_others_for_its_other_side(
    columns: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert side_pairs(columns) == pairs
    rows = pl.DataFrame({name: [name] for name in columns})
    swapped = swap_battles(rows)
    assert swap_battles(swapped).equals(rows)
    moved = {(name, swapped[name][0]) for name in columns}
    assert moved - {(name, name) for name in columns} == {*pairs, *((b, a) for a, b in pairs)}
