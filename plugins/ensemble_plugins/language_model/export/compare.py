"""Holding an exported model against the logits that the run has."""

from __future__ import annotations

import warnings
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ensemble.errors import LearnerError
from ensemble_plugins.language_model.export.files import load_package
from ensemble_plugins.language_model.model.parity import TOLERANCES
from ensemble_plugins.language_model.model.weights import quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ROUNDINGS = 2.0
"""Times the drift by rounding that is allowed: what is compared has rounded on both sides."""
_MOST = 0.5
"""Greatest difference allowed over 1 + the greatest logit; beyond, no fault would show."""
_CLEARLY = 3.0
"""Times nearer to the run's logits than to those of other classes or rows, to be told apart."""


def check_export(
    directory: Path,
    battles: Sequence[tuple[Any, Any, Any]],
    ids: Sequence[Sequence[Sequence[int]]],
    logits: NDArray[np.float32],
    *,
    device: str,
    facts: Mapping[str, Any],
) -> dict[str, float | int | str]:
    """Load what was written as anyone would, and hold it against the logits that it has to give.

    Parameters
    ----------
    directory
        Of the exported model.
    battles
        Prompts, responses A and responses B of ``n`` rows.
    ids
        Their tokens, in one or both orders of A and B.
    logits
        ``(n, 3)``.
    device
        Where it computes.
    facts
        Of the trained model: its dtype, and how far rounding went.

    Raises
    ------
    LearnerError
        Tokens or logits are others.
    """
    with quiet():
        model = load_package(directory).BattleClassifier(directory, device)
        built = [
            [model.input.ids(battle, swapped=swapped) for battle in battles]
            for swapped in (False, True)[: len(ids)]
        ]
        if built != [[list(row) for row in order] for order in ids]:
            raise LearnerError("the exported files build other token ids than the run did")
        found = np.array(model.logits(battles), dtype=np.float32).reshape(-1, 3)
    gap = float(np.abs(found - logits).max(initial=0.0))
    allowed = _allowed(logits, facts)
    apart, mistaken = _mean_gap(found, logits), _least_mistaken(found, logits)
    if not gap <= allowed or mistaken < apart / _CLEARLY:
        raise LearnerError(
            f"the exported model gives other logits: they differ by up to {gap:.3g} on "
            f"{len(logits)} rows, and {allowed:.3g} is allowed; by {apart:.3g} on average, "
            f"and from those of other classes or rows by {mistaken:.3g}",
            hint="report it with the model's name",
        )
    if not apart < mistaken / _CLEARLY:
        warnings.warn(_unclear(len(logits), apart, mistaken), stacklevel=2)
    return {
        "rows": len(logits),
        "max_difference": gap,
        "allowed": allowed,
        "dtype": str(facts["dtype"]),
        "device": device,
    }


def _mean_gap(found: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    return float(np.abs(found - logits).mean()) if len(logits) else 0.0


def _least_mistaken(found: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Say how near the logits are to those of other classes, or of other rows."""
    orders = [order for order in permutations(range(3)) if order != (0, 1, 2)]
    mistaken = [logits[:, list(order)] for order in orders]
    mistaken += [np.roll(logits, 1, axis=0)] if len(logits) > 1 else []
    return min(_mean_gap(found, one) for one in mistaken)


def _unclear(rows: int, apart: float, mistaken: float) -> str:
    return (
        f"the logits of the {rows} rows that the exported model was compared on are so much alike "
        f"that another order of classes or rows might not show: they differ by {apart:.3g} on "
        f"average, and from those of other classes or rows by {mistaken:.3g} (hint: a model that "
        "tells battles apart has other logits for each)"
    )


def _allowed(logits: NDArray[np.float32], facts: Mapping[str, Any]) -> float:
    """Give the greatest difference that rounding explains in the dtype of the trained model."""
    names = ("drift_in_prediction", "drift_of_transformers")
    drift = sum(float(facts.get(name, 0.0)) for name in names)
    share = _ROUNDINGS * max(TOLERANCES[dtype_of(facts)], drift)
    return min(share, _MOST) * (1.0 + float(np.abs(logits).max(initial=0.0)))


def dtype_of(facts: Mapping[str, Any]) -> torch.dtype:
    """Give the dtype that a model was computed in."""
    found: torch.dtype = getattr(torch, str(facts["dtype"]))
    return found
