"""Who trains: one process alone, or several of which each computes a share of every step.

Every process holds the whole model. Gradients are added up once a step, so that a step is the same,
but for rounding, on any number of devices, and weights never drift apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accelerate import Accelerator

    Part = TypeVar("Part")


class ProcessGroup:
    """A process that trains alone; its subclass has others beside it.

    Attributes
    ----------
    number : int
        Of this process, from 0; that one saves the state and tells of progress.
    size : int
        How many processes there are.
    """

    number: int = 0
    size: int = 1

    def share(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Give the parts that this process computes; together the processes compute each once."""
        return parts

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, the same to the last bit in each."""


class AcceleratedGroup(ProcessGroup):
    """Processes that accelerate has brought together.

    Parameters
    ----------
    accelerator
        Of this process.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.number = int(accelerator.process_index)
        self.size = int(accelerator.num_processes)

    def share(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Give every so-manieth of them."""
        return parts[self.number :: self.size]

    def all_reduce(self, tensors: Sequence[torch.Tensor]) -> None:
        """Add up in one message: the gradients of adapters are many and small."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        summed = self.accelerator.reduce(flat, reduction="sum")
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, summed.split(sizes), strict=True):
            tensor.copy_(part.view_as(tensor))
