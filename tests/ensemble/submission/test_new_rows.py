"""New rows scored by a saved run: by their texts alone, whatever their ids and labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, Config, Run, errors, hookimpl, run
from ensemble.submission.new_rows import predict_file
from ensemble.submission.parse import read_submission
from ensemble_plugins.tfidf import Tfidf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import Register
    from tests.fixture_types import Learners, Project, RunOnce, UsePlugins

SIDES = (("a", 1.0), ("b", -1.0), ("tie", 0.5))
TFIDF = {"name": "words", "plugin": "tfidf", "min_df": 1, "char_ngrams": [1, 2]}


@pytest.fixture
def saved(project: Project, run_once: RunOnce) -> Config:
    """Make a run whose predictions differ from row to row, and lose its data files."""
    place = Path(run_once([TFIDF]).run_dir)
    for name in ("train.csv", "extra.csv"):
        (project.path / name).unlink()
    return Run(place).config


def _probabilities(path: Path) -> pl.DataFrame:
    return read_submission(path).select("id", *CLASSES)


def test_rows_never_seen_get_what_their_texts_deserve(project: Project, saved: Config) -> None:
    old = pl.read_csv(project.path / "test.csv")
    new = old.with_columns(id=pl.format("new-{}", pl.col("id").str.slice(2))).reverse()
    new.write_csv(project.path / "new.csv")
    output = project.path / "out" / "new-submission.csv"
    assert predict_file(saved, project.path / "new.csv", output) == len(new)
    written = _probabilities(output)
    assert written["id"].to_list() == new["id"].to_list()
    expected = _probabilities(Path(saved.run_dir) / "submission.csv").reverse()
    assert expected["winner_model_a"].n_unique() > 3
    np.testing.assert_allclose(written.select(CLASSES), expected.select(CLASSES), atol=1e-6)


def test_before_there_is_a_stack_the_error_says_how_to_make_one(
    project: Project, saved: Config
) -> None:
    shutil.rmtree(Path(saved.run_dir) / "stack")
    with pytest.raises(
        errors.ArtifactError, match="no stack yet(.|\n)*run `ensemble stack CONFIG`"
    ):
        predict_file(saved, project.path / "test.csv", project.path / "out.csv")


def test_a_new_row_may_bear_the_id_of_a_training_row(project: Project, saved: Config) -> None:
    old = pl.read_csv(project.path / "test.csv")
    old.with_columns(id=pl.format("arena-{}", pl.int_range(pl.len()))).write_csv(
        project.path / "new.csv"
    )
    predict_file(saved, project.path / "new.csv", project.path / "out.csv")
    expected = _probabilities(Path(saved.run_dir) / "submission.csv")
    written = _probabilities(project.path / "out.csv")
    np.testing.assert_allclose(written.select(CLASSES), expected.select(CLASSES), atol=1e-6)


@pytest.mark.parametrize("winner", [*CLASSES, None])
def test_labels_in_the_file_are_ignored(
    project: Project, saved: Config, winner: str | None
) -> None:
    test, output = project.path / "test.csv", project.path / "out.csv"
    # Without a winner the cells hold what no label may be.
    labels = {name: int(name == winner) if winner else "nobody knows" for name in CLASSES}
    pl.read_csv(test).with_columns(
        **{name: pl.lit(value) for name, value in labels.items()},
        model_a=pl.lit("gpt"),
        model_b=pl.lit("other"),
    ).write_csv(project.path / "labeled.csv")
    predict_file(saved, test, output)
    without = output.read_bytes()
    predict_file(saved, project.path / "labeled.csv", output)
    assert output.read_bytes() == without


def test_a_file_with_a_bad_row_leaves_the_output_as_it_was(project: Project, saved: Config) -> None:
    output = project.path / "out.csv"
    output.write_text("kept")
    bad = project.path / "bad.csv"
    bad.write_text((project.path / "test.csv").read_text() + 'x,not json,"[""a""]","[""b""]"\n')
    with pytest.raises(errors.DataError, match="a submission needs every test row"):
        predict_file(saved, bad, output)
    assert output.read_text() == "kept"


@pytest.fixture
def looked_up(project: Project) -> Config:
    """A run whose one learner brings its predictions from outside."""
    for name, ids, count in (("oof", "arena-{}", 60), ("known", "t-{}", 9)):
        frame = pl.DataFrame({"id": [ids.format(i) for i in range(count)]})
        logits = {f"logit_{side}": pl.int_range(pl.len()) / 50 * sign for side, sign in SIDES}
        frame.with_columns(**logits).write_csv(project.path / f"{name}.csv")
    learner = {"name": "mine", "plugin": "precomputed", "oof": "oof.csv", "test": "known.csv"}
    return run(project.config([learner])).config


def test_predictions_of_a_target_battle_are_not_given_to_another_of_its_id(
    project: Project, looked_up: Config
) -> None:
    rows = pl.read_csv(project.path / "test.csv")
    rows.with_columns(id=pl.format("arena-{}", pl.int_range(pl.len()))).write_csv(
        project.path / "new.csv"
    )
    with pytest.raises(
        errors.DataError, match="9 rows have ids of target battles of .*arena-0"
    ) as caught:
        predict_file(looked_up, project.path / "new.csv", project.path / "out.csv")
    assert caught.value.where == 'learner "mine", which looks predictions up by id'
    assert not (project.path / "out.csv").exists()


def test_a_precomputed_learner_says_how_new_rows_get_predictions(
    project: Project, looked_up: Config
) -> None:
    again = project.path / "again.csv"
    assert predict_file(looked_up, project.path / "test.csv", again) == 9
    rows = pl.read_csv(project.path / "test.csv").with_columns(id=pl.format("new-{}", "id"))
    rows.write_csv(project.path / "new.csv")
    with pytest.raises(errors.LearnerError, match="no stored predictions for .*new-t-0") as caught:
        predict_file(looked_up, project.path / "new.csv", project.path / "out.csv")
    assert caught.value.hint is not None
    assert "give it as `test =`, and run again" in caught.value.hint
    assert not (project.path / "out.csv").exists()


class _Pupil(Tfidf):
    """A learner that may have teachers, whatever it makes of what they say."""

    def __init__(self, *, teachers: Sequence[str] = (), min_df: int = 1) -> None:
        super().__init__(min_df=min_df)
        self.teachers = teachers


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("pupil", _Pupil)


@pytest.mark.parametrize("models", ["folds", "refit"])
def test_a_learner_that_was_taught_scores_new_rows(
    project: Project, use_plugins: UsePlugins, models: str
) -> None:
    use_plugins(pupil=_Plugin())
    learners: Learners = [{"name": "pupil", "plugin": "pupil", "teachers": ["words"]}, TFIDF]
    config = project.config(learners, predict={"models": models})
    place = run(config).directory
    output = project.path / "again.csv"
    predict_file(Run(place).config, project.path / "test.csv", output)
    expected = _probabilities(place / "submission.csv")
    np.testing.assert_allclose(
        _probabilities(output).select(CLASSES), expected.select(CLASSES), atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("models", ["folds", "refit"])
def test_a_learner_of_rows_that_another_labeled_scores_new_rows(
    project: Project, models: str
) -> None:
    learners: Learners = [TFIDF, TFIDF | {"name": "pupil", "ridge": 2.0}]
    sources = [each.model_dump(exclude_none=True) for each in project.config(learners).sources]
    sources[1] |= {"role": "pseudo", "pseudo_labelers": ["words"]}
    place = run(project.config(learners, sources=sources, predict={"models": models})).directory
    output = project.path / "again.csv"
    predict_file(Run(place).config, project.path / "test.csv", output)
    expected = _probabilities(place / "submission.csv")
    np.testing.assert_allclose(
        _probabilities(output).select(CLASSES), expected.select(CLASSES), atol=1e-6
    )


@pytest.mark.slow
def test_models_of_another_teacher_are_refused(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(pupil=_Plugin())
    learners: Learners = [{"name": "pupil", "plugin": "pupil", "teachers": ["words"]}, TFIDF]
    options = {"predict": {"models": "refit"}}
    place = run(project.config(learners, **options)).directory
    shutil.copytree(place / "learners" / "pupil" / "refit", project.path / "kept")
    run(project.config([learners[0], TFIDF | {"min_df": 2}], **options))
    shutil.rmtree(place / "learners" / "pupil" / "refit")
    shutil.copytree(project.path / "kept", place / "learners" / "pupil" / "refit")
    with pytest.raises(errors.ArtifactError, match="not one that the stack was made from"):
        predict_file(Run(place).config, project.path / "test.csv", project.path / "no.csv")
