"""Modules that compute something else in their place: what ``forward`` is on a single module.

``torch.nn.Module.__call__`` calls ``self.forward``, so that a function bound to a module goes
before that of its class. PyTorch does not promise it. Public hooks see what goes in and comes out,
but do not replace what is computed between; and another module in the place of the first has other
names of weights, by which PEFT and checkpoints find them.

Should PyTorch call the function of the class instead, nothing would fail at once: decoder layers,
DeBERTa's attention and adapters would be computed by transformers and PEFT, slower, and parity's
reference in the dtype of the weights, so that its tolerance would mean nothing.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn


def replace_forward(module: nn.Module, function: Callable[..., Any]) -> None:
    """Let a module compute ``function(module, ...)`` in the place of its class's ``forward``."""
    module.forward = types.MethodType(function, module)


def restore_forward(module: nn.Module) -> None:
    """Let a module compute what its class does; nothing changes where it does already."""
    vars(module).pop("forward", None)


def replacement(module: nn.Module) -> Callable[..., Any] | None:
    """Give the function that a module computes in the place of its class's, where there is one."""
    function: Callable[..., Any] | None
    function = getattr(vars(module).get("forward"), "__func__", None)
    return function


@contextmanager
def plain_forwards(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let modules compute what their classes do, for a while."""
    replaced = [module for module in modules if "forward" in vars(module)]
    kept = [(module, vars(module).pop("forward")) for module in replaced]
    try:
        yield
    finally:
        for module, forward in kept:
            module.forward = forward


@contextmanager
def replaced_forwards(modules: list[nn.Module], function: Callable[..., Any]) -> Iterator[None]:
    """Let modules compute a function, as ``replace_forward`` does, for a while."""
    with plain_forwards(modules):
        for module in modules:
            replace_forward(module, function)
        try:
            yield
        finally:
            for module in modules:
                restore_forward(module)
