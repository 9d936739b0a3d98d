from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from ensemble.battles.swap import swap_classes
from ensemble_plugins.priors import smoothed_prior


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(0, 1000))
def test_with_what_is_added_the_mean_probabilities_are_the_shares(
    classes: list[int], seed: int
) -> None:
    labels, rng = np.eye(3)[classes], np.random.default_rng(seed)
    added, weight = rng.normal(size=labels.shape), rng.uniform(0.5, 2, len(labels))
    start = smoothed_prior(labels, weight, added)
    assert start[0] == start[1]
    expected = weight @ softmax(start + added, axis=1)
    expected = (expected + swap_classes(expected)) / 2 / weight.sum()
    counts = weight @ labels
    wanted = (counts + swap_classes(counts)) / 2 + 1
    np.testing.assert_allclose(expected, wanted / wanted.sum(), atol=1e-6)


def test_nothing_added_is_zero_added() -> None:
    labels = np.eye(3)[[0, 1, 1, 2, 2, 2, 2]]
    plain = smoothed_prior(labels, np.ones(7))
    np.testing.assert_allclose(plain, smoothed_prior(labels, np.ones(7), np.zeros((7, 3))))
    np.testing.assert_allclose(plain, np.log([0.25, 0.25, 0.5]))
