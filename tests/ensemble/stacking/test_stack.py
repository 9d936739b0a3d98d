from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble import CLASSES, FitContext, MetaLearner, errors
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.stacking.candidates import BestSingle, Mean
from ensemble.stacking.data import StackData
from ensemble.stacking.listed import load_stack
from ensemble.stacking.outputs import OOF_SCHEMA, ids_fingerprint
from ensemble.storage.directories import read_manifest
from ensemble.storage.json_files import read_json
from ensemble_plugins.lightgbm_stacker import LightGBMStacker
from tests.ensemble.stacking.drawn_stacks import draw_data, small_stacker, stack_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    Stored = tuple[Path, StackData, dict[str, Any]]
    """A stack's directory, what it was made from, and its verdict."""

NAMES = ["best_single", "mean", "blend", "vector_scaling", "lightgbm"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    directory = tmp_path_factory.mktemp("run") / "stack"
    data = draw_data(kind="by length")
    return directory, data, stack_data(directory, data)


def test_the_stack_is_chosen_where_a_feature_says_whom_to_trust(stored: Stored) -> None:
    _, _, verdict = stored
    assert verdict["chosen"] == "lightgbm"
    assert verdict["candidates"][-1]["gain_over_best_simple"]["low"] > 0


def test_a_simple_candidate_is_chosen_where_learners_differ_by_noise(tmp_path: Path) -> None:
    verdict = stack_data(tmp_path / "stack", draw_data())
    assert verdict["chosen"] != "lightgbm"
    assert [entry["name"] for entry in verdict["candidates"]] == NAMES


def test_everything_is_written_and_the_manifest_holds(stored: Stored) -> None:
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


def test_scores_are_those_of_the_stored_predictions(stored: Stored) -> None:
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


def test_learners_are_scored_as_they_are(stored: Stored) -> None:
    directory, data, _ = stored
    for i, entry in enumerate(read_json(directory / "candidates.json")["learners"]):
        losses = row_log_loss(data.labels, softmax(data.meta.logits[:, i]))
        assert entry["log_loss"] == pytest.approx(losses.mean())
        assert len(entry["per_fold"]) == 3


def test_the_oof_file_holds_the_chosen_candidate(stored: Stored) -> None:
    directory, _, verdict = stored
    chosen = pl.read_parquet(directory / "oof.parquet")
    assert dict(chosen.schema) == OOF_SCHEMA
    every = pl.read_parquet(directory / "oof_candidates.parquet")
    assert chosen.equals(every.filter(pl.col("candidate") == verdict["chosen"]).drop("candidate"))


def test_it_is_recorded_which_fold_predicted_a_row_and_on_what_it_was_fitted(
    stored: Stored,
) -> None:
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
def test_the_fingerprint_of_ids_knows_no_order(ids: list[str], random: Random) -> None:
    mixed = random.sample(ids, len(ids))
    assert ids_fingerprint(mixed) == ids_fingerprint(ids)
    assert ids_fingerprint([*ids, "one more" * 9]) != ids_fingerprint(ids)


def test_the_fingerprint_of_ids_is_not_fooled_by_line_breaks() -> None:
    assert ids_fingerprint(["a\nb", "c"]) != ids_fingerprint(["a", "b\nc"])


def test_the_chosen_model_and_any_other_can_be_loaded(stored: Stored) -> None:
    directory, data, _ = stored
    assert isinstance(load_stack(directory, small_stacker), LightGBMStacker)
    mean = load_stack(directory, None, "mean")
    assert isinstance(mean, Mean)
    found = mean.predict_proba(data.meta)
    np.testing.assert_allclose(found, softmax(data.meta.logits.mean(axis=1)), atol=1e-6)
    with pytest.raises(errors.ArtifactError, match='uses the meta-learner "lightgbm"'):
        load_stack(directory, None)
    with pytest.raises(errors.UnknownNameError, match='unknown candidate "medium"'):
        load_stack(directory, small_stacker, "medium")


def test_final_models_are_fitted_on_all_rows(stored: Stored) -> None:
    directory, data, _ = stored
    expected = small_stacker().fit(
        data.meta, data.labels, groups=data.clusters, context=FitContext(seed=0)
    )
    found = load_stack(directory, small_stacker).predict_proba(data.meta)
    np.testing.assert_array_equal(found, expected.predict_proba(data.meta))


def test_a_damaged_stack_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    stack_data(directory, draw_data(60), meta_learner=None)
    file = directory / "model" / "blend" / "model.json"
    file.write_text(file.read_text().replace("0.", "1.", 1))
    with pytest.raises(errors.ArtifactError, match="not what its manifest says"):
        load_stack(directory, None)


def test_rows_that_a_learner_has_not_predicted_are_nan_and_counted(tmp_path: Path) -> None:
    data = draw_data(90)
    data.meta.logits[[4, 5, 6], 1, :] = np.nan
    stack_data(tmp_path / "stack", data, meta_learner=None)
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
    data = draw_data(30)
    data.meta.logits[:15, 0] = np.nan
    data.meta.logits[15:, 1] = np.nan
    with pytest.raises(errors.DataError, match="none of 30 rows"):
        stack_data(tmp_path / "stack", data)
    assert not (tmp_path / "stack").exists()


def test_infinite_logits_name_the_learner(tmp_path: Path) -> None:
    data = draw_data(30)
    data.meta.logits[3, 1, 2] = -np.inf
    with pytest.raises(errors.DataError, match="infinite") as caught:
        stack_data(tmp_path / "stack", data)
    assert caught.value.where == "learners second"


def test_one_learner_has_no_mean_and_no_blend(tmp_path: Path) -> None:
    verdict = stack_data(tmp_path / "stack", draw_data(300, learners=1))
    names = [entry["name"] for entry in verdict["candidates"]]
    assert names == ["best_single", "vector_scaling", "lightgbm"]


def test_the_config_can_choose_and_needs_no_other_fit(tmp_path: Path) -> None:
    verdict = stack_data(tmp_path / "stack", draw_data(90), choose="best_single", meta_learner=None)
    assert (verdict["chosen"], verdict["rule"]) == ("best_single", "chosen by the config")
    assert isinstance(load_stack(tmp_path / "stack", None), BestSingle)


def test_an_unknown_choice_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    def never() -> MetaLearner:
        raise AssertionError

    with pytest.raises(errors.UnknownNameError, match='unknown candidate "lightgmb"') as caught:
        stack_data(tmp_path / "stack", draw_data(30), choose="lightgmb", meta_learner=never)
    assert 'did you mean "lightgbm"' in str(caught.value)


def test_the_same_data_gives_the_same_files(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        stack_data(tmp_path / name, draw_data(120))
        files = read_manifest(tmp_path / name)["files"]
        hashes.append({k: v for k, v in files.items() if k != "candidates.json"})
    assert hashes[0] == hashes[1]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    tell: Callable[[float, str], None] = lambda done, message: told.append((done, message))  # noqa: E731
    stack_data(tmp_path / "stack", draw_data(60), meta_learner=None, progress=tell)
    assert told[0] == (0.0, "candidate best_single")
    assert told[-1] == (1.0, "verdict")
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_taking_rows_keeps_everything_together() -> None:
    data = draw_data(10)
    mask = np.arange(10) % 2 == 1
    kept = data.take(mask)
    assert kept.ids == data.ids[1::2]
    assert kept.sources == data.sources[1::2]
    np.testing.assert_array_equal(kept.meta.logits, data.meta.logits[1::2])
    np.testing.assert_array_equal(kept.folds, data.folds[1::2])


def test_candidates_are_fitted_on_exact_logits_and_final_models_on_plain_ones(
    tmp_path: Path,
) -> None:
    data = draw_data(600)
    swapped = data.meta.logits[:, ::-1]
    exact = replace(data, nested_logits={0: swapped}, nested_learners=("first", "second"))
    assert exact.fitting_meta(1) is exact.meta
    half = np.arange(600) < 300
    np.testing.assert_array_equal(exact.take(half).fitting_meta(0).logits, swapped[half])
    assert exact.take(half).nested_learners == ("first", "second")
    stack_data(tmp_path / "plain", data)
    stack_data(tmp_path / "exact", exact)
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
