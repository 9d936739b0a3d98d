from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from ensemble import errors, hookimpl
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.fold_key import fold_key
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.workspace import Workspace
from tests.ensemble.oof.prepared import prepared
from tests.fakes import Prior

if TYPE_CHECKING:
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins


class Worded(Prior):
    """Depends on a file."""

    def __init__(self, words: Path | None = None) -> None:
        super().__init__()
        self.words = words


class WordedPlugin:
    """Registers it."""

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("worded", Worded)


def test_other_uses_leave_clusters_and_folds_and_change_the_role(space: Workspace) -> None:
    other = space.with_uses({"extra": SourceSettings("pretrain")}, run=space.run / "other")
    kept = ["id", "source", "cluster", "fold"]
    assert other.plan.frame.select(kept).equals(space.plan.frame.select(kept))
    assert other.training(0, ("pretrain",)).sum() == space.training(0, ("train",)).sum() > 0
    assert not other.training(0, ("train",)).any()
    assert other.battles["role"].equals(other.plan.frame["role"])


def test_an_ignored_source_reaches_nothing(space: Workspace, fake_learners: type[Prior]) -> None:
    other = space.with_uses({"extra": SourceSettings("ignore")}, run=space.run / "other")
    spec = LearnerSpec("x", "pretrained", {}, space.run)
    fit_fold(other, spec, 0)
    assert all(name.startswith("arena") for name in fake_learners.seen[-1]["ids"])
    assert (space.run / "other" / "learners" / "x" / "fold-0").is_dir()
    assert not (space.run / "learners").exists()


def test_a_share_reaches_fit_and_the_key(space: Workspace, fake_learners: type[Prior]) -> None:
    spec = LearnerSpec("x", "prior", {}, space.run)
    half = space.with_uses({"extra": SourceSettings("train", share=0.5)}, run=space.run / "half")
    assert fold_key(spec, 0, half.shared_key()) != fold_key(spec, 0, space.shared_key())
    fit_fold(space, spec, 0)
    fit_fold(half, spec, 0)
    all_of_it, part = (set(seen["ids"]) for seen in fake_learners.seen[-2:])
    assert part < all_of_it
    assert {name for name in all_of_it - part if name.startswith("arena")} == set()


def test_values_of_single_rows_are_kept_where_they_were(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    other = space.with_uses({"extra": SourceSettings("ignore")}, run=space.run / "other")
    fit_fold(other, LearnerSpec("x", "prior", {}, space.run), 0)
    context = fake_learners.seen[-1]["context"]
    assert context.cache_directory.parent == space.run / "cache"
    assert context.checkpoint_directory.is_relative_to(space.run / "other")


def test_plugins_from_outside_share_a_cache_where_nothing_but_rows_and_seeds_differs(
    space: Workspace, use_plugins: UsePlugins, tmp_path: Path
) -> None:
    """Whoever names what is kept by its row alone would read what others made of the row."""
    use_plugins(worded=WordedPlugin())
    caches = {}
    for name, parameters, seeds in (("x", {}, 1), ("y", {}, 2), ("z", {"shift": 0.5}, 1)):
        fit_fold(space, LearnerSpec(name, "prior", parameters, space.run, seeds=seeds), 0)
        caches[name] = Prior.seen[-1]["context"].cache_directory
    assert caches["x"] == caches["y"] != caches["z"]
    words = tmp_path / "words.txt"
    words.write_text("one")
    spec = LearnerSpec("x", "worded", {"words": str(words)}, space.run)
    before = spec.cache_name
    words.write_text("two")
    assert replace(spec).cache_name != before
    assert (
        LearnerSpec("x", "tfidf", {"min_df": 2}, space.run).cache_name == "tfidf"
    )  # the toolkit's


@pytest.mark.parametrize("name,role", [("arena", "train"), ("extra", "target")])
def test_a_target_stays_one_and_no_other_source_becomes_one(
    space: Workspace, name: str, role: str
) -> None:
    with pytest.raises(errors.FoldError, match=f'"{name}" cannot change between target'):
        space.with_uses({name: SourceSettings(role)}, run=space.run / "other")


def test_an_unknown_source_is_named(space: Workspace) -> None:
    with pytest.raises(errors.ConfigError, match='"extr"(.|\n)*did you mean "extra"'):
        space.with_uses({"extr": SourceSettings("train")}, run=space.run / "other")


def test_rows_without_labels_get_no_role_that_needs_them(project: Project) -> None:
    sources = [source.model_dump(exclude_none=True) for source in project.config().sources]
    sources[1]["role"] = "ignore"
    path = Path(sources[1]["path"])
    frame = pl.read_csv(path, infer_schema=False)
    labels = ["winner_model_a", "winner_model_b", "winner_tie"]
    frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col(name)).alias(name)
        for name in labels
    ).write_csv(path)
    space = prepared(project.config(sources=sources))
    with pytest.raises(errors.ConfigError, match="rows without a label(.|\n)*extra-3"):
        space.with_uses({"extra": SourceSettings("train")}, run=space.run / "other")
