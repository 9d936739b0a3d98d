from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, vstack
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from ensemble import errors
from ensemble_plugins.symmetric_logistic import fit_symmetric_logistic


def _data(rows: int = 200) -> tuple[csr_array, csr_array, np.ndarray]:
    rng = np.random.default_rng(0)
    odd, even = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))
    logits = np.stack([odd @ [1, -1, 0.5], odd @ [-1, 1, -0.5], even @ [1, 0.3] - 0.2], axis=1)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (rng.random(rows)[:, None] > p.cumsum(axis=1)[:, :2]).sum(axis=1)
    return csr_array(odd), csr_array(even), np.eye(3)[classes]


def test_it_is_the_logistic_regression_that_learns_both_orders() -> None:
    odd, even, labels = _data()
    ours = fit_symmetric_logistic(odd, even, labels, np.ones(200), ridge=1.0)
    both = np.hstack([vstack([odd, -odd]).toarray(), vstack([even, even]).toarray()])
    classes = np.concatenate([labels, labels[:, [1, 0, 2]]]).argmax(axis=1)
    # scikit-learn spreads each weight over three classes, which halves or so what a ridge costs:
    # the comparison is made where the ridge is next to nothing.
    loose = fit_symmetric_logistic(odd, even, labels, np.ones(200), ridge=1e-6)
    theirs = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(both, classes)
    p = softmax(loose.logits(odd, even), axis=1)
    np.testing.assert_allclose(p, theirs.predict_proba(both[:200]), atol=1e-3)
    assert np.abs(ours.odd).sum() < np.abs(loose.odd).sum()


def test_a_weight_of_two_is_a_row_twice() -> None:
    odd, even, labels = _data(60)
    weight = np.ones(60)
    weight[:20] = 2
    weighted = fit_symmetric_logistic(odd, even, labels, weight, ridge=1.0)
    repeated = np.concatenate([np.arange(60), np.arange(20)])
    rows = odd[repeated], even[repeated], labels[repeated]
    twice = fit_symmetric_logistic(*rows, np.ones(80), ridge=1.0)
    np.testing.assert_allclose(weighted.odd, twice.odd, atol=1e-3)
    np.testing.assert_allclose(weighted.even, twice.even, atol=1e-3)


def test_without_features_it_predicts_the_shares() -> None:
    empty = csr_array((4, 0))
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.25, 0.25, 0.5]])
    model = fit_symmetric_logistic(empty, empty, labels, np.ones(4), ridge=1.0)
    p = softmax(model.logits(empty, empty), axis=1)
    np.testing.assert_allclose(p[0], [0.3125, 0.3125, 0.375], atol=1e-4)


def test_an_offset_is_in_the_fit_and_not_in_the_model() -> None:
    empty = csr_array((200, 0))
    labels = np.eye(3)[np.repeat([0, 1, 2], (50, 50, 100))]
    offset = np.tile([0.0, 0.0, np.log(2)], (200, 1))
    model = fit_symmetric_logistic(empty, empty, labels, np.ones(200), ridge=1.0, offset=offset)
    np.testing.assert_allclose(
        softmax(model.logits(empty, empty), axis=1)[0], np.full(3, 1 / 3), atol=1e-4
    )


def test_an_offset_means_the_same_in_either_order() -> None:
    odd, even, labels = _data()
    plain = fit_symmetric_logistic(odd, even, labels, np.ones(200), ridge=1.0)
    both = np.concatenate([labels, labels[:, [1, 0, 2]]])
    swapped = vstack([odd, -odd]), vstack([even, even])
    offset = np.tile([0.7, -0.2, 0.1], (200, 1))
    offset = np.concatenate([offset, offset[:, [1, 0, 2]]])
    found = fit_symmetric_logistic(*swapped, both, np.ones(400), ridge=2.0, offset=offset)
    once = fit_symmetric_logistic(odd, even, labels, np.ones(200), ridge=1.0, offset=offset[:200])
    np.testing.assert_allclose(found.odd, once.odd, atol=1e-3)
    assert not np.allclose(once.odd, plain.odd, atol=1e-2)


def test_labels_that_are_not_finite_are_an_error() -> None:
    odd, even, labels = _data(10)
    labels[0] = np.nan
    with pytest.raises(errors.LearnerError, match="did not converge to finite weights"):
        fit_symmetric_logistic(odd, even, labels, np.ones(10), ridge=1.0)


def test_the_weights_are_the_same_on_any_number_of_cores() -> None:
    # OpenBLAS divides vectors of more than 10,000 elements among its threads.
    draw = np.random.default_rng(0)
    columns = draw.integers(0, 24_000, (60, 400))
    rows = np.repeat(np.arange(60), 400)
    values = draw.normal(size=columns.size)
    odd = csr_array((values, (rows, columns.ravel())), shape=(60, 24_000))
    labels = np.eye(3)[draw.integers(0, 3, 60)]
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit_symmetric_logistic(odd, abs(odd), labels, np.ones(60), ridge=0.5))
    assert found[0].odd.tobytes() == found[1].odd.tobytes()
    assert found[0].even.tobytes() == found[1].even.tobytes()
