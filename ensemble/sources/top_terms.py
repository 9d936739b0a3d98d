"""Which words and features tell a source from the target: for people to look at, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import BoolArray, FloatArray, IntArray

SHOWN = 10
"""Words and features of each side."""
_LEAST_TEXTS = 0.01
"""Share of one side's texts that a word has to be in."""
_WORDS = r"(?u)\b[^\W\d_]{2,}\b"


def top_terms(texts: Sequence[str], is_target: BoolArray) -> dict[str, list[dict[str, Any]]]:
    """Find the words that are much commoner on one side.

    Parameters
    ----------
    texts
        ``n`` texts.
    is_target
        ``(n,)`` which side each is on.

    Returns
    -------
    dict
        ``source`` and ``target``: ``word``, and the share of the texts of either side that have
        it. Ranked by the log-ratio of (smoothed) shares over its standard error, as in Monroe,
        Colaresi and Quinn, *Fightin' Words* (2008). A vocabulary is kept for this alone.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, token_pattern=_WORDS, dtype=np.int32)
    try:
        present = counter.fit_transform(texts)
    except ValueError:  # there is no word
        return {"source": [], "target": []}
    words = counter.get_feature_names_out()
    sides = [np.flatnonzero(is_target), np.flatnonzero(~is_target)]
    counts = [np.asarray(present[side].sum(axis=0), dtype=np.float64).ravel() for side in sides]
    score = _log_odds(counts, [len(side) for side in sides])
    often = np.maximum(*(c / max(1, len(s)) for c, s in zip(counts, sides, strict=True)))
    score[often < _LEAST_TEXTS] = 0
    order = np.argsort(score, kind="stable")
    ahead, behind = order[::-1][:SHOWN], order[:SHOWN]
    shares = [c / max(1, len(s)) for c, s in zip(counts, sides, strict=True)]

    def named(places: IntArray) -> list[dict[str, Any]]:
        return [
            {
                "word": str(words[at]),
                "target": float(shares[0][at]),
                "source": float(shares[1][at]),
            }
            for at in places
        ]

    return {
        "target": named(ahead[score[ahead] > 0]),
        "source": named(behind[score[behind] < 0]),
    }


def top_features(
    matrix: FeatureMatrix, gains: FloatArray, is_target: BoolArray
) -> list[dict[str, Any]]:
    """Name the columns that a classifier used most; a column and its mirror image are one.

    Parameters
    ----------
    matrix
        Values of both sides.
    gains
        ``(k,)`` what each column gave to the classifier.
    is_target
        ``(n,)`` which side each row is on.
    """
    pairs = np.minimum(np.arange(len(gains)), matrix.swap)
    total = np.bincount(pairs, weights=gains, minlength=len(gains))
    order = np.argsort(-total, kind="stable")[:SHOWN]
    return [
        {
            "feature": matrix.names[at],
            "importance": float(total[at] / total.sum()),
            "target": _mean(matrix.values[is_target, at]),
            "source": _mean(matrix.values[~is_target, at]),
        }
        for at in order
        if total[at] > 0
    ]


def _log_odds(counts: Sequence[FloatArray], sizes: Sequence[int]) -> FloatArray:
    """Log-ratio of the odds of target over source, divided by its standard error."""
    have = [count + 0.5 for count in counts]
    lack = [size - count + 0.5 for count, size in zip(counts, sizes, strict=True)]
    ratio = np.log(have[0] / lack[0]) - np.log(have[1] / lack[1])
    error = np.sqrt(sum(1 / part for part in (*have, *lack)))
    return np.asarray(ratio / error)


def _mean(values: FloatArray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
