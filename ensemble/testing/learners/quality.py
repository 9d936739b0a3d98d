"""What a learner has learned of more generated battles: told, never refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.stacking.sanity import doubts_about
from ensemble.testing.checks import CautionError, Check
from ensemble.testing.material import generated

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_ROWS = 300
_TOO_GOOD = 0.3
"""Nats. The true distribution of generated battles has about 0.9."""
_BETTER = 0.05
"""Nats that another scale has to gain before it is told."""
_SCALES = 2.0 ** np.arange(-6, 7)


def quality(trial: LearnerTrial) -> dict[str, Any]:
    """Fit on 200 battles and score 100 others."""
    _ = trial.logits
    material = generated(_ROWS)
    given = trial.given(
        battles=material.train, labels=material.labels, groups=material.train_groups
    )
    learner = trial.fit(given)
    logits = trial.predict(learner, material.others)
    labels, shares = material.other_labels, material.labels.mean(axis=0)
    prior = _loss(np.tile(np.log(shares), (len(labels), 1)), labels)
    measured = {"log loss": _loss(logits, labels), "class prior": prior}
    if measured["log loss"] < _TOO_GOOD:
        raise trial.fault(
            f"its log loss on held-out battles is {measured['log loss']:.3g}, which nobody can "
            "reach who has not seen their labels",
            "learn from what fit is given, and from nothing else",
        )
    # A learner that gives the prior may be off by what rounding does.
    doubts = doubts_about("it", logits, labels, prior + 1e-3)
    if doubts:
        raise CautionError(f"on {len(labels)} held-out battles {doubts[0]}", measured)
    best = min(_SCALES, key=lambda scale: _loss(logits * scale, labels))
    gained = measured["log loss"] - _loss(logits * best, labels)
    if gained > _BETTER:
        raise CautionError(
            f"on {len(labels)} held-out battles its logits times {best:g} would have a log loss of "
            f"{_loss(logits * best, labels):.4f}, not {measured['log loss']:.4f}: it is "
            f"{'too sure' if best < 1 else 'not sure enough'}; regularize it "
            f"{'more' if best < 1 else 'less'}",
            measured,
        )
    return measured


def _loss(logits: Any, labels: Any) -> float:
    return float(row_log_loss(labels, softmax(logits)).mean())


CHECKS = (Check("held-out battles", quality),)
