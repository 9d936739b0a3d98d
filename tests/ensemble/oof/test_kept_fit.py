"""A fit that is done outlives what fails after it: the next run begins with the model."""

from __future__ import annotations

import errno
import shutil
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import BaseLearner, errors
from ensemble.storage import json_files
from tests.ensemble.oof.counted_learner import (
    DEPENDS_ON_ORDER,
    FULL_DISK,
    LEFT_OVER,
    LOGITS,
    LOSES_ON_LOAD,
    LOSES_ON_SAVE,
    METHODS,
    OTHER_ORDER_THEN_NONE,
    WRONG_IN_TEST,
    WRONG_SHAPE,
    Fitting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixture_types import Project, UsePlugins


@pytest.fixture
def fit(
    project: Project,
    use_plugins: UsePlugins,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fitting]:
    """Give what fits a learner, and counts its fits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Fitting(project, use_plugins, tmp_path)
    sys.modules.pop("counted_learner", None)


@pytest.mark.parametrize(
    ("bodies", "told"),
    [
        (WRONG_SHAPE, r"shape \(\d+, 2\)"),
        (WRONG_IN_TEST, "no luck with test rows"),
        (DEPENDS_ON_ORDER, "in another order"),
        (LOSES_ON_LOAD, "after save and load"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_mended_learner_begins_with_the_model_that_is_there(
    fit: Fitting, bodies: dict[str, str], told: str, seeds: int
) -> None:
    for _ in range(2):
        with pytest.raises(errors.LearnerError, match=told):
            fit(bodies, seeds=seeds)
    assert len(fit.fits) == 1
    place = fit(seeds=seeds)
    assert len(fit.fits) == seeds  # each once
    assert (place / "manifest.json").exists()
    assert not list((place.parents[2] / "checkpoints").glob("*/*"))


def test_what_a_fit_has_learned_stays_as_it_was(fit: Fitting) -> None:
    with pytest.raises(errors.LearnerError, match="shape"):
        fit(WRONG_SHAPE)
    mended = pl.read_parquet(fit() / "oof.parquet")
    plain = pl.read_parquet(fit(shift=1.0) / "oof.parquet")
    assert len(fit.fits) == 2
    assert mended.equals(plain)


@pytest.mark.parametrize(
    ("then", "parameters"),
    [
        ({"fit": METHODS["fit(self, battles, labels, *, context, **_)"] + "# \n1"}, {}),
        ({}, {"shift": 1.0}),
    ],
)
def test_a_fit_that_would_be_another_is_made_again(
    fit: Fitting, then: dict[str, str], parameters: dict[str, Any]
) -> None:
    with pytest.raises(errors.LearnerError, match="shape"):
        fit(WRONG_SHAPE)
    fit(then, **parameters)
    assert len(fit.fits) == 2


def test_a_seed_that_other_code_has_predicted_predicts_again(fit: Fitting) -> None:
    with pytest.raises(errors.LearnerError, match="second seed"):
        fit(OTHER_ORDER_THEN_NONE, seeds=2)
    place = fit(seeds=2)
    assert len(fit.fits) == 2
    each = pl.read_parquet(place / "oof_seeds.parquet").drop("seed").unique()
    plain = pl.read_parquet(fit(seeds=2, shift=1.0) / "oof_seeds.parquet").drop("seed").unique()
    assert each.sort("id").equals(plain.sort("id"))


def test_what_save_has_lost_is_fitted_again(fit: Fitting) -> None:
    with pytest.raises(errors.LearnerError, match="after save and load"):
        fit(LOSES_ON_SAVE)
    fit()
    assert len(fit.fits) == 2


def test_a_model_that_came_back_as_another_does_not_pass_by_trying_again(fit: Fitting) -> None:
    for _ in range(3):
        with pytest.raises(errors.LearnerError, match="after save and load"):
            fit(LOSES_ON_SAVE)
    assert len(fit.fits) == 1


@pytest.mark.parametrize("interrupted", ["predict", "say"])
def test_what_save_has_lost_shows_although_the_first_run_was_stopped(
    fit: Fitting, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = "if state.get('stop') and len(battles) > 4: raise KeyboardInterrupt\n"
    asks = {**LOSES_ON_SAVE, "predict_logits": stops + LOGITS}
    with monkeypatch.context() as patch:
        if interrupted == "predict":
            fit.state["stop"] = True
        else:
            patch.setattr("ensemble.oof.kept_fit.KeptFit.say", _stop)
        with pytest.raises(KeyboardInterrupt):
            fit(asks)
    fit.state.clear()
    for _ in range(2):
        with pytest.raises(errors.LearnerError, match="after save and load"):
            fit(asks)
    # Where nobody had asked the fitted learner, no check would tell: it is fitted again.
    assert len(fit.fits) == (1 if interrupted == "predict" else 2)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("deleted", [False, True])
def test_a_model_that_came_back_as_another_can_be_mended(fit: Fitting, deleted: bool) -> None:
    for _ in range(2):
        with pytest.raises(errors.LearnerError, match="after save and load") as caught:
            fit(LEFT_OVER)
    hint = str(caught.value.hint)
    if deleted:
        (kept,) = (fit.path / "run").glob("checkpoints/x/*/kept-fit")
        assert f"delete {kept} to fit again" in hint
        shutil.rmtree(kept)
    assert "fix load, predict_logits or save" in hint
    fit({**LEFT_OVER, "predict_logits": LOGITS})
    assert len(fit.fits) == 1 + deleted


def test_what_fails_while_it_is_loaded_says_where_the_fit_is(fit: Fitting) -> None:
    no_load = {**WRONG_SHAPE, "load": "raise ValueError('no luck')"}
    with pytest.raises(errors.LearnerError, match="shape"):
        fit(no_load)
    with pytest.raises(errors.LearnerError, match="load raised ValueError") as caught:
        fit(no_load)
    assert "the fit is kept; or delete" in str(caught.value.hint)
    assert "kept-fit" in str(caught.value.hint)


@pytest.mark.parametrize("full_for_models", [False, True])
def test_a_full_disk_loses_no_fit(
    fit: Fitting, full_for_models: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit.state["full"] = full_for_models

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sealed = json_files.write_checksummed

    def nearly_full(path: Path, value: Any) -> None:
        if "checkpoints" in path.parts:
            raise errors.EnsembleError("cannot write: No space left on device")
        sealed(path, value)

    with monkeypatch.context() as patch:
        patch.setattr("ensemble.oof.fitting.prediction_frame", full)
        patch.setattr("ensemble.oof.kept_fit.write_checksummed", nearly_full)
        with pytest.raises(errors.EnsembleError, match="cannot write: No space left"):
            fit(FULL_DISK)
    assert len(fit.spares) == 1
    fit(FULL_DISK)
    assert len(fit.fits) == 1
    assert not fit.spares


@pytest.mark.parametrize("when", ["before", "while"])
def test_another_run_may_remove_what_both_keep_in_the_cache(
    fit: Fitting, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit.state["full"] = True
    copy = shutil.copytree

    def removed(source: Path, target: Path, **options: Any) -> Any:
        (spare,) = fit.spares
        target.mkdir()
        (target / "half").touch()
        shutil.rmtree(spare)
        return copy(source, target, **options)

    def order(*_: object) -> None:
        (spare,) = fit.spares
        shutil.rmtree(spare)

    if when == "before":
        monkeypatch.setattr("ensemble.oof.fitting.SeedFit._check_order", order)
    else:
        monkeypatch.setattr("ensemble.oof.kept_fit.shutil.copytree", removed)
    place = fit(FULL_DISK)
    assert [path.name for path in (place / "model").iterdir()] == ["shares.npy"]
    assert len(fit.fits) == 1


def test_a_kept_fit_that_is_damaged_is_made_again(fit: Fitting) -> None:
    with pytest.raises(errors.LearnerError, match="shape"):
        fit(WRONG_SHAPE)
    (kept,) = fit.kept
    kept.write_bytes(kept.read_bytes() + b"x")
    fit()
    assert len(fit.fits) == 2


def test_cheap_fits_are_not_kept(fit: Fitting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseLearner, "cheap", True)
    with pytest.raises(errors.LearnerError, match="shape"):
        fit(WRONG_SHAPE)
    assert not fit.kept
