from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    UnknownNameError,
)
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import CLASSES, FitContext, MetaFeatures, MetaLearner
from ensemble.stacking.candidates import BestSingle, Mean
from ensemble.stacking.data import StackData
from ensemble.stacking.outputs import OOF_SCHEMA, ids_fingerprint
from ensemble.stacking.stack import list_candidates, load_stack, run_stack
from ensemble.storage.directories import read_manifest
from ensemble.storage.json_files import read_json
from ensemble_plugins.lightgbm_stacker import LightGBMStacker
from ensemble_plugins.stacker_trees import Trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.plugin.base import FloatArray, IntArray

NAMES = ["best_single", "mean", "blend", "vector_scaling", "lightgbm"]


def stacker() -> LightGBMStacker:
    return LightGBMStacker(n_estimators=40, min_child_samples=30, learning_rate=0.15, seeds=1)


def draw(rows: int = 1200, *, kind: str = "noise", learners: int = 2, seed: int = 0) -> StackData:
    """Draw target rows: learners alike but for noise, or each good on battles of its length."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 3)) * 1.5
    length = rng.normal(size=rows)
    by_length = np.where(np.column_stack([length > 0, length <= 0]), 0.3, 4.0)
    noise = by_length if kind == "by length" else np.ones((rows, learners))
    logits = truth[:, None] + noise[:, :, None] * rng.normal(size=(rows, learners, 3))
    drawn = (rng.random(rows)[:, None] > softmax(truth).cumsum(axis=1)[:, :2]).sum(axis=1)
    clusters = np.arange(rows) // 2
    return StackData(
        ids=[f"battle {i}" for i in range(rows)],
        sources=["arena" if i % 3 else "extra" for i in range(rows)],
        meta=MetaFeatures(
            logits.astype(np.float32),
            ("first", "second", "third")[:learners],
            length.astype(np.float32)[:, None],
            ("length",),
            np.array([0]),
            np.ones(1, np.float32),
        ),
        labels=np.eye(3)[drawn],
        clusters=clusters,
        folds=clusters % 3,
    )


def run(directory: Path, data: StackData, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "meta_learner": stacker,
        "meta_learner_name": "lightgbm",
        "choose": "auto",
        "seed": 0,
        "threads": 1,
        "manifest": {"key": "k"},
        "resamples": 300,
    }
    return run_stack(directory, data, **{**settings, **options})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StackData, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("run") / "stack"
    data = draw(kind="by length")
    return directory, data, run(directory, data)


def test_the_stack_is_chosen_where_a_feature_says_whom_to_trust(stored: Any) -> None:
    _, _, verdict = stored
    assert verdict["chosen"] == "lightgbm"
    assert verdict["candidates"][-1]["gain_over_best_simple"]["low"] > 0


def test_a_simple_candidate_is_chosen_where_learners_differ_by_noise(tmp_path: Path) -> None:
    verdict = run(tmp_path / "stack", draw())
    assert verdict["chosen"] != "lightgbm"
    assert [entry["name"] for entry in verdict["candidates"]] == NAMES


def test_everything_is_written_and_the_manifest_holds(stored: Any) -> None:
    directory, data, verdict = stored
    manifest = read_manifest(directory)
    assert manifest["key"] == "k"
    assert read_json(directory / "verdict.json") == json.loads(json.dumps(verdict))
    tables = read_json(directory / "candidates.json")
    assert [entry["name"] for entry in tables["candidates"]] == NAMES
    assert [entry["complexity"] for entry in tables["candidates"]] == [0, 1, 2, 3, 4]
    assert [entry["name"] for entry in tables["learners"]] == list(data.meta.learners)
    counts = {"rows_scored": 1200, "rows_missing": 0, "clusters": 600, "resamples": 300}
    assert counts.items() <= tables.items()
    assert {path.name for path in (directory / "model").iterdir()} == set(NAMES)


def test_scores_are_those_of_the_stored_predictions(stored: Any) -> None:
    directory, data, _ = stored
    oof = pl.read_parquet(directory / "oof_candidates.parquet")
    for entry in read_json(directory / "candidates.json")["candidates"]:
        mine = oof.filter(pl.col("candidate") == entry["name"])
        assert mine["id"].to_list() == data.ids
        losses = row_log_loss(data.labels, mine.select(CLASSES).to_numpy())
        assert entry["log_loss"] == pytest.approx(losses.mean())
        assert entry["low"] < entry["log_loss"] < entry["high"]
        for part in entry["per_fold"]:
            rows = data.folds == part["fold"]
            assert part["log_loss"] == pytest.approx(losses[rows].mean())
            assert part["rows"] == rows.sum()
        for part in entry["per_source"]:
            rows = np.array(data.sources) == part["source"]
            assert part["log_loss"] == pytest.approx(losses[rows].mean())
        assert {part["source"] for part in entry["per_source"]} == {"arena", "extra"}


def test_learners_are_scored_as_they_are(stored: Any) -> None:
    directory, data, _ = stored
    for i, entry in enumerate(read_json(directory / "candidates.json")["learners"]):
        losses = row_log_loss(data.labels, softmax(data.meta.logits[:, i]))
        assert entry["log_loss"] == pytest.approx(losses.mean())
        assert len(entry["per_fold"]) == 3


def test_the_oof_file_holds_the_chosen_candidate(stored: Any) -> None:
    directory, _, verdict = stored
    chosen = pl.read_parquet(directory / "oof.parquet")
    assert dict(chosen.schema) == OOF_SCHEMA
    every = pl.read_parquet(directory / "oof_candidates.parquet")
    assert chosen.equals(every.filter(pl.col("candidate") == verdict["chosen"]).drop("candidate"))


def test_it_is_recorded_which_fold_predicted_a_row_and_on_what_it_was_fitted(stored: Any) -> None:
    directory, data, _ = stored
    assert pl.read_parquet(directory / "oof.parquet")["fold"].to_list() == data.folds.tolist()
    nested = read_manifest(directory)["nested"]
    assert [entry["fold"] for entry in nested] == [0, 1, 2]
    for entry in nested:
        used = [
            name for name, fold in zip(data.ids, data.folds, strict=True) if fold != entry["fold"]
        ]
        assert entry["fitted_on"] == len(used)
        assert entry["ids_sha256"] == ids_fingerprint(reversed(used))


@given(st.lists(st.text(), unique=True), st.randoms(use_true_random=False))
def test_the_fingerprint_of_ids_knows_no_order(ids: list[str], random: Any) -> None:
    mixed = random.sample(ids, len(ids))
    assert ids_fingerprint(mixed) == ids_fingerprint(ids)
    assert ids_fingerprint([*ids, "one more" * 9]) != ids_fingerprint(ids)


def test_the_fingerprint_of_ids_is_not_fooled_by_line_breaks() -> None:
    assert ids_fingerprint(["a\nb", "c"]) != ids_fingerprint(["a", "b\nc"])


def test_the_chosen_model_and_any_other_can_be_loaded(stored: Any) -> None:
    directory, data, _ = stored
    assert isinstance(load_stack(directory, stacker), LightGBMStacker)
    mean = load_stack(directory, None, "mean")
    assert isinstance(mean, Mean)
    found = mean.predict_proba(data.meta)
    np.testing.assert_allclose(found, softmax(data.meta.logits.mean(axis=1)), atol=1e-6)
    with pytest.raises(ArtifactError, match='uses the meta-learner "lightgbm"'):
        load_stack(directory, None)
    with pytest.raises(UnknownNameError, match='unknown candidate "medium"'):
        load_stack(directory, stacker, "medium")


def test_final_models_are_fitted_on_all_rows(stored: Any) -> None:
    directory, data, _ = stored
    expected = stacker().fit(
        data.meta, data.labels, groups=data.clusters, context=FitContext(seed=0)
    )
    found = load_stack(directory, stacker).predict_proba(data.meta)
    np.testing.assert_array_equal(found, expected.predict_proba(data.meta))


def test_a_damaged_stack_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    run(directory, draw(60), meta_learner=None)
    file = directory / "model" / "blend" / "model.json"
    file.write_text(file.read_text().replace("0.", "1.", 1))
    with pytest.raises(ArtifactError, match="not what its manifest says"):
        load_stack(directory, None)


def test_rows_that_a_learner_has_not_predicted_are_nan_and_counted(tmp_path: Path) -> None:
    data = draw(90)
    data.meta.logits[[4, 5, 6], 1, :] = np.nan
    run(tmp_path / "stack", data, meta_learner=None)
    tables = read_json(tmp_path / "stack" / "candidates.json")
    assert (tables["rows_scored"], tables["rows_missing"]) == (87, 3)
    oof = pl.read_parquet(tmp_path / "stack" / "oof.parquet")
    assert oof["id"].to_list() == data.ids
    missing = oof.select(pl.all_horizontal(pl.col(CLASSES).is_nan())).to_series()
    assert missing.arg_true().to_list() == [4, 5, 6]
    assert oof["fold"].is_null().arg_true().to_list() == [4, 5, 6]
    fitted_on = [entry["fitted_on"] for entry in read_manifest(tmp_path / "stack")["nested"]]
    assert sum(fitted_on) == 2 * 87


def test_no_row_predicted_by_all_is_an_error(tmp_path: Path) -> None:
    data = draw(30)
    data.meta.logits[:15, 0] = np.nan
    data.meta.logits[15:, 1] = np.nan
    with pytest.raises(DataError, match="none of 30 rows"):
        run(tmp_path / "stack", data)
    assert not (tmp_path / "stack").exists()


def test_infinite_logits_name_the_learner(tmp_path: Path) -> None:
    data = draw(30)
    data.meta.logits[3, 1, 2] = -np.inf
    with pytest.raises(DataError, match="infinite") as caught:
        run(tmp_path / "stack", data)
    assert caught.value.where == "learners second"


def test_one_learner_has_no_mean_and_no_blend(tmp_path: Path) -> None:
    verdict = run(tmp_path / "stack", draw(300, learners=1))
    names = [entry["name"] for entry in verdict["candidates"]]
    assert names == ["best_single", "vector_scaling", "lightgbm"]


def test_the_config_can_choose_and_needs_no_other_fit(tmp_path: Path) -> None:
    verdict = run(tmp_path / "stack", draw(90), choose="best_single", meta_learner=None)
    assert (verdict["chosen"], verdict["rule"]) == ("best_single", "chosen by the config")
    assert isinstance(load_stack(tmp_path / "stack", None), BestSingle)


def test_an_unknown_choice_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    def never() -> MetaLearner:
        raise AssertionError

    with pytest.raises(UnknownNameError, match='unknown candidate "lightgmb"') as caught:
        run(tmp_path / "stack", draw(30), choose="lightgmb", meta_learner=never)
    assert 'did you mean "lightgbm"' in str(caught.value)


@pytest.mark.parametrize("name", ["mean", "auto", "../up", "a/b", "a\\b", "..", ""])
def test_a_meta_learner_cannot_take_a_name_that_is_taken_or_leaves_the_run(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a meta-learner"):
        list_candidates(2, stacker, name)


TINY = draw(12)


class Faulty(LightGBMStacker):
    """Does what it should, but for one method."""

    def __init__(self, method: str = "save") -> None:
        super().__init__(n_estimators=2, seeds=1)
        self.method = method

    def describe(self) -> dict[str, Any]:
        return {"weight": float("nan")} if self.method == "describe" else super().describe()

    def save(self, directory: Path) -> None:
        if self.method == "save":
            raise RuntimeError("cannot")
        super().save(directory)

    def load(self, directory: Path) -> Self:
        if self.method == "load":
            raise KeyError("weights")
        super().load(directory)
        if self.method == "forget":
            self.trees_ = [Trees(None)]
            self.start_ = Mean().fit(TINY.meta, TINY.labels, context=FitContext())
        return None if self.method == "load nothing" else self  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("save", "save raised RuntimeError: cannot"),
        ("describe", "describe raised ValueError"),
        ("load", "load raised KeyError: 'weights'"),
        ("load nothing", "load returned NoneType, not the meta-learner"),
        ("forget", "other probabilities after it was saved and loaded: they differ by up to"),
    ],
)
def test_a_faulty_meta_learner_is_named_and_leaves_the_simple_candidates(
    method: str, message: str, tmp_path: Path
) -> None:
    directory = tmp_path / "stack"
    verdict = run(
        directory,
        draw(90),
        meta_learner=lambda: Faulty(method),
        meta_learner_name="faulty",
        choose="faulty",
    )
    (failure,) = verdict["failed"]
    assert failure["name"] == "faulty" and message in failure["reason"]
    assert (f"{__file__}:" in str(failure["line"])) == (method in ("save", "load"))
    assert verdict["chosen"] in [entry["name"] for entry in verdict["candidates"]]
    assert f"The meta-learner faulty failed: {failure['reason']}" in verdict["sentence"]
    alone = run(tmp_path / "alone", draw(90), meta_learner=None)
    for key in ("chosen", "rule", "candidates"):
        assert verdict[key] == alone[key]
    assert read_manifest(directory)["failed"] == verdict["failed"]
    assert {path.name for path in (directory / "model").iterdir()} == {
        entry["name"] for entry in verdict["candidates"]
    }


class Vandal(LightGBMStacker):
    """Makes all labels and logits its own, in place."""

    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        super().fit(meta, labels, sample_weight=sample_weight, groups=groups, context=context)
        labels[:] = meta.logits[:] = [0, 0, 1]
        assert groups is not None
        groups[:] = 0
        return self


def test_a_meta_learner_that_writes_over_its_arrays_changes_no_score(tmp_path: Path) -> None:
    made = {}
    for name, kind in (("honest", LightGBMStacker), ("vandal", Vandal)):
        data = draw(120)
        run(tmp_path / name, data, meta_learner=lambda kind=kind: kind(n_estimators=2, seeds=1))
        np.testing.assert_array_equal(data.labels, draw(120).labels)
        tables = read_json(tmp_path / name / "candidates.json")
        for entry in tables["candidates"]:
            entry.pop("seconds")
        made[name] = (tables, read_json(tmp_path / name / "verdict.json"))
    assert made["vandal"] == made["honest"]


def test_the_same_data_gives_the_same_files(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        run(tmp_path / name, draw(120))
        files = read_manifest(tmp_path / name)["files"]
        hashes.append({k: v for k, v in files.items() if k != "candidates.json"})
    assert hashes[0] == hashes[1]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    tell: Callable[[float, str], None] = lambda done, message: told.append((done, message))  # noqa: E731
    run(tmp_path / "stack", draw(60), meta_learner=None, progress=tell)
    assert told[0] == (0.0, "candidate best_single")
    assert told[-1] == (1.0, "verdict")
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_taking_rows_keeps_everything_together() -> None:
    data = draw(10)
    mask = np.arange(10) % 2 == 1
    kept = data.take(mask)
    assert kept.ids == data.ids[1::2]
    assert kept.sources == data.sources[1::2]
    np.testing.assert_array_equal(kept.meta.logits, data.meta.logits[1::2])
    np.testing.assert_array_equal(kept.folds, data.folds[1::2])


def test_candidates_are_fitted_on_exact_logits_and_final_models_on_plain_ones(
    tmp_path: Path,
) -> None:
    data = draw(600)
    swapped = data.meta.logits[:, ::-1]
    exact = replace(data, nested_logits={0: swapped}, nested_learners=("first", "second"))
    assert exact.fitting_meta(1) is exact.meta
    half = np.arange(600) < 300
    np.testing.assert_array_equal(exact.take(half).fitting_meta(0).logits, swapped[half])
    assert exact.take(half).nested_learners == ("first", "second")
    run(tmp_path / "plain", data)
    run(tmp_path / "exact", exact)
    plain, found = (
        pl.read_parquet(tmp_path / name / "oof_candidates.parquet").filter(candidate="blend")
        for name in ("plain", "exact")
    )
    changed = (plain["winner_tie"] != found["winner_tie"]).to_numpy()
    assert changed[data.folds == 0].any()
    assert not changed[data.folds != 0].any()
    models = [(tmp_path / n / "model/blend/model.json").read_bytes() for n in ("plain", "exact")]
    assert models[0] == models[1]
    _check_gap(tmp_path)


def _check_gap(place: Path) -> None:
    verdicts = {name: read_json(place / name / "verdict.json") for name in ("plain", "exact")}
    assert verdicts["plain"]["nesting"] == {"exact": [], "plain": ["first", "second"]}
    assert verdicts["exact"]["nesting"] == {"exact": ["first", "second"], "plain": []}
    tables = read_json(place / "exact/candidates.json")["candidates"]
    both = zip(
        verdicts["plain"]["candidates"], verdicts["exact"]["candidates"], tables, strict=True
    )
    for plain, exact, table in both:
        assert "gap" not in plain
        assert exact["plain_log_loss"] == pytest.approx(plain["log_loss"])
        gap = exact["gap"]
        assert gap["mean"] == pytest.approx(exact["log_loss"] - plain["log_loss"])
        assert gap["low"] <= gap["mean"] <= gap["high"]
        assert table["gap"] == gap
    gaps = {entry["name"]: entry["gap"] for entry in tables}
    assert gaps["mean"] == {"mean": 0, "low": 0, "high": 0}
    assert gaps["lightgbm"]["low"] < gaps["lightgbm"]["high"]
    nested = read_manifest(place / "exact")["nested"]
    assert [each["exact"] for each in nested] == [["first", "second"]] * 3
