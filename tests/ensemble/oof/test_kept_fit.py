"""A fit that is done outlives what fails after it: the next run begins with the model."""

from __future__ import annotations

import errno
import importlib
import shutil
import sys
from textwrap import indent
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl
from ensemble.oof import crossfit
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.settings import learner_specs
from ensemble.storage import json_files
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble import Config
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins

HEAD = """
import errno
import numpy as np
from ensemble import BaseLearner

fits, state = [], {}

class Counted(BaseLearner):
    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
"""
METHODS = {
    "fit(self, battles, labels, *, context, **_)": """
fits.append(context.seed)
self.shares, self.number = labels.mean(axis=0), len(fits)
return self
""",
    "predict_logits(self, battles)": """
return np.tile(np.log(self.shares + 0.01), (len(battles), 1))
""",
    "save(self, directory)": """
np.save(directory / "shares.npy", np.append(self.shares, self.number))
""",
    "load(self, directory)": """
*shares, self.number = np.load(directory / "shares.npy")
self.shares = np.array(shares)
return self
""",
}
"""A learner that predicts label shares and counts its fits; the tests exchange bodies of these."""


def _text(bodies: dict[str, str]) -> str:
    """Write the module of a learner, some of whose methods have other bodies."""
    methods = {name: bodies.get(name.partition("(")[0], text) for name, text in METHODS.items()}
    return HEAD + "".join(f"    def {n}:\n{indent(t, ' ' * 8)}\n" for n, t in methods.items())


LOGITS = METHODS["predict_logits(self, battles)"].strip()
WRONG_SHAPE = {"predict_logits": f"{LOGITS}[:, :2]"}
WRONG_IN_TEST = {
    "predict_logits": f"""
if battles["id"][0].startswith("t-"):
    raise RuntimeError("no luck with test rows")
{LOGITS}
"""
}
DEPENDS_ON_ORDER = {
    "predict_logits": f"{LOGITS} + np.arange(len(battles))[:, None] * [1, 0, 0]",
}
LOAD = METHODS["load(self, directory)"].replace("array(shares)", "array(shares{})")
LOSES_ON_LOAD = {"load": LOAD.format("[::-1]")}
LOSES_ON_SAVE = {
    "save": 'np.save(directory / "shares.npy", np.append(self.shares[::-1], self.number))'
}
FULL_DISK = {
    "save": f"""
if state.get("full") and "checkpoints" in directory.parts:
    raise OSError(errno.ENOSPC, "No space left on device")
{METHODS["save(self, directory)"].strip()}
"""
}


class _Plugin:
    def __init__(self, kind: type[BaseLearner]) -> None:
        self.kind = kind

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("counted", self.kind)


class Fitting:
    """Fits fold 0 by the code of now, in a new workspace each time.

    Parameters
    ----------
    project, use_plugins, path
        Where its config and its modules are.
    """

    def __init__(self, project: Project, use_plugins: UsePlugins, path: Path) -> None:
        self.project, self.use_plugins, self.path = project, use_plugins, path
        self.fits: list[int] = []
        self.state: dict[str, Any] = {}
        self.versions = 0

    def __call__(self, bodies: dict[str, str] | None = None, **parameters: Any) -> Path:
        """Fit by a learner with these bodies of methods; gives the fold's directory."""
        self.use_plugins(counted=_Plugin(self._import(bodies or {})))
        config: Config = self.project.config([{"name": "x", "plugin": "counted", **parameters}])
        prepare_and_split(config)
        workspace, (spec,) = open_workspace(config), learner_specs(config)
        assert crossfit.fit_fold(workspace, spec, 0)
        return workspace.store.directory("x", 0)

    def _import(self, bodies: dict[str, str]) -> type[BaseLearner]:
        self.versions += 1
        place = self.path / f"code-{self.versions}"
        place.mkdir()
        (place / "counted_learner.py").write_text(_text(bodies))
        sys.modules.pop("counted_learner", None)
        sys.path.insert(0, str(place))
        importlib.invalidate_caches()
        module = importlib.import_module("counted_learner")
        sys.path.remove(str(place))
        vars(module).update(fits=self.fits, state=self.state)
        return module.Counted  # type: ignore[no-any-return]

    @property
    def spares(self) -> list[Path]:
        """What is kept outside the run."""
        place = self.path / "cache" / "preference-ensemble" / "fits"
        return list(place.iterdir()) if place.exists() else []

    @property
    def kept(self) -> list[Path]:
        """Files of models that are kept."""
        return list((self.path / "run").glob("checkpoints/x/*/kept-fit/**/shares.npy"))


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


OTHER_ORDER_THEN_NONE = {
    "predict_logits": f"""
if self.number == 2:
    raise RuntimeError("no luck with the second seed")
{LOGITS}[:, ::-1]
"""
}


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


LEFT_OVER = {
    "fit": METHODS["fit(self, battles, labels, *, context, **_)"].replace(
        "return", "self.shares = self.shares + len(fits) / 10; self.extra = 0.5\nreturn"
    ),
    "predict_logits": f"{LOGITS} + [getattr(self, 'extra', 0.0), 0, 0]",
}
"""Predicts by what only ``fit`` leaves behind, and learns something else each time."""


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
