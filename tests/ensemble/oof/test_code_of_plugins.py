"""Code of loaders and meta-learners is part of what was made by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble import MetaLearner, hookimpl
from ensemble.audit.audit import read_audit
from ensemble.pipeline import run
from tests.ensemble.oof.said import Said

if TYPE_CHECKING:
    from typing import Self

    from ensemble import MetaFeatures
    from ensemble.plugin.base import FloatArray, Register
    from tests.fixture_types import Project, UsePlugins


def test_an_audit_is_of_the_code_of_loaders_and_meta_learner_too(
    project: Project, use_plugins: UsePlugins
) -> None:
    def plugin(rate: float, learns: float) -> object:
        def load(path: Path, **_: object) -> pl.DataFrame:
            return pl.read_csv(path).filter(pl.lit(rate) > 0)

        class Shares(MetaLearner):
            def fit(self, meta: MetaFeatures, labels: FloatArray, **_: object) -> Self:
                self.shares = labels.mean(axis=0) ** learns
                return self

            def predict_proba(self, meta: MetaFeatures) -> FloatArray:
                return np.tile(self.shares / self.shares.sum(), (len(meta.logits), 1))

            def save(self, directory: Path) -> None:
                np.save(directory / "shares.npy", self.shares)

            def load(self, directory: Path) -> Self:
                self.shares = np.load(directory / "shares.npy")
                return self

        class Brought:
            @hookimpl
            def register_loaders(self, register: Register) -> None:
                register("mine", load)

            @hookimpl
            def register_meta_learners(self, register: Register) -> None:
                register("shares", Shares)

        return Brought()

    use_plugins(brought=plugin(1.0, 1.0))
    sources = [{"name": "arena", "path": "train.csv", "role": "target", "loader": "mine"}]
    stack = {"meta_learner": "shares", "resamples": 100}
    place = run(project.config(sources=sources, stack=stack))
    assert read_audit(place) is not None
    for changed in ((2.0, 1.0), (1.0, 2.0)):
        use_plugins(brought=plugin(*changed))
        assert read_audit(place) is None
    use_plugins(brought=plugin(1.0, 1.0))
    assert read_audit(place) is not None


def test_code_of_a_loader_is_part_of_what_was_prepared(
    project: Project, use_plugins: UsePlugins
) -> None:
    def plugin(exchanged: bool, note: str = "") -> object:
        def load(path: Path, **_: object) -> pl.DataFrame:
            str(note)
            frame = pl.read_csv(path)
            names = {"winner_model_a": "winner_model_b", "winner_model_b": "winner_model_a"}
            return frame.rename(names) if exchanged else frame

        class Loaders:
            @hookimpl
            def register_loaders(self, register: Register) -> None:
                register("mine", load)

        return Loaders()

    sources = [{"name": "arena", "path": "train.csv", "role": "target", "loader": "mine"}]
    use_plugins(loaders=plugin(exchanged=False))
    config = project.config(sources=sources)
    run(config)
    labels = pl.read_parquet(project.path / "run/battles.parquet")["label_a"].to_list()

    use_plugins(loaders=plugin(exchanged=False, note="means nothing"))
    said = Said()
    run(config, said)
    told = "battles and clusters  made again: the loader of arena: the plugin's code has changed"
    assert told in said.lines
    assert "folds  0 fitted, 3 kept" in said.lines

    use_plugins(loaders=plugin(exchanged=True))
    said = Said()
    run(config, said)
    assert "folds  3 fitted, 0 kept" in said.lines
    now = pl.read_parquet(project.path / "run/battles.parquet")
    assert now["label_a"].to_list() != labels
    target = now.filter(pl.col("role") == "target")
    assert target["label_b"].to_list() == labels[: len(target)]
