from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import IntArray

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
batches = importlib.import_module("ensemble_plugins.language_model.model.batches")
tokens_module = importlib.import_module("ensemble_plugins.language_model.text.tokens")

CPU = torch.device("cpu")
BLOCK = batches.BLOCK
OPEN_PACKS = batches._OPEN_PACKS

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
BUDGETS = st.integers(1, 80)


def make_tokens(lengths: list[int]) -> Any:
    """Make rows whose ids are all different: row and place can be told from each."""
    return tokens_module.Tokens.from_rows(
        [np.arange(length, dtype=np.int32) + 1000 * row for row, length in enumerate(lengths)]
    )


def plans(lengths: IntArray, budget: int, seed: int = 0) -> dict[str, Any]:
    order = np.random.default_rng(seed).permutation(len(lengths))
    return {
        "packs": batches.plan_packs(lengths, budget),
        "stream": batches.plan_stream(lengths, order, budget),
        "padded": batches.plan_padded(lengths, budget),
    }


@given(LENGTHS, BUDGETS, st.integers(0, 5))
def test_a_plan_has_every_row_once(lengths: list[int], budget: int, seed: int) -> None:
    for name, plan in plans(np.array(lengths), budget, seed).items():
        rows = np.concatenate(plan)
        assert rows.dtype == np.int64, name
        assert sorted(rows.tolist()) == list(range(len(lengths))), name


@given(LENGTHS, BUDGETS)
def test_only_a_single_row_may_exceed_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths)
    for name, plan in plans(array, budget).items():
        for rows in plan:
            used = array[rows].sum() if name != "padded" else len(rows) * array[rows].max()
            assert used <= budget or len(rows) == 1, name


@given(LENGTHS, BUDGETS)
def test_no_two_packs_would_fit_into_one(lengths: list[int], budget: int) -> None:
    array = np.array(lengths)
    used = sorted(int(array[rows].sum()) for rows in batches.plan_packs(array, budget))
    assert len(used) < 2 or used[0] + used[1] > budget


def typical_lengths(seed: int, rows: int) -> Any:
    drawn = np.random.default_rng(seed).lognormal(6.3, 0.7, rows)
    return np.minimum(drawn.astype(np.int64) + 1, 2048)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([4096, 8192, 16384]))
def test_packs_of_many_typical_rows_are_nearly_full(seed: int, budget: int) -> None:
    lengths = typical_lengths(seed, 1500)
    for name, plan in plans(lengths, budget, seed).items():
        if name != "padded":
            assert lengths.sum() / (len(plan) * budget) > 0.9, name


def padding_share(lengths: IntArray, plan: list[Any]) -> float:
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in plan)
    return 1.0 - float(lengths.sum()) / padded


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_padded_batches_of_typical_rows_hold_little_padding(seed: int) -> None:
    lengths = typical_lengths(seed, 500)
    share = padding_share(lengths, batches.plan_padded(lengths, 8192))
    assert 0 <= share < 0.1


def displacement(plan: list[Any], order: Any) -> int:
    """Give how many packs a pack comes too early or late, by the first of its rows."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    begun = np.argsort(np.argsort([place[rows].min() for rows in plan]))
    return int(np.abs(begun - np.arange(len(plan))).max())


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), BUDGETS, st.integers(0, 5))
def test_a_stream_of_packs_stays_near_the_order(lengths: list[int], budget: int, seed: int) -> None:
    array = np.array(lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    assert displacement(batches.plan_stream(array, order, budget), order) <= 3 * OPEN_PACKS


def test_a_pack_that_nothing_fits_into_does_not_wait_forever() -> None:
    lengths = np.array([40] + [61] * 299)  # nothing else goes beside the first, nor fills a pack
    order = np.arange(300)
    assert displacement(batches.plan_stream(lengths, order, 100), order) <= 3 * OPEN_PACKS


def test_a_stream_does_not_sort_by_length() -> None:
    lengths = typical_lengths(3, 1500)
    spread = {
        name: np.std([lengths[rows].mean() for rows in plan])
        for name, plan in plans(lengths, 16384).items()
    }
    assert spread["stream"] < 0.5 * spread["packs"]
    assert spread["stream"] < 0.5 * spread["padded"]


@given(LENGTHS, st.data(), st.integers(0, 400))
def test_a_pack_lays_rows_end_to_end(lengths: list[int], data: st.DataObject, width: int) -> None:
    tokens = make_tokens(lengths)
    rows = np.array(data.draw(st.permutations(range(len(lengths)))))[: max(1, len(lengths) // 2)]
    pack = batches.make_pack(tokens, rows, device=CPU, width=width)
    used = sum(lengths[row] for row in rows)
    positions = np.concatenate([np.arange(lengths[row]) for row in rows])
    ids = np.concatenate([tokens.row(int(row)) for row in rows])

    assert pack.ids.shape == pack.positions.shape == (1, max(width, used))
    assert pack.ids.dtype == pack.positions.dtype == torch.int64
    assert pack.ids[0, :used].tolist() == ids.tolist()
    assert pack.positions[0, :used].tolist() == positions.tolist()
    last = [tokens.row(int(row))[-1] for row in rows]
    assert pack.ids[0, pack.mask.read].tolist() == last
    starts = np.arange(used) - positions
    assert pack.mask.starts[:used].tolist() == starts.tolist()


@given(st.integers(1, 60), st.integers(0, 2000))
def test_filler_rows_are_short_and_unread(length: int, width: int) -> None:
    pack = batches.make_pack(make_tokens([length]), np.array([0]), device=CPU, width=width)
    filler = [end - start for start, end in pack.mask.bounds()][1:]
    assert sum(filler) == max(width - length, 0)
    assert all(0 < part <= BLOCK for part in filler)
    assert pack.positions.max() < max(length, BLOCK)
    assert pack.mask.read.tolist() == [length - 1]


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_packs_on_cuda_are_multiples_of_a_block(used: int, width: int) -> None:
    filler = batches._filler(used, width, torch.device("cuda"))
    total = used + sum(filler)
    assert total % BLOCK == 0
    assert max(width, used) <= total < max(width, used) + BLOCK
    assert all(0 < part <= BLOCK for part in filler)


@given(LENGTHS, st.sampled_from([1, 8, 16]))
def test_padded_rows_are_filled_on_the_right(lengths: list[int], multiple: int) -> None:
    tokens = make_tokens(lengths)
    rows = np.arange(len(lengths))[::-1]
    padded = batches.make_padded(tokens, rows, device=CPU, pad_id=-7, multiple=multiple)
    width = -(-max(lengths) // multiple) * multiple
    assert padded.ids.shape == padded.attended.shape == (len(lengths), width)
    assert padded.attended.sum(dim=1).tolist() == [lengths[row] for row in rows]
    for row, ids, attended in zip(rows, padded.ids, padded.attended, strict=True):
        assert ids[attended == 1].tolist() == tokens.row(int(row)).tolist()
        assert set(ids[attended == 0].tolist()) <= {-7}
        assert attended.tolist() == sorted(attended.tolist(), reverse=True)


@pytest.mark.parametrize("plan", [batches.plan_packs, batches.plan_padded])
def test_no_rows_make_no_packs(plan: Callable[..., list[Any]]) -> None:
    assert plan(np.zeros(0, dtype=np.int64), 100) == []
