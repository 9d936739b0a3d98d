"""Three reasons to look at a label again: predictions, duplicates, identical answers.

Each gives ``FOUND_SCHEMA``, one row a battle, the most doubtful first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS, labels_of
from ensemble.battles.swap import swap_classes
from ensemble.evaluation.losses import row_log_loss
from ensemble.plugin.base import CLASSES
from ensemble.review.text import LABEL, SHORT, plain

if TYPE_CHECKING:
    from ensemble.oof.eval_set import EvalSet
    from ensemble.plugin.base import FloatArray

PREDICTIONS = "predictions disagree"
DUPLICATES = "a duplicate disagrees"
IDENTICAL = "identical answers, no tie"
REASONS = (DUPLICATES, IDENTICAL, PREDICTIONS)

FOUND_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "reason": pl.String(),
    "label": pl.String(),
    "suggestion": pl.String(),
    "doubt": pl.Float64(),
    "others": pl.String(),
}
"""``doubt``: log loss of the label under the predictions, nats, or how far duplicates are apart
(total variation, 0 to 1). ``others``: ids of the duplicates, separated by spaces."""


def contradicted_by_predictions(
    eval_set: EvalSet, probabilities: FloatArray, rows: int
) -> pl.DataFrame:
    """Find the target rows whose labels honest OOF predictions contradict most.

    Parameters
    ----------
    eval_set
        The rows that scores are made on.
    probabilities
        ``(n, 3)`` out-of-fold; NaN where a row has not been predicted.
    rows
        How many to give, at most; those whose label is the predicted class are no contradiction.
    """
    losses = row_log_loss(eval_set.labels, probabilities)
    wrong = eval_set.labels.argmax(axis=1) != np.nan_to_num(probabilities).argmax(axis=1)
    losses = np.where(wrong, losses, np.nan)
    order = np.argsort(-np.nan_to_num(losses, nan=-1.0), kind="stable")[:rows]
    order = order[np.isfinite(losses[order])]
    return pl.DataFrame(
        {
            "id": eval_set.ids.gather(order),
            "reason": PREDICTIONS,
            "label": [SHORT[k] for k in eval_set.labels[order].argmax(axis=1)],
            "suggestion": [SHORT[k] for k in probabilities[order].argmax(axis=1)],
            "doubt": losses[order],
            "others": "",
        },
        schema=FOUND_SCHEMA,
    )


def contradicted_by_duplicates(battles: pl.DataFrame, clusters: pl.DataFrame) -> pl.DataFrame:
    """Find battles with the same answers in one cluster, on whichever sides, and other labels.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``; rows without a label are left out.
    clusters
        ``id`` and ``cluster``: battles whose prompts say the same, in whatever wrapping.
    """
    labeled = battles.drop_nulls(LABEL_COLUMNS).join(clusters.select("id", "cluster"), on="id")
    a, b = plain("response_a"), plain("response_b")
    keyed = labeled.with_columns(
        first=pl.min_horizontal(a, b), second=pl.max_horizontal(a, b), swapped=a > b
    )
    oriented = labels_of(keyed)
    turned = keyed["swapped"].to_numpy()
    oriented[turned] = swap_classes(oriented[turned])
    columns = {f"o{i}": oriented[:, i] for i in range(len(CLASSES))}
    group = ["cluster", "first", "second"]
    spread = pl.sum_horizontal((pl.col(c) - pl.col(c).mean().over(group)).abs() for c in columns)
    keyed = keyed.with_columns(**columns).with_columns(doubt=spread / 2, n=pl.len().over(group))
    odd = keyed.filter((pl.col("n") > 1) & (pl.col("doubt").max().over(group) > _SAME))
    return (
        odd.with_columns(everyone=pl.col("id").sort().over(group, mapping_strategy="join"))
        .with_columns(others=_OTHERS, label=LABEL, reason=pl.lit(DUPLICATES))
        .sort(pl.col("doubt").max().over(group), *group, "id", descending=[True, *[False] * 4])
        .select(_columns(suggestion=pl.lit("")))
    )


_SAME = 0.05
"""Total variation within which soft labels are taken to say the same."""


def identical_answers(battles: pl.DataFrame) -> pl.DataFrame:
    """Find battles whose two answers read the same, and whose label is no tie."""
    labeled = battles.drop_nulls(LABEL_COLUMNS)
    same = labeled.filter(
        (plain("response_a") == plain("response_b")) & (pl.col(LABEL_COLUMNS[2]) < 0.5)
    )
    return same.with_columns(
        label=LABEL,
        reason=pl.lit(IDENTICAL),
        doubt=1 - pl.col(LABEL_COLUMNS[2]),
        others=pl.lit(""),
    ).select(_columns(suggestion=pl.lit("tie")))


_OTHERS = pl.col("everyone").list.set_difference(pl.concat_list("id")).list.sort().list.join(" ")


def _columns(suggestion: pl.Expr) -> list[pl.Expr]:
    own = {"suggestion": suggestion}
    return [
        own.get(name, pl.col(name)).cast(kind).alias(name) for name, kind in FOUND_SCHEMA.items()
    ]
