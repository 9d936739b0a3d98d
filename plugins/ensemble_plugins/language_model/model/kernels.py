"""What computes attention of packs, by device, and in which blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch

from ensemble_plugins.language_model.model import flash
from ensemble_plugins.language_model.model.soft_capping import use_instruction

BLOCK = 128
"""Tokens of the largest block: packs are filled up to a multiple of it."""

Options = dict[str, int | bool]
"""Of FlexAttention's kernels."""


@dataclass(frozen=True)
class Kernel:
    """How attention of packs is computed.

    Parameters
    ----------
    block
        Queries and keys of a block of the mask: what is computed or left out at once. Smaller ones
        waste less at the edges of rows.
    options
        Kernel options of FlexAttention, whose blocks divide those of the mask.
    flash
        Whether it is FlashAttention-4 that computes it, which needs neither.
    """

    block: tuple[int, int] = (BLOCK, BLOCK)
    options: Options = field(default_factory=dict)
    flash: bool = False


PLAIN = Kernel()
"""FlexAttention's own choice; nothing is looked at of it on a CPU."""

FLASH = Kernel(flash=True)


def forward_options(m: int, n: int, **options: int | bool) -> Options:
    """Name the blocks of ``m`` queries and ``n`` keys, and other options, of a forward pass."""
    sizes: Options = {"BLOCK_M": m, "BLOCK_N": n}
    return {f"fwd_{name}": value for name, value in (sizes | options).items()}


def backward_options(m: int, n: int, **options: int | bool) -> Options:
    """Name those of a backward pass, whose two loops have ``m`` and ``n`` the other way round."""
    sizes: Options = {"BLOCK_M1": m, "BLOCK_N1": n, "BLOCK_M2": n, "BLOCK_N2": m}
    return {f"bwd_{name}": value for name, value in (sizes | options).items()}


_HOPPER = {
    (64, False): Kernel((64, 64), forward_options(64, 64, num_warps=4, num_stages=3)),
    (64, True): Kernel(options=forward_options(64, 64, num_warps=4, num_stages=3)),
    (128, False): Kernel((64, 64), forward_options(64, 64, num_warps=4, num_stages=3)),
    # FlexAttention knows no backward pass of such heads with blocks of fewer keys in the mask.
    (128, True): Kernel(
        options=forward_options(64, 64, num_warps=4, num_stages=3)
        | backward_options(64, 64, num_warps=4, num_stages=2)
    ),
    (256, False): Kernel(
        (128, 64), forward_options(128, 64, num_warps=8, num_stages=2, USE_TMA=True)
    ),
    (256, True): Kernel(
        (64, 64),
        forward_options(64, 64, num_warps=4, num_stages=3, USE_TMA=True)
        | backward_options(64, 64, num_warps=8, num_stages=2),
    ),
}
"""By the size of heads, and for training: what is faster than FlexAttention's own choice on an H100
or H200, by ``benchmarks/attention_blocks.py``."""

_OTHERS = {(256, True): Kernel(options=backward_options(32, 32))}
"""FlexAttention's own blocks of 64 need more shared memory than most GPUs have (99 KiB: A10, L4,
RTX 30 and 40) for the backward pass with such heads."""


def prepare_kernel(
    device: torch.device, head_size: int, activations: torch.dtype, *, training: bool
) -> Kernel:
    """Make a device ready for packs, and say how it computes them.

    Parameters
    ----------
    device
        Where packs are computed.
    head_size
        Of the model's attention.
    activations
        What queries, keys and values are computed in.
    training
        Whether there is a backward pass.
    """
    if device.type != "cuda":
        return PLAIN
    capability = _prepare(device)
    if not flash.why_not(capability, head_size, activations):
        return FLASH
    return flex_kernel(capability, head_size, training=training)


def name_attention(device: torch.device, head_size: int, activations: torch.dtype) -> str:
    """Name what computes attention of packs, and why it is not ``FlashAttention-4``."""
    if device.type != "cuda":
        return "PyTorch"
    reason = flash.why_not(_prepare(device), head_size, activations)
    return f"FlexAttention; {flash.NAME}: {reason}" if reason else flash.NAME


@cache
def _prepare(device: torch.device) -> tuple[int, int]:
    capability = torch.cuda.get_device_capability(device)
    use_instruction(there=capability >= (7, 5) and torch.version.hip is None)
    return capability


def flex_kernel(capability: tuple[int, int], head_size: int, *, training: bool) -> Kernel:
    """Choose FlexAttention's for a compute capability."""
    known = _HOPPER if capability == (9, 0) else _OTHERS
    return known.get((head_size, training), PLAIN)
