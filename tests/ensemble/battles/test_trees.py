from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.trees import hard_rows


@given(
    st.lists(
        st.tuples(*[st.integers(0, 4)] * 3).filter(any),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 99),
)
def test_each_class_of_a_row_gets_its_share_of_the_weight(
    counts: list[tuple[int, int, int]], seed: int
) -> None:
    labels = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    weight = np.random.default_rng(seed).uniform(0.1, 2.0, len(labels))
    rows = hard_rows(labels, weight)
    assert (rows.weight > 0).all()
    assert (np.diff(rows.row) >= 0).all()
    back = np.zeros_like(labels)
    np.add.at(back, (rows.row, rows.label), rows.weight)
    np.testing.assert_array_equal(back, labels * weight[:, None])


def test_hard_labels_stay_as_they_are() -> None:
    labels = np.eye(3)[[2, 0, 1, 1]]
    rows = hard_rows(labels, np.arange(1.0, 5.0))
    assert rows.row.tolist() == [0, 1, 2, 3]
    assert rows.label.tolist() == [2, 0, 1, 1]
    assert rows.weight.tolist() == [1, 2, 3, 4]
