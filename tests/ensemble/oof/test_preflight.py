"""What is known to fail is said before anything is fitted, all of it at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import Feature, FeatureSet, Resources, errors, hookimpl, run
from ensemble.oof.workspace import open_workspace
from ensemble.stages.check import check_stage
from ensemble.stages.work import writing
from tests.ensemble.stages import prepare_and_fit
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble import Config, FitContext
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins


class _Odd:
    """Registers learners that will fail, each in its way, and a feature set."""

    def __init__(self, **members: Any) -> None:
        self.kind = type("Odd", (Prior,), members)

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("odd", self.kind)

    @hookimpl
    def register_feature_sets(self, register: Register) -> None:
        columns = {
            "infinite": pl.col("prompt").list.len() / 0,
            "lost": pl.col("nowhere").list.len(),
        }
        for name, expression in columns.items():
            feature = Feature(f"{name}_column", expression, "wrong", f"{name}_column")
            register(name, FeatureSet(name, (feature,)))


@pytest.fixture
def odd(project: Project, use_plugins: UsePlugins) -> Callable[..., None]:
    """Give a function that registers a learner ``odd`` with these members."""

    def add(**members: Any) -> None:
        use_plugins(odd=_Odd(**members))
        Prior.seen.clear()

    return add


GOOD = {"name": "good", "plugin": "prior"}
ODD = {"name": "strange", "plugin": "odd"}


def _fit(config: Config, **options: Any) -> Any:
    return prepare_and_fit(config, **options)


def _outside(project: Project, name: str = "oof.csv", **changes: Any) -> dict[str, Any]:
    """Write predictions of the target from outside, and of the test rows; give the learner."""
    frames = {}
    for kind in ("train", "test"):
        ids = pl.read_csv(project.path / f"{kind}.csv", infer_schema=False)["id"]
        logits = np.random.default_rng(0).normal(size=(len(ids), 3))
        frames[kind] = pl.DataFrame({"id": ids}).with_columns(
            pl.Series(f"logit_{side}", logits[:, i]) for i, side in enumerate(("a", "b", "tie"))
        )
    oof = frames["train"].with_columns(**changes) if changes else frames["train"]
    oof.write_csv(project.path / name)
    frames["test"].write_csv(project.path / "outside_test.csv")
    return {"name": "mine", "plugin": "precomputed", "oof": name, "test": "outside_test.csv"}


def test_all_faults_of_all_learners_are_reported_before_any_fit(
    project: Project, odd: Callable[..., None]
) -> None:
    def preflight(self: Prior, battles: pl.DataFrame, *, context: FitContext) -> None:
        raise ValueError("the template has no place for the answers")

    odd(preflight=preflight)
    config = project.config(
        [
            GOOD,
            ODD,
            _outside(project) | {"test": "train.csv"},
            {"name": "columns", "plugin": "handcrafted", "features": ["length", "lost"]},
        ],
        stack={"meta_learner": "none", "features": ["infinite"], "resamples": 200},
    )
    with pytest.raises(errors.ConfigError, match="preflight raised ValueError") as caught:
        run(config)
    told = str(caught.value)
    line = preflight.__code__.co_firstlineno + 1
    assert f'learner "strange", plugin "odd", {__file__}:{line}' in told
    assert f'learner "mine", test = {project.path / "train.csv"}' in told
    assert 'column "lost_column" refers to "nowhere"' in told
    assert 'learner "columns"' in told
    assert 'feature "infinite_column" is infinite' in told
    assert "where: stack.features" in told
    assert caught.value.exit_code == 2
    assert Prior.seen == []
    assert not (project.path / "run" / "learners").exists()


@pytest.mark.parametrize("method", ["fit", "predict_logits", "pretrain"])
def test_a_signature_that_cannot_be_called_is_found_before_any_work(
    project: Project, odd: Callable[..., None], method: str
) -> None:
    odd(**{method: lambda self, battles, extra, more: self})
    with pytest.raises(
        errors.ConfigError, match=rf"{method} cannot be called as it will be(.|\n)*strange"
    ):
        run(project.config([GOOD, ODD]))
    assert not (project.path / "run").exists()


def test_predictions_that_equal_the_labels_are_refused_before_any_fit(
    project: Project, odd: Callable[..., None]
) -> None:
    odd()
    truth = pl.read_csv(project.path / "train.csv")
    labels: dict[str, Any] = {
        f"logit_{side}": 20.0 * truth[f"winner_{name}"]
        for side, name in (("a", "model_a"), ("b", "model_b"), ("tie", "tie"))
    }
    with pytest.raises(errors.ConfigError, match='the predictions equal the labels(.|\n)*"mine"'):
        _fit(project.config([GOOD, _outside(project, **labels)]))
    assert Prior.seen == []


def test_ids_that_are_not_the_targets_are_found_before_any_fit(
    project: Project, odd: Callable[..., None]
) -> None:
    odd()
    mine = _outside(project, id=pl.lit("x") + pl.col("id"))
    with pytest.raises(errors.ConfigError, match=r'missing(.|\n)*learner "mine", oof = .*oof.csv'):
        _fit(project.config([GOOD, mine]))
    assert Prior.seen == []


def test_a_disk_that_is_clearly_too_small_is_said(
    project: Project, odd: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd(resources=Resources(disk_gib=3.0))
    free = SimpleNamespace(free=8 * 2**30)
    monkeypatch.setattr("ensemble.oof.preflight.shutil.disk_usage", lambda _: free)
    config = project.config([GOOD, ODD])
    with pytest.raises(errors.ConfigError, match="has 8 GiB left, and .* takes 9 GiB or more"):
        _fit(config)
    assert Prior.seen == []
    free.free = 10 * 2**30
    _fit(config)
    free.free = 0  # nothing is to be fitted any more
    assert _fit(config)["fitted"] == 0


def test_what_is_fitted_is_not_looked_at_again(project: Project, odd: Callable[..., None]) -> None:
    asked: list[int] = []

    def preflight(self: Prior, battles: pl.DataFrame, *, context: FitContext) -> None:
        asked.append(len(battles))

    odd(preflight=preflight)
    config = project.config([GOOD, ODD])
    _fit(config, folds=[0])
    _fit(config)
    assert asked == [12, 12]
    _fit(config)
    assert len(asked) == 2


def test_a_learner_that_fails_in_its_own_preflight_is_a_finding_of_check(
    project: Project, odd: Callable[..., None]
) -> None:
    def preflight(self: Prior, battles: pl.DataFrame, *, context: FitContext) -> None:
        raise SystemExit(0)

    odd(preflight=preflight)
    config = project.config([GOOD, ODD])
    with writing(config) as reporter:
        found = check_stage(config, reporter)
    told = {one.learner: one for one in found if one.what == "before any fit"}
    assert told["good"].ok is True
    assert told["strange"].ok is False
    assert "preflight raised SystemExit: 0" in told["strange"].detail
    assert [one.what for one in found if one.learner == "strange"] == ["before any fit"]


def test_a_preflight_sees_what_exists_at_test_time(
    project: Project, odd: Callable[..., None]
) -> None:
    seen: list[pl.DataFrame] = []
    odd(preflight=lambda self, battles, *, context: seen.append(battles))
    config = project.config([ODD])
    _fit(config)
    known = set(open_workspace(config).battles.filter(pl.col("role") != "train")["id"])
    (battles,) = seen
    assert set(battles["id"]) <= known
    assert battles.columns == ["id", "prompt", "response_a", "response_b"]
