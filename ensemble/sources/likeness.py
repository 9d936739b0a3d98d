"""Warnings where a source looks like the target's own rows: then a gain may be memory.

Clusters cut the copies that a text method finds. What is left is what none finds (a translation, a
paraphrase, answers reworded), and it shows in three places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SHARED_ANSWERS = 0.01
"""Part of a source's rows whose answers stand in target rows, from which it is worth a warning."""
AT_CHANCE = 0.55
"""An AUC of 0.5 whose interval ends below this: no difference of any size can have been missed."""
LEAST_GAIN = 0.02
"""Nats a battle; a smaller gain is too small to be called a collapse of the loss."""


def likeness_warnings(
    description: dict[str, Any],
    overlap: dict[str, Any],
    shift: dict[str, Any] | None,
    effect: dict[str, Any],
) -> list[str]:
    """Say where a source's rows look like target rows.

    Parameters
    ----------
    description, overlap, shift, effect
        Parts of a :class:`~ensemble.sources.study.SourceStudy`.

    Returns
    -------
    list[str]
        A sentence for each sign: answers that stand in target rows; answers that no classifier
        tells from the target's; a gain beyond what as many rows of the target itself could bring.
    """
    found = (_shared(description, overlap), _untold(shift), _collapse(description, effect))
    return [text for text in found if text is not None]


def _shared(description: dict[str, Any], overlap: dict[str, Any]) -> str | None:
    rows, shared = description["source"]["rows"], overlap["target"]["same_responses"]
    if shared < max(2, SHARED_ANSWERS * rows):
        return None
    return (
        f"{shared:,} of its {rows:,} rows hold an answer that stands in a target row, alone or "
        f"within a longer text; the fold plan keeps {overlap['cut']['rows']:,} rows from the folds "
        "of their relatives. Where so many are copies, others may be copies in other words"
    )


def _untold(shift: dict[str, Any] | None) -> str | None:
    told = shift and shift["responses"]["text"]
    if not told or not told["measured"] or told["low"] > 0.5 or told["high"] > AT_CHANCE:
        return None
    return (
        f"no classifier tells its answers from the target's (AUC {told['auc']:.2f}, 95% "
        f"{told['low']:.2f} to {told['high']:.2f}). Where both are drawn from one place that is as "
        "it should be; elsewhere its answers may be the target's own"
    )


def _collapse(description: dict[str, Any], effect: dict[str, Any]) -> str | None:
    """Compare the surest gain with what the target's own rows have taught.

    A learning curve is steepest at its beginning, so more rows of the same kind bring at most what
    the first ones brought, each.
    """
    gains = [one for one in effect.get("treatments", ()) if one["measured"]]
    shares = description["target"]["label_shares"]
    if not gains or not shares or not effect["target_rows"]:
        return None
    best = max(gains, key=lambda one: float(one["simultaneous"]["low"]))
    known = np.array([share for share in shares if share])
    taught = max(0.0, float(-(known * np.log(known)).sum()) - effect["baseline"]["log_loss"])
    possible = taught * effect["source_rows"] / effect["target_rows"]
    if best["simultaneous"]["low"] <= max(LEAST_GAIN, possible):
        return None
    return (
        f"with it the log loss falls to {best['log_loss']:.4f}, by {best['gain']['mean']:.4f}: "
        f"more than as many rows of the target could bring ({possible:.4f}, by what its own "
        f"{effect['target_rows']:,} rows have taught). It may hold the target's rows in a form in "
        "which no copy is found"
    )
