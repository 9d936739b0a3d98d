"""A task without ties from one end to the other, and what another task makes anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import tomli_w
from click.testing import CliRunner
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from ensemble import CLASSES, Run, errors, hookimpl, make_battles, run
from ensemble.cli import cli
from ensemble.datasets.battles import write_battles
from ensemble.pipeline import run as run_pipeline
from ensemble.stages.predict import predict_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.submission.record import submission_fault
from ensemble.submission.validate import validate_file
from tests.fakes import Prior

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import Project, UsePlugins

NO_TIES = {"ties": False}


def write_config(directory: Path, **task: Any) -> Path:
    external = {"name": "external", "path": "data/external.parquet", "role": "train"}
    length = {"name": "length", "plugin": "handcrafted", "features": ["length"], "n_models": 2}
    raw = {
        "run_dir": "run",
        "seed": 1,
        "task": NO_TIES | task,
        "sources": [{"name": "people", "path": "data/train.csv", "role": "target"}, external],
        "test": {"path": "data/test.csv"},
        "folds": {"n_splits": 3},
        "learners": [
            length | {"n_estimators": 60, "learning_rate": 0.1},
            {"name": "tfidf", "plugin": "tfidf"},
        ],
        "stack": {"resamples": 300},
    }
    path = directory / "config.toml"
    path.write_text(tomli_w.dumps(raw))
    return path


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    made = make_battles(target_rows=300, external_rows=120, test_rows=50, seed=2, ties=False)
    assert made.target["winner_tie"].sum() == 0
    assert made.truth["p_tie"].sum() == 0
    write_battles(made, tmp_path / "data")
    return tmp_path


@pytest.mark.slow
def test_a_run_without_ties_from_battles_to_winners(generated: Path) -> None:
    found: Run = run(write_config(generated, submission="winner", metric="accuracy"))
    assert found.audit(deep=True).proved
    oof = found.oof("tfidf")
    assert np.isneginf(oof["logit_tie"].to_numpy()).all()
    nested = found.probabilities().join(
        found.battles.select("id", "label_a", "label_b"), on="id", how="inner"
    )
    shares = nested.select(CLASSES).to_numpy()
    assert (shares[:, 2] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-9)
    is_b = nested["label_b"].to_numpy()
    chosen = next(c for c in found.verdict["candidates"] if c["name"] == found.verdict["chosen"])
    assert chosen["log_loss"] == pytest.approx(log_loss(is_b, shares[:, :2]), abs=1e-9)
    accuracy = accuracy_score(is_b, shares[:, 1] > shares[:, 0])
    assert chosen["accuracy"]["mean"] == pytest.approx(accuracy)
    assert found.verdict["metric"] == "accuracy"
    scores = found.scores()
    assert scores["accuracy"].is_sorted(descending=True)
    assert scores["accuracy_low"].null_count() == 0
    assert scores["log_loss"].max() < 0.75  # type: ignore[operator]
    submission = found.submission
    assert submission.columns == ["id", "winner"]
    assert set(submission["winner"]) <= {"model_a", "model_b"}
    own = found.predict(generated / "data" / "test.csv")
    assert (own["winner_tie"] == 0).all()
    likelier = (own["winner_model_b"] > own["winner_model_a"]).to_list()
    # A saved run asks its models; the submission has the same logits from the store.
    assert submission["winner"].to_list() == ["model_b" if b else "model_a" for b in likelier]
    checked = validate_file(
        generated / "run" / "submission.csv", generated / "data" / "test.csv", ties=False
    )
    assert sum(checked.winners.values()) == checked.rows == 50
    report = (generated / "run" / "report.html").read_text()
    assert "Candidates are compared by accuracy" in report
    assert "predicted A wins" in report
    assert "predicted tie" not in report
    told = CliRunner().invoke(
        cli,
        [
            *("predict", str(generated / "run"), "--test", str(generated / "data" / "test.csv")),
            *("--output", str(generated / "again.csv")),
        ],
    )
    assert told.exit_code == 0
    assert pl.read_csv(generated / "again.csv", infer_schema=False).equals(submission)
    compared = found.compare("tfidf", "length")
    losses = {row["name"]: row["log_loss"] for row in scores.iter_rows(named=True)}
    assert compared["overall"]["losses"]["tfidf"]["mean"] == pytest.approx(losses["tfidf"])


def without_ties(project: Project) -> None:
    path = project.path / "train.csv"
    table = pl.read_csv(path, infer_schema=False)
    table.filter(pl.col("winner_tie").cast(pl.Float64) == 0).write_csv(path)


LEARNERS: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.5},
]


def fitted() -> int:
    count = len(Prior.seen)
    Prior.seen.clear()
    return count


def test_another_metric_stacks_anew_and_fits_nothing(project: Project) -> None:
    without_ties(project)
    place = run_pipeline(project.config(LEARNERS, task=NO_TIES))
    assert fitted() > 0
    before = json.loads((place / "stack/verdict.json").read_text())
    changed = project.config(LEARNERS, task=NO_TIES | {"metric": "accuracy"})
    with writing(changed) as reporter, pytest.raises(errors.ArtifactError, match="other settings"):
        predict_stage(changed, reporter)
    run_pipeline(changed)
    assert fitted() == 0
    after = json.loads((place / "stack/verdict.json").read_text())
    assert (before["metric"], after["metric"]) == ("log_loss", "accuracy")
    assert "made again: other task" in (place / "events.jsonl").read_text() or after != before


def test_another_form_writes_the_submission_anew_and_nothing_else(project: Project) -> None:
    without_ties(project)
    place = run_pipeline(project.config(LEARNERS, task=NO_TIES))
    verdict = (place / "stack/manifest.json").read_bytes()
    assert (place / "submission.csv").read_text().startswith("id,winner_model_a,winner_model_b\n")
    changed = project.config(LEARNERS, task=NO_TIES | {"submission": "winner"})
    assert "another form" in str(submission_fault(place, changed))
    fitted()
    run_pipeline(changed)
    assert fitted() == 0
    assert (place / "stack/manifest.json").read_bytes() == verdict
    assert (place / "submission.csv").read_text().startswith("id,winner\n")
    assert submission_fault(place, changed) is None


def test_a_task_without_ties_fits_anew(project: Project) -> None:
    without_ties(project)
    place = run_pipeline(project.config(LEARNERS))
    with_ties = json.loads((place / "stack/verdict.json").read_text())
    fits = fitted()
    changed = project.config(LEARNERS, task=NO_TIES)
    with writing(changed) as reporter, pytest.raises(errors.ArtifactError, match="prepared with"):
        stack_stage(changed, reporter)
    run_pipeline(changed)
    assert fitted() == fits
    verdict = json.loads((place / "stack/verdict.json").read_text())
    assert verdict["tries"]["n"] == with_ties["tries"]["n"]  # scores of another task do not count
    one, two = ({c["name"]: c["log_loss"] for c in v["candidates"]} for v in (with_ties, verdict))
    # Priors with ties gave some probability to them.
    assert all(two[name] < one[name] for name in one)
    seen = np.concatenate([each["labels"] for each in Prior.seen] or [np.zeros((0, 3))])
    assert not seen.size or (seen[:, 2] == 0).all()


def test_learners_of_a_task_without_ties_see_none(project: Project) -> None:
    without_ties(project)
    run_pipeline(project.config(LEARNERS, task=NO_TIES))
    labels = np.concatenate([each["labels"] for each in Prior.seen])
    assert len(labels)
    assert (labels[:, 2] == 0).all()
    np.testing.assert_allclose(labels.sum(axis=1), 1.0)
    assert (labels[:, 0] == 0.5).any()  # ties of the other source


class Tied(Prior):
    """Says of every battle that it is a tie, most likely."""

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return np.tile(np.array([0.5, 0.0, 3.0], np.float32), (len(battles), 1))


class Pupil(Prior):
    """A prior that another learner teaches."""

    teachers = ("teacher",)


class TiedPlugin:
    """Registers them."""

    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("tied", Tied)
        register("pupil", Pupil)


def test_pseudo_labels_leave_ties_out(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(tied=TiedPlugin())
    without_ties(project)
    sources = [
        {"name": "arena", "path": "train.csv", "role": "target"},
        {
            "name": "extra",
            "path": "extra.csv",
            "role": "pseudo",
            "pseudo_labelers": ["teacher"],
        },
    ]
    learners = [
        {"name": "teacher", "plugin": "tied"},
        {"name": "pupil", "plugin": "prior"},
    ]
    for ties in (True, False):
        Prior.seen.clear()
        run_pipeline(project.config(learners, sources=sources, task={"ties": ties}))
        soft = [label for each in Prior.seen for label in each["labels"] if 0 < label[:2].max() < 1]
        assert soft
        assert all(np.isclose(sum(label), 1) for label in soft)
        expected = softmax([0.5, 0.0, 3.0]) if ties else [*softmax([0.5, 0.0]), 0.0]
        assert all(np.allclose(label, expected) for label in soft)


@pytest.mark.parametrize("ties", [True, False])
def test_teachers_say_nothing_of_ties_where_there_are_none(
    project: Project, use_plugins: UsePlugins, ties: bool
) -> None:
    use_plugins(tied=TiedPlugin())
    without_ties(project)
    learners = [{"name": "teacher", "plugin": "tied"}, {"name": "pupil", "plugin": "pupil"}]
    Prior.seen.clear()
    run_pipeline(project.config(learners, task={"ties": ties}))
    taught = [each["context"] for each in Prior.seen if each["context"].teachers]
    assert len(taught) == 3
    assert {context.ties for context in taught} == {ties}
    logits = np.concatenate([context.teachers["teacher"] for context in taught])
    logits = logits[~np.isnan(logits).all(axis=1)]  # of rows in no fold nobody speaks
    assert len(logits)
    assert np.isfinite(logits).all()
    expected = softmax([0.5, 0.0, 3.0]) if ties else [*softmax([0.5, 0.0]), 0.0]
    shares = softmax(logits, axis=1)
    np.testing.assert_allclose(shares, np.tile(expected, (len(logits), 1)), rtol=1e-5, atol=1e-9)
    softened = softmax(logits / 5, axis=1)[:, 2].max()  # as distillation does
    assert (softened < 1e-6) is not ties
