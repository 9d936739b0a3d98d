from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from ensemble import errors
from ensemble_plugins.language_model.train.rows import Items, holdout_split

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")


@pytest.mark.parametrize("orders", [1, 2])
def test_items_are_battles_in_each_order_with_classes_in_their_places(orders: int) -> None:
    teacher = np.arange(15, dtype=np.float32).reshape(5, 3)
    offset, weight = np.random.default_rng(0).normal(size=(5, 3)), np.array([1, 1, 1, 1, 6])
    rows = tiny.labeled_rows(5, orders=orders, teacher=teacher, offset=offset, weight=weight)
    items = Items.of(rows)
    assert len(items.tokens) == len(items.labels) == len(items.weight) == 5 * orders
    np.testing.assert_array_equal(items.labels[:5], rows.labels)
    np.testing.assert_array_equal(items.teacher[:5], teacher)  # type: ignore[index]
    np.testing.assert_array_equal(items.offset[:5], offset)  # type: ignore[index]
    np.testing.assert_allclose(items.weight[:5], [0.5, 0.5, 0.5, 0.5, 3.0])
    if orders == 2:
        np.testing.assert_array_equal(items.labels[5:], rows.labels[:, [1, 0, 2]])
        np.testing.assert_array_equal(items.teacher[5:], teacher[:, [1, 0, 2]])  # type: ignore[index]
        np.testing.assert_array_equal(items.offset[5:], offset[:, [1, 0, 2]])  # type: ignore[index]
        np.testing.assert_allclose(items.weight[5:], items.weight[:5])
    lengths = sum(tokens.lengths for tokens in rows.orders)
    np.testing.assert_array_equal(items.battle_lengths(1), lengths)
    rounded = sum(16 * -(-tokens.lengths // 16) for tokens in rows.orders)
    np.testing.assert_array_equal(items.battle_lengths(16), rounded)
    battles = np.array([3, 0])
    assert items.of_battles(battles).tolist() == [3, 0, 8, 5][: 2 * orders]


def _rows(groups: Any) -> Any:
    groups = np.asarray(groups, dtype=np.int64)
    count = len(groups)
    # The weight of a row is its number: so it is known after it was taken.
    return tiny.labeled_rows(count, groups=groups, weight=np.arange(count) + 1.0)


@given(
    groups=st.lists(st.integers(-3, 12), min_size=4, max_size=60).filter(lambda g: len(set(g)) > 1),
    share=st.sampled_from([0.1, 0.2, 0.34, 0.5]),
    seed=st.integers(0, 5),
)
def test_rows_are_carved_by_whole_groups(groups: list[int], share: float, seed: int) -> None:
    kept, stops = holdout_split(
        _rows(groups),
        tiny.settings(early_stopping=True, patience=1, validation_fraction=share),
        seed,
    )
    assert stops is not None
    assert set(kept.groups).isdisjoint(stops.groups)
    numbers = sorted([*kept.weight, *stops.weight])
    assert numbers == [i + 1.0 for i in range(len(groups))]
    assert len(kept) > 0
    assert len(stops) > 0
    again = holdout_split(
        _rows(groups),
        tiny.settings(early_stopping=True, patience=1, validation_fraction=share),
        seed,
    )[1]
    assert again is not None
    assert again.weight.tolist() == stops.weight.tolist()


@given(
    groups=st.lists(st.integers(0, 12), min_size=6, max_size=60),
    seed=st.integers(0, 5),
)
def test_only_judged_rows_are_looked_at_and_their_groups_are_not_learned(
    groups: list[int], seed: int
) -> None:
    eval_mask = np.arange(len(groups)) % 3 == 0
    rows = replace(_rows(groups), eval_mask=eval_mask)
    chosen = tiny.settings(early_stopping=True, patience=1, validation_fraction=0.25)
    if len(np.unique(np.array(groups)[eval_mask])) < 2:
        with pytest.raises(errors.LearnerError, match="battles of two groups"):
            holdout_split(rows, chosen, seed)
        return
    kept, stops = holdout_split(rows, chosen, seed)
    assert stops is not None
    assert stops.eval_mask is not None
    assert stops.eval_mask.all()
    shared = np.isin(groups, stops.groups)
    assert kept.weight.tolist() == [i + 1.0 for i in np.flatnonzero(~shared)]
    assert len(kept) > 0


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25])
def test_about_the_share_is_carved(share: float) -> None:
    groups = np.random.default_rng(0).integers(0, 150, 400)
    chosen = tiny.settings(early_stopping=True, patience=2, validation_fraction=share)
    _, stops = holdout_split(_rows(groups), chosen, 1)
    assert stops is not None
    assert len(stops) / 400 == pytest.approx(share, rel=0.25)
    other = holdout_split(_rows(groups), chosen, 2)[1]
    assert other is not None
    assert set(stops.groups) != set(other.groups)


def test_a_large_group_is_learned_and_not_stopped_by() -> None:
    groups = [0] * 60 + list(range(1, 61))
    for seed in range(5):
        kept, stops = holdout_split(
            _rows(groups),
            tiny.settings(early_stopping=True, patience=1, validation_fraction=0.2),
            seed,
        )
        assert stops is not None
        assert 0 in kept.groups
        assert len(np.unique(stops.groups)) >= 10


def test_without_early_stopping_nothing_is_carved() -> None:
    rows = _rows([0, 0, 1, 2])
    kept, stops = holdout_split(rows, tiny.settings(early_stopping=False), 1)
    assert kept is rows
    assert stops is None


def test_a_single_group_is_refused() -> None:
    with pytest.raises(
        errors.LearnerError, match="early stopping needs battles of two groups"
    ) as caught:
        holdout_split(_rows([4, 4, 4]), tiny.settings(early_stopping=True, patience=1), 1)
    assert "early_stopping = false" in str(caught.value.hint)


def test_few_groups_make_a_larger_share_and_no_error() -> None:
    kept, stops = holdout_split(
        _rows([0, 0, 1, 1, 2]),
        tiny.settings(early_stopping=True, patience=1, validation_fraction=0.1),
        1,
    )
    assert stops is not None
    assert len(np.unique(stops.groups)) == 1
    assert len(np.unique(kept.groups)) == 2
