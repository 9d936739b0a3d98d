"""How far a language model's logits are from float32, by what computes them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from device_time import say

from ensemble_plugins.language_model.model import attention
from ensemble_plugins.language_model.model.compiled import not_compiled
from ensemble_plugins.language_model.model.parity import drift, reference_logits, rounded_logits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.text.tokens import Tokens


def drifts(name: str, classifier: Classifier, probe: Tokens, budget: int) -> None:
    """Print how far logits are from float32, by what computes them: where a fault would lie."""
    reference = reference_logits(classifier, probe)
    size = 1 + np.abs(reference).max()
    own = np.abs(rounded_logits(classifier, probe) - reference).max() / size
    say(f"{name} drift from float32 (greatest logit {size - 1:.2f}): transformers {own:.4f}")
    for label, context in (
        ("compiled layers", _as_it_is),
        ("plain layers", _not_compiled),
        ("plain layers, plain attention", _plain_attention),
    ):
        with context(classifier):
            say(f"    {label}: {drift(classifier, probe, reference, budget):.4f}")


@contextmanager
def _as_it_is(_classifier: Classifier) -> Iterator[None]:
    yield


@contextmanager
def _not_compiled(classifier: Classifier) -> Iterator[None]:
    with not_compiled(classifier.model.modules()):
        yield


@contextmanager
def _plain_attention(classifier: Classifier) -> Iterator[None]:
    plain = attention.packed_attention

    def by_rows(
        _module: Any, query: Any, key: Any, value: Any, _mask: Any, *, row_mask: Any, **options: Any
    ) -> Any:
        chosen = (options[name] for name in ("scaling", "softcap", "sliding_window"))
        out = attention._by_rows(query, key, value, row_mask, *chosen)
        return out.transpose(1, 2).contiguous(), None

    attention.packed_attention = by_rows  # type: ignore[assignment]
    try:
        with _not_compiled(classifier):
            yield
    finally:
        attention.packed_attention = plain
