"""The whole study, on a small project with learners that do little."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.sources.settings import StudySettings
from ensemble.sources.study import SourceStudy, read_study, study_sources
from ensemble.stages.sources import sources_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_checksummed

if TYPE_CHECKING:
    from ensemble import Config
    from tests.fakes import Prior
    from tests.fixture_types import MakeBattles, Project, WriteCsv

FAST = StudySettings(
    learner="p",
    treatments=(
        "train",
        "train, logit adjustment",
        "train, labels matched",
        "train, weight 0.1",
        "pretrain",
    ),
    most_seeds=2,
    resamples=200,
    shift=False,
    curve=False,
)
ALL = StudySettings(learner="p", folds=(0,), most_seeds=2, resamples=200)


def _battles(
    make: Callable[..., pl.DataFrame], rows: int, shares: tuple[float, ...], **options: Any
) -> pl.DataFrame:
    """Battles of a prompt each, with labels drawn by shares alone."""
    battles = make(rows, prompts=10, **options)
    drawn = np.random.default_rng(len(options["source"])).choice(3, rows, p=shares)
    columns = zip(("label_a", "label_b", "label_tie"), np.eye(3)[drawn].T, strict=True)
    # Prompts that are no near duplicates of each other.
    prompts = [[f"{options['source']} {i} {'%x' % (i * 7919 + 1) * 8}"] for i in range(rows)]
    return battles.with_columns(
        pl.Series("prompt", prompts), *(pl.Series(name, values) for name, values in columns)
    )


@pytest.fixture
def planted(
    project: Project,
    make_battles: MakeBattles,
    write_csv: WriteCsv,
) -> SimpleNamespace:
    """A target of 240 rows; a source of the same label shares, and one nearly without ties."""
    shares = {"arena": (0.35, 0.35, 0.3), "same": (0.35, 0.35, 0.3), "tieless": (0.5, 0.45, 0.05)}
    for name, part in shares.items():
        rows = _battles(make_battles, 240, part, source=name, role="train")
        write_csv(rows, project.path / f"{name}.csv")
    sources = [
        {"name": name, "path": f"{name}.csv", "role": "target" if name == "arena" else "ignore"}
        for name in shares
    ]

    def config(**changes: Any) -> Config:
        return project.config(**{"sources": sources, **changes})

    return SimpleNamespace(path=project.path, config=config, sources=sources)


def _study(config: Config, settings: StudySettings = FAST) -> dict[str, SourceStudy]:
    with writing(config) as reporter:
        return {study.name: study for study in sources_stage(config, reporter, settings)}


def _files(config: Config) -> dict[str, tuple[int, int]]:
    """Give inode and time of every file of the run but what tells of runs."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in Path(config.run_dir).rglob("*")
        if path.is_file() and path.name not in ("events.jsonl", "config.toml", ".lock")
    }


def _treatments(study: SourceStudy) -> dict[str, Any]:
    return {item["name"]: item for item in study.effect["treatments"]}


@pytest.mark.slow
def test_a_source_without_ties_hurts_and_matching_mends_it(planted: SimpleNamespace) -> None:
    studies = _study(planted.config())
    tieless, same = _treatments(studies["tieless"]), _treatments(studies["same"])
    assert studies["tieless"].verdict["word"] == "hurts"
    assert tieless["train"]["gain"]["mean"] < 10 * tieless["train, labels matched"]["gain"][
        "mean"
    ] < 0 or (abs(tieless["train, labels matched"]["gain"]["mean"]) < 0.002)
    assert tieless["train"]["gain"]["mean"] < tieless["train, weight 0.1"]["gain"]["mean"] < 0
    assert studies["same"].verdict["word"] == "no difference shown"
    assert same["train"]["measured"]
    assert studies["tieless"].role == "ignore"


@pytest.mark.slow
def test_the_baseline_is_the_log_loss_of_the_target_alone(planted: SimpleNamespace) -> None:
    config = planted.config()
    effect = _study(config)["same"].effect
    frame = pl.read_parquet(Path(config.run_dir) / "folds.parquet")
    battles = pl.read_parquet(Path(config.run_dir) / "battles.parquet")
    target = battles.join(frame.select("id", "fold"), on="id").filter(pl.col("role") == "target")
    labels = target.select("label_a", "label_b", "label_tie").to_numpy()
    losses = []
    for fold in range(3):
        held_out = (target["fold"] == fold).to_numpy()
        shares = labels[~held_out].mean(axis=0) + 1e-3
        losses += [-labels[held_out] @ np.log(shares / shares.sum())]
    assert effect["baseline"]["log_loss"] == pytest.approx(np.concatenate(losses).mean())


@pytest.mark.slow
def test_effects_near_zero_get_more_seeds_and_clear_ones_do_not(
    planted: SimpleNamespace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.sources.effect.NEAR_ZERO", 2.0)  # so few rows show little
    monkeypatch.setattr("ensemble.sources.effect.WORTH_MORE_FITS", -1.0)  # fits do not vary here
    treatments = ("train", "train, weight 0.1")
    asked = replace(FAST, treatments=treatments, most_seeds=3)
    studies = _study(planted.config(), asked)
    seeds = {
        name: {item["name"]: item["seeds"] for item in study.effect["treatments"]}
        for name, study in studies.items()
    }
    assert seeds["same"] == {"train": 3, "train, weight 0.1": 3}
    assert seeds["tieless"]["train"] == 2
    drawn = {fit["context"].seed for fit in fake_learners.seen if len(fit["ids"]) <= 240}
    assert len(drawn) == 3 * 3  # each seed of each fold is another


def test_fits_that_do_not_vary_are_not_repeated(planted: SimpleNamespace) -> None:
    asked = replace(FAST, treatments=("train",), most_seeds=4)
    for study in _study(planted.config(), asked).values():
        assert [item["seeds"] for item in study.effect["treatments"]] == [2]


def test_other_folds_give_another_answer(planted: SimpleNamespace) -> None:
    first, second = (
        _study(planted.config(), replace(FAST, folds=(fold,)))["same"].effect for fold in (0, 1)
    )
    assert (first["folds"], second["folds"]) == ([0], [1])
    assert first["baseline"] != second["baseline"]


@pytest.mark.slow
def test_what_the_learner_cannot_do_is_not_measured(planted: SimpleNamespace) -> None:
    items = _treatments(_study(planted.config())["same"])
    assert items["pretrain"] == {
        "name": "pretrain",
        "measured": False,
        "reason": "the learner has no pretrain",
    }
    assert items["train, logit adjustment"]["reason"] == "the learner takes no logit adjustment"


def test_only_target_rows_are_scored_and_only_uncut_rows_are_learned_from(
    project: Project, fake_learners: type[Prior]
) -> None:
    """Eight rows of the source share prompts with target rows: no fit sees them beside those."""
    config = project.config()
    _study(config)
    frame = pl.read_parquet(Path(config.run_dir) / "folds.parquet")
    clusters = dict(frame.select("id", "cluster").iter_rows())
    folds = dict(frame.select("id", "fold").iter_rows())
    held = [{clusters[i] for i, fold in folds.items() if fold == k} for k in range(3)]
    assert fake_learners.seen
    for fit in fake_learners.seen:
        inside = {clusters[name] for name in fit["ids"]}
        assert any(not inside & cut for cut in held)
        assert not any(name.startswith("t-") for name in fit["ids"])
    stored = read_study(Path(config.run_dir), "extra")
    assert stored is not None
    assert stored["effect"]["scored_rows"] == 60
    assert stored["overlap"]["cut"]["rows"] == 8


@pytest.mark.slow
def test_the_same_command_again_does_nothing(
    planted: SimpleNamespace, fake_learners: type[Prior]
) -> None:
    config = planted.config()
    first = _study(config)
    before = _files(config)
    fitted = len(fake_learners.seen)
    assert fitted
    assert _study(config) == first
    assert len(fake_learners.seen) == fitted
    assert _files(config) == before


@pytest.mark.slow
def test_what_was_killed_goes_on_where_it_was(
    planted: SimpleNamespace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole = planted.config(run_dir="whole"), None
    whole = _study(config)
    fits = len(fake_learners.seen)
    config = planted.config(run_dir="broken")
    fake_learners.seen.clear()
    kill = fake_learners.fit

    def dies(self: Any, *arguments: Any, **options: Any) -> Any:
        if len(fake_learners.seen) == 20:
            raise KeyboardInterrupt
        return kill(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fake_learners, "fit", dies)
        with pytest.raises(KeyboardInterrupt):
            _study(config)
    assert read_study(Path(config.run_dir), "same") is None
    assert _study(config) == whole
    assert len(fake_learners.seen) == fits


@pytest.mark.slow
def test_a_changed_source_touches_only_its_own_fits(
    planted: SimpleNamespace, fake_learners: type[Prior]
) -> None:
    config = planted.config()
    before = _study(config)
    fake_learners.seen.clear()
    path = planted.path / "tieless.csv"
    path.write_text(path.read_text().replace("answer 3 of side a", "another of side a"))
    after = _study(config)
    assert fake_learners.seen
    assert all(any(i.startswith("tieless") for i in fit["ids"]) for fit in fake_learners.seen)
    assert after["same"].effect == before["same"].effect


@pytest.mark.slow
def test_the_role_and_weight_in_the_config_change_no_fit(
    planted: SimpleNamespace, fake_learners: type[Prior]
) -> None:
    before = _study(planted.config())
    fake_learners.seen.clear()
    sources = [{**source} for source in planted.sources]
    sources[1] |= {"role": "train", "weight": 0.25}
    after = _study(planted.config(sources=sources))
    assert not fake_learners.seen
    assert after["same"].role == "train"
    assert after["same"].effect == before["same"].effect


@pytest.mark.slow
def test_nothing_else_of_the_run_is_touched(planted: SimpleNamespace) -> None:
    config = planted.config()
    _study(config)
    made = {path.name for path in Path(config.run_dir).iterdir()}
    assert "sources" in made
    assert not made & {"learners", "stack", "submission.csv", "checkpoints"}


def test_folds_rows_and_sources_can_be_chosen_and_are_said(planted: SimpleNamespace) -> None:
    asked = StudySettings(
        learner="p",
        folds=(1,),
        rows=100,
        sources=("same",),
        treatments=("train",),
        most_seeds=2,
        resamples=200,
        shift=False,
    )
    studies = _study(planted.config(), asked)
    assert list(studies) == ["same"]
    effect = studies["same"].effect
    assert (effect["folds"], effect["all_folds"]) == ([1], False)
    assert effect["target_rows"] == 100
    assert effect["source_rows"] == max(effect["rows_by_fold"]) <= 100 < effect["usable_rows"]
    assert f"of {effect['usable_rows']:,} usable rows" in studies["same"].verdict["sentence"]
    assert 20 < effect["scored_rows"] < 50
    assert [item["name"] for item in effect["treatments"]] == ["train"]
    assert [point["share"] for point in effect["curve"]] == [0.0, 0.1, 0.3, 1.0]
    assert "folds 1" in studies["same"].verdict["sentence"]


@pytest.mark.slow
def test_a_source_that_is_always_a_is_measured_with_sides_by_hash_too(
    planted: SimpleNamespace,
    make_battles: MakeBattles,
    write_csv: WriteCsv,
) -> None:
    rows = _battles(make_battles, 240, (1.0, 0.0, 0.0), source="chosen", role="train")
    write_csv(rows, planted.path / "chosen.csv")
    chosen = {"name": "chosen", "path": "chosen.csv", "role": "ignore"}
    config = planted.config(sources=[planted.sources[0], chosen])
    study = _study(config, replace(FAST, treatments=("train",)))["chosen"]
    sides = study.effect["sides"]
    assert (sides["compared"], sides["better"]) == ("train", "hash")
    (hashed,), (plain,) = sides["treatments"], study.effect["treatments"]
    assert hashed["gain"]["mean"] > plain["gain"]["mean"] + 0.1
    assert 'set sides = "hash"' in study.verdict["sentence"]
    assert "sides" not in _study(planted.config(), replace(FAST, sources=("same",)))["same"].effect


@pytest.mark.slow
def test_a_source_without_labels_has_no_effect_to_measure(planted: SimpleNamespace) -> None:
    path = planted.path / "same.csv"
    table = pl.read_csv(path).select("id", "prompt", "response_a", "response_b")
    table.write_csv(path)
    study = _study(planted.config(), ALL)["same"]
    assert study.verdict["word"] == "not measured"
    assert study.description["source"]["label_shares"] is None
    assert study.shift is not None
    assert study.shift["labels"] == {"measured": False, "reason": "the source has no labels"}
    assert study.shift["prompts"]["text"]["auc"] > 0.9


@pytest.mark.slow
def test_everything_stored_is_sealed_json_without_a_nan(planted: SimpleNamespace) -> None:
    config = planted.config()
    study = _study(config, ALL)["tieless"]
    path = Path(config.run_dir) / "sources" / "tieless.json"
    stored = read_checksummed(path, hint="")
    assert {key: stored[key] for key in study.to_json()} == json.loads(json.dumps(study.to_json()))
    assert set(stored) == {*study.to_json(), "data", "plan"}
    assert study.shift is not None
    assert set(study.shift) == {"rows", "prompts", "responses", "all", "labels", "rule"}
    path.write_text(path.read_text().replace("tieless", "tiefull"))
    with pytest.raises(errors.ArtifactError, match="damaged"):
        read_study(Path(config.run_dir), "tieless")
    assert _study(config, ALL)["tieless"] == study
    assert read_study(Path(config.run_dir), "tieless") is not None


def test_a_learner_that_fails_on_one_treatment_leaves_the_others(
    planted: SimpleNamespace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fake_learners.fit

    def picky(self: Any, battles: Any, labels: Any, *, sample_weight: Any, **options: Any) -> Any:
        if len(np.unique(sample_weight)) == 2 and sample_weight.min() == 0.1:
            raise RuntimeError("weights of 0.1 are not for me")
        return fit(self, battles, labels, sample_weight=sample_weight, **options)

    monkeypatch.setattr(fake_learners, "fit", picky)
    items = _treatments(_study(planted.config())["same"])
    assert not items["train, weight 0.1"]["measured"]
    assert "weights of 0.1 are not for me" in items["train, weight 0.1"]["reason"]
    assert items["train"]["measured"]


def test_unprepared_battles_and_unknown_names_are_errors(planted: SimpleNamespace) -> None:
    config = planted.config()
    with pytest.raises(errors.ArtifactError, match="have not been prepared"):
        study_sources(config, settings=FAST)
    with pytest.raises(errors.ConfigError, match='no learner is called "q"'):
        _study(config, StudySettings(learner="q"))
