"""What training minimizes: cross-entropy with soft labels, and the distance to a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    import torch


def row_losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor | None = None,
    *,
    offset: torch.Tensor | None = None,
    share: float = 0.0,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Compute the loss of each row.

    Distillation as Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network* (2015):
    the factor ``T²`` keeps the teacher's gradient at one size for every temperature.

    Parameters
    ----------
    logits
        ``(n, 3)`` float32.
    labels
        ``(n, 3)`` distributions.
    teacher
        ``(n, 3)`` logits of the teacher; None learns from labels alone.
    offset
        ``(n, 3)``, added to the logits before they are held against the labels; None adds nothing.
        A teacher speaks of the logits without it, as they are predicted.
    share
        Share of the teacher in the loss, in [0, 1].
    temperature
        ``T``, above 0.

    Returns
    -------
    Tensor
        ``(n,)``, in nats.
    """
    shifted = logits if offset is None else logits + offset
    hard = -(labels * functional.log_softmax(shifted, dim=-1)).sum(dim=-1)
    if teacher is None or share == 0.0:
        return hard
    wanted = functional.log_softmax(teacher / temperature, dim=-1)
    found = functional.log_softmax(logits / temperature, dim=-1)
    soft = (wanted.exp() * (wanted - found)).sum(dim=-1)
    return (1.0 - share) * hard + share * temperature**2 * soft
