"""Forward and backward pass of a pack, recorded once as a CUDA graph and replayed.

A small model spends most of a step on launching kernels, one by one, from Python. All packs of a
training have one width, so that a recording serves for all of them: what differs is copied into the
tensors that it reads. It computes what was recorded, with the same kernels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ensemble_plugins.language_model.model.batches import Pack, Padded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings

_WORTH = 0.9
"""Share of the time of a pass that its recording may take at most, or else it is not kept."""


@dataclass(frozen=True)
class Inputs:
    """What the loss of a pack, or of a padded batch, is computed from; all on the device.

    Parameters
    ----------
    batch
        The rows.
    labels, teacher, offset
        ``(n, 3)`` float32; None where there are none.
    weight
        ``(n,)`` float32; 0 where a logit is there to fill up a pack alone.
    """

    batch: Pack | Padded
    labels: torch.Tensor
    weight: torch.Tensor
    teacher: torch.Tensor | None = None
    offset: torch.Tensor | None = None

    def tensors(self) -> list[torch.Tensor]:
        """Give those of one shape in every pack of a width; its mask is left out."""
        ids = [self.batch.ids] + ([self.batch.positions] if isinstance(self.batch, Pack) else [])
        rows = (self.labels, self.weight, self.teacher, self.offset)
        return [*ids, *(each for each in rows if each is not None)]


class Recording:
    """A pass over packs of one width.

    Parameters
    ----------
    backward
        Computes the loss of inputs and adds up its gradients, which are there already.
    example
        Inputs of the width.

    Raises
    ------
    RuntimeError
        Something in the pass cannot be recorded, or there is no memory for it.
    """

    def __init__(self, backward: Callable[[Inputs], torch.Tensor], example: Inputs) -> None:
        self._inputs = _own(example)
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            self._loss = backward(self._inputs)

    def takes(self, inputs: Inputs) -> bool:
        """Say whether inputs are of the shape that was recorded."""
        own = self._inputs.batch
        if not isinstance(inputs.batch, Pack) or not isinstance(own, Pack):
            return False
        if inputs.batch.mask.reached != own.mask.reached:  # recorded as numbers
            return False
        shapes = [tensor.shape for tensor in self._inputs.tensors()]
        return shapes == [tensor.shape for tensor in inputs.tensors()]

    def replay(self, inputs: Inputs) -> torch.Tensor:
        """Compute loss and gradients; the loss is overwritten by the next replay."""
        for own, new in zip(self._inputs.tensors(), inputs.tensors(), strict=True):
            own.copy_(new)
        self._inputs.batch.mask.take(inputs.batch.mask)  # type: ignore[union-attr]
        self._graph.replay()
        return self._loss


def can_record(classifier: Classifier, settings: TrainingSettings) -> bool:
    """Say whether a pass is the same kernels each time: compiled packs, nothing drawn at random."""
    drawn = any(isinstance(m, nn.Dropout) and m.p > 0 for m in classifier.model.modules())
    return bool(
        classifier.compiled
        and classifier.packed
        and classifier.dtype is torch.bfloat16
        and not drawn
        and not settings.activation_checkpointing
    )


def record_if_faster(
    backward: Callable[[Inputs], torch.Tensor], example: Inputs
) -> Recording | None:
    """Record a pass, and keep the recording where it takes less time than the pass.

    Gradients are changed. Weights are not, so that what is kept makes no difference to them.
    """
    plain = _seconds(lambda: backward(example))
    torch.cuda.empty_cache()  # a recording has memory of its own
    try:
        recording = Recording(backward, example)
        recorded = _seconds(lambda: recording.replay(example))
    except RuntimeError:  # out of memory is one, too
        torch.cuda.synchronize()
        return None
    return recording if recorded <= _WORTH * plain else None


def _own(inputs: Inputs) -> Inputs:
    """Copy inputs, so that nobody else changes them."""
    batch = inputs.batch
    assert isinstance(batch, Pack)  # noqa: S101 - see ``can_record``
    own = replace(
        batch,
        ids=batch.ids.clone(),
        positions=batch.positions.clone(),
        mask=batch.mask.apart(),
    )
    teacher, offset = (
        None if each is None else each.clone() for each in (inputs.teacher, inputs.offset)
    )
    return Inputs(own, inputs.labels.clone(), inputs.weight.clone(), teacher, offset)


def _seconds(action: Callable[[], object]) -> float:
    """Give the least time of two."""
    times = []
    for _ in range(2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)
