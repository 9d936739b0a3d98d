"""Who attends to whom in a pack, as each kind of kernel wants to be told."""

from __future__ import annotations

from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn.attention.flex_attention import BlockMask

from ensemble_plugins.language_model.model import flash
from ensemble_plugins.language_model.model.devices import on_device
from ensemble_plugins.language_model.model.kernels import PLAIN, Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import torch
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
    longest
        Tokens of the longest row that other packs of the same kind have, if longer than those here.

    Attributes
    ----------
    lowest : dict
        ``(t,)`` int32 on the device, for each window: the first place that a token attends to.
    blocks : dict
        The mask by blocks for FlexAttention, on CUDA: for each window.
    reached : dict
        For each window: itself, or None where no row is longer.
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
        longest: int = 0,
    ) -> None:
        self.starts, self.kernel = starts, kernel
        self.read = on_device(read, device)
        longest = max(longest, int((np.arange(len(starts)) - starts).max()) + 1)
        # A window that no row is longer than is no window.
        reached = {window: None if (window or longest) >= longest else window for window in windows}
        self.reached = reached
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
        if self.edges is not None:
            assert other.edges is not None  # noqa: S101 - the same kernel computes both
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
        return flash.for_any_number_of_rows(edges)


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
