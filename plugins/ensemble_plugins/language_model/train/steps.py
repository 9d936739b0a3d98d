"""Which battles a step of the optimizer sees, and which of them are computed at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ensemble_plugins.language_model.model.batches import plan_packs, plan_padded, plan_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

_GRAINS = 5
"""Widths between a power of two and the next, as a power of two, and one."""


def useful_budget(lengths: IntArray, batch_size: int, token_budget: int) -> int:
    """Bound packs by what a step holds: with more tokens at once, steps would be larger.

    The bound is rounded up, by 6% at most: what is compiled for packs of one width then serves the
    other folds as well, whose rows are a little longer or shorter.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of each battle.
    batch_size
        Battles a step.
    token_budget
        Most tokens that may be computed at once.
    """
    step = math.ceil(float(lengths.mean()) * batch_size)
    needed = max(step, int(lengths.max()))
    grain = max(1, 1 << needed.bit_length() >> _GRAINS)
    return min(token_budget, -(-needed // grain) * grain)


def plan_parts(
    lengths: IntArray, battles: IntArray, budget: int, *, packed: bool
) -> list[IntArray]:
    """Divide some battles into what fits into the budget.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of every battle.
    battles
        Numbers of those wanted.
    budget
        Most tokens of a part. A battle longer than that is a part of its own.
    packed
        Whether a part is a pack, or a padded batch.
    """
    plan = plan_packs if packed else plan_padded
    return [battles[part] for part in plan(lengths[battles], budget)]


def plan_steps(
    lengths: IntArray, order: IntArray, *, batch_size: int, budget: int, packed: bool
) -> list[list[IntArray]]:
    """Divide an epoch into steps, each a list of what is computed at once.

    Packs are filled with battles as they come in the epoch's order, and a step takes as many packs
    as hold about ``batch_size`` battles; steps of padded batches hold exactly as many.

    Parameters
    ----------
    lengths, budget, packed
        As in ``plan_parts``.
    order
        ``(n,)`` the battles, shuffled.
    batch_size
        Battles a step.
    """
    starts = range(0, len(order), batch_size)
    if not packed:
        chunks = [order[start : start + batch_size] for start in starts]
        return [plan_parts(lengths, chunk, budget, packed=False) for chunk in chunks]
    packs = plan_stream(lengths, order, budget)
    ends = np.cumsum([len(pack) for pack in packs])
    steps: list[list[IntArray]] = [[] for _ in starts]
    for pack, end in zip(packs, ends.tolist(), strict=True):
        steps[(end - 1) // batch_size].append(pack)
    return [step for step in steps if step]
