"""Matrix products in 8 bits: FP8 where the GPU has it, or int8; layers of them for prediction.

Weights are quantized once, with a scale for each output; activations as they come, with a scale for
each token. Scales absorb the range of a row, so that no calibration data is needed.

The products are PyTorch's private ``torch._int_mm`` and ``torch._scaled_mm``: ``torch.mm`` adds up
int8 in int8. ``torch.nn.functional.scaled_mm``, public in PyTorch 2.13, gives the same bits on a
CPU; on a GPU it has not been measured. Should either product go or change, what is asked for in
"int8" or "fp8" fails or drifts; "native" does not use them.

torchao 0.18 has such layers. Compiled, on an H100, they reach 94 to 99% of the rate of these, with
the same error (``benchmarks/eight_bit.py``). They call the same private products, their FP8 takes
bfloat16 weights alone and nothing on a CPU, where these are tested, and choosing layers would
remain here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.forward import restore_forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble_plugins.language_model.settings import Precision

MULTIPLE = 16
"""8-bit matrix products take sizes that are multiples of it."""
_FEWEST_ROWS = 32
"""On CUDA int8 products take no fewer than 17 rows."""
_SMALLEST_SCALE = 1e-12
_EXACT = {"score", "classifier", "pooler", "lora_A", "lora_B"}
"""Names of heads, some of which are inside the backbone, and of adapters that are not merged."""


class EightBitLinear(nn.Module):
    """A linear layer whose product is computed in 8 bits; for prediction alone.

    Parameters
    ----------
    layer
        The layer that it takes the place of.
    dtype
        ``torch.float8_e4m3fn`` or ``torch.int8``.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        weight, scale = quantize(layer.weight.detach(), dtype)
        self.dtype = dtype
        self.weight = nn.Buffer(weight)
        self.scale = nn.Buffer(scale.T.contiguous())
        self.bias: nn.Parameter | None = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute ``(..., inputs)`` to ``(..., outputs)`` in the dtype of ``x``."""
        flat, scale = quantize(x.reshape(-1, x.shape[-1]), self.dtype)
        if self.dtype is torch.int8:
            out = _int_product(flat, self.weight).float() * scale * self.scale
        else:
            out = scaled_product(flat, self.weight, scale, self.scale)
        out = out.to(x.dtype)
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], -1)


def _int_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute ``x @ weight.T`` in int32, of however few rows."""
    n = len(x)
    if n < _FEWEST_ROWS:
        x = nn.functional.pad(x, (0, 0, 0, _FEWEST_ROWS - n))
    return torch._int_mm(x, weight.T)[:n]


def scaled_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    scale_x: torch.Tensor,
    scale: torch.Tensor,
    *,
    fast: bool = True,
) -> torch.Tensor:
    """Compute ``x @ weight.T`` of FP8 in bfloat16, times ``(n, 1)`` and ``(1, outputs)`` scales.

    ``fast`` adds up in fewer bits.
    """
    return torch._scaled_mm(
        x,
        weight.T,
        scale_a=scale_x,
        scale_b=scale,
        out_dtype=torch.bfloat16,  # the only one on CUDA with a scale for each row
        use_fast_accum=fast,
    )


def quantize(values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize rows, each by its largest magnitude.

    Parameters
    ----------
    values
        ``(n, k)``.
    dtype
        ``torch.float8_e4m3fn`` or ``torch.int8``.

    Returns
    -------
    tuple of Tensor
        ``(n, k)`` in ``dtype``, and ``(n, 1)`` float32 scales: values are about their product.
    """
    largest = 127.0 if dtype is torch.int8 else torch.finfo(dtype).max
    scale = values.abs().amax(dim=-1, keepdim=True).float().clamp(min=_SMALLEST_SCALE) / largest
    scaled = values.float() / scale
    return (scaled.round() if dtype is torch.int8 else scaled).to(dtype), scale


def use_eight_bits(backbone: nn.Module, precision: Precision) -> int:
    """Put 8-bit layers in the place of the backbone's linear layers.

    The head is left as it is, and so are adapters that are not merged.

    Returns
    -------
    int
        How many were replaced; layers of odd sizes are not.

    Raises
    ------
    LearnerError
        The GPU has no such products, or no layer takes them.
    """
    dtype = _dtype(precision, next(backbone.parameters()).device)
    replaced = list(_replaceable(backbone))
    if not replaced:
        raise LearnerError(
            f'no layer can be computed with precision = "{precision}"',
            hint='set precision = "native": weights in 8 or 4 bits have products of their own',
        )
    for parent, name, layer in replaced:
        setattr(parent, name, EightBitLinear(layer, dtype))
        if name == "base_layer":  # a fused adapter would go on to compute with the layer's weights
            restore_forward(parent)
    return len(replaced)


def _replaceable(backbone: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for path, parent in list(backbone.named_modules()):
        for name, child in list(parent.named_children()):
            if (
                type(child) is nn.Linear
                and not any(size % MULTIPLE for size in child.weight.shape)
                and not _EXACT & {*path.split("."), name}
            ):
                yield parent, name, child


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    return torch.int8 if precision == "int8" else fp8_dtype(device)


def fp8_dtype(device: torch.device) -> torch.dtype:
    """Give the dtype of FP8.

    Raises
    ------
    LearnerError
        The GPU has no such products.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        raise LearnerError(
            f"this GPU computes no FP8: {torch.cuda.get_device_name(device)}",
            hint='set precision = "int8" or "native", and train_precision = "native"',
        )
    return torch.float8_e4m3fn
