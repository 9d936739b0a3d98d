from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest

from ensemble import FitContext, MetaFeatures, MetaLearner, errors
from ensemble.stacking.candidates import simple_candidates
from ensemble.stacking.nested import cross_validate
from ensemble_plugins.lightgbm_stacker import LightGBMStacker

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import FloatArray, IntArray

    Case = tuple[MetaFeatures, FloatArray, IntArray, IntArray]
    """Logits, labels, folds and clusters."""

ROWS = 300


def small_stacker() -> LightGBMStacker:
    return LightGBMStacker(n_estimators=15, min_child_samples=10, learning_rate=0.2, seeds=1)


CANDIDATES: dict[str, Any] = {
    **{candidate.name: candidate.make for candidate in simple_candidates(2)},
    "lightgbm": small_stacker,
}


class Recorder(MetaLearner):
    """Records what it is given, and predicts what it is told to."""

    seen: list[tuple[np.ndarray, FitContext, np.ndarray | None, np.ndarray | None]]
    answer: object = None

    def fit(
        self,
        meta: MetaFeatures,
        labels: np.ndarray,
        *,
        sample_weight: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        context: FitContext,
    ) -> Self:
        self.seen.append((meta.features[:, 0].astype(int), context, sample_weight, groups))
        return self

    def predict_proba(self, meta: MetaFeatures) -> np.ndarray:
        answer = np.full((len(meta), 3), 1 / 3) if self.answer is None else self.answer
        return np.asarray(answer)

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    def load(self, directory: Path) -> Self:
        raise NotImplementedError


def recorder(answer: object = None) -> type[Recorder]:
    return type("Told", (Recorder,), {"seen": [], "answer": answer})


@pytest.fixture
def case() -> Case:
    """Logits, labels, folds and clusters; feature 0 is the row's number."""
    rng = np.random.default_rng(0)
    labels = np.eye(3)[rng.integers(0, 3, ROWS)]
    logits = labels[:, None] + rng.normal(size=(ROWS, 2, 3))
    meta = MetaFeatures(
        logits.astype(np.float32),
        ("first", "second"),
        np.arange(ROWS, dtype=np.float32)[:, None],
        ("row",),
        np.array([0]),
        np.ones(1, np.float32),
    )
    clusters = np.arange(ROWS) // 2
    return meta, labels, clusters % 3, clusters


@pytest.mark.parametrize("name", CANDIDATES)
def test_labels_of_a_fold_do_not_touch_its_own_predictions(name: str, case: Case) -> None:
    meta, labels, folds, clusters = case
    poisoned = np.where((folds == 1)[:, None], np.roll(labels, 1, axis=1), labels)
    one = {name: CANDIDATES[name]}
    clean = cross_validate(one, meta, labels, folds, clusters, seed=0, threads=1)[name]
    after = cross_validate(one, meta, poisoned, folds, clusters, seed=0, threads=1)[name]
    np.testing.assert_array_equal(after[folds == 1], clean[folds == 1])
    if name != "mean":
        assert (after[folds == 0] != clean[folds == 0]).any()


def test_each_fold_is_fitted_on_the_others_with_their_clusters(case: Case) -> None:
    meta, labels, folds, clusters = case
    make = recorder()
    found = cross_validate({"told": make}, meta, labels, folds, clusters, seed=3, threads=2)
    assert np.isfinite(found["told"]).all()
    assert len(make.seen) == 3
    for fold, (rows, context, weight, groups) in enumerate(make.seen):
        np.testing.assert_array_equal(rows, np.flatnonzero(folds != fold))
        assert weight is None
        np.testing.assert_array_equal(groups, clusters[rows])
        assert context.threads == 2
    assert len({context.seed for _, context, _, _ in make.seen}) == 3


def test_a_candidate_gets_the_same_whatever_others_there_are(case: Case) -> None:
    meta, labels, folds, clusters = case
    together = cross_validate(CANDIDATES, meta, labels, folds, clusters, seed=0, threads=1)
    alone = cross_validate(
        {"lightgbm": small_stacker}, meta, labels, folds, clusters, seed=0, threads=1
    )
    np.testing.assert_array_equal(together["lightgbm"], alone["lightgbm"])


def test_a_cluster_on_both_sides_is_an_error(case: Case) -> None:
    meta, labels, folds, clusters = case
    folds = folds.copy()
    folds[0] = (folds[1] + 1) % 3
    with pytest.raises(errors.FoldError, match="1 clusters lie in more than one fold: 0"):
        cross_validate({"told": recorder()}, meta, labels, folds, clusters, seed=0, threads=1)


def test_a_single_fold_is_an_error(case: Case) -> None:
    meta, labels, folds, clusters = case
    with pytest.raises(errors.FoldError, match="at least two folds"):
        cross_validate({"told": recorder()}, meta, labels, folds * 0, clusters, seed=0, threads=1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.full((100, 2), 0.5), r"shape \(100, 2\) instead of \(100, 3\)"),
        (np.full((100, 3), np.nan), "100 rows are not finite"),
        (np.full((100, 3), 0.4), "100 rows are not distributions"),
        (np.tile([1.2, -0.2, 0.0], (100, 1)), "100 rows are not distributions"),
    ],
)
def test_wrong_probabilities_name_the_candidate(answer: object, message: str, case: Case) -> None:
    meta, labels, folds, clusters = case
    with pytest.raises(errors.LearnerError, match=message) as caught:
        cross_validate({"told": recorder(answer)}, meta, labels, folds, clusters, seed=0, threads=1)
    assert caught.value.where == 'candidate "told", outer fold 0'


def test_what_a_candidate_raises_becomes_an_error_that_names_it(case: Case) -> None:
    meta, labels, folds, clusters = case

    def make() -> MetaLearner:
        raise RuntimeError("no such thing")

    with pytest.raises(
        errors.LearnerError, match="fit raised RuntimeError: no such thing"
    ) as caught:
        cross_validate({"broken": make}, meta, labels, folds, clusters, seed=0, threads=1)
    assert caught.value.where == (
        f'candidate "broken", outer fold 0, {__file__}:{make.__code__.co_firstlineno + 1}'
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_a_candidate_writes_into_its_arrays_reaches_no_other(case: Case) -> None:
    meta, labels, folds, clusters = case

    class Vandal(Recorder):
        def fit(
            self,
            meta: MetaFeatures,
            labels: np.ndarray,
            *,
            sample_weight: np.ndarray | None = None,
            groups: np.ndarray | None = None,
            context: FitContext,
        ) -> Self:
            assert groups is not None
            for array in (meta.logits, meta.features, labels, groups):
                array[:] = 0
            meta.feature_swap[:], meta.feature_sign[:] = 7, 7
            return self

        def predict_proba(self, meta: MetaFeatures) -> np.ndarray:
            meta.logits[:] = meta.features[:] = 0
            return np.full((len(meta), 3), 1 / 3)

    given = (meta.logits, meta.features, meta.feature_swap, meta.feature_sign, labels, clusters)
    before = [array.copy() for array in given]
    after = cross_validate(
        {"vandal": Vandal, "lightgbm": small_stacker},
        meta, labels, folds, clusters, seed=0, threads=1,
    )  # fmt: skip
    for array, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, kept)
    alone = cross_validate(
        {"lightgbm": small_stacker},
        meta, labels, folds, clusters, seed=0, threads=1,
    )  # fmt: skip
    np.testing.assert_array_equal(after["lightgbm"], alone["lightgbm"])


def test_predictions_are_kept_apart_from_a_buffer_that_the_candidate_uses_again(case: Case) -> None:
    meta, labels, folds, clusters = case
    buffer = np.full((100, 3), 1 / 3)
    make = recorder(buffer)
    found = cross_validate({"told": make}, meta, labels, folds, clusters, seed=0, threads=1)
    buffer[:] = 0
    np.testing.assert_array_equal(found["told"], np.full((ROWS, 3), 1 / 3))


def test_a_fit_that_returns_nothing_is_named(case: Case) -> None:
    meta, labels, folds, clusters = case

    class Forgets(Recorder):
        def fit(self, *_: object, **__: object) -> Self:
            return None  # type: ignore[return-value]

    with pytest.raises(errors.LearnerError, match="fit returned NoneType(.|\n)*`return self`"):
        cross_validate({"forgets": Forgets}, meta, labels, folds, clusters, seed=0, threads=1)


def test_a_panic_of_polars_names_the_candidate(case: Case) -> None:
    meta, labels, folds, clusters = case

    def make() -> MetaLearner:
        raise pl.exceptions.PanicException("not implemented")

    with pytest.raises(errors.LearnerError, match="fit raised PanicException: not implemented"):
        cross_validate({"panics": make}, meta, labels, folds, clusters, seed=0, threads=1)


def test_each_fold_is_fitted_on_what_was_made_for_it_and_predicts_the_plain_logits(
    case: Case,
) -> None:
    meta, labels, folds, clusters = case
    make = recorder()
    made = {k: replace(meta, features=meta.features + 1000 * (k + 1)) for k in range(3)}
    cross_validate(
        {"told": make}, meta, labels, folds, clusters, seed=0, threads=1, fitting=made.__getitem__
    )
    for fold, (rows, *_) in enumerate(make.seen):
        np.testing.assert_array_equal(rows, np.flatnonzero(folds != fold) + 1000 * (fold + 1))
    best = {"best_single": CANDIDATES["best_single"]}
    swapped = replace(meta, logits=meta.logits[:, ::-1])
    plain = cross_validate(best, meta, labels, folds, clusters, seed=0, threads=1)
    found = cross_validate(
        best, meta, labels, folds, clusters, seed=0, threads=1, fitting=lambda _: swapped
    )
    # The other learner looks best where the two were exchanged; its own logits are what is scored.
    assert not np.array_equal(found["best_single"], plain["best_single"])
