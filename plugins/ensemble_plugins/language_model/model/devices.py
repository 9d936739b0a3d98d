"""Where models are computed: the device, the dtype that it computes in, and its memory."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


def free_memory() -> None:
    """Give back the memory of models that nobody holds any more.

    Their modules hold one another, so that Python frees them when it likes, and PyTorch keeps what
    it has freed for itself, out of the reach of other processes.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pick_device(name: str) -> torch.device:
    """Turn a device's name into a device; ``"auto"`` takes a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_current(device: torch.device) -> None:
    """Let this process use a GPU where it is not told which: recordings, and some kernels, do."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Choose bfloat16 where the device computes it, float16 on older GPUs, float32 on a CPU."""
    if device.type != "cuda":
        return torch.float32
    # `is_bf16_supported` is true where it is only emulated, at half the speed of float16.
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def on_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device without waiting for what the device is doing."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
