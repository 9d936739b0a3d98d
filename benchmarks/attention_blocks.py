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

from plugins.language_model.attention import RowMask, _capped
from plugins.language_model.batches import plan_packs

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


def choices(*, backward: bool) -> Iterator[dict[str, int]]:
    """Give kernel options, the engine's own first."""
    yield {}
    if backward:
        for m1, n1, warps in itertools.product((32, 64), (32, 64), (4, 8)):
            yield {
                "BLOCK_M1": m1,
                "BLOCK_N1": n1,
                "BLOCK_M2": n1,
                "BLOCK_N2": m1,
                "num_warps": warps,
            }
        return
    for m, n, warps, stages in itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3)):
        yield {"BLOCK_M": m, "BLOCK_N": n, "num_warps": warps, "num_stages": stages}


def measure(size: int, budget: int, block: int, *, backward: bool, until: float) -> list[Any]:
    """Time one layer's attention for each choice, ms; those that do not compile are left out."""
    heads, keys, cap = SHAPES[size]
    starts = starts_of_pack(budget)
    ends = np.flatnonzero(np.diff(starts, append=budget)).astype(np.int64)
    mask = RowMask(starts, ends, DEVICE, (None,), size if block == 64 else 128).blocks[None]
    query, key, value = (
        torch.randn(1, n, budget, size, device=DEVICE, dtype=torch.bfloat16).requires_grad_(
            backward
        )
        for n in (heads, keys, keys)
    )
    found = []
    for options in choices(backward=backward):
        if time.perf_counter() > until:
            say("out of time: the other choices are left out")
            break
        torch.compiler.reset()
        compute = torch.compile(flex_attention, dynamic=False)

        def once(compute: Any = compute, options: dict[str, int] = options) -> torch.Tensor:
            out: torch.Tensor = compute(
                query,
                key,
                value,
                score_mod=_capped(cap),
                block_mask=mask,
                enable_gqa=True,
                kernel_options=options or None,
            )
            if backward:
                out.sum().backward()
            return out

        try:
            found.append((timed(once, 10, warm=2) * 1e3, options))
        except Exception as error:  # too much shared memory, say
            say(f"    {options}: {str(error).splitlines()[0][:80]}")
    return sorted(found, key=lambda item: item[0])


def main() -> None:
    """Measure what is asked for, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=[256, 128], choices=list(SHAPES))
    parser.add_argument("--budget", type=int, default=16384)
    parser.add_argument("--blocks", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    until = time.perf_counter() + options.seconds
    rows = []
    for size, block, backward in itertools.product(options.heads, options.blocks, (False, True)):
        found = measure(size, options.budget, block, backward=backward, until=until)
        kind = "forward and backward" if backward else "forward"
        for milliseconds, chosen in found[:4]:
            say(f"heads of {size}, blocks of {block}, {kind}: {milliseconds:.2f} ms {chosen}")
            rows.append([size, block, kind, milliseconds, chosen])
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
