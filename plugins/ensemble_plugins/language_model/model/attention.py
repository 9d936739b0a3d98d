"""Attention of packed rows: each token attends to the earlier tokens of its own row.

Registered with transformers under the name ``packed``, so that every model that takes its attention
from there computes packs. On CUDA it is FlashAttention-4, which is told where rows start, or
FlexAttention with a block mask that is known beforehand; elsewhere each row is computed by itself,
by torch's own, or in plain operations where scores are bounded.
"""

from __future__ import annotations

from copy import copy
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from ensemble_plugins.language_model.model import flash
from ensemble_plugins.language_model.model.kernels import PLAIN, Kernel
from ensemble_plugins.language_model.model.soft_capping import capped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

_BLOCK_TENSORS = (
    "kv_num_blocks",
    "kv_indices",
    "full_kv_num_blocks",
    "full_kv_indices",
    "q_num_blocks",
    "q_indices",
    "full_q_num_blocks",
    "full_q_indices",
)
NAME = "packed"
"""What the attention is called in a model's config."""


class DocumentMask:
    """Who attends to whom in a pack, for the sliding windows of a model.

    Parameters
    ----------
    starts
        ``(t,)`` for each token the place where its row starts.
    read
        ``(n,)`` places of the tokens that are read.
    device
        Where the pack is computed.
    windows
        Tokens, itself included, that a token attends to at most; None for all of its row.
    kernel
        What computes it on CUDA.
    rows
        Places for rows in ``edges``, as ``flash.places`` has them.

    Attributes
    ----------
    lowest : dict
        ``(t,)`` int32 on the device, for each window: the first place that a token attends to.
    blocks : dict
        The mask by blocks for FlexAttention, on CUDA: for each window.
    edges : Tensor
        ``(rows + 1,)`` int32 on the device, for FlashAttention-4: where each row starts, and the
        last one ends. None where something else computes.
    """

    def __init__(
        self,
        starts: NDArray[np.int64],
        read: NDArray[np.int64],
        device: torch.device,
        windows: Collection[int | None] = (None,),
        kernel: Kernel = PLAIN,
        rows: int = 0,
    ) -> None:
        self.starts, self.kernel = starts, kernel
        self.read = on_device(read, device)
        longest = int((np.arange(len(starts)) - starts).max()) + 1
        # A window that no row is longer than is no window.
        reached = {window: None if (window or longest) >= longest else window for window in windows}
        lowest = {window: _lowest(starts, window) for window in set(reached.values())}
        low = {window: on_device(each.astype(np.int32), device) for window, each in lowest.items()}
        self.lowest = {window: low[reached[window]] for window in windows}
        self.blocks: dict[int | None, BlockMask] = {}
        self.edges = self._edges(rows, device) if kernel.flash else None
        if device.type == "cuda" and not kernel.flash:
            made = {w: _block_mask(each, kernel.block, low[w]) for w, each in lowest.items()}
            self.blocks = {window: made[reached[window]] for window in windows}

    def apart(self) -> DocumentMask:
        """Give a copy whose tensors are its own, also where windows share one."""
        other = copy(self)
        other.read = self.read.clone()
        other.lowest = {window: low.clone() for window, low in self.lowest.items()}
        other.blocks = {w: _cloned(each, other.lowest[w]) for w, each in self.blocks.items()}
        other.edges = None if self.edges is None else self.edges.clone()
        return other

    def take(self, other: DocumentMask) -> None:
        """Have the tensors say what those of another mask of the same shape say."""
        self.read.copy_(other.read)
        if self.edges is not None and other.edges is not None:
            self.edges.copy_(other.edges)
        for window, low in self.lowest.items():
            low.copy_(other.lowest[window])
        for window, block in self.blocks.items():
            for name in _BLOCK_TENSORS:
                getattr(block, name).copy_(getattr(other.blocks[window], name))

    def bounds(self) -> list[tuple[int, int]]:
        """Give start and end of every row of the pack."""
        edges = [*np.flatnonzero(np.diff(self.starts, prepend=-1)).tolist(), len(self.starts)]
        return list(pairwise(edges))

    def _edges(self, rows: int, device: torch.device) -> torch.Tensor:
        starts = np.array([start for start, _ in self.bounds()])
        edges = on_device(flash.places(starts, len(self.starts), rows), device)
        return edges if rows else flash.for_any_number_of_rows(edges)


def _lowest(starts: NDArray[np.int64], window: int | None) -> NDArray[np.int64]:
    """Give ``(t,)`` the first place that each token attends to."""
    if window is None:
        return starts
    return np.maximum(starts, np.arange(len(starts)) - window + 1)


def _block_mask(lowest: NDArray[np.int64], block: tuple[int, int], low: torch.Tensor) -> BlockMask:
    """Find the blocks that are computed, and those of them that need no mask, by arithmetic.

    ``low`` is ``lowest`` on the device. It never descends, so a block of queries meets the key
    blocks from that of its first token's lowest key up to that of its last token. Of those the ones
    are full that end before its first token and start no earlier than its last token's lowest key.
    """
    queries, keys = block
    start = np.arange(0, len(lowest), queries)
    end = start + queries - 1
    key = np.arange(len(lowest) // keys)[None, :]
    met = (key >= lowest[start, None] // keys) & (key <= end[:, None] // keys)
    full = met & (key >= -(-lowest[end, None] // keys)) & (key < start[:, None] // keys)
    return BlockMask.from_kv_blocks(
        *_listed(met & ~full, low.device),
        *_listed(full, low.device),
        BLOCK_SIZE=block,
        mask_mod=_attends(low),
        seq_lengths=(len(lowest), len(lowest)),
    )


def _attends(low: torch.Tensor) -> Callable[..., Any]:
    def attends(_batch: Any, _head: Any, query: Any, keyed: Any) -> Any:
        return (keyed >= low[query]) & (keyed <= query)

    return attends


def _cloned(block: BlockMask, low: torch.Tensor) -> BlockMask:
    counts, places, full_counts, full_places = (
        getattr(block, name).clone() for name in _BLOCK_TENSORS[:4]
    )
    return BlockMask.from_kv_blocks(
        counts,
        places,
        full_counts,
        full_places,
        BLOCK_SIZE=block.BLOCK_SIZE,
        mask_mod=_attends(low),
        seq_lengths=block.seq_lengths,
    )


def _listed(blocks: NDArray[np.bool_], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """List the marked blocks of each row: ``(1, 1, n)`` counts and ``(1, 1, n, n)`` indices."""
    order = np.argsort(~blocks, axis=1, kind="stable").astype(np.int32)
    counts = blocks.sum(axis=1).astype(np.int32)
    return on_device(counts, device)[None, None], on_device(order, device)[None, None]


def on_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device without waiting for what the device is doing."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def packed_attention(
    module: torch.nn.Module,  # noqa: ARG001 - the convention has it
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    row_mask: DocumentMask,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention in transformers' calling convention.

    Parameters
    ----------
    module
        The attention layer; nothing of it is used.
    query, key, value
        ``(1, heads, t, d)``; key and value may have fewer heads.
    attention_mask
        Must be None: ``row_mask`` says who attends to whom.
    scaling
        Factor of the scores.
    row_mask
        The pack's mask.
    dropout
        Must be 0.
    softcap
        Bound of the scores: ``softcap * tanh(score / softcap)``.
    sliding_window
        Tokens, itself included, that a token attends to at most.

    Returns
    -------
    tuple
        ``(1, t, heads, d)`` and None.
    """
    if dropout or attention_mask is not None:
        raise ValueError("packed attention takes no dropout and no other mask than its own")
    if row_mask.edges is not None:
        states = [part[0].transpose(0, 1) for part in (query, key, value)]
        return _by_flash(
            states,
            row_mask,
            query.shape[1],
            scaling=scaling,
            softcap=softcap,
            sliding_window=sliding_window,
        ), None
    if query.is_cuda:
        compute: Callable[..., Any] = flex_attention if torch.compiler.is_compiling() else _flex()
        out = compute(
            query,
            key,
            value,
            score_mod=capped(softcap),
            block_mask=row_mask.blocks[sliding_window],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
            kernel_options=row_mask.kernel.options or None,
        )
    else:
        out = _by_rows(query, key, value, row_mask, scaling, softcap, sliding_window)
    return out.transpose(1, 2).contiguous(), None


def joined_attention(
    heads: torch.Tensor, row_mask: DocumentMask, queries: int, **options: Any
) -> torch.Tensor:
    """Compute attention of one tensor with the heads of queries, keys and values.

    Parameters
    ----------
    heads
        ``(1, t, heads, d)``, those of queries first and those of values last.
    row_mask
        The pack's mask, which has edges.
    queries
        Heads of queries.
    **options
        ``scaling``, ``softcap`` and ``sliding_window``, as in ``packed_attention``.

    Returns
    -------
    Tensor
        ``(1, t, queries, d)``.
    """
    return _by_flash([heads[0]], row_mask, queries, **options)


def _by_flash(
    states: list[torch.Tensor],
    row_mask: DocumentMask,
    queries: int,
    *,
    scaling: float,
    softcap: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    assert row_mask.edges is not None  # noqa: S101 - whoever calls it has looked
    attended = flash.attend(
        states,
        row_mask.edges,
        queries=queries,
        scaling=scaling,
        softcap=softcap,
        window=sliding_window,
    )
    return attended[None]


def read_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_mask: DocumentMask,
    *,
    scaling: float,
    softcap: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """Compute attention of the tokens that are read alone: ``(1, heads, n, d)``.

    Parameters
    ----------
    query
        ``(1, heads, n, d)``, one a row of the pack.
    key, value
        ``(1, kv_heads, t, d)``.
    row_mask, scaling, softcap, sliding_window
        As in ``packed_attention``.
    """
    place = torch.arange(key.shape[2], device=key.device)
    lowest = row_mask.lowest[sliding_window][row_mask.read]
    mask = (place >= lowest[:, None]) & (place <= row_mask.read[:, None])
    return _written_out(query, key, value, mask, scaling, softcap)


def _by_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_mask: DocumentMask,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    parts = []
    for start, end in row_mask.bounds():
        q, k, v = (part[:, :, start:end] for part in (query, key, value))
        parts.append(_of_row(q, k, v, scaling, softcap, window))
    return torch.cat(parts, dim=2)


def _of_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    softcap: float | None,
    window: int | None,
) -> torch.Tensor:
    n = query.shape[2]
    whole = window is None or n <= window
    if softcap is None and whole:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
    place = torch.arange(n, device=query.device)
    ahead = place[:, None] - place[None, :]
    mask = (ahead >= 0) & (ahead < (window or n))
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    return _written_out(query, key, value, mask, scaling, softcap)


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attention in plain operations, softmax in float32, as transformers' eager path has it."""
    batch, heads, n, d = query.shape
    grouped = query.reshape(batch, key.shape[1], heads // key.shape[1], n, d)
    scores = (grouped @ key.transpose(2, 3)[:, :, None]) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.float().masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1).to(value.dtype)
    return (weights @ value[:, :, None]).reshape(batch, heads, n, d)


@cache
def _flex() -> Any:
    return torch.compile(flex_attention)


def register() -> None:
    """Make the attention known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
