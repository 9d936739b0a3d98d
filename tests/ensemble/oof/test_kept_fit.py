"""A fit that is done outlives what fails after it: the next run begins with the model."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof import crossfit
from ensemble.oof.workspace import open_workspace
from ensemble.pipeline import prepare_stage, split_stage, writing
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.hookspecs import hookimpl
from ensemble.stacking.settings import learner_specs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config import Config


class Counted(BaseLearner):
    """Predicts label shares; counts its fits over all classes that derive from it."""

    fits: list[int] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, battles: Any, labels: Any, *, context: Any, **_: Any) -> Any:
        Counted.fits.append(context.seed)
        self.shares = labels.mean(axis=0)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return np.tile(np.log(self.shares + 0.01), (len(battles), 1))

    def save(self, directory: Path) -> None:
        np.save(directory / "shares.npy", self.shares)

    def load(self, directory: Path) -> Any:
        self.shares = np.load(directory / "shares.npy")
        return self


class WrongShape(Counted):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles)[:, :2]


class WrongInTest(Counted):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        if battles["id"][0].startswith("t-"):
            raise RuntimeError("no luck with test rows")
        return super().predict_logits(battles)


class DependsOnOrder(Counted):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles) + np.arange(len(battles))[:, None] * [1, 0, 0]


class LosesOnLoad(Counted):
    def load(self, directory: Path) -> Any:
        super().load(directory)
        self.shares = self.shares[::-1]
        return self


class LosesOnSave(Counted):
    def save(self, directory: Path) -> None:
        np.save(directory / "shares.npy", self.shares[::-1])


class OtherFit(WrongShape):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Any:
        return super().fit(battles, labels + 0.0, **options)


class PredictsInFit(Counted):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Any:
        super().fit(battles, labels, **options)
        assert len(self.predict_logits(battles)) == len(battles)
        return self


class PredictsInFitWrongly(PredictsInFit):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles) * np.nan


class FullDisk(Counted):
    full = False

    def save(self, directory: Path) -> None:
        if self.full and "checkpoints" in directory.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().save(directory)


class _Plugin:
    def __init__(self, kind: type[BaseLearner]) -> None:
        self.kind = kind

    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("counted", self.kind)


@pytest.fixture
def fit(
    project: Any,
    use_plugins: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Give a function that fits fold 0 by a class, in a new workspace; gives its directory."""
    Counted.fits.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def go(kind: type[BaseLearner], **parameters: Any) -> Path:
        use_plugins(counted=_Plugin(kind))
        config: Config = project.config([{"name": "x", "plugin": "counted", **parameters}])
        with writing(config) as reporter:
            prepare_stage(config, reporter)
            split_stage(config, reporter)
        workspace, (spec,) = open_workspace(config), learner_specs(config)
        assert crossfit.fit_fold(workspace, spec, 0)
        return workspace.store.directory("x", 0)

    return go


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (WrongShape, r"shape \(\d+, 2\)"),
        (WrongInTest, "no luck with test rows"),
        (DependsOnOrder, "in another order"),
        (LosesOnLoad, "after save and load"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_mended_learner_begins_with_the_model_that_is_there(
    fit: Callable[..., Path], kind: type[BaseLearner], told: str, seeds: int
) -> None:
    with pytest.raises(LearnerError, match=told):
        fit(kind, seeds=seeds)
    with pytest.raises(LearnerError, match=told):
        fit(kind, seeds=seeds)
    assert len(Counted.fits) == 1
    place = fit(Counted, seeds=seeds)
    assert len(Counted.fits) == seeds  # each once
    assert (place / "manifest.json").exists()
    assert not list((place.parents[2] / "checkpoints").glob("*/*"))


def test_what_a_fit_has_learned_stays_as_it_was(fit: Callable[..., Path]) -> None:
    with pytest.raises(LearnerError, match="shape"):
        fit(WrongShape)
    mended = pl.read_parquet(fit(Counted) / "oof.parquet")
    plain = pl.read_parquet(fit(Counted, shift=1.0) / "oof.parquet")
    assert len(Counted.fits) == 2
    assert mended.equals(plain)


@pytest.mark.parametrize(
    ("kind", "then", "parameters"),
    [
        (WrongShape, OtherFit, {}),  # learns by other code
        (WrongShape, Counted, {"shift": 1.0}),
        (LosesOnSave, Counted, {}),  # what it has written is not what it had learned
        (PredictsInFitWrongly, PredictsInFit, {}),  # what it predicts is part of its fit
    ],
)
def test_a_fit_that_would_be_another_is_made_again(
    fit: Callable[..., Path],
    kind: type[BaseLearner],
    then: type[BaseLearner],
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(LearnerError, match="predict_logits"):
        fit(kind)
    with pytest.raises(LearnerError, match="shape") if then is OtherFit else nullcontext():
        fit(then, **parameters)
    assert len(Counted.fits) == 2


def test_a_model_that_came_back_as_another_does_not_pass_by_trying_again(
    fit: Callable[..., Path],
) -> None:
    for _ in range(3):
        with pytest.raises(LearnerError, match="after save and load"):
            fit(LosesOnSave)
    assert len(Counted.fits) == 1


def test_what_fails_while_it_is_loaded_says_where_the_fit_is(fit: Callable[..., Path]) -> None:
    class NoLoad(WrongShape):
        def load(self, directory: Path) -> Any:
            raise ValueError("no luck")

    with pytest.raises(LearnerError, match="shape"):
        fit(NoLoad)
    with pytest.raises(LearnerError, match="load raised ValueError") as caught:
        fit(NoLoad)
    assert "the fit is kept; or delete" in str(caught.value.mend)
    assert "kept-fit" in str(caught.value.mend)


def test_a_full_disk_loses_no_fit(
    fit: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FullDisk, "full", True)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ensemble.oof.fitting.prediction_frame", full)
        with pytest.raises(EnsembleError, match="cannot write: No space left"):
            fit(FullDisk, shift=0.0)
    kept = list((tmp_path / "cache" / "preference-ensemble" / "fits").iterdir())
    assert len(kept) == 1
    fit(FullDisk, shift=0.0)
    assert len(Counted.fits) == 1
    assert not list((tmp_path / "cache" / "preference-ensemble" / "fits").iterdir())


def test_a_kept_fit_that_is_damaged_is_made_again(fit: Callable[..., Path], project: Any) -> None:
    with pytest.raises(LearnerError, match="shape"):
        fit(WrongShape)
    (kept,) = _kept_models(project)
    kept.write_bytes(kept.read_bytes() + b"x")
    fit(Counted)
    assert len(Counted.fits) == 2


def _kept_models(project: Any) -> list[Path]:
    return list((project.path / "run").glob("checkpoints/x/*/kept-fit/model/shares.npy"))


def test_cheap_fits_are_not_kept(
    fit: Callable[..., Path], project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counted, "cheap", True)
    with pytest.raises(LearnerError, match="shape"):
        fit(WrongShape)
    assert not _kept_models(project)
