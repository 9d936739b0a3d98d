"""Which rows are computed together: packs up to a token budget, or padded batches by length."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble_plugins.language_model.model.devices import on_device
from ensemble_plugins.language_model.model.document_mask import DocumentMask
from ensemble_plugins.language_model.model.kernels import BLOCK, PLAIN, Kernel

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from numpy.typing import NDArray

    from ensemble_plugins.language_model.text.tokens import Tokens

    IntArray = NDArray[np.int64]


_OPEN_PACKS = 8
"""Packs that a row may still go into: with so many, they are about 98% full."""
_LONGEST_WAIT = 2 * _OPEN_PACKS
"""Packs begun after one, at which it is closed though it has room: its rows have waited enough."""


@dataclass(frozen=True)
class Pack:
    """Rows laid end to end; each attends only to itself, and its positions start at 0.

    Parameters
    ----------
    ids
        ``(1, t)`` int64 token ids.
    positions
        ``(1, t)`` int64, from 0 in every row.
    mask
        Who attends to whom, and which tokens are read: the last of each row.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: DocumentMask


@dataclass(frozen=True)
class Padded:
    """Rows padded to the longest of them.

    Parameters
    ----------
    ids, attended
        ``(n, longest)`` int64 token ids, and 1 where there is a token.
    """

    ids: torch.Tensor
    attended: torch.Tensor


def plan_packs(lengths: IntArray, budget: int) -> list[IntArray]:
    """Divide rows among packs of at most ``budget`` tokens, nearly full.

    Best fit, the longest row first. A row longer than the budget has a pack of its own.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of each row.
    budget
        Most tokens of a pack.

    Returns
    -------
    list of IntArray
        Row numbers of each pack; together every row once.
    """
    shortest = int(lengths.min(initial=budget))
    open_packs: list[tuple[int, int]] = []  # room and number, by room
    packs: list[list[int]] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        place = bisect_left(open_packs, (length, -1))
        if place < len(open_packs):
            room, number = open_packs.pop(place)
            packs[number].append(row)
        else:
            room, number = budget, len(packs)
            packs.append([row])
        if room - length >= shortest:
            insort(open_packs, (room - length, number))
    return [np.array(pack, dtype=np.int64) for pack in packs]


def plan_stream(lengths: IntArray, order: IntArray, budget: int) -> list[IntArray]:
    """Divide rows among nearly full packs, as they come in an order.

    Best fit among a few packs that are open at a time: unlike ``plan_packs`` it leaves rows about
    where the order has them, and does not put rows of one length together.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of each row.
    order
        ``(n,)`` the rows, in the order wanted.
    budget
        Most tokens of a pack. A row longer than that has a pack of its own.

    Returns
    -------
    list of IntArray
        Row numbers of each pack; together every row once.
    """
    done: list[list[int]] = []
    waiting: list[tuple[int, int, list[int]]] = []  # room, number, rows
    begun = 0
    for row in order.tolist():
        length = int(lengths[row])
        fitting = [pack for pack in waiting if pack[0] >= length]
        if fitting:
            chosen = min(fitting, key=lambda pack: pack[0])
            waiting.remove(chosen)
            room, number, rows = chosen
        else:
            room, number, rows = max(budget, length), begun, []
            begun += 1
        waiting.append((room - length, number, [*rows, row]))
        if len(waiting) > _OPEN_PACKS:
            closed = min(waiting, key=lambda pack: (begun - pack[1] <= _LONGEST_WAIT, pack[0]))
            waiting.remove(closed)
            done.append(closed[2])
    done += [rows for _, _, rows in waiting]
    return [np.array(rows, dtype=np.int64) for rows in done]


def plan_padded(lengths: IntArray, budget: int) -> list[IntArray]:
    """Divide rows, longest first, among batches of at most ``budget`` tokens with their padding."""
    batches: list[list[int]] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if batches and (len(batches[-1]) + 1) * int(lengths[batches[-1][0]]) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return [np.array(batch, dtype=np.int64) for batch in batches]


def make_pack(
    tokens: Tokens,
    rows: IntArray,
    *,
    device: torch.device,
    width: int = 0,
    reads: int = 0,
    windows: Collection[int | None] = (None,),
    kernel: Kernel = PLAIN,
) -> Pack:
    """Lay rows end to end.

    Parameters
    ----------
    tokens
        All rows.
    rows
        ``(n,)`` the rows wanted, in the order of their logits.
    device
        Where the pack is computed.
    width
        Tokens that the pack is filled up to at least, by filler rows that nobody reads.
    reads
        Tokens that are read at least: the last one again, where there are fewer rows.
    windows
        Sliding windows that the model has.
    kernel
        What computes attention on CUDA.
    """
    parts = [tokens.row(int(row)) for row in rows]
    # Filler rows need one place of a mask, where the rows take all others.
    places = max(reads, len(rows)) + 1 if reads else 0
    filler = _filler(sum(map(len, parts)), width, device)
    parts += [np.zeros(length, dtype=np.int32) for length in filler]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    ends = np.cumsum(lengths)
    starts = np.repeat(ends - lengths, lengths)
    read = np.pad(ends[: len(rows)] - 1, (0, max(reads - len(rows), 0)), mode="edge")
    return Pack(
        ids=on_device(np.concatenate(parts).astype(np.int64), device)[None],
        positions=on_device(np.arange(len(starts)) - starts, device)[None],
        mask=DocumentMask(
            *(starts, read, device, windows, kernel),
            rows=places,
            longest=int(tokens.lengths.max()),
        ),
    )


def aligned(lengths: IntArray, multiple: int) -> IntArray:
    """Round lengths up to a multiple."""
    return -(-lengths // multiple) * multiple


def make_padded(
    tokens: Tokens, rows: IntArray, *, device: torch.device, pad_id: int, multiple: int = 1
) -> Padded:
    """Pad rows on the right, to the longest of them, rounded up to a multiple."""
    parts = [tokens.row(int(row)) for row in rows]
    longest = int(aligned(tokens.lengths[rows].max(), multiple))
    ids = np.full((len(parts), longest), pad_id, dtype=np.int64)
    attended = np.zeros((len(parts), longest), dtype=np.int64)
    for place, part in enumerate(parts):
        ids[place, : len(part)] = part
        attended[place, : len(part)] = 1
    return Padded(on_device(ids, device), on_device(attended, device))


def _filler(used: int, width: int, device: torch.device) -> list[int]:
    """Give the lengths of filler rows: short ones, since attention to them is computed."""
    step = 1 if device.type == "cpu" else BLOCK
    missing = -(-max(width, used) // step) * step - used
    return [BLOCK] * (missing // BLOCK) + [missing % BLOCK] * bool(missing % BLOCK)
