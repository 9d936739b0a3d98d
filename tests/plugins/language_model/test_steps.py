from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ensemble_plugins.language_model.train.steps import plan_parts, plan_steps, useful_budget

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60).map(np.array)
SIZES = st.integers(1, 20)
BUDGETS = st.integers(1, 2000)


@given(lengths=LENGTHS, size=SIZES, budget=BUDGETS, packed=st.booleans(), seed=st.integers(0, 9))
def test_every_battle_is_in_one_part_that_keeps_to_the_budget(
    lengths: np.ndarray, size: int, budget: int, packed: bool, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(lengths))
    steps = plan_steps(lengths, order, batch_size=size, budget=budget, packed=packed)
    parts = [part for step in steps for part in step]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    assert all(step for step in steps)
    for part in parts:
        used = lengths[part].sum() if packed else lengths[part].max() * len(part)
        assert used <= budget or len(part) == 1


@given(lengths=LENGTHS, size=SIZES, budget=BUDGETS)
def test_steps_of_padded_batches_hold_the_battles_of_their_place_in_the_order(
    lengths: np.ndarray, size: int, budget: int
) -> None:
    order = np.random.default_rng(1).permutation(len(lengths))
    steps = plan_steps(lengths, order, batch_size=size, budget=budget, packed=False)
    for number, step in enumerate(steps):
        wanted = order[number * size : (number + 1) * size]
        assert sorted(np.concatenate(step).tolist()) == sorted(wanted.tolist())


@pytest.mark.parametrize("token_budget", [500, 2_000, 8_000, 1_000_000])
@pytest.mark.parametrize("size", [4, 16, 64])
def test_steps_of_packs_hold_about_as_many_battles_whatever_the_budget(
    size: int, token_budget: int
) -> None:
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.lognormal(5.0, 0.8, 3000).astype(int) + 20, 1024)
    budget = useful_budget(lengths, size, token_budget)
    steps = plan_steps(lengths, rng.permutation(3000), batch_size=size, budget=budget, packed=True)
    counts = np.array([sum(map(len, step)) for step in steps])
    assert counts.mean() == pytest.approx(size, rel=0.5)
    assert np.quantile(counts, 0.95) <= 3 * size
    if budget < token_budget:  # room to spare: a step is about one pack
        assert len(steps) * size >= 0.7 * len(lengths)


def test_packs_are_nearly_full() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 400, 2000)
    steps = plan_steps(lengths, rng.permutation(2000), batch_size=64, budget=4096, packed=True)
    packs = [lengths[part].sum() for step in steps for part in step]
    assert np.mean(packs[:-8]) > 0.93 * 4096


def test_the_budget_is_what_a_step_holds_but_never_less_than_a_battle() -> None:
    lengths = np.array([10, 20, 60])
    assert useful_budget(lengths, 4, 1000) == 120
    assert useful_budget(lengths, 4, 100) == 100
    assert useful_budget(lengths, 1, 1000) == 60


@given(lengths=LENGTHS, budget=BUDGETS, packed=st.booleans())
def test_parts_are_of_the_battles_that_are_wanted(
    lengths: np.ndarray, budget: int, packed: bool
) -> None:
    wanted = np.arange(0, len(lengths), 2)
    parts = plan_parts(lengths, wanted, budget, packed=packed)
    assert sorted(np.concatenate(parts).tolist()) == wanted.tolist()
    assert len(parts) >= math.ceil(lengths[wanted].sum() / max(budget, lengths.max()))
