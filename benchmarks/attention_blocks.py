"""Which blocks FlexAttention is fastest with, forward and backward, on one GPU.

    python benchmarks/attention_blocks.py --heads 256 128

Packs have rows of the lengths of real battles. The engine's defaults in
``plugins/language_model/attention.py`` come from here. Needs torch alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from language_model import battle_rows, say, timed
from torch.nn.attention.flex_attention import flex_attention

from plugins.language_model.attention import RowMask
from plugins.language_model.batches import plan_packs
from plugins.language_model.soft_capping import capped

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE = torch.device("cuda")
SHAPES = {256: (16, 8, 50.0), 128: (32, 8, None)}
"""By the size of heads: query heads, key heads and soft cap, as Gemma-2-9B and Llama-3-8B."""


def starts_of_pack(budget: int) -> np.ndarray[Any, Any]:
    """Give the row starts of a nearly full pack: ``(budget,)``."""
    tokens = battle_rows(256)
    rows = plan_packs(tokens.lengths, budget)[0]
    lengths = tokens.lengths[rows].tolist()
    lengths.append(budget - sum(lengths))
    edges = np.cumsum([0, *lengths])
    return np.repeat(edges[:-1], lengths).astype(np.int64)


def choices(*, backward: bool) -> Iterator[dict[str, int | bool]]:
    """Give kernel options, FlexAttention's own first."""
    yield {}
    if backward:
        blocks = ((64, 64), (64, 128), (32, 64), (32, 32))
        for (m, n), warps, stages in itertools.product(blocks, (8, 4), (2, 3, 1)):
            sizes = {"BLOCK_M1": m, "BLOCK_N1": n, "BLOCK_M2": n, "BLOCK_N2": m}
            chosen = sizes | {"num_warps": warps, "num_stages": stages}
            yield {f"bwd_{name}": value for name, value in chosen.items()}
        return
    for (m, n), tma, stages in itertools.product(
        ((128, 64), (128, 128), (64, 64), (128, 32)), (True, False), (2, 3)
    ):
        sizes = {"BLOCK_M": m, "BLOCK_N": n, "num_warps": m // 16, "num_stages": stages}
        yield {f"fwd_{name}": value for name, value in (sizes | {"USE_TMA": tma}).items()}


def measure(size: int, budget: int, *, backward: bool, until: float) -> list[Any]:
    """Time one layer's attention for each choice, ms; those that do not compile are left out."""
    heads, keys, cap = SHAPES[size]
    starts = starts_of_pack(budget)
    ends = np.flatnonzero(np.diff(starts, append=budget)).astype(np.int64)
    mask = RowMask(starts, ends, DEVICE)
    # Heads of a token are neighbours in memory, as projections give them.
    query, key, value = (
        torch.randn(1, budget, n, size, device=DEVICE, dtype=torch.bfloat16)
        .transpose(1, 2)
        .requires_grad_(backward)
        for n in (heads, keys, keys)
    )
    grad = torch.randn_like(query)
    fixed = mask.kernels.get(size, {}) if backward else {}
    found = []
    for options in choices(backward=backward):
        if time.perf_counter() > until:
            say("out of time: the other choices are left out")
            break
        torch.compiler.reset()
        compute = torch.compile(flex_attention, dynamic=False)
        chosen = {name: each for name, each in fixed.items() if name.startswith("fwd_")} | options

        def once(compute: Any = compute, chosen: dict[str, Any] = chosen) -> None:
            out: torch.Tensor = compute(
                query,
                key,
                value,
                score_mod=capped(cap),
                block_mask=mask.blocks[None],
                enable_gqa=True,
                kernel_options=chosen or None,
            )
            if backward:
                torch.autograd.grad(out, (query, key, value), grad)

        try:
            found.append((timed(once, 20, warm=3) * 1e3, options))
        except Exception as error:  # too much shared memory, say
            say(f"    {options}: {str(error).splitlines()[0][:80]}")
    return sorted(found, key=lambda item: item[0])


def main() -> None:
    """Measure what is asked for, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=[256, 128], choices=list(SHAPES))
    parser.add_argument("--budget", type=int, default=8448)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    rows = []
    for number, (size, backward) in enumerate(itertools.product(options.heads, (False, True)), 1):
        share = options.seconds * number / (2 * len(options.heads))
        found = measure(size, options.budget, backward=backward, until=started + share)
        kind = "forward and backward" if backward else "forward"
        for milliseconds, chosen in found:
            say(f"heads of {size}, {kind}: {milliseconds:.2f} ms {chosen or 'its own choice'}")
            rows.append([size, kind, milliseconds, chosen])
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
