from __future__ import annotations

import importlib

import pytest

pytest.importorskip("torch")
attention = importlib.import_module("plugins.language_model.attention")
kernels = importlib.import_module("plugins.language_model.kernels")

CAPABILITIES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_blocks_divide_those_of_the_mask(capability: tuple[int, int]) -> None:
    for options in kernels.kernels_of(capability).values():
        blocks = [value for name, value in options.items() if "_BLOCK_" in name]
        assert blocks
        assert all(attention.BLOCK % block == 0 for block in blocks)


@pytest.mark.parametrize("capability", [c for c in CAPABILITIES if c != (9, 0)])
def test_large_heads_fit_where_shared_memory_is_small(capability: tuple[int, int]) -> None:
    options = kernels.kernels_of(capability)[256]
    # Blocks of 64 need 112 KiB in the backward pass, and many GPUs have 99.
    assert {options[f"bwd_BLOCK_{name}"] for name in ("M1", "N1", "M2", "N2")} == {32}
