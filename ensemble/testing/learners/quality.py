"""What a learner has learned of more generated battles: told, never refused."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import CLASSES
from ensemble.stacking.sanity import doubts_about
from ensemble.testing.checks import CautionError, Check
from ensemble.testing.material import generated

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_ROWS = 600
_SURE = 2.5
"""Standard errors of a difference that is told: an honest learner is a little worse by chance."""
_TOO_GOOD = 0.3
"""Nats. The true distribution of generated battles has about 0.9."""
_BETTER = 0.05
"""Nats that another scale has to gain before it is told."""
_SCALES = 2.0 ** np.arange(-6, 7)


def quality(trial: LearnerTrial) -> dict[str, Any]:
    """Fit on 400 battles and score 200 others."""
    _ = trial.logits
    material = generated(_ROWS)
    given = trial.given(
        battles=material.train, labels=material.labels, groups=material.train_groups
    )
    logits = trial.predict(trial.fit(given), material.others)
    labels = material.other_labels
    shares = np.tile(np.log(material.labels.mean(axis=0)), (len(labels), 1))
    prior = _loss(shares, labels)
    measured = {"log loss": _loss(logits, labels), "class prior": prior}
    if measured["log loss"] < _TOO_GOOD:
        raise trial.fault(
            f"its log loss on held-out battles is {measured['log loss']:.3g}, which nobody can "
            "reach who has not seen their labels",
            "learn from what fit is given, and from nothing else",
        )
    if _is_worse(logits, shares, labels):
        (doubt,) = doubts_about("it", logits, labels, prior)
        raise CautionError(f"on {len(labels)} held-out battles {doubt}", measured)
    for order in permutations(range(3)):
        other = logits[:, order]
        if _is_worse(logits, other, labels):
            named = ", ".join(CLASSES[column] for column in np.argsort(order))
            raise CautionError(
                f"on {len(labels)} held-out battles its log loss is {measured['log loss']:.4f}; if "
                f"its columns were in the order {named}, it would be {_loss(other, labels):.4f}: "
                f"the columns are {', '.join(CLASSES)}",
                measured,
            )
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


def _is_worse(logits: Any, others: Any, labels: Any) -> bool:
    """Say whether logits are worse than others by more than chance."""
    loss, other = (row_log_loss(labels, softmax(one)) for one in (logits, others))
    more = loss - other
    return bool(more.mean() > 1e-6 + _SURE * more.std() / np.sqrt(len(more)))


def _loss(logits: Any, labels: Any) -> float:
    return float(row_log_loss(labels, softmax(logits)).mean())


CHECKS = (Check("held-out battles", quality),)
