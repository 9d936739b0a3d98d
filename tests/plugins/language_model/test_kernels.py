from __future__ import annotations

import importlib
from typing import Any

import pytest

pytest.importorskip("torch")
kernels = importlib.import_module("ensemble_plugins.language_model.model.kernels")

CAPABILITIES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_blocks_divide_those_of_the_mask(
    capability: tuple[int, int], size: int, training: bool
) -> None:
    kernel = kernels.flex_kernel(capability, size, training=training)
    assert all(kernels.BLOCK % block == 0 for block in kernel.block)
    queries, keys = kernel.block
    divided: dict[str, Any] = {"fwd_BLOCK_M": queries, "fwd_BLOCK_N": keys}
    divided |= {f"bwd_BLOCK_{name}": queries for name in ("M1", "M2")}
    divided |= {f"bwd_BLOCK_{name}": keys for name in ("N1", "N2")}
    if kernel.block != (kernels.BLOCK, kernels.BLOCK):  # its own choice might not divide them
        needed = {name for name in divided if training or name.startswith("fwd_")}
        assert needed <= kernel.options.keys()
    for name, value in kernel.options.items():
        if "_BLOCK_" in name:
            assert divided[name] % value == 0, name
    assert training or not any(name.startswith("bwd_") for name in kernel.options)


@pytest.mark.parametrize("capability", [c for c in CAPABILITIES if c != (9, 0)])
def test_large_heads_fit_where_shared_memory_is_small(capability: tuple[int, int]) -> None:
    options = kernels.flex_kernel(capability, 256, training=True).options
    # Blocks of 64 need 112 KiB in the backward pass, and many GPUs have 99.
    assert {options[f"bwd_BLOCK_{name}"] for name in ("M1", "N1", "M2", "N2")} == {32}
