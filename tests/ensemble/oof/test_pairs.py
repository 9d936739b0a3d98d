"""Fits without a pair of folds: what they see, what is stored of them, when they are made anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, errors, run
from ensemble.battles.held_out import HeldOut, fold_pairs
from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.workspace import Workspace, open_workspace
from ensemble.stacking.assemble import stack_data
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stacking.settings import learner_specs, nested_specs
from ensemble.stages.fit import fit_stage, refuse_unknown_folds
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_json
from tests.ensemble.oof.cheap_learners import Cheap
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from ensemble import Config
    from ensemble.stacking.data import StackData
    from tests.fakes import Prior
    from tests.fixture_types import Learners, Project

FAST: dict[str, Any] = {
    "plugin": "handcrafted",
    "features": ["length"],
    "n_models": 2,
    "n_estimators": 12,
    "early_stopping_rounds": 5,
    "min_child_samples": 3,
}
LEARNERS: Learners = [
    {"name": "pupil", **FAST},
    {"name": "teacher", **FAST, "num_leaves": 4},
    {"name": "words", "plugin": "tfidf", "min_df": 2},
]
USES = {
    "train": SourceSettings("train", reweight="importance", logit_adjustment=True),
    "pretrain": SourceSettings("pretrain", reweight="labels"),
    "pseudo": SourceSettings("pseudo", pseudo_labelers=("teacher", "words")),
}
OUTER = 1


def _poisoned(space: Workspace) -> Workspace:
    """Give the rows of one fold other labels and other texts."""
    held_out = space.plan.held_out(OUTER)
    drawn = space.battles.filter(source="extra")[np.arange(len(space.battles)) % 20]
    other = [pl.when(held_out).then(drawn[c].alias(c)).otherwise(c).alias(c) for c in TEXT_COLUMNS]
    label = [
        pl.when(held_out).then(float(c == "label_tie")).otherwise(c).alias(c) for c in LABEL_COLUMNS
    ]
    return replace(space, battles=space.battles.with_columns(other).with_columns(label))


def _stacked(workspace: Workspace, config: Config) -> StackData:
    """Fit every fold and every pair of every learner, teachers first."""
    specs = {spec.name: spec for spec in learner_specs(config)}
    names = ["teacher", "words", "pupil"]
    for name in names:
        for held_out in [*map(HeldOut.of, range(3)), *fold_pairs(3)]:
            assert fit_fold(workspace, specs[name], held_out)
    return stack_data(workspace, names, [], nested=names)


@pytest.mark.slow
@pytest.mark.parametrize("role", USES)
def test_nothing_of_an_outer_fold_is_in_what_candidates_are_fitted_on(
    project: Project, role: str
) -> None:
    """The test of exact nesting: other rows in fold k change no bit of what is used for k."""
    config = project.config(LEARNERS)
    space = prepared(config)
    clean, poisoned = (
        _stacked(each.with_uses({"extra": USES[role]}, run=space.run.parent / name), config)
        for each, name in ((space, "clean"), (_poisoned(space), "poisoned"))
    )
    fitted_on = clean.folds != OUTER
    before, after = (data.fitting_meta(OUTER).logits[fitted_on] for data in (clean, poisoned))
    assert np.array_equal(before, after)
    # Plain logits of the same rows do change, and so do exact ones for another outer fold.
    for learner in range(3):
        one, two = (data.meta.logits[fitted_on, learner] for data in (clean, poisoned))
        assert not np.array_equal(one, two)
        one, two = (data.fitting_meta(0).logits[:, learner] for data in (clean, poisoned))
        assert not np.array_equal(one, two)


def test_rows_of_either_fold_come_from_the_pair_and_the_rest_from_the_fold(
    project: Project,
) -> None:
    config = project.config(LEARNERS)
    space = prepared(config)
    data = _stacked(space, config)
    logits = data.fitting_meta(0).logits
    rows = dict(enumerate(data.ids))
    for pair in (HeldOut((0, 1)), HeldOut((0, 2))):
        stored = pl.read_parquet(space.store.directory("pupil", pair) / "oof.parquet")
        known = {row[0]: row[1:] for row in stored.iter_rows()}
        here = np.flatnonzero(data.folds == pair.folds[1]).tolist()
        there = np.flatnonzero(data.folds == 0).tolist()
        assert {rows[i] for i in [*here, *there]} == set(known)
        for i in here:
            np.testing.assert_array_equal(logits[i, 2], np.array(known[rows[i]], np.float32))
    held_out = data.folds == 0
    np.testing.assert_array_equal(logits[held_out], data.meta.logits[held_out])


def test_a_pair_sees_neither_fold_nor_their_clusters_and_stores_what_is_needed(
    project: Project, fake_learners: type[Prior]
) -> None:
    space = prepared(project.config())
    (spec,) = learner_specs(project.config())
    frame = space.plan.frame
    for pair in fold_pairs(3):
        assert fit_fold(space, spec, pair)
        assert not fit_fold(space, spec, pair)
        directory = space.store.directory("p", pair)
        assert {path.name for path in directory.iterdir()} == {
            "oof.parquet",
            "train_ids.parquet",
            "labels.parquet",
            "manifest.json",
        }
        used = pl.read_parquet(directory / "train_ids.parquet")["id"]
        held_out = frame.filter(pl.col("fold").is_in(list(pair.folds)))
        seen = frame.filter(pl.col("id").is_in(used.implode()))
        assert not set(seen["cluster"]) & set(held_out["cluster"])
        assert set(seen["source"]) == {"arena", "extra"}
        predicted = pl.read_parquet(directory / "oof.parquet")["id"]
        assert sorted(predicted) == sorted(held_out["id"])
        assert read_json(directory / "manifest.json")["fold"] == list(pair.folds)


def test_a_pair_is_taught_by_fits_that_hold_out_a_fold_more(
    project: Project, cheap: type[Cheap]
) -> None:
    learners: Learners = [
        {"name": "pupil", "plugin": "cheap", "teachers": ["teacher"]},
        {"name": "teacher", "plugin": "cheap", "shift": 1.0},
    ]
    stack = {"meta_learner": "none", "learners": ["pupil"]}
    config = project.config(learners, stack=stack, folds={"n_splits": 4})
    place = run(config).directory
    space = open_workspace(config)
    folds = dict(space.plan.frame.select("id", "fold").iter_rows())
    for pair in fold_pairs(4):
        manifest = read_json(place / "learners/pupil" / pair.name / "manifest.json")
        asked = {pair.joined(fold).name for fold in {*range(4)} - {*pair.folds}}
        keys = {
            name: read_json(place / "learners/teacher" / name / "manifest.json")["key"]
            for name in asked
        }
        assert manifest["key_parts"]["teachers"] == {"teacher": keys}
        used = pl.read_parquet(place / "learners/pupil" / pair.name / "train_ids.parquet")["id"]
        told = next(t for t in cheap.taught if t["teachers"] and set(t["ids"]) == set(used))
        for number, name in list(enumerate(told["ids"]))[::5]:
            said = told["teachers"]["teacher"][number]
            if folds[name] is None:
                assert np.isnan(said).all()
            else:
                stored = space.store.predicted(
                    "teacher", pair.joined(folds[name]), pl.Series("id", [name])
                )
                np.testing.assert_array_equal(said, stored[0])
        assert not (place / "learners/pupil" / pair.name / "model").exists()


def test_who_is_not_stacked_and_teaches_nobody_has_no_pairs(
    project: Project, cheap: type[Cheap]
) -> None:
    learners: Learners = [{"name": name, "plugin": "cheap"} for name in ("in", "out")]
    learners = [*learners, {"name": "dear", "plugin": "prior"}]
    config = project.config(learners, stack={"meta_learner": "none", "learners": ["in", "dear"]})
    place = run(config).directory
    assert [p.parent.name for p in sorted(place.glob("learners/*/pair-*"))] == ["in"] * 3
    verdict = read_json(place / "stack/verdict.json")
    assert verdict["nesting"] == {"exact": ["in"], "plain": ["dear"]}
    keys = read_json(place / "stack/manifest.json")["key_parts"]["pairs"]
    assert {name: sorted(pairs) for name, pairs in keys.items()} == {
        "in": ["pair-0-1", "pair-0-2", "pair-1-2"]
    }
    html = " ".join((place / "report.html").read_text().split())
    assert "Closed for in:" in html
    assert "Open for dear." in html
    assert "The gap measured in this very run" in html
    assert "0.003 nats" not in html
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    assert [e["pair"] for e in events if e["event"] == "pair fitted"] == [[0, 1], [0, 2], [1, 2]]


def test_folds_alone_make_no_pairs_and_the_stack_asks_for_them(
    project: Project, cheap: type[Cheap]
) -> None:
    config = project.config([{"name": name, "plugin": "cheap"} for name in ("one", "two")])
    run(config)
    place = Path(config.run_dir)
    shutil.rmtree(place / "learners/one/pair-0-2")
    with writing(config) as reporter:
        assert fit_stage(config, reporter, folds=[0, 1, 2]) == {"fitted": 0, "kept": 6}
        with pytest.raises(errors.ArtifactError, match="one pair-0-2(.|\n)*ensemble fit CONFIG"):
            stack_stage(config, reporter)
        assert fit_stage(config, reporter)["pairs"] == {"fitted": 1, "kept": 5}
        stack_stage(config, reporter)


def test_a_run_that_is_killed_between_pairs_goes_on_there(
    project: Project, cheap: type[Cheap]
) -> None:
    config = project.config([{"name": "one", "plugin": "cheap"}])
    cheap.fails.add(5)
    message = 'pair 0-2(.|\n)*killed(.|\n)*nesting = "plain"'
    with pytest.raises(errors.IncompleteRunError, match=message):
        run(config)
    place = Path(config.run_dir)
    kept = hash_file(place / "learners/one/pair-0-1/manifest.json")
    cheap.fails.clear()
    with writing(config) as reporter:
        assert fit_stage(config, reporter)["pairs"] == {"fitted": 2, "kept": 1}
    assert hash_file(place / "learners/one/pair-0-1/manifest.json") == kept


def test_only_pairs_of_what_changed_or_was_damaged_are_made_anew(
    project: Project, cheap: type[Cheap]
) -> None:
    learners: Learners = [{"name": name, "plugin": "cheap"} for name in ("one", "two")]
    run(project.config(learners))
    place = project.path / "run"
    before = {p: p.stat().st_mtime_ns for p in place.glob("learners/one/*/manifest.json")}
    changed = project.config([learners[0], {**learners[1], "shift": 0.5}])
    with writing(changed) as reporter:
        outcome = fit_stage(changed, reporter)
    assert outcome == {"fitted": 3, "kept": 3, "pairs": {"fitted": 3, "kept": 3}}
    assert {p: p.stat().st_mtime_ns for p in before} == before
    path = place / "learners/one/pair-1-2/oof.parquet"
    pl.read_parquet(path).with_columns(logit_a=pl.lit(9.0, pl.Float32)).write_parquet(path)
    with writing(changed) as reporter:
        assert fit_stage(changed, reporter)["pairs"] == {"fitted": 1, "kept": 5}


def _names(specs: list[Any]) -> list[str]:
    return [spec.name for spec in specs]


def test_who_is_nested_is_what_the_config_says(project: Project, cheap: type[Cheap]) -> None:
    learners: Learners = [
        {"name": "one", "plugin": "cheap"},
        {"name": "taught", "plugin": "cheap", "teachers": ["dear"]},
        {"name": "dear", "plugin": "prior"},
    ]

    def config(nesting: str, folds: int = 3, more: tuple[dict[str, Any], ...] = ()) -> Config:
        stack = {"meta_learner": "none", "nesting": nesting}
        return project.config([*learners, *more], stack=stack, folds={"n_splits": folds})

    # A teacher that is dear makes its pupil dear.
    assert _names(nested_specs(config("auto"))) == ["one"]
    assert _names(nested_specs(config("auto", folds=2))) == []
    assert _names(nested_specs(config("full", folds=4))) == ["one", "taught", "dear"]
    assert _names(nested_specs(config("plain"))) == []
    short = config("full", folds=3)
    with pytest.raises(errors.ConfigError, match=r"without 3 folds(.|\n)*n_splits to 4"):
        check_plugins(short)
    outside = config("full", 4, more=({"name": "file", "plugin": "outside"},))
    with pytest.raises(errors.ConfigError, match='file cannot be fitted(.|\n)*nesting = "full"'):
        check_plugins(outside)
    untaught = project.config(
        [learners[0]], stack={"meta_learner": "none", "nesting": "full"}, folds={"n_splits": 2}
    )
    with pytest.raises(errors.ConfigError, match=r"two folds nothing is left(.|\n)*n_splits"):
        check_plugins(untaught)


def test_built_in_learners_say_what_they_cost() -> None:
    from ensemble.plugin.manager import get_manager

    registry = get_manager().base_learners
    said = {name: registry.get(name).cheap for name in ("handcrafted", "tfidf", "precomputed")}
    assert said == {"handcrafted": True, "tfidf": True, "precomputed": False}
    assert not BaseLearner.cheap


def test_all_folds_can_be_held_out_where_rows_are_in_none(project: Project) -> None:
    """The first block of time is in no fold, nor are rows of other sources."""
    both, alone = [HeldOut((0, 1))], [{"name": "arena", "path": "train.csv", "role": "target"}]
    time = {"n_splits": 2, "scheme": "time", "time_column": "at"}
    refuse_unknown_folds(project.config(folds=time, sources=alone), both)
    refuse_unknown_folds(project.config(folds={"n_splits": 2}), both)
    with pytest.raises(errors.ConfigError, match="without all 2 folds has no rows"):
        refuse_unknown_folds(project.config(folds={"n_splits": 2}, sources=alone), both)
