from __future__ import annotations

import importlib
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
attention = importlib.import_module("ensemble_plugins.language_model.model.attention")
document_mask = importlib.import_module("ensemble_plugins.language_model.model.document_mask")
kernels = importlib.import_module("ensemble_plugins.language_model.model.kernels")

CPU = torch.device("cpu")
BLOCK = kernels.BLOCK
HEADS, KV_HEADS, SIZE = 4, 2, 8


def make_mask(lengths: list[int], windows: Any = (None,)) -> Any:
    ends = np.cumsum(lengths)
    starts = np.repeat(ends - lengths, lengths)
    return document_mask.DocumentMask(starts, ends - 1, CPU, windows)


def dense(lengths: list[int], window: int | None) -> Any:
    """Say by definition who attends to whom: same row, not later, within the window."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row))
    ahead = place[:, None] - place[None, :]
    same = row[:, None] == row[None, :]
    return same & (ahead >= 0) & (ahead < (window or len(row)))


def expand(mask: Any, block: tuple[int, int]) -> tuple[Any, Any]:
    """Give ``(t, t)`` what FlexAttention would compute, and how often it would visit each pair."""
    size = mask.seq_lengths[0]
    query, key = torch.arange(size)[:, None], torch.arange(size)[None, :]
    within = mask.mask_mod(0, 0, query, key).expand(size, size).numpy()
    attends, visits = np.zeros((size, size), dtype=bool), np.zeros((size, size), dtype=int)
    kinds = [
        (mask.kv_num_blocks, mask.kv_indices, within),
        (mask.full_kv_num_blocks, mask.full_kv_indices, np.ones_like(within)),
    ]
    for counts, indices, allowed in kinds:
        for at in range(size // block[0]):
            for keyed in indices[0, 0, at, : counts[0, 0, at]].tolist():
                starts = at * block[0], keyed * block[1]
                tile = tuple(slice(s, s + n) for s, n in zip(starts, block, strict=True))
                attends[tile] |= allowed[tile]
                visits[tile] += 1
    return attends, visits


@st.composite
def packs(draw: Any) -> list[int]:
    """Draw the lengths of rows that fill whole blocks, cut anywhere or at the edges of blocks."""
    total = BLOCK * draw(st.integers(1, 4))
    anywhere, edges = st.integers(1, total - 1), st.sampled_from(range(64, total, 64))
    cuts = draw(st.lists(st.one_of(anywhere, edges), max_size=8))
    edges_of_rows = sorted({0, total, *cuts})
    return [end - start for start, end in pairwise(edges_of_rows)]


BLOCKS = st.sampled_from([32, 64, 128])


@settings(max_examples=60, deadline=None)
@given(packs(), st.one_of(st.none(), st.integers(1, 600)), st.tuples(BLOCKS, BLOCKS))
def test_blocks_are_the_dense_mask(
    lengths: list[int], window: int | None, block: tuple[int, int]
) -> None:
    low = make_mask(lengths, (window,)).lowest[window]
    mask = document_mask._block_mask(low.numpy().astype(np.int64), block, low)
    attends, visits = expand(mask, block)
    expected = dense(lengths, window)
    assert (attends == expected).all()
    assert visits.max() == 1
    tiles = expected.reshape(len(expected) // block[0], block[0], -1, block[1])
    assert int(mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum()) == int(
        tiles.any(axis=(1, 3)).sum()
    ), "no block is computed in vain"
    assert int(mask.full_kv_num_blocks.sum()) == int(tiles.all(axis=(1, 3)).sum())


@given(packs(), st.sampled_from([None, 1, 30, 64, 200]))
def test_lowest_places_are_the_dense_mask(lengths: list[int], window: int | None) -> None:
    mask = make_mask(lengths, (window, None))
    expected = dense(lengths, window)
    assert mask.lowest[window].tolist() == expected.argmax(axis=1).tolist()
    assert mask.lowest[None].tolist() == mask.starts.tolist()
    assert mask.bounds() == list(pairwise(np.cumsum([0, *lengths]).tolist()))


def test_masks_on_cuda_are_made_once_for_each_window_that_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(document_mask, "on_device", lambda values, device: torch.from_numpy(values))

    def make(*args: Any) -> int:
        made.append(args)
        return len(made)

    monkeypatch.setattr(document_mask, "_block_mask", make)
    starts = np.repeat([0, 100], [100, 156])
    kernel = kernels.Kernel((64, 32))
    windows = (None, 50, 156, 9000)
    mask = document_mask.DocumentMask(
        starts, np.array([99, 255]), torch.device("cuda"), windows, kernel=kernel
    )
    assert {block for _, block, _ in made} == {(64, 32)}
    assert len(made) == 2, "a window that no row is longer than is no window"
    assert mask.blocks[156] == mask.blocks[9000] == mask.blocks[None] != mask.blocks[50]
    (narrow,) = [lowest for lowest, *_ in made if (lowest != starts).any()]
    assert narrow.tolist() == np.maximum(starts, np.arange(256) - 49).tolist()


def draw_states(total: int, *, heads: int = HEADS, kv_heads: int = KV_HEADS) -> tuple[Any, ...]:
    torch.manual_seed(0)
    sizes = (heads, kv_heads, kv_heads)
    return tuple(torch.randn(1, count, total, SIZE, requires_grad=True) for count in sizes)


def eager(states: tuple[Any, ...], heads: tuple[int, int], **options: Any) -> Any:
    """Compute one row as transformers does, with its additive mask."""
    gemma2 = importlib.import_module("transformers.models.gemma2.modeling_gemma2")
    length = states[0].shape[2]
    window = options.pop("sliding_window")
    mask = torch.where(torch.from_numpy(dense([length], window)), 0.0, float("-inf"))[None, None]
    module = SimpleNamespace(num_key_value_groups=heads[0] // heads[1], training=False)
    return gemma2.eager_attention_forward(module, *states, mask, **options)[0]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 1, 7])
@pytest.mark.parametrize("heads", [(4, 2), (4, 1), (3, 3)])
def test_packed_attention_is_transformers_attention_of_each_row(
    softcap: float | None, window: int | None, heads: tuple[int, int]
) -> None:
    lengths = [5, 1, 23, 11]
    states = draw_states(sum(lengths), heads=heads[0], kv_heads=heads[1])
    options: dict[str, Any] = {"scaling": 0.7, "softcap": softcap, "sliding_window": window}
    mask = make_mask(lengths, (window,))
    out, weights = attention.packed_attention(None, *states, None, row_mask=mask, **options)
    rows = [
        eager(tuple(part[:, :, start:end] for part in states), heads, **options)
        for start, end in mask.bounds()
    ]
    expected = torch.cat(rows, dim=1)
    assert weights is None
    assert out.shape == (1, sum(lengths), heads[0], SIZE)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)

    upstream = torch.randn_like(out)
    found = torch.autograd.grad((out * upstream).sum(), states)
    wanted = torch.autograd.grad((expected * upstream).sum(), states)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
    st.sampled_from([None, 1, 6]),
    st.sampled_from([None, 2.0]),
)
def test_read_attention_is_packed_attention_of_the_last_tokens(
    lengths: list[int], window: int | None, softcap: float | None
) -> None:
    query, key, value = draw_states(sum(lengths))
    mask = make_mask(lengths, (window,))
    options: dict[str, Any] = {"scaling": 0.7, "softcap": softcap, "sliding_window": window}
    full, _ = attention.packed_attention(None, query, key, value, None, row_mask=mask, **options)
    read = attention.read_attention(query[:, :, mask.read], key, value, mask, **options)
    assert read.shape == (1, HEADS, len(lengths), SIZE)
    torch.testing.assert_close(read.transpose(1, 2), full[:, mask.read], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"dropout": 0.1}, {"attention_mask": torch.zeros(1, 1, 3, 3)}])
def test_dropout_and_foreign_masks_are_refused(wrong: dict[str, Any]) -> None:
    options = {"attention_mask": None, "dropout": 0.0} | wrong
    with pytest.raises(ValueError, match="takes no dropout and no other mask than its own"):
        attention.packed_attention(
            None, *draw_states(3), scaling=1.0, row_mask=make_mask([3]), **options
        )


def test_transformers_knows_the_attention_by_its_name() -> None:
    transformers = importlib.import_module("transformers")
    attention.register()
    attention.register()
    found = transformers.AttentionInterface().get_interface(attention.NAME, None)
    assert found is attention.packed_attention
