"""Whether a classifier reads battles: logits that no text changes cannot be trained.

A BERT with ``is_decoder`` lets each token see those before it alone, and its head reads the first.
Windows of a few tokens let the last token, which decoders read, see the template alone.
transformers computes both without a word.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.loading_errors import uncomputable
from ensemble_plugins.language_model.model.padded import call

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ensemble_plugins.language_model.text.tokens import Tokens


def check_dependence(model: PreTrainedModel, rows: Tokens, *, where: str) -> None:
    """Refuse a classifier that gives battles with nothing but the template in common one answer.

    Parameters
    ----------
    model
        The classifier, as transformers loads it.
    rows
        Of one length, in one template, with other texts each.
    where
        The model, for messages.

    Raises
    ------
    LearnerError
        It gives all of them the same logits, or computes none.
    """
    logits = [_logits(model, torch.from_numpy(rows.row(row)), where) for row in range(len(rows))]
    # Where texts have no weight the same numbers are added up, to the last bit. A head of zeros
    # tells nothing of what it reads.
    is_told = bool(logits[0].any())
    if is_told and all(torch.equal(one, other) for one, other in pairwise(logits)):
        raise LearnerError(
            f"{type(model).__name__} gives battles the same logits whatever their texts are: what "
            "its head reads sees the template alone",
            where=where,
            hint=_hint(model),
        )


def _logits(model: PreTrainedModel, row: torch.Tensor, where: str) -> torch.Tensor:
    try:
        with torch.no_grad():
            return call(model, row[None].long().to(model.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise uncomputable(model, error, where) from error


def _hint(model: PreTrainedModel) -> str:
    if getattr(model.config, "is_decoder", False):
        return (
            "its config.json has is_decoder = true, by which the first token sees no other: set it "
            "to false where the weights are those of an encoder, or give another model"
        )
    return "see to the attention in its config.json (sliding_window), or give another model"
