"""Every door by which something of the held-out rows could come in, tried with planted rows.

The held-out rows get other labels and other texts, as unlike the rest as can be: on the training
side nothing may change, not one bit. A copy of a held-out row is planted in the source: no stage
may have it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.dependencies import resolve_sources
from ensemble.oof.rows import FoldRows, TrainingRows
from ensemble.oof.teachers import SoftLabels
from ensemble.oof.workspace import Workspace
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import hash_file
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from ensemble import Config
    from tests.fixture_types import Project

FOLD = 0
FAST: dict[str, Any] = {
    "plugin": "handcrafted",
    "features": ["length"],
    "n_models": 2,
    "n_estimators": 12,
    "early_stopping_rounds": 5,
    "min_child_samples": 3,
}
LEARNERS = [
    {"name": "pupil", **FAST},
    {"name": "teacher", **FAST, "num_leaves": 4},
    {"name": "words", "plugin": "tfidf", "min_df": 2},
]
DOORS = {
    "share": SourceSettings("train", share=0.6),
    "importance": SourceSettings("train", reweight="importance"),
    "labels": SourceSettings("train", reweight="labels"),
    "offset": SourceSettings("train", logit_adjustment=True),
    "importance and offset": SourceSettings(
        "train", 0.5, reweight="importance", logit_adjustment=True
    ),
    "pretrain": SourceSettings("pretrain"),
    "pretrain, all of it": SourceSettings(
        "pretrain", 0.5, 0.9, "importance", logit_adjustment=True
    ),
    "pseudo": SourceSettings("pseudo", pseudo_labelers=("teacher",)),
    "pseudo, all of it": SourceSettings(
        "pseudo",
        0.5,
        0.9,
        "importance",
        logit_adjustment=True,
        pseudo_labelers=("teacher", "words"),
    ),
}
COPIES = {"copy": 3, "swapped": 5}
"""Rows of the source that are copies of held-out rows: as it is, and with its sides exchanged."""


@pytest.fixture
def space(project: Project) -> Workspace:
    return prepared(project.config(LEARNERS))


def _specs(project: Project) -> dict[str, Any]:
    return {spec.name: spec for spec in learner_specs(project.config(LEARNERS))}


def _poisoned(space: Workspace) -> Workspace:
    """Give held-out rows other labels, and the texts of rows of the source, over and over."""
    held_out = space.plan.held_out(FOLD)
    source = space.battles.filter(pl.col("source") == "extra")
    drawn = source[np.arange(len(space.battles)) % len(source)]
    other = [
        pl.when(held_out).then(drawn[name].alias(name)).otherwise(pl.col(name)).alias(name)
        for name in TEXT_COLUMNS
    ]
    label = [
        pl.when(held_out).then(float(name == "label_tie")).otherwise(pl.col(name)).alias(name)
        for name in LABEL_COLUMNS
    ]
    battles = space.battles.with_columns(other).with_columns(label)
    assert battles.filter(held_out).select("prompt").equals(drawn.filter(held_out)[["prompt"]])
    assert battles.filter(~held_out).equals(space.battles.filter(~held_out))
    return replace(space, battles=battles)


def _both(space: Workspace, use: SourceSettings) -> list[Workspace]:
    """The run as it is and with other held-out rows, the source used in one way."""
    return [
        each.with_uses({"extra": use}, run=space.run.parent / name)
        for each, name in ((space, "clean"), (_poisoned(space), "poisoned"))
    ]


def _fit(project: Project, workspace: Workspace, use: SourceSettings) -> None:
    specs = _specs(project)
    for name in (*use.pseudo_labelers, "pupil"):
        assert fit_fold(workspace, specs[name], FOLD)


def _training_side(project: Project, workspace: Workspace) -> list[TrainingRows]:
    spec = _specs(project)["pupil"]
    own = replace(workspace, uses=resolve_sources(spec, workspace.uses))
    teaching = SoftLabels(own, spec, HeldOut((FOLD,)), workspace.run / "asked")
    rows = FoldRows.of(teaching.label(), FOLD)
    return [rows.train, rows.pretrain]


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other) if isinstance(one, pl.DataFrame) else np.array_equal(one, other))


@pytest.mark.parametrize("door", DOORS)
def test_other_held_out_rows_change_nothing_on_the_training_side(
    project: Project, space: Workspace, door: str
) -> None:
    use = DOORS[door]
    sides, models, predicted = [], [], []
    for workspace in _both(space, use):
        _fit(project, workspace, use)
        sides.append(_training_side(project, workspace))
        place = workspace.store.directory("pupil", FOLD)
        models.append({p.name: hash_file(p) for p in sorted((place / "model").iterdir())})
        predicted.append((hash_file(place / "oof.parquet"), hash_file(place / "test.parquet")))
    assert _counts(sides[0]) == _counts(sides[1])
    for one, other in zip(*sides, strict=True):
        for name in ("battles", "labels", "weight", "groups", "offset", "eval_mask", "sources"):
            assert _same(getattr(one, name), getattr(other, name)), name
    assert models[0] == models[1]
    assert predicted[0][0] != predicted[1][0]  # the held-out rows did change
    assert predicted[0][1] == predicted[1][1]


def _counts(stages: list[TrainingRows]) -> list[int]:
    """Rows of each stage; of the source too there are some, or nothing is shown."""
    ids = [name for stage in stages for name in stage.battles["id"].to_list()]
    assert any(name.startswith("extra") for name in ids)
    return [len(stage.battles) for stage in stages]


@pytest.mark.parametrize("door", ["importance", "labels", "offset", "pseudo"])
def test_other_training_rows_do_change_it(project: Project, space: Workspace, door: str) -> None:
    """The same poison on the training side shows: the test above can fail."""
    use = DOORS[door]
    clean = space.with_uses({"extra": use}, run=space.run.parent / "clean")
    flipped = [
        pl.when((pl.col("role") == "target") & ~space.plan.held_out(FOLD))
        .then(pl.lit(float(name == "label_tie")))
        .otherwise(name)
        .alias(name)
        for name in LABEL_COLUMNS
    ]
    texts = [
        pl.when((pl.col("role") == "target") & (pl.col("label_a") == 1))
        .then(pl.lit(["quite other words", "in two turns"]))
        .otherwise(name)
        .alias(name)
        for name in TEXT_COLUMNS
    ]
    changed = space.battles.with_columns(texts).with_columns(flipped)
    other = replace(space, battles=changed).with_uses(
        {"extra": use}, run=space.run.parent / "other"
    )
    found = []
    for workspace in (clean, other):
        _fit(project, workspace, use)
        train = _training_side(project, workspace)[0]
        source = train.battles["id"].str.starts_with("extra").to_numpy()
        offset = np.zeros((1, 3)) if train.offset is None else train.offset[source]
        found.append((train.weight[source], offset, train.labels[source]))
    assert any(not np.array_equal(*pair) for pair in zip(*found, strict=True))


@pytest.fixture
def planted(project: Project) -> Config:
    """A config whose source has copies of target rows, as they are and with sides exchanged."""
    target, source = (
        pl.read_csv(project.path / name, infer_schema=False) for name in ("train.csv", "extra.csv")
    )
    rows = source.to_dicts()
    for how, row in COPIES.items():
        one = target.row(0, named=True)
        sides = ("response_a", "response_b")[:: 1 if how == "copy" else -1]
        texts = {"prompt": one["prompt"], "response_a": one[sides[0]], "response_b": one[sides[1]]}
        rows[row] |= texts
    pl.DataFrame(rows).write_csv(project.path / "extra.csv")
    return project.config(LEARNERS)


@pytest.mark.parametrize("door", DOORS)
def test_a_copy_of_a_held_out_row_is_cut_from_every_stage(
    project: Project, planted: Config, door: str
) -> None:
    space = prepared(planted)
    use = replace(DOORS[door], share=1.0)
    own_fold = space.plan.frame.filter(pl.col("id") == "arena-0")["fold"][0]
    workspace = space.with_uses({"extra": use}, run=space.run / "other")
    specs, copies = _specs(project), {f"extra-{row}" for row in COPIES.values()}
    for fold in range(2):
        for name in (*use.pseudo_labelers, "pupil"):
            fit_fold(workspace, specs[name], fold)
    for fold in range(2):
        for name in (*use.pseudo_labelers, "pupil"):
            used = workspace.store.directory(name, fold) / "train_ids.parquet"
            there = copies & set(pl.read_parquet(used)["id"])
            learns = name == "pupil"
            assert there == (copies if learns and fold != own_fold else set())
    assert own_fold in (0, 1)
