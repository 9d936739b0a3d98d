"""Layers that are compiled, and called for a while as if they were not.

``torch.nn.Module.compile`` is public and keeps the compiled call as ``_compiled_call_impl``, which
``__call__`` takes unless it is None. Nothing public takes it away again.
``torch.compiler.set_stance("force_eager")`` is public too, but stops every compiled function of the
process: FlexAttention's kernel as well, which the benchmarks keep beside layers that are not.

Should PyTorch keep the call elsewhere, looking it up fails. Should ``__call__`` take it however it
is set, parity's reference would be computed by compiled layers.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ensemble_plugins.language_model.model import decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn


def compile_layers(backbone: nn.Module, *, dynamic: bool) -> None:
    """Compile the layers of a model; ``dynamic`` for batches of any width."""
    for layer in _layers(backbone):
        # A layer that reads early has a new shape with each pack, and little to compute.
        if not decoder.reads_early(layer):
            layer.compile(dynamic=dynamic)


def _layers(backbone: nn.Module) -> list[Any]:
    """Give the layers that are compiled: none where they lie elsewhere than in most models."""
    layers: Any = getattr(backbone, "layers", None)
    if layers is None:
        layers = getattr(getattr(backbone, "encoder", None), "layer", [])
    return list(layers)


@contextmanager
def not_compiled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Call modules as if they had never been compiled, for a while."""
    kept = [(module, module._compiled_call_impl) for module in modules]
    for module, _ in kept:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in kept:
            module._compiled_call_impl = call
