"""A classifier that tells the target's battles from a source's, by their words.

Words are hashed, so that there is no vocabulary, and nothing is fitted but the weights. Each row is
told by a model that has not seen its cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.groups import assign_by_hash, cluster_fractions
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError
from ensemble.processes import one_thread_of_blas

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ensemble.plugin.base import FloatArray, IntArray

    BoolArray = NDArray[np.bool_]

PARTS = 4
"""Parts that clusters are assigned to; each is told by a model of the others."""
_LEARNED = 15_000
"""Most rows of either side that models learn from: more change the answer little."""
_READ = 1_000
"""Characters that are read of each text: whole responses take minutes and tell little more."""
_BUCKETS = 2**18
_ROWS_AT_A_TIME = 4_096


@dataclass(frozen=True)
class Domain:
    """How well two sides can be told apart, and where each row is likelier to be from.

    Parameters
    ----------
    probability
        ``(n,)`` that a row is of the target, were both sides equally many, by a model that has not
        seen the row's cluster.
    auc
        Area under the ROC curve of these probabilities: 0.5 where nothing tells the sides apart.
    """

    probability: FloatArray
    auc: float


def domain_texts(battles: pl.DataFrame, columns: Sequence[str] = TEXT_COLUMNS) -> list[str]:
    """Give what is read of each battle: the beginning of each of its texts, one below the other."""
    parts = [
        ["\n".join(turn or "" for turn in turns)[:_READ] for turns in battles[name].to_list()]
        for name in columns
    ]
    return ["\n".join(texts) for texts in zip(*parts, strict=True)]


def hash_words(texts: Sequence[str]) -> csr_array:
    """Count hashed words and pairs of words, each row scaled to length 1.

    Returns
    -------
    csr_array
        ``(n, 2**18)`` float64; a row depends on its own text alone.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=_BUCKETS, ngram_range=(1, 2), alternate_sign=False)
    return hashing.transform(texts)


def score_domains(texts: Sequence[str], is_target: BoolArray, clusters: IntArray) -> Domain:
    """Tell the target's rows from a source's, cross-fitted by cluster.

    Logistic regression; both sides weigh the same, so that ``p / (1 - p)`` is the ratio of the
    target's density to the source's (Bickel, Brückner and Scheffer, *Discriminative Learning Under
    Covariate Shift*, 2009).

    Parameters
    ----------
    texts
        ``n`` texts, of ``domain_texts``.
    is_target
        ``(n,)`` whether a row is the target's; the others are the source's.
    clusters
        ``(n,)`` cluster of each row.

    Raises
    ------
    DataError
        A side has fewer than two clusters.
    """
    from sklearn.metrics import roc_auc_score

    part = _assign_parts(is_target, clusters)
    learned = _sample(is_target, clusters, part)
    rows = hash_words([texts[row] for row in learned])
    weights, intercepts = zip(
        *(
            _fit(rows[np.flatnonzero(kept)], is_target[learned[kept]])
            for kept in (part[learned] != number for number in range(int(part.max()) + 1))
        ),
        strict=True,
    )
    stacked, scores = np.stack(weights, axis=1), np.empty((len(texts), len(weights)))
    others = np.setdiff1d(np.arange(len(texts)), learned, assume_unique=True)
    scores[learned] = rows @ stacked
    scores[others] = _score([texts[row] for row in others], stacked)
    scores += np.array(intercepts)
    own = scores[np.arange(len(part)), part]
    probability = 1 / (1 + np.exp(-own))
    return Domain(probability, float(roc_auc_score(is_target, own)))


def _fit(rows: csr_array, is_target: BoolArray) -> tuple[FloatArray, float]:
    """Give a weight for each bucket, ``(2**18,)``, and the intercept."""
    from sklearn.linear_model import LogisticRegression

    met = np.unique(rows.indices)  # the weights of the others are 0, and would only cost time
    # Vectors are short: BLAS threads only wait for each other, ten times as long on a busy machine.
    with one_thread_of_blas():
        model = LogisticRegression(class_weight="balanced", max_iter=500)
        model.fit(rows[:, met], is_target)
    weights = np.zeros(rows.shape[1])
    weights[met] = model.coef_[0]
    return weights, float(model.intercept_[0])


def _score(texts: Sequence[str], weights: FloatArray) -> FloatArray:
    """Score each text by each model, ``(n, models)``, some rows at a time: they fill the memory."""
    starts = range(0, len(texts), _ROWS_AT_A_TIME)
    parts: list[Any] = [hash_words(texts[at : at + _ROWS_AT_A_TIME]) @ weights for at in starts]
    return np.concatenate([np.empty((0, weights.shape[1])), *parts])


def _assign_parts(is_target: BoolArray, clusters: IntArray) -> IntArray:
    """Assign clusters to parts so that each side is spread over all of them: ``(n,)``."""
    inverse = np.unique(clusters, return_inverse=True)[1]
    sides = [np.bincount(inverse, weights=side) > 0 for side in (is_target, ~is_target)]
    fewest = min(int(side.sum()) for side in sides)
    if fewest < 2:
        raise DataError(
            "two sides cannot be told apart by a model that has not seen the row: one of them has "
            "fewer than two clusters",
            hint='give more battles, or set reweight = "none"',
        )
    # The source's own clusters, those of both sides, the target's own: a side's lie side by side.
    strata = (sides[0].astype(int) - sides[1].astype(int))[inverse]
    return assign_by_hash(clusters, min(PARTS, fewest), "domain part", strata)


def _sample(is_target: BoolArray, clusters: IntArray, part: IntArray) -> IntArray:
    """Choose the rows that models learn from, by whole clusters as far as it goes: sorted.

    Each part has its share, or else one large cluster may be all that there is of a side.
    """
    fractions = cluster_fractions(clusters, "domain sample")
    parts = range(int(part.max()) + 1)
    chosen = []
    for side, number in product((is_target, ~is_target), parts):
        rows = np.flatnonzero(side & (part == number))
        chosen.append(rows[np.argsort(fractions[rows], kind="stable")][: _LEARNED // len(parts)])
    return np.sort(np.concatenate(chosen))
