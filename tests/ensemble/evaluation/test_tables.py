from __future__ import annotations

import numpy as np
import pytest

from ensemble.evaluation.tables import loss_tables


def test_each_part_is_scored_with_its_own_rows_and_clusters() -> None:
    losses = np.random.default_rng(0).exponential(size=(60, 2))
    sources = ["many", "one"] * 30
    clusters = np.where(np.array(sources) == "one", -1, np.arange(60))
    tables = loss_tables(
        ["x", "y"], losses, clusters, np.arange(60) // 20, sources, resamples=200, seed=0
    )
    assert [entry["name"] for entry in tables] == ["x", "y"]
    for column, entry in enumerate(tables):
        many, one = entry["per_source"]
        assert (many["source"], many["rows"], one["source"], one["rows"]) == ("many", 30, "one", 30)
        assert many["log_loss"] == pytest.approx(losses[::2, column].mean())
        assert many["low"] < many["log_loss"] < many["high"]
        # A single cluster allows no interval.
        assert one["low"] is one["high"] is None
        assert [part["fold"] for part in entry["per_fold"]] == [0, 1, 2]
        assert entry["per_fold"][1]["log_loss"] == pytest.approx(losses[20:40, column].mean())
        assert entry["log_loss"] == pytest.approx(losses[:, column].mean())
