"""Rows of models that take padded batches: which of them may be computed together.

A mask keeps most models from reading padding. Some read it all the same: mixers without a mask
(FNet), convolutions and neighbors (ConvBERT, MobileBERT, CANINE), summaries of the last place
(XLNet). Their rows are computed with rows of the same length alone. Encoder-decoders that read the
last end-of-sequence token want the same number of those in all rows of a batch.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from collections.abc import Collection

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from ensemble_plugins.language_model.model.batches import Padded

_PROBE = 6
"""Tokens of the row that is computed with and without padding."""


def call(
    model: PreTrainedModel, ids: torch.Tensor, attended: torch.Tensor | None = None
) -> torch.Tensor:
    """Give ``(n, 3)`` logits as transformers computes them; a model without a mask gets none.

    Parameters
    ----------
    model
        The classifier.
    ids, attended
        ``(n, longest)`` token ids, and 1 where there is a token; None where there is everywhere.
    """
    masked = "attention_mask" in inspect.signature(model.forward).parameters
    mask = torch.ones_like(ids) if attended is None else attended
    options = {"attention_mask": mask} if masked else {}
    logits: torch.Tensor = model(input_ids=ids, **options).logits
    return logits


def padded_logits(model: PreTrainedModel, batch: Padded, *, alike: bool) -> torch.Tensor:
    """Give ``(n, 3)`` logits of a batch, computed in as many parts as the model wants.

    Parameters
    ----------
    model
        The classifier.
    batch
        Its rows.
    alike
        Whether rows are computed with rows of the same length alone.
    """
    kinds = _kinds(model, batch, alike=alike)
    if len(set(kinds)) == 1 and not alike:
        return call(model, batch.ids, batch.attended)
    parts, order = [], []
    for kind in sorted(set(kinds)):
        rows = [row for row, other in enumerate(kinds) if other == kind]
        width = kind[0] or batch.ids.shape[1]
        parts.append(call(model, batch.ids[rows, :width], batch.attended[rows, :width]))
        order += rows
    return torch.cat(parts)[torch.tensor(order, device=batch.ids.device).argsort()]


def reads_padding(model: PreTrainedModel, pad_id: int, tolerance: float) -> bool:
    """Say whether padding after a row changes its logits.

    Parameters
    ----------
    model
        The classifier.
    pad_id
        What fills batches.
    tolerance
        Greatest change, over the greatest logit, that is rounding.
    """
    ids = probe_ids(model, _PROBE, pad_id)[None].to(model.device)
    padding = torch.full_like(ids, pad_id)
    attended = torch.ones_like(ids)
    with torch.no_grad():
        alone = call(model, ids).float()
        mask = torch.cat([attended, torch.zeros_like(ids)], dim=1)
        followed = call(model, torch.cat([ids, padding], dim=1), mask).float()
    return differs(followed, alone, tolerance)


def differs(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> bool:
    """Say whether logits differ by more than a share of the greatest; NaN does."""
    return not bool((found - wanted).abs().max() <= tolerance * wanted.abs().max())


def probe_ids(model: PreTrainedModel, length: int, pad_id: int, *, seed: int = 0) -> torch.Tensor:
    """Draw a row of token ids ``(length,)``, no padding among them, ended as rows of text are."""
    vocabulary = known_tokens(model.config) or 1000
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (length,), generator=generator)
    end = _end_token(model.config)
    for token in (pad_id, end):
        ids[ids == token] = next(i for i in range(3) if i not in (pad_id, end))
    if end is not None:
        ids[-1] = end
    return ids


def known_tokens(config: PreTrainedConfig) -> int | None:
    """Say how many tokens all parts of a model have embeddings for; None where none says so."""
    encoder = getattr(config, "encoder", None)  # of T5Gemma, which may have a vocabulary of its own
    parts: list[Any] = [config, encoder] if hasattr(encoder, "get_text_config") else [config]
    sizes = [getattr(part.get_text_config(), "vocab_size", None) for part in parts]
    return min((int(size) for size in sizes if size), default=None)


def check_end(
    config: PreTrainedConfig, fixed: Collection[int], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a template without the end-of-sequence token, where a classifier reads that token.

    Parameters
    ----------
    config
        Of the classifier.
    fixed
        Token ids that each row has.
    tokenizer
        Of the model, to name the token.

    Raises
    ------
    LearnerError
        The classifier reads it, and rows may lack it.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as KINDS

    kind: Any = KINDS.get(type(config), None)
    end = _end_token(config)
    if end is None or end in fixed or "eos_token_id" not in inspect.getsource(kind.forward):
        return
    name = tokenizer.convert_ids_to_tokens(end)
    raise LearnerError(
        f"{kind.__name__} reads the end-of-sequence token of a row, and the template writes none: "
        f"eos_token_id in its config.json is {end} ({name!r})",
        where=str(config.name_or_path) or None,
        hint="give the tokenizer that belongs to the model, or a template whose `end` has that "
        "token",
    )


def _kinds(model: PreTrainedModel, batch: Padded, *, alike: bool) -> list[tuple[int, int]]:
    """Say of each row its length, if that counts, and how many ends it has, if they count."""
    nothing = [0] * len(batch.ids)
    end = _end_token(model.config)
    lengths = batch.attended.sum(dim=1).tolist() if alike else nothing
    ends = nothing if end is None else (batch.ids == end).sum(dim=1).tolist()
    return list(zip(lengths, ends, strict=True))


def _end_token(config: PreTrainedConfig) -> int | None:
    """Give the token that an encoder-decoder reads; None for any other model."""
    if not config.is_encoder_decoder:
        return None
    end: Any = getattr(config, "eos_token_id", None)
    return int(end[0] if isinstance(end, list) else end) if end is not None else None
