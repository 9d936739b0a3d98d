import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ensemble.evaluation.auc import auc_estimate
from ensemble.evaluation.intervals import Estimate


def _ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=40))
def test_it_is_the_area_under_the_roc_curve_with_ties(rows: list[tuple[int, bool]]) -> None:
    rows += [(1, True), (2, False)]
    scores = np.array([score for score, _ in rows], dtype=float)
    positive = np.array([side for _, side in rows])
    found = auc_estimate(scores, positive, np.arange(len(rows)), resamples=20)
    assert found.mean == pytest.approx(roc_auc_score(positive, scores))
    low, high = _ends(found)
    assert 0 <= low <= high <= 1


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    positive = np.repeat(rng.random(40) < 0.5, 25)
    scores = np.repeat(rng.normal(size=40), 25) + positive
    apart = auc_estimate(scores, positive, np.arange(1000))
    together = auc_estimate(scores, positive, np.repeat(np.arange(40), 25))
    assert apart.mean == together.mean
    widths = [high - low for low, high in map(_ends, (apart, together))]
    assert widths[1] > 3 * widths[0]
