"""Parity: packed logits are those that transformers computes, padded, eager and in float32.

A wrong mask, position, pooled token, head or adapter shows as a difference far above rounding. How
far rounding goes depends on the model: transformers' own logits in the same dtype say it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.model.batches import make_padded
from ensemble_plugins.language_model.model.forward import replaced_forwards
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.model.padded import call
from ensemble_plugins.language_model.model.quantized import stored_quantization
from ensemble_plugins.language_model.settings import PredictionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.text.tokens import Tokens

    LogitArray = NDArray[np.float32]

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Greatest difference allowed, over 1 + the greatest logit, by the dtype that is computed in."""

_ROUNDINGS = 2.0
"""Times transformers' own drift in that dtype that is allowed, where it is more."""

_PADDING = 8
"""Tokens that fill a row of the reference: it is padded, and more of them say no more."""

_MOST = 0.25
"""Greatest drift allowed, whatever transformers' own: beyond, no fault would show, and logits are
worth little whoever computes them."""

_UNTRUSTED = "report it with the model's name: predictions of this model cannot be trusted"
_QUANTIZED = (
    "products of quantized weights may round otherwise in each batch: give full weights with "
    "bits = 16, or set parity_tolerance to a drift that you accept"
)


@dataclass(frozen=True)
class Parity:
    """How far logits are from transformers' in float32, over 1 + the greatest of those.

    Parameters
    ----------
    packed
        Of the model's own way of computing, alone or in a pack.
    transformers
        Of transformers' own in the same dtype: what rounding alone does to this model.
    dtype
        That dtype.
    reference
        ``(n, 3)`` logits of transformers in float32.
    is_quantized
        Whether weights are quantized, by products that round in their own way.
    """

    packed: float
    transformers: float
    dtype: torch.dtype
    reference: LogitArray = field(repr=False, compare=False)
    is_quantized: bool = False

    def require(self, found: float, where: str, tolerance: float | None = None) -> None:
        """Refuse a drift above the tolerance, or above what rounding explains where it is None.

        Raises
        ------
        LearnerError
            It is more.
        """
        allowed = tolerance
        if allowed is None:
            rounding = min(_ROUNDINGS * self.transformers, _MOST)
            allowed = max(TOLERANCES[self.dtype], rounding)
        if not found <= allowed:
            raise LearnerError(
                f"logits are not those of transformers' padded float32 path: they drift by "
                f"{found:.3g} ({allowed:.3g} is allowed; transformers' own drift by "
                f"{self.transformers:.3g} in {str(self.dtype).removeprefix('torch.')})",
                where=where,
                hint=_QUANTIZED if self.is_quantized else _UNTRUSTED,
            )


def reference_logits(classifier: Classifier, tokens: Tokens) -> LogitArray:
    """Compute logits by transformers' own modules, padded, with eager attention, in float32.

    Weights are turned to float32 one layer at a time, so that it fits where the model does.

    Returns
    -------
    ndarray of float32, shape (n, 3)
    """
    with classifier.as_transformers() as model, _in_float32(model):
        return _padded_logits(classifier, model, tokens)


def rounded_logits(classifier: Classifier, tokens: Tokens) -> LogitArray:
    """Compute logits as ``reference_logits`` does, in the dtype that the classifier computes in."""
    half = classifier.dtype is not torch.float32
    autocast = torch.autocast(classifier.device.type, classifier.dtype) if half else nullcontext()
    with classifier.as_transformers() as model, autocast:
        return _padded_logits(classifier, model, tokens)


def rounding_drift(classifier: Classifier, tokens: Tokens, reference: LogitArray) -> float:
    """Give how far transformers' own logits are from the reference in the classifier's dtype."""
    if classifier.dtype is torch.float32:
        return 0.0  # they are the reference
    return distance(rounded_logits(classifier, tokens), reference)


def _padded_logits(classifier: Classifier, model: PreTrainedModel, tokens: Tokens) -> LogitArray:
    rows = np.arange(len(tokens), dtype=np.int64)
    padded = make_padded(tokens, rows, device=classifier.device, pad_id=classifier.pad_id)
    out = []
    with torch.no_grad():
        for ids, mask, length in zip(
            padded.ids, padded.attended, tokens.lengths.tolist(), strict=True
        ):
            # A row's own tokens tell where it ends, and its padding must not look like them.
            alone = not classifier.packed or bool((ids[:length] == classifier.pad_id).any())
            width = length if alone else length + _PADDING
            out.append(call(model, ids[None, :width], mask[None, :width]))
    return torch.cat(out).float().cpu().numpy()


def drift(
    classifier: Classifier,
    tokens: Tokens,
    reference: LogitArray,
    budget: int = PredictionSettings.token_budget,
) -> float:
    """Give the greatest difference to a reference, over 1 + its greatest logit.

    Each row is computed alone, and all rows together, in packs of at most ``budget`` tokens.
    """
    together = compute_logits(classifier, tokens, budget)
    singly = [tokens.take(np.array([row])) for row in range(len(tokens))]
    alone = np.concatenate([compute_logits(classifier, row, budget) for row in singly])
    return max(distance(found, reference) for found in (together, alone))


def drift_in_training(
    classifier: Classifier, tokens: Tokens, reference: LogitArray, budget: int
) -> float:
    """Give what ``drift`` gives for the way that training computes; without any dropout."""
    classifier.model.train()
    found = np.zeros_like(reference)
    width = budget if classifier.compiled else 0
    with _without_dropout(classifier.model):
        for rows in classifier.plan(tokens.lengths, budget):
            logits = classifier.logits(classifier.batch(tokens, rows, width=width))
            found[rows] = logits.detach().cpu().numpy()
    classifier.model.eval()
    return distance(found, reference)


def distance(found: LogitArray, reference: LogitArray) -> float:
    """Give the greatest difference of logits ``(n, 3)``, over 1 + the greatest of the reference."""
    return float(np.abs(found - reference).max() / (1 + np.abs(reference).max()))


def check_parity(
    classifier: Classifier,
    tokens: Tokens,
    *,
    where: str,
    tolerance: float | None = None,
    budget: int = PredictionSettings.token_budget,
) -> Parity:
    """Hold the model's own way of computing against transformers'.

    Parameters
    ----------
    classifier
        The model, before it is quantized for prediction.
    tokens
        A few rows, of different lengths.
    where
        When it is checked, for the error.
    tolerance
        Greatest drift allowed; None takes that of the dtype, or twice transformers' own in that
        dtype where it is more, but never more than a quarter.
    budget
        Most tokens computed at once.

    Raises
    ------
    LearnerError
        The two differ by more than rounding explains.
    """
    reference = reference_logits(classifier, tokens)
    own = rounding_drift(classifier, tokens, reference)
    found = drift(classifier, tokens, reference, budget)
    stored = stored_quantization(classifier.base.config)
    is_quantized = stored is not None or classifier.settings.bits < 16
    parity = Parity(found, own, classifier.dtype, reference, is_quantized)
    parity.require(parity.packed, where, tolerance)
    return parity


@contextmanager
def _in_float32(model: nn.Module) -> Iterator[None]:
    """Compute every module that holds weights with them in float32, and its inputs too."""
    holders = [module for module in model.modules() if _holds_half(module)]
    with replaced_forwards(holders, _forward_float32):
        yield


def _holds_half(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and all(p.dtype in (torch.bfloat16, torch.float16) for p in own)


def _forward_float32(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    weights = {name: p.float() for name, p in module.named_parameters(recurse=False)}
    inputs = [_float(value) for value in args]
    plain = type(module).forward
    with _swapped(module, weights):
        return plain(module, *inputs, **kwargs)


@contextmanager
def _swapped(module: nn.Module, weights: dict[str, torch.Tensor]) -> Iterator[None]:
    kept = dict(module._parameters)
    try:
        for name, value in weights.items():
            module._parameters[name] = nn.Parameter(value, requires_grad=False)
        yield
    finally:
        module._parameters.update(kept)


def _float(value: Any) -> Any:
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Keep dropout from being computed: that of modules, of functions and of attention."""
    shares = {module: module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    functions: Any = torch.nn.functional
    dropout, attend = functions.dropout, functions.scaled_dot_product_attention
    for module in shares:
        module.p = 0.0
    functions.dropout = lambda states, *_, **__: states
    functions.scaled_dot_product_attention = lambda *args, **options: attend(
        *args, **options | {"dropout_p": 0.0}
    )
    try:
        yield
    finally:
        functions.dropout, functions.scaled_dot_product_attention = dropout, attend
        for module, share in shares.items():
            module.p = share
