"""What computes attention of packs fastest, forward and backward, on one GPU.

    python benchmarks/attention_blocks.py                       # FlashAttention-4 and FlexAttention
    python benchmarks/attention_blocks.py --search --heads 128  # and FlexAttention's other blocks

Packs have rows of the lengths of real battles. Passes are recorded as CUDA graphs, as training has
them: small ones would wait for Python. The engine's choices in
``plugins/ensemble_plugins/language_model/model/kernels.py`` come from here. Needs torch, and
flash-attn-4 for its part.
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

from ensemble_plugins.language_model.model.attention import packed_attention
from ensemble_plugins.language_model.model.batches import plan_stream
from ensemble_plugins.language_model.model.document_mask import DocumentMask
from ensemble_plugins.language_model.model.kernels import (
    Kernel,
    backward_options,
    flex_kernel,
    forward_options,
    prepare_kernel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICE = torch.device("cuda")
SHAPES = {256: (16, 8, 50.0), 128: (32, 8, None), 64: (9, 3, None)}
"""By the size of heads: query heads, key heads and soft cap, as Gemma-2-9B, Llama-3-8B and
SmolLM2-135M."""

TIMES = 10
"""Passes of a recording."""

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


def choices(size: int, *, training: bool, search: bool) -> Iterator[Kernel]:
    """Give what is compared: the engine's choice, FlexAttention's, and blocks around them."""
    chosen = prepare_kernel(DEVICE, size, torch.bfloat16, training=training)
    flex = flex_kernel(torch.cuda.get_device_capability(DEVICE), size, training=training)
    yield from [chosen] * chosen.flash
    yield flex
    yield Kernel()
    if not search:
        return
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


def measure(
    size: int, budget: int, *, training: bool, search: bool, until: float
) -> list[tuple[float, Kernel]]:
    """Time one layer's attention for each choice, ms; those that do not compile are left out."""
    heads, keys, cap = SHAPES[size]
    starts = starts_of_pack(budget)
    ends = np.flatnonzero(np.diff(starts, append=budget)).astype(np.int64)
    # Heads of a token are neighbours in memory, as projections give them.
    states = [
        torch.randn(1, budget, n, size, device=DEVICE, dtype=torch.bfloat16)
        .transpose(1, 2)
        .requires_grad_(training)
        for n in (heads, keys, keys)
    ]
    found = []
    for kernel in choices(size, training=training, search=search):
        if time.perf_counter() > until:
            say("out of time: the other choices are left out")
            break
        torch.compiler.reset()
        mask = DocumentMask(starts, ends, DEVICE, kernel=kernel)
        try:
            found.append((recorded_ms(states, mask, size**-0.5, cap), kernel))
            say(f"    {kernel}: {found[-1][0]:.3f} ms")
        except Exception as error:  # too much shared memory, say
            say(f"    {kernel}: {str(error).splitlines()[0][:80]}")
    return sorted(found, key=lambda item: item[0])


def recorded_ms(
    states: list[torch.Tensor], mask: DocumentMask, scaling: float, cap: float | None
) -> float:
    """Time a pass, forward or both, that is compiled and recorded."""
    layer = torch.nn.Identity()

    def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return packed_attention(layer, q, k, v, None, scaling=scaling, row_mask=mask, softcap=cap)[
            0
        ]

    compute: Callable[..., torch.Tensor] = torch.compile(attended, dynamic=False)
    grad = torch.randn_like(compute(*states))

    def once() -> None:
        out = compute(*states)
        if out.requires_grad:
            torch.autograd.grad(out, states, grad)

    beside = torch.cuda.Stream()
    with torch.cuda.stream(beside):
        for _ in range(3):
            once()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(TIMES):
            once()
    return timed(graph.replay, 3, warm=1) * 1e3 / TIMES


def main() -> None:
    """Measure what is asked for, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--search", action="store_true", help="FlexAttention's other blocks too")
    parser.add_argument("--budget", type=int, default=8448)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    rows = []
    for number, (size, training) in enumerate(itertools.product(options.heads, (False, True)), 1):
        share = options.seconds * number / (2 * len(options.heads))
        found = measure(
            size,
            options.budget,
            training=training,
            search=options.search,
            until=started + share,
        )
        kind = "forward and backward" if training else "forward"
        for milliseconds, kernel in found:
            say(f"heads of {size}, {kind}: {milliseconds:.3f} ms {kernel}")
            rows.append([size, kind, milliseconds, kernel.block, kernel.options])
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
