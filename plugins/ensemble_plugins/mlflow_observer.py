"""A run in MLflow: one run for the run directory, and one inside it for each learner.

MLflow comes with the extra ``mlflow`` and is imported at the first thing to log. A run directory
keeps the ids of its MLflow runs, so that a rerun goes on with them and logs nothing twice. With
other parameters a learner is another MLflow run, since MLflow never changes a parameter.
"""

from __future__ import annotations

import os
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ensemble import hookimpl
from ensemble.errors import ArtifactError, ConfigError
from ensemble.run_dir.layout import CONFIG, OBSERVERS, REPORT, STACK, SUBMISSION, VERDICT
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_STATUS = {"complete": "FINISHED", "interrupted": "KILLED"}
"""What MLflow calls the end of a run; every other is ``FAILED``."""
_LONGEST = 500
"""Characters of a parameter that every server takes."""
_PARENT = "mlflow.parentRunId"
"""The tag by which MLflow shows a run inside another."""


class MlflowObserver:
    """Logs parameters, log losses, accuracies, verdict and files of a run to MLflow.

    Parameters
    ----------
    experiment
        Name of the experiment; made where it is not there.
    tracking_uri
        The server, or a directory as ``file:...``; None is what MLflow is set to
        (``MLFLOW_TRACKING_URI``).
    run_name
        Name of the MLflow run; None is that of the run directory.
    log_files
        Whether config, verdict, submission and report are uploaded.
    """

    def __init__(
        self,
        experiment: str = "preference-ensemble",
        tracking_uri: str | None = None,
        run_name: str | None = None,
        log_files: bool = True,
    ) -> None:
        if find_spec("mlflow") is None:
            raise ConfigError(
                "MLflow is not installed", hint="pip install 'preference-ensemble[mlflow]'"
            )
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.run_name = run_name
        self.log_files = log_files

    @hookimpl
    def fold_fitted(
        self,
        run_dir: Path,
        learner: str,
        fold: int | None,
        seconds: float,
        score: float | None,
        parameters: Mapping[str, Any],
    ) -> None:
        """Log the fold's log loss and time, with the fold as the step."""
        run = self._learner_run(run_dir, learner, parameters)
        if fold is None:
            self._client.log_metric(run, "refit_seconds", seconds)
            return
        self._client.log_metric(run, "fold_seconds", seconds, step=fold)
        if score is not None:
            self._client.log_metric(run, "fold_log_loss", score, step=fold)

    @hookimpl
    def stack_decided(self, run_dir: Path, verdict: Mapping[str, Any]) -> None:
        """Log every candidate's log loss and accuracy, and the verdict as tags."""
        run = self._run(run_dir)
        for candidate in verdict["candidates"]:
            accuracy = (candidate.get("accuracy") or {}).get("mean")
            scores = {"log_loss": candidate["log_loss"], "accuracy": accuracy}
            # In a file store a metric cannot be a directory of others.
            self._log(run, f"candidates/{candidate['name']}", scores["log_loss"])
            self._log(run, f"candidates_accuracy/{candidate['name']}", scores["accuracy"])
            if candidate["name"] == verdict["chosen"]:
                for name, value in scores.items():
                    self._log(run, name, value)
        for tag in ("chosen", "rule", "metric"):
            self._client.set_tag(run, tag, verdict[tag])
        self._client.set_tag(run, "mlflow.note.content", verdict["sentence"])

    @hookimpl
    def run_finished(
        self, run_dir: Path, status: str, failures: Sequence[Mapping[str, Any]], error: str | None
    ) -> None:
        """Upload files, and end the MLflow runs."""
        run, failed = self._run(run_dir), {one["name"]: one["reason"] for one in failures}
        self._client.set_tag(run, "status", status)
        self._client.set_tag(run, "error", error or "")
        for name in (CONFIG, f"{STACK}/{VERDICT}", SUBMISSION, REPORT) if self.log_files else ():
            if (run_dir / name).exists():
                self._client.log_artifact(run, str(run_dir / name))
        for learner, known in self._known(run_dir)["learners"].items():
            ended = "FAILED" if learner in failed else _STATUS.get(status, "FINISHED")
            self._client.set_tag(known["run"], "error", failed.get(learner, ""))
            self._client.set_terminated(known["run"], ended)
        self._client.set_terminated(run, _STATUS.get(status, "FAILED"))

    @cached_property
    def _client(self) -> Any:
        uri = self.tracking_uri
        if uri is not None and uri.startswith("file:"):  # it is what the user wants
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=uri)

    def _run(self, run_dir: Path) -> str:
        """Give the MLflow run of a run directory; made where there is none."""
        known = self._known(run_dir)
        if known["run"] is None:
            name = self.run_name or run_dir.name
            known["run"] = self._new_run(name, {"run_dir": str(run_dir)})
            self._keep(run_dir, known)
        return str(known["run"])

    def _learner_run(self, run_dir: Path, learner: str, parameters: Mapping[str, Any]) -> str:
        """Give the MLflow run of a learner with its parameters, inside that of the run."""
        parent, known = self._run(run_dir), self._known(run_dir)
        digest = fingerprint(dict(parameters))
        own = known["learners"].get(learner)
        if own is None or own["parameters"] != digest:
            own = {"run": self._new_run(learner, {_PARENT: parent}), "parameters": digest}
            for name, value in parameters.items():
                self._client.log_param(own["run"], name, str(value)[:_LONGEST])
            known["learners"][learner] = own
            self._keep(run_dir, known)
        return str(own["run"])

    def _new_run(self, name: str, tags: Mapping[str, str]) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(self.experiment)
        )
        made = self._client.create_run(experiment, run_name=name, tags=dict(tags))
        return str(made.info.run_id)

    def _log(self, run: str, name: str, value: float | None) -> None:
        if value is not None:
            self._client.log_metric(run, name, value)

    def _known(self, run_dir: Path) -> dict[str, Any]:
        """Read which MLflow runs are those of a run directory; none where MLflow has them not."""
        none: dict[str, Any] = {"store": self._store, "run": None, "learners": {}}
        try:
            known = dict(read_json(run_dir / OBSERVERS / "mlflow.json"))
        except ArtifactError:
            return none
        if known.get("store") != self._store or not self._is_there(known["run"]):
            return none
        return known

    def _keep(self, run_dir: Path, known: Mapping[str, Any]) -> None:
        write_json(run_dir / OBSERVERS / "mlflow.json", known)

    @property
    def _store(self) -> list[str]:
        """Where runs are logged: another server or experiment has none of them."""
        from mlflow import get_tracking_uri

        return [self.tracking_uri or get_tracking_uri(), self.experiment]

    def _is_there(self, run: str | None) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return run is not None and self._client.get_run(run).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise  # a server that does not answer: a second run would be logged
