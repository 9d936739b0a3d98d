from __future__ import annotations

import numpy as np
import pytest

from ensemble.battles.prior import log_prior


def test_shares_are_those_of_both_orders_with_a_row_more_for_each_class() -> None:
    found = np.exp(log_prior(np.array([6.0, 2.0, 0.0])))
    assert found == pytest.approx([5 / 11, 5 / 11, 1 / 11])
    assert np.isfinite(log_prior(np.zeros(3))).all()
