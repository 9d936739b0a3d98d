"""FlexAttention's kernels by device: blocks that were measured, or that fit."""

from __future__ import annotations

from functools import cache

import torch

from plugins.language_model.soft_capping import use_instruction

Kernels = dict[int, dict[str, int | bool]]
"""Options of FlexAttention by the size of heads."""

_HOPPER: Kernels = {
    128: {
        "fwd_BLOCK_M": 64,
        "fwd_BLOCK_N": 64,
        "fwd_num_warps": 4,
        "fwd_num_stages": 3,
        "bwd_BLOCK_M1": 64,
        "bwd_BLOCK_N1": 64,
        "bwd_BLOCK_M2": 64,
        "bwd_BLOCK_N2": 64,
        "bwd_num_warps": 4,
        "bwd_num_stages": 2,
    },
    256: {
        "fwd_BLOCK_M": 128,
        "fwd_BLOCK_N": 64,
        "fwd_num_warps": 8,
        "fwd_num_stages": 2,
        "fwd_USE_TMA": True,
        "bwd_BLOCK_M1": 64,
        "bwd_BLOCK_N1": 64,
        "bwd_BLOCK_M2": 64,
        "bwd_BLOCK_N2": 64,
        "bwd_num_warps": 8,
        "bwd_num_stages": 2,
    },
}
"""What is faster than FlexAttention's own choice on an H100 or H200, by
``benchmarks/attention_blocks.py``."""

_OTHERS: Kernels = {256: {f"bwd_BLOCK_{name}": 32 for name in ("M1", "N1", "M2", "N2")}}
"""FlexAttention's own blocks of 64 need more shared memory than most GPUs have (99 KiB: A10, L4,
RTX 30 and 40) for the backward pass with such heads."""


@cache
def prepare_kernels(device: torch.device) -> Kernels:
    """Make a CUDA device ready for packs, and give the options of its kernels."""
    capability = torch.cuda.get_device_capability(device)
    use_instruction(there=capability >= (7, 5) and torch.version.hip is None)
    return kernels_of(capability)


def kernels_of(capability: tuple[int, int]) -> Kernels:
    """Give the options for a compute capability."""
    return _HOPPER if capability == (9, 0) else _OTHERS
