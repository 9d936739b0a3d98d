"""Which kernels compute packs, by device, size of heads and what is installed."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

torch = pytest.importorskip("torch")
flash = importlib.import_module("ensemble_plugins.language_model.model.flash")
kernels = importlib.import_module("ensemble_plugins.language_model.model.kernels")

CPU = torch.device("cpu")
HOPPER = ((9, 0), 128, torch.bfloat16)
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


@pytest.mark.parametrize(
    ("capability", "size", "activations", "found", "told"),
    [
        (*HOPPER, flash.VERSION, ""),
        ((9, 0), 64, torch.bfloat16, flash.VERSION, ""),
        ((9, 0), 256, torch.bfloat16, flash.VERSION, ""),
        (*HOPPER, None, "not installed (the extra 'flash')"),
        (*HOPPER, "4.0.0b40", "version 4.0.0b40 of it is untried"),
        (*HOPPER, "broken", "cannot be imported (ImportError: files of another): install it again"),
        ((8, 0), 128, torch.bfloat16, flash.VERSION, "compute capability 9.0 alone"),
        ((10, 0), 128, torch.bfloat16, flash.VERSION, "compute capability 9.0 alone"),
        ((9, 0), 80, torch.bfloat16, flash.VERSION, "not used for heads of 80"),
        ((9, 0), 128, torch.float16, flash.VERSION, "does not compute float16"),
        ((9, 0), 128, torch.float32, flash.VERSION, "does not compute float32"),
    ],
)
def test_it_is_used_where_it_was_measured_alone(
    capability: tuple[int, int],
    size: int,
    activations: Any,
    found: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        assert name == "flash-attn-4"
        if found is None:
            raise flash.PackageNotFoundError(name)
        return found if found != "broken" else str(flash.VERSION)

    def broken() -> None:
        raise ImportError("files of another\nand more")

    flash.why_not.cache_clear()
    monkeypatch.setattr(flash, "version", version)
    monkeypatch.setattr(flash, "_kernels", broken if found == "broken" else lambda: None)
    monkeypatch.setattr(kernels, "_prepare", lambda _device: capability)
    cuda = torch.device("cuda")
    assert (flash.why_not(capability, size, activations) == "") is not bool(told)
    kernel = kernels.prepare_kernel(cuda, size, activations, training=True)
    assert kernel.flash is not bool(told)
    named = kernels.name_attention(cuda, size, activations)
    assert named.startswith("FlexAttention; FlashAttention-4: " if told else "FlashAttention-4")
    assert told in named
    flash.why_not.cache_clear()


def test_a_cpu_knows_nothing_of_it() -> None:
    assert kernels.prepare_kernel(CPU, 128, torch.bfloat16, training=True) is kernels.PLAIN
    assert kernels.name_attention(CPU, 128, torch.bfloat16) == "PyTorch"


def test_the_extra_installs_the_version_that_is_known() -> None:
    tomllib = importlib.import_module("tomllib")
    root = importlib.import_module("pathlib").Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (needed,) = extras["optional-dependencies"]["flash"]
    assert f"=={flash.VERSION}" in needed
