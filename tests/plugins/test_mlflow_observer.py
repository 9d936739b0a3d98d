"""Against MLflow's own file store, where the extra ``mlflow`` is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.errors import ConfigError, IncompleteRunError
from ensemble.pipeline import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Project

TWO: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.3},
]


@pytest.fixture
def store(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Callable[[], list[Any]]]:
    """A file store, and what reads all runs in it."""
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    uri = (project.path / "mlruns").as_uri()

    def runs() -> list[Any]:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("arena")
        return [] if experiment is None else client.search_runs([experiment.experiment_id])

    return uri, runs


def _config(project: Project, uri: str, learners: Any = TWO, **more: Any) -> Any:
    observer = {"plugin": "mlflow", "tracking_uri": uri, "experiment": "arena"}
    return project.config(learners, observers=[observer], **more)


def _by_name(runs: list[Any]) -> dict[str, Any]:
    found = {one.info.run_name: one for one in runs}
    assert len(found) == len(runs), "no two MLflow runs have one name here"
    return found


@pytest.mark.slow
def test_a_run_is_in_mlflow_with_a_run_inside_for_each_learner(
    project: Project, store: Any
) -> None:
    uri, runs = store
    place = run(_config(project, uri))
    found = _by_name(runs())
    assert set(found) == {"run", "p", "q"}
    verdict = json.loads((place / "stack/verdict.json").read_text())
    whole = found["run"]
    for candidate in verdict["candidates"]:
        logged = whole.data.metrics[f"candidates/{candidate['name']}"]
        assert logged == pytest.approx(candidate["log_loss"])
        accuracy = whole.data.metrics[f"candidates_accuracy/{candidate['name']}"]
        assert accuracy == pytest.approx(candidate["accuracy"]["mean"])
        if candidate["name"] == verdict["chosen"]:
            assert whole.data.metrics["log_loss"] == logged
            assert whole.data.metrics["accuracy"] == accuracy
    assert whole.data.tags["metric"] == "log_loss"
    assert whole.data.tags["chosen"] == verdict["chosen"]
    assert whole.data.tags["status"] == "complete" and whole.info.status == "FINISHED"
    assert found["q"].data.params == {"shift": "0.3"}
    assert found["q"].data.tags["mlflow.parentRunId"] == whole.info.run_id
    artifacts = {
        path.name for path in Path(whole.info.artifact_uri.removeprefix("file://")).iterdir()
    }
    assert artifacts == {"config.toml", "verdict.json", "submission.csv", "report.html"}

    steps = _history(uri, found["q"].info.run_id)
    assert sorted(steps) == [0, 1, 2]
    # A rerun that keeps everything goes on with the same runs, and logs nothing twice.
    run(_config(project, uri))
    again = _by_name(runs())
    assert {n: r.info.run_id for n, r in again.items()} == {
        n: r.info.run_id for n, r in found.items()
    }
    assert _history(uri, found["q"].info.run_id) == steps
    assert again["run"].data.metrics == whole.data.metrics


def _history(uri: str, run_id: str) -> list[int]:
    from mlflow.tracking import MlflowClient

    metrics = MlflowClient(tracking_uri=uri).get_metric_history(run_id, "fold_log_loss")
    return [metric.step for metric in metrics]


@pytest.mark.slow
def test_other_parameters_are_another_mlflow_run_of_the_learner(
    project: Project, store: Any
) -> None:
    uri, runs = store
    run(_config(project, uri))
    run(_config(project, uri, [TWO[0], {**TWO[1], "shift": 0.4}]))
    shifts = [one.data.params["shift"] for one in runs() if one.info.run_name == "q"]
    assert sorted(shifts) == ["0.3", "0.4"]
    assert len(runs()) == 4, "the run itself and p go on"


@pytest.mark.slow
def test_failures_are_failed_runs(project: Project, store: Any) -> None:
    uri, runs = store
    with pytest.raises(IncompleteRunError, match="no luck today"):
        run(_config(project, uri, [*TWO, {"name": "r", "plugin": "raises"}]))
    found = _by_name(runs())
    assert found["run"].info.status == "FAILED" and found["p"].info.status == "FINISHED"
    assert found["run"].data.tags["status"] == "incomplete"
    assert "no luck today" in found["run"].data.tags["error"]


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_a_warning(
    project: Project, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    place = run(_config(project, "http://127.0.0.1:9"))
    warnings = [
        line for line in (place / "events.jsonl").read_text().splitlines() if "mlflow" in line
    ]
    assert any("fold_fitted raised" in line for line in warnings)
    assert (place / "submission.csv").exists()


def test_without_mlflow_the_config_is_refused_with_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble_plugins.mlflow_observer.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"preference-ensemble\[mlflow\]"):
        run(_config(project, "file:/nowhere"))
