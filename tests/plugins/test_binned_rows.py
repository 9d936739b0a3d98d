from __future__ import annotations

from typing import Any

import numpy as np

from ensemble_plugins.binned_rows import BinnedRows

SETTINGS: dict[str, Any] = {
    "objective": "multiclass",
    "num_class": 3,
    "num_threads": 1,
    "min_data_in_leaf": 5,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}


def draw(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 4)).astype(np.float32)
    return values, np.eye(3)[(values[:, 0] > 0).astype(int)]


def bin_rows(values: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> BinnedRows:
    return BinnedRows.of(values, labels, weight, np.zeros((len(values), 3)), SETTINGS)


def test_a_soft_label_enters_once_a_class_that_has_a_share() -> None:
    values, labels = draw(3)
    labels[1], labels[2] = [0.75, 0, 0.25], [0, 0, 1]
    binned = bin_rows(values, labels, np.array([1.0, 2.0, 3.0]))
    assert binned.row.tolist() == [0, 1, 1, 2]
    assert np.asarray(binned.whole.get_label()).tolist() == [labels[0].argmax(), 0, 2, 2]
    assert np.asarray(binned.whole.get_weight()).tolist() == [1.0, 1.5, 0.5, 3.0]


def test_a_model_learns_from_its_part_alone() -> None:
    values, labels = draw()
    learned = np.arange(len(values)) % 3 == 0
    watched = np.arange(len(values)) % 3 == 1
    other = np.where((learned | watched)[:, None], labels, labels[:, ::-1])
    first, second = (
        bin_rows(values, each, np.ones(len(values))).train(
            learned, watched, {**SETTINGS, "seed": 1}, rounds=20, patience=5
        )
        for each in (labels, other)
    )
    assert first.model_to_string() == second.model_to_string()
    assert first.num_trees() > 0


def test_watched_rows_only_stop() -> None:
    values, labels = draw()
    learned = np.arange(len(values)) % 2 == 0
    wrong = np.where(learned[:, None], labels, labels[:, [1, 0, 2]])
    stopped = bin_rows(values, wrong, np.ones(len(values))).train(
        learned, ~learned, {**SETTINGS, "seed": 1}, rounds=50, patience=5
    )
    went_on = bin_rows(values, labels, np.ones(len(values))).train(
        learned, ~learned, {**SETTINGS, "seed": 1}, rounds=50, patience=5
    )
    assert stopped.best_iteration == 1
    assert went_on.best_iteration > 10
    first, second = (np.asarray(one.predict(values, num_iteration=1)) for one in (stopped, went_on))
    np.testing.assert_array_equal(first, second)


def test_seeds_share_the_bins() -> None:
    values, labels = draw()
    binned = bin_rows(values, labels, np.ones(len(values)))
    learned = np.arange(len(values)) % 2 == 0
    texts = {
        binned.train(
            learned,
            ~learned,
            {**SETTINGS, "seed": seed, "bagging_freq": 1, "bagging_fraction": 0.5},
            rounds=5,
            patience=5,
        ).model_to_string()
        for seed in (1, 2)
    }
    assert len(texts) == 2
