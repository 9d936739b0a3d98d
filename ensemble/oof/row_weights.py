"""What becomes of a source's rows in one fold: their weights, and offsets for their label prior.

All of it is measured on the fold's own training rows, so that nothing of the held-out rows is in
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.domain import domain_texts, score_domains
from ensemble.errors import EnsembleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from ensemble.config.source_settings import SourceSettings
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

LEAST, GREATEST = 0.1, 10.0
"""Bounds of a row's weight before weights are scaled to a mean of 1: a ratio of two densities that
were both guessed from words may be anything, and no row counts over a hundred times another."""


@dataclass(frozen=True)
class LabeledBattles:
    """Training rows of one fold, of one stage.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``.
    labels
        ``(n, 3)`` distributions.
    clusters
        ``(n,)``.
    """

    battles: pl.DataFrame
    labels: FloatArray
    clusters: IntArray

    def take(self, rows: IntArray) -> LabeledBattles:
        """Keep some rows, by index."""
        return LabeledBattles(self.battles[rows], self.labels[rows], self.clusters[rows])


@dataclass(frozen=True)
class RowWeights:
    """How much each row counts, and what is added to its logits in training.

    Parameters
    ----------
    weight
        ``(n,)``: the source's weight, times what its rows are re-weighted by (a mean of 1 within
        the source).
    offset
        ``(n, 3)``, 0 for rows of the target; None where no source asks for one.
    record
        For the manifest, by source: rows, label shares, weights, offset, and how well the domains
        could be told.
    """

    weight: FloatArray
    offset: FloatArray | None
    record: dict[str, Any]


def weigh_rows(
    rows: LabeledBattles, target: LabeledBattles, uses: Mapping[str, SourceSettings]
) -> RowWeights:
    """Weigh the rows of one stage, and find the offsets of their sources.

    Parameters
    ----------
    rows
        The stage's rows; those of the target among them have their source's weight.
    target
        The fold's training rows of role ``target``.
    uses
        How each source is used.
    """
    weight = np.ones(len(rows.labels))
    offset = np.zeros((len(rows.labels), 3))
    sources = rows.battles["source"].to_numpy()
    record = {}
    for name in dict.fromkeys(sources.tolist()):
        here = np.flatnonzero(sources == name)
        own, shift, facts = _treat_source(name, rows, here, target, uses[name])
        weight[here], offset[here] = own, shift
        record[name] = facts
    wanted = any(uses[name].logit_adjustment for name in record)
    return RowWeights(weight, offset if wanted else None, record)


def _treat_source(
    name: str, rows: LabeledBattles, here: IntArray, target: LabeledBattles, use: SourceSettings
) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
    """Give weights ``(n,)`` of some rows, an offset ``(3,)``, and what is worth knowing of both."""
    labels = rows.labels[here]
    ratio, facts = _ratios(name, rows, here, target, use.reweight)
    clipped = np.clip(ratio, LEAST, GREATEST)
    own = clipped / clipped.mean()
    shift = prior_offset(labels, own, target.labels) if use.logit_adjustment else np.zeros(3)
    weight = own * use.weight
    facts = {
        "role": use.role,
        "rows": len(weight),
        "label_shares": labels.mean(axis=0).tolist(),
        "weight": {"mean": weight.mean(), "least": weight.min(), "greatest": weight.max()},
        "clipped": float((clipped != ratio).mean()),
        "offset": shift.tolist() if use.logit_adjustment else None,
        **facts,
    }
    return weight, shift, facts


def _ratios(
    name: str, rows: LabeledBattles, here: IntArray, target: LabeledBattles, reweight: str
) -> tuple[FloatArray, dict[str, Any]]:
    if reweight == "labels":
        return label_ratios(rows.labels[here], target.labels), {"reweight": reweight}
    if reweight == "importance":
        try:
            ratio, auc = density_ratios(rows.take(here), target)  # nothing else needs their text
        except EnsembleError as error:
            error.where = error.where or f'source "{name}", reweight = "importance"'
            raise
        return ratio, {"reweight": reweight, "domain_auc": auc}
    return np.ones(len(here)), {"reweight": reweight}


def label_ratios(labels: FloatArray, target: FloatArray) -> FloatArray:
    """Give for each row the target's share of its class over the source's.

    Parameters
    ----------
    labels
        ``(n, 3)`` distributions of the source's rows; a soft label has the mean over its classes.
    target
        ``(m, 3)`` those of the target's rows.

    Returns
    -------
    FloatArray
        ``(n,)``. A class that the source lacks stays lacking.
    """
    own, wanted = labels.mean(axis=0), target.mean(axis=0)
    ratio = np.divide(wanted, own, out=np.zeros(3), where=own > 0)
    weights: FloatArray = labels @ ratio
    return weights


def prior_offset(labels: FloatArray, weight: FloatArray, target: FloatArray) -> FloatArray:
    """Give the log-ratio of the source's label shares to the target's, ``(3,)``, centred.

    One row is added to each class of either side, so that a class that one of them lacks has a
    finite offset.

    Parameters
    ----------
    labels, weight
        ``(n, 3)`` distributions of the source's rows, and ``(n,)`` their weights, of mean 1.
    target
        ``(m, 3)`` distributions of the target's rows.
    """
    gap = _log_shares(weight @ labels) - _log_shares(target.sum(axis=0))
    centred: FloatArray = gap - gap.mean()
    return centred


def density_ratios(rows: LabeledBattles, target: LabeledBattles) -> tuple[FloatArray, float]:
    """Say how much likelier each row of a source is in the target, by its words: ``(n,)``.

    Returns
    -------
    tuple[FloatArray, float]
        The ratios, each by a classifier that saw no row of the row's cluster, and the area under
        the classifier's ROC curve.
    """
    own = len(rows.labels)
    texts = domain_texts(rows.battles) + domain_texts(target.battles)
    is_target: BoolArray = np.arange(len(texts)) >= own
    domain = score_domains(texts, is_target, np.concatenate([rows.clusters, target.clusters]))
    probability = domain.probability[:own]
    ratio: FloatArray = probability / (1 - probability)
    return ratio, domain.auc


def _log_shares(counts: FloatArray) -> FloatArray:
    shares: FloatArray = np.log((counts + 1) / (counts.sum() + 3))
    return shares
