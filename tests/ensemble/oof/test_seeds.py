"""Learners that are fitted under several seeds: the mean is used, each seed is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, Run, errors, hookimpl, run
from ensemble.audit.audit import audit_run
from ensemble.cli.terminal import show_summary, summary
from ensemble.oof.predictions import read_logits
from ensemble.oof.workspace import open_workspace
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stacking.seed_spread import REPLICATES, seed_records, seed_replicates
from ensemble.stacking.settings import learner_specs
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_json
from ensemble.submission.new_rows import predict_file

if TYPE_CHECKING:
    from typing import Self

    from ensemble import Config, FitContext
    from ensemble.plugin.base import LogitArray, Register
    from tests.fixture_types import Learners, Project, UsePlugins


class Lottery(BaseLearner):
    """Predicts what its seed says, and notes each fit."""

    cheap = True
    fits: ClassVar[list[tuple[int, Path]]] = []
    fails: ClassVar[set[int]] = set()

    def __init__(self, spread: float = 1.0) -> None:
        self.spread = spread

    def fit(self, *_: object, context: FitContext, **__: object) -> Self:
        assert context.checkpoint_directory is not None
        Lottery.fits.append((context.seed, context.checkpoint_directory))
        if len(Lottery.fits) in Lottery.fails:
            raise RuntimeError("killed")
        draw = np.random.default_rng(context.seed).normal(size=3) * self.spread
        self.logits = draw.astype(np.float32).tolist()
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        return np.tile(np.float32(self.logits), (len(battles), 1))

    def save(self, directory: Path) -> None:
        (directory / "logits.json").write_text(json.dumps(self.logits))

    def load(self, directory: Path) -> Self:
        self.logits = json.loads((directory / "logits.json").read_text())
        return self


class Clashes(Lottery):
    """Has a parameter that a table of the config keeps for itself."""

    def __init__(self, seeds: int = 2) -> None:
        super().__init__()
        self.seeds = seeds


class Outside(Lottery):
    """Brings its predictions from outside."""

    trains = False


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        for kind in (Lottery, Clashes, Outside):
            register(kind.__name__.lower(), kind)


@pytest.fixture
def lottery(project: Project, use_plugins: UsePlugins) -> type[Lottery]:
    use_plugins(seeds=_Plugin())
    Lottery.fits.clear()
    Lottery.fails.clear()
    return Lottery


def _config(project: Project, seeds: int = 3, **more: Any) -> Config:
    learners: Learners = [
        {"name": "x", "plugin": "lottery", "seeds": seeds},
        {"name": "p", "plugin": "prior"},
    ]
    return project.config(learners, **more)


def test_logits_are_the_mean_over_seeds_and_each_seed_is_kept(
    project: Project, lottery: type[Lottery], tmp_path: Path
) -> None:
    config = _config(project)
    place = run(config).directory
    assert len({seed for seed, _ in lottery.fits}) == len(lottery.fits) == 3 * (3 + 3)
    for name in ("fold-1", "pair-0-2"):
        directory = place / "learners/x" / name
        mean = pl.read_parquet(directory / "oof.parquet")
        each = [read_logits(directory / "oof_seeds.parquet", mean["id"], seed=s) for s in range(3)]
        stored = read_logits(directory / "oof.parquet", mean["id"])
        np.testing.assert_allclose(stored, np.mean(each, axis=0), atol=1e-6)
        assert not np.allclose(each[0], each[1])
        assert (directory / "model").exists() == (name == "fold-1")
    models = place / "learners/x/fold-1/model"
    assert sorted(path.name for path in models.iterdir()) == ["seed-0", "seed-1", "seed-2"]
    assert not list((place / "checkpoints").glob("*/*"))
    assert audit_run(place).ok
    # Saved models are averaged as well.
    predict_file(Run(place).config, project.path / "test.csv", tmp_path / "out.csv")
    found, before = (pl.read_csv(p) for p in (tmp_path / "out.csv", place / "submission.csv"))
    for name in found.columns[1:]:
        np.testing.assert_allclose(found[name], before[name], atol=1e-6)


def test_the_first_seed_is_that_of_a_learner_with_one(
    project: Project, lottery: type[Lottery]
) -> None:
    place = run(_config(project, seeds=1)).directory
    one = pl.read_parquet(place / "learners/x/fold-0/oof.parquet")
    assert not (place / "learners/x/fold-0/oof_seeds.parquet").exists()
    with writing(_config(project)) as reporter:
        assert fit_stage(_config(project), reporter)["fitted"] == 3
    path = place / "learners/x/fold-0/oof_seeds.parquet"
    assert pl.read_parquet(path).filter(seed=0).drop("seed").equals(one)


def test_a_fit_that_is_killed_goes_on_at_the_seed_it_was_in(
    project: Project, lottery: type[Lottery]
) -> None:
    config = _config(project, stack={"meta_learner": "none", "nesting": "plain"})
    lottery.fails.add(3)
    with pytest.raises(errors.IncompleteRunError, match="x +fold 0 .*killed"):
        run(config)
    assert not (Path(config.run_dir) / "learners/x/fold-0").exists()
    lottery.fails.clear()
    run(config)
    assert len(lottery.fits) == 3 + 1 + 6
    assert lottery.fits[2] == lottery.fits[3]  # the same seed, the same checkpoint directory
    assert len({place for _, place in lottery.fits[:3]}) == 3


def test_a_kept_seed_that_was_damaged_is_fitted_anew(
    project: Project, lottery: type[Lottery]
) -> None:
    config = _config(project, stack={"meta_learner": "none", "nesting": "plain"})
    lottery.fails.add(3)
    with pytest.raises(errors.IncompleteRunError, match="killed"):
        run(config)
    (kept,) = Path(config.run_dir).glob("checkpoints/x/*/fitted/seed-1/oof.parquet")
    kept.write_bytes(b"nothing")
    lottery.fails.clear()
    run(config)
    assert len(lottery.fits) == 3 + 2 + 6


def test_the_spread_is_shown_and_widens_intervals(
    project: Project,
    lottery: type[Lottery],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ensemble.evaluation.intervals.MIN_CLUSTERS", 2.0)  # these rows have few
    place = run(_config(project, stack={"meta_learner": "none", "resamples": 2000})).directory
    entries = read_json(place / "stack/candidates.json")["learners"]
    seeds = entries[0]["seeds"]
    assert seeds["n"] == len(seeds["log_losses"]) == 3
    assert seeds["sd"] == pytest.approx(np.std(seeds["log_losses"], ddof=1))
    assert "seeds" not in entries[1]
    show_summary(summary(place))
    assert f"x (3 seeds, sd {seeds['sd']:.4f})" in capsys.readouterr().out
    assert "Log loss of each seed" in (place / "report.html").read_text()
    wide = entries[0]["high"] - entries[0]["low"]
    # The same rows and mean logits, as if each seed had said the mean.
    config = Run(place).config
    space, specs = open_workspace(config), learner_specs(config)
    from ensemble.stacking.assemble import stack_data
    from ensemble.stacking.stack import run_stack

    data = stack_data(space, [s.name for s in specs], [], seeds={"x": 3})
    assert data.seed_logits["x"].shape == (3, 60, 3)
    assert len(seed_replicates(data, 0)) == REPLICATES
    assert seed_records(data)["x"] == seeds
    widths = {}
    for name, each in (("agree", data.meta.logits[:, 0]), ("differ", data.seed_logits["x"])):
        changed = replace(data, seed_logits={"x": np.broadcast_to(each, (3, 60, 3))})
        options: dict[str, Any] = {
            "meta_learner": None,
            "meta_learner_name": "none",
            "seed": 7,
            "threads": 1,
        }
        verdict = run_stack(place / name, changed, manifest={}, resamples=2000, **options)
        table = read_json(place / name / "candidates.json")["learners"][0]
        mean = next(c for c in verdict["candidates"] if c["name"] == "mean")
        widths[name] = [table["high"] - table["low"], mean["high"] - mean["low"]]
    assert widths["differ"][0] == pytest.approx(wide, rel=0.2)
    assert (np.array(widths["differ"]) > 1.1 * np.array(widths["agree"])).all()


def test_seeds_are_refused_where_they_mean_nothing(
    project: Project, lottery: type[Lottery]
) -> None:
    outside = project.config([{"name": "x", "plugin": "outside", "seeds": 2}])
    with pytest.raises(errors.ConfigError, match="seeds = 1 is all that predictions from outside"):
        check_plugins(outside)
    with pytest.raises(errors.ConfigError, match='the plugin has a parameter "seeds"'):
        check_plugins(project.config([{"name": "x", "plugin": "clashes"}]))
    with pytest.raises(errors.ConfigError, match=r"learners\[1\].seeds: input should be greater"):
        project.config([{"name": "x", "plugin": "lottery", "seeds": 0}])
