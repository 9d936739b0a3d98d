"""Whole comparisons: known losses in a real run directory, what is refused, what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.prepared import read_summary
from ensemble.battles.schema import BATTLE_SCHEMA, LABEL_COLUMNS
from ensemble.battles.split import read_split_summary
from ensemble.compare.columns import _varying, column_slices
from ensemble.compare.compare import compare, store_comparison
from ensemble.compare.runs import ComparedRun, read_compared
from ensemble.compare.slices import builtin_slices, by_number, numbers
from ensemble.config.load import load_config, load_run_config, write_config
from ensemble.oof.eval_set import EvalSet
from ensemble.report.comparisons import collect_comparisons
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import write_checksummed
from tests.ensemble.compare.given_learners import (
    MINUS,
    ROWS,
    compare_config,
    fit_learners,
)
from tests.ensemble.stages import prepare_and_split

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.figures


def _slices(result: dict[str, Any], by: str) -> dict[str, dict[str, Any]]:
    return {part["value"]: part for part in result["slices"] if part["by"] == by}


def _alter(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the manifest of a fold so that it holds together, as a careless writer would."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["key"] = fingerprint(manifest["key_parts"])
    manifest["files"]["oof.parquet"] = hash_file(directory / "oof.parquet")
    write_checksummed(path, manifest)


def test_differences_are_those_that_were_constructed(made: Path) -> None:
    result = compare(made / "run", ["a", "b"])
    assert (result["rows"], result["rows_left_out"], result["clusters"]) == (ROWS, 0, 80)
    # float32 logits: six digits.
    known = {"one": np.log(0.5 / 0.4), "two": np.log(0.5 / 0.8)}
    for source, part in _slices(result, "source").items():
        assert (part["rows"], part["clusters"]) == (80, 40)
        assert part["differences"]["b"]["mean"] == pytest.approx(known[source], abs=1e-6)
        assert part["losses"]["a"]["mean"] == pytest.approx(np.log(2), abs=1e-6)
    assert _slices(result, "source")["one"]["differences"]["b"]["conclusion"] == "worse"
    assert _slices(result, "source")["two"]["differences"]["b"]["conclusion"] == "better"
    whole = result["overall"]["differences"]["b"]
    assert whole["mean"] == pytest.approx((known["one"] + known["two"]) / 2, abs=1e-6)
    assert whole["low"] < whole["mean"] < whole["high"]
    assert result["sentences"][0].startswith(
        f"b is better than a: {MINUS}0.1234 nats a battle (95% int"
    )


def test_the_builtin_slices_part_every_row_once(made: Path) -> None:
    result = compare(made / "run", ["a", "b"])
    names = list(dict.fromkeys(part["by"] for part in result["slices"]))
    assert names == ["source", "label", "length", "turns", "language"]
    for by in names:
        assert sum(part["rows"] for part in _slices(result, by).values()) == ROWS
    assert list(_slices(result, "label")) == ["A wins", "B wins", "tie"]
    assert {k: v["rows"] for k, v in _slices(result, "turns").items()} == {"1": 120, "2": 40}
    # Letters at random: those of the Latin alphabet are hardly taken for a language.
    assert _slices(result, "language")["undecided"]["rows"] >= 110
    assert len(_slices(result, "length")) == 4


def test_levels_are_the_numbers_of_the_stack_and_candidates_can_be_compared(made: Path) -> None:
    result = compare(made / "run", ["a", "b", "mean", "stack"])
    scores = json.loads((made / "run" / "stack" / "candidates.json").read_text())
    chosen = json.loads((made / "run" / "stack" / "verdict.json").read_text())["chosen"]
    known = {one["name"]: one for one in scores["learners"] + scores["candidates"]}
    for name, loss in result["overall"]["losses"].items():
        score = known[chosen if name == "stack" else name]
        found = (loss["mean"], loss["low"], loss["high"])
        assert found == pytest.approx((score["log_loss"], score["low"], score["high"]), abs=1e-12)
        assert result["accuracies"][name] == pytest.approx(score["accuracy"], abs=1e-12)
    assert f"stack is the candidate {chosen}." in result["sentences"]
    assert result["family"]["overall"] == 3


def test_training_rows_that_nobody_knows_are_said(made: Path) -> None:
    words = " ".join(compare(made / "run", ["a", "stack"])["sentences"])
    assert "training rows of a are unknown" in words
    assert "training rows of stack are unknown" in words


def test_rows_that_not_both_have_predicted_are_left_out_and_counted(place: Path) -> None:
    shutil.rmtree(place / "run" / "learners" / "b" / "fold-1")
    result = compare(place / "run", ["a", "b"])
    held_out = pl.read_parquet(place / "run" / "folds.parquet").filter(pl.col("fold") == 0)
    assert result["rows"] == len(held_out)
    assert result["rows_left_out"] == ROWS - len(held_out)
    assert f"a has {ROWS}, b has {len(held_out)}" in " ".join(result["sentences"])
    shutil.rmtree(place / "run" / "learners" / "a" / "fold-0")
    with pytest.raises(errors.DataError, match="no target row has been predicted by all of 2"):
        compare(place / "run", ["a", "b"])


@pytest.mark.parametrize("names", [["a", "b"], ["b", "stack"]])
def test_a_learner_with_folds_of_its_own_is_compared_on_these_alone(
    place: Path, names: list[str]
) -> None:
    config = load_run_config(place / "run")
    learners = [
        one.model_copy(update={"folds": 1}) if one.name == "b" else one for one in config.learners
    ]
    config = config.model_copy(update={"learners": learners})
    write_config(config, place / "run" / "config.toml")
    if "stack" in names:
        with pytest.raises(errors.ArtifactError, match="other predictions of learner b"):
            compare(place / "run", names)
        with writing(config) as reporter:
            stack_stage(config, reporter)
    result = compare(place / "run", names)
    held_out = pl.read_parquet(place / "run" / "folds.parquet").filter(pl.col("fold") == 0)
    assert result["rows"] == len(held_out) < ROWS
    said = " ".join(result["sentences"])
    assert "b is compared on fold 0 alone: the config has `folds` for it." in said
    assert said.count("the config has `folds`") == 1
    store_comparison(place / "run", result)
    kept, left_out = collect_comparisons(
        place / "run",
        read_split_summary(place / "run"),
        read_summary(place / "run"),
        config,
    )
    assert ([one["rows"] for one in kept], left_out) == ([len(held_out)], [])


def test_a_learner_of_another_run_with_the_same_plan(place: Path) -> None:
    other = fit_learners(compare_config(place, "other"), learners=["b"])
    result = compare(place / "run", ["a", f"{other}:b"])
    own = compare(place / "run", ["a", "b"])
    found = result["overall"]["differences"]["other:b"]
    assert found == own["overall"]["differences"]["b"]
    # The run itself may be named like another one.
    again = compare(place / "run", ["a", f"{place / 'run'}:b"])
    assert list(again["overall"]["differences"]) == ["b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "another fold plan: seed is 8 there and 7 here"),
        ({"folds": {"n_splits": 3}}, "n_splits is 3 there and 2 here"),
        (
            {"sources": [{"name": "one", "path": "one.parquet", "role": "target"}]},
            "another set of battles: source two is in one of them alone",
        ),
    ],
)
def test_another_plan_or_other_battles_are_refused(
    place: Path, changes: dict[str, Any], message: str
) -> None:
    config = load_config(compare_config(place, "other", **changes))
    prepare_and_split(config)
    with pytest.raises(errors.DataError, match=message):
        compare(place / "run", ["a", f"{config.run_dir}:b"])


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (["a"], errors.DataError, "takes two learners or more, and 1 is given"),
        (["a", "b", "a"], errors.DataError, '"a" is named twice'),
        (["a", "blen"], errors.UnknownNameError, 'unknown learner "blen"'),
        (["a", "nowhere:b"], errors.ConfigError, "not a run directory"),
        (["a", ":b"], errors.ConfigError, "not a run directory"),
    ],
)
def test_names_that_are_none(
    made: Path, names: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        compare(made / "run", names)


def test_an_unknown_name_says_what_is_near_and_what_there_is(made: Path) -> None:
    with pytest.raises(errors.UnknownNameError) as caught:
        compare(made / "run", ["a", "blen"])
    assert 'did you mean "blend"?' in str(caught.value)
    assert "There are: a, b, best_single, blend, c, mean, stack, vector_scaling" in str(
        caught.value
    )


def test_altered_predictions_are_refused(place: Path) -> None:
    path = place / "run" / "learners" / "b" / "fold-0" / "oof.parquet"
    pl.read_parquet(path).with_columns(logit_a=pl.lit(1.0, pl.Float32)).write_parquet(path)
    with pytest.raises(errors.ArtifactError, match="not what its manifest says"):
        compare(place / "run", ["a", "b"])


def test_a_fold_that_predicts_what_it_does_not_hold_out_is_refused(place: Path) -> None:
    learner = place / "run" / "learners" / "b"
    shutil.copy(learner / "fold-1" / "oof.parquet", learner / "fold-0" / "oof.parquet")
    _alter(learner / "fold-0", lambda manifest: None)
    shutil.rmtree(learner / "fold-1")
    with pytest.raises(errors.ArtifactError, match="rows that the plan holds out in another fold"):
        compare(place / "run", ["a", "b"])


def test_folds_of_different_settings_are_refused(place: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["key_parts"]["seed"] = 1

    _alter(place / "run" / "learners" / "b" / "fold-0", change)
    with pytest.raises(errors.ArtifactError, match="made with different settings: seed"):
        compare(place / "run", ["a", "b"])


def test_predictions_of_other_settings_than_the_config_has_are_refused(place: Path) -> None:
    path = place / "run" / "config.toml"
    text = path.read_text().partition("\n")[2]  # without its seal: somebody has written it
    path.write_text(text.replace('oof = "', 'kind = "probabilities", oof = "'))
    with pytest.raises(errors.ArtifactError, match="other settings than the config has now: kind"):
        compare(place / "run", ["a", "b"])


def test_a_stack_of_other_predictions_is_refused(place: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["key_parts"]["seed"] = 1

    for fold in ("fold-0", "fold-1"):
        _alter(place / "run" / "learners" / "c" / fold, change)
    assert compare(place / "run", ["a", "c"])["rows"] == ROWS
    with pytest.raises(errors.ArtifactError, match="from other predictions of learner c"):
        compare(place / "run", ["a", "stack"])


@pytest.mark.parametrize("names", [["a", "stack"], ["a", "meen"]])
def test_a_damaged_stack_is_an_error_of_ours(place: Path, names: list[str]) -> None:
    (place / "run" / "stack" / "verdict.json").write_text("[]")
    with pytest.raises(errors.ArtifactError, match="not what its manifest says") as caught:
        compare(place / "run", names)
    assert caught.value.hint == "run `ensemble stack CONFIG`"
    assert compare(place / "run", ["a", "b"])["rows"] == ROWS


def test_a_learner_without_folds_is_refused(place: Path) -> None:
    shutil.rmtree(place / "run" / "learners" / "b")
    with pytest.raises(errors.ArtifactError, match='learner "b" has not been fitted'):
        compare(place / "run", ["a", "b"])


def test_slices_by_columns_of_any_feature_set(made: Path) -> None:
    compared = read_compared(made / "run")
    lengths = np.array([len("no " * (int(i[1:]) % 16)) for i in compared.eval_set.rows["id"]])
    asked = column_slices(compared, ["last_chars_b", "script_*_prompt"])
    quartiles = [one for one in asked if one.by == "last_chars_b"]
    assert len(quartiles) == 4
    means = [lengths[one.rows].mean() for one in quartiles]
    assert means == sorted(means)
    groups = {one.value: int(one.rows.sum()) for one in asked if one.by == "script_*_prompt"}
    assert groups == {"none": 120, "cyrillic": 40}
    with pytest.raises(errors.UnknownNameError, match='unknown feature column "script_"') as caught:
        column_slices(compared, ["script_"])
    assert "did you mean" in str(caught.value)


def test_a_group_is_called_by_what_tells_its_columns_apart() -> None:
    assert _varying(["words_old_english_prompt", "words_french_prompt"]) == [
        "old_english",
        "french",
    ]
    assert _varying(["a", "a_b"]) == ["a", "a_b"]


def test_equal_numbers_stay_together_and_missing_ones_are_a_slice() -> None:
    values = np.array([0.0] * 30 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] + [np.nan] * 3)
    parts = by_number("x", values, write=numbers)
    assert np.sum([part.rows for part in parts], axis=0).tolist() == [1] * 43
    assert parts[0].rows[:30].all()
    assert (parts[-1].value, int(parts[-1].rows.sum())) == ("missing", 3)
    top = by_number("x", np.array([*range(10), *[10] * 30], dtype=float), write=numbers)
    assert [int(part.rows.sum()) for part in top] == [10, 30]
    few = by_number("x", np.array([1.0, 2.0, 2.0]), write=numbers)
    assert [(part.value, int(part.rows.sum())) for part in few] == [("1", 1), ("2", 2)]


def test_a_soft_label_is_no_class(made: Path) -> None:
    compared = read_compared(made / "run")
    soft = compared.eval_set.rows.with_columns(
        **{
            name: pl.when(pl.col("id") == "r0").then(1 / 3).otherwise(name)
            for name in LABEL_COLUMNS
        }
    ).select(*BATTLE_SCHEMA, "cluster", "fold")
    parts = builtin_slices(ComparedRun(compared.run, compared.plan, compared.data, EvalSet(soft)))
    found = {p.value: int(p.rows.sum()) for p in parts if p.by == "label"}
    assert found == {"A wins": 53, "B wins": 53, "tie": 53, "soft": 1}
