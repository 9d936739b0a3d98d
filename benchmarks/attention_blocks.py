"""Which blocks FlexAttention is fastest with, forward and backward, on one GPU.

    python benchmarks/attention_blocks.py --heads 256 128

Measured forward and backward on an H200, packs of long rows, one mask for both passes (an earlier
form of this command): 3.15 ms in place of 3.95 with 16 and 8 heads of 256 and a soft cap, 1.72 in
place of 1.77 with 32 and 8 heads of 128. ``docs/benchmarks.md`` has forward alone, on an H100.

Packs have rows of the lengths of real battles. The engine's defaults in
``plugins/ensemble_plugins/language_model/kernels.py`` come from here. Needs torch alone.
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
from device_time import say, timed
from model_shapes import battle_rows
from torch.nn.attention.flex_attention import flex_attention

from ensemble_plugins.language_model.model.attention import DocumentMask
from ensemble_plugins.language_model.model.batches import plan_stream
from ensemble_plugins.language_model.model.kernels import (
    Kernel,
    backward_options,
    forward_options,
    prepare_kernel,
)
from ensemble_plugins.language_model.model.soft_capping import capped

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE = torch.device("cuda")
SHAPES = {256: (16, 8, 50.0), 128: (32, 8, None), 64: (9, 3, None)}
"""By the size of heads: query heads, key heads and soft cap, as Gemma-2-9B, Llama-3-8B and
SmolLM2-135M."""

_PACK = 5
"""Which pack of a stream is measured: not the first, which begins with room for everything."""


def starts_of_pack(budget: int) -> np.ndarray[Any, Any]:
    """Give the row starts of a nearly full pack of rows as they come: ``(budget,)``."""
    tokens = battle_rows(256)
    order = np.random.default_rng(0).permutation(len(tokens))
    rows = plan_stream(tokens.lengths, order, budget)[_PACK]
    lengths = tokens.lengths[rows].tolist()
    lengths.append(budget - sum(lengths))
    edges = np.cumsum([0, *lengths])
    return np.repeat(edges[:-1], lengths).astype(np.int64)


def choices(size: int, *, training: bool) -> Iterator[Kernel]:
    """Give what is compared: FlexAttention's own choice, the engine's, and blocks around them."""
    yield Kernel()
    yield prepare_kernel(DEVICE, size, training=training)
    masks = ((128, 128), (128, 64), (64, 128), (64, 64))
    if training:
        forward = forward_options(64, 64, num_warps=4, num_stages=3)
        for mask, (m, n), warps, stages in itertools.product(
            masks, ((64, 64), (64, 128), (32, 128), (32, 64), (32, 32)), (8, 4), (2, 3)
        ):
            backward = backward_options(m, n, num_warps=warps, num_stages=stages)
            yield Kernel(mask, forward | backward)
        return
    for mask, (m, n), tma, stages in itertools.product(
        masks, ((128, 64), (64, 64), (128, 32)), (True, False), (2, 3)
    ):
        if m <= mask[0]:
            yield Kernel(
                mask,
                forward_options(m, n, num_warps=m // 16, num_stages=stages, USE_TMA=tma),
            )


def measure(size: int, budget: int, *, training: bool, until: float) -> list[Any]:
    """Time one layer's attention for each choice, ms; those that do not compile are left out."""
    heads, keys, cap = SHAPES[size]
    starts = starts_of_pack(budget)
    ends = np.flatnonzero(np.diff(starts, append=budget)).astype(np.int64)
    # Heads of a token are neighbours in memory, as projections give them.
    query, key, value = (
        torch.randn(1, budget, n, size, device=DEVICE, dtype=torch.bfloat16)
        .transpose(1, 2)
        .requires_grad_(training)
        for n in (heads, keys, keys)
    )
    grad = torch.randn_like(query)
    found = []
    for kernel in choices(size, training=training):
        if time.perf_counter() > until:
            say("out of time: the other choices are left out")
            break
        torch.compiler.reset()
        compute = torch.compile(flex_attention, dynamic=False)
        mask = DocumentMask(starts, ends, DEVICE, kernel=kernel).blocks[None]

        def once(compute: Any = compute, kernel: Kernel = kernel, mask: Any = mask) -> None:
            out: torch.Tensor = compute(
                query,
                key,
                value,
                score_mod=capped(cap),
                block_mask=mask,
                enable_gqa=True,
                kernel_options=kernel.options or None,
            )
            if training:
                torch.autograd.grad(out, (query, key, value), grad)

        try:
            found.append((timed(once, 20, warm=3) * 1e3, kernel))
            say(f"    {kernel}: {found[-1][0]:.3f} ms")
        except Exception as error:  # too much shared memory, say
            say(f"    {kernel}: {str(error).splitlines()[0][:80]}")
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
    for number, (size, training) in enumerate(itertools.product(options.heads, (False, True)), 1):
        share = options.seconds * number / (2 * len(options.heads))
        found = measure(size, options.budget, training=training, until=started + share)
        kind = "forward and backward" if training else "forward"
        for milliseconds, kernel in found:
            say(f"heads of {size}, {kind}: {milliseconds:.3f} ms {kernel}")
            rows.append([size, kind, milliseconds, kernel.block, kernel.options])
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
