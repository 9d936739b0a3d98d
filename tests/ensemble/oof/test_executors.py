"""Each fold is fitted once, in whatever process; what goes wrong there is told as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble import errors
from ensemble.oof.executors import execute
from ensemble.oof.spec import LearnerSpec
from tests.ensemble.oof.beating_learner import prepare_beats

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Project


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["auto", "in-process", "processes"])
def test_a_fold_that_is_named_twice_is_fitted_once(
    executor: str, project: Project, installed: None
) -> None:
    config, spec, reporter = prepare_beats(project, executor)
    assert execute(config, [(spec, 0), (spec, 0)], reporter) == 1
    assert execute(config, [(spec, 0), (spec, 1)], reporter) == 1
    events = [json.loads(line) for line in (reporter.run / "events.jsonl").read_text().splitlines()]
    told = sorted((event["event"], event["fold"]) for event in events)
    assert told == [("fold fitted", 0), ("fold fitted", 1), ("fold kept", 0)]


def test_an_error_of_a_worker_comes_as_it_was_raised(project: Project, installed: None) -> None:
    config, spec, reporter = prepare_beats(project, "processes", fails="plain")
    with pytest.raises(errors.LearnerError, match="no luck today") as caught:
        execute(config, [(spec, 0)], reporter)
    assert type(caught.value) is errors.LearnerError
    assert caught.value.hint == "try tomorrow"
    assert 'learner "x" (plugin "beats"), fold 0' in str(caught.value.where)


@pytest.mark.slow
def test_a_worker_that_dies_is_told_with_what_it_was_fitting(
    project: Project, installed: None
) -> None:
    config, spec, reporter = prepare_beats(project, "processes", fails="dies")
    healthy = LearnerSpec("y", "beats", {}, spec.base_directory)
    message = "its process died after .* it was killed by SIGKILL(.|\n)*run the same"
    with pytest.raises(errors.EnsembleError, match=message) as caught:
        execute(config, [(healthy, 0), (spec, 1), (healthy, 1)], reporter)
    assert caught.value.where == "x  fold 1"


@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_the_traceback_of_a_plugin_is_kept_among_the_events(
    executor: str, project: Project, installed: None
) -> None:
    config, spec, reporter = prepare_beats(project, executor, fails="raises")
    with (
        pytest.raises(errors.LearnerError, match=r"boom(.|\n)*beating_learner\.py:\d+"),
        reporter.stage("fit"),
    ):
        execute(config, [(spec, 0)], reporter)
    last = json.loads((reporter.run / "events.jsonl").read_text().splitlines()[-1])
    assert "beating_learner.py" in last["traceback"]
    assert "ValueError: boom" in last["traceback"]


@pytest.mark.slow
def test_a_fold_that_fails_ends_the_others_before_the_error_is_told(
    project: Project, installed: None
) -> None:
    beat = project.path / "beat"
    config, spec, reporter = prepare_beats(project, "processes", fails="after", file=str(beat))
    config = config.model_copy(
        update={"execution": config.execution.model_copy(update={"workers": 2})}
    )
    beats = LearnerSpec("y", "beats", {"file": str(beat)}, spec.base_directory)
    with pytest.raises(errors.LearnerError, match="no luck after all"):
        execute(config, [(beats, 0), (spec, 0), (beats, 1), (beats, 2)], reporter)
    assert _stands_still(beat)
    assert int(beat.read_text() or 0) < 399


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("own", "no luck with this(.|\n)*try again"),
        ("odd", r"dependencies raised Odd: this and that(.|\n)*beating_learner\.py:"),
    ],
)
def test_a_plugins_own_kind_of_error_does_not_break_the_pool(
    fails: str, message: str, project: Project, installed: None
) -> None:
    config, spec, reporter = prepare_beats(project, "processes", fails=fails)
    with pytest.raises(errors.PluginError, match=message):
        execute(config, [(spec, 0)], reporter)


def test_a_plugin_given_in_python_is_unknown_to_workers_and_the_error_says_so(
    project: Project,
) -> None:
    config, spec, reporter = prepare_beats(project, "processes")
    given = LearnerSpec("p", "prior", {}, spec.base_directory)
    message = 'unknown base learner "prior"(.|\n)*installed or in a file(.|\n)*"in-process"'
    with pytest.raises(errors.UnknownNameError, match=message):
        execute(config, [(given, 0)], reporter)


@pytest.mark.slow
def test_a_worker_ends_with_a_parent_that_is_killed(project: Project, installed: None) -> None:
    beat = project.path / "beat"
    prepare_beats(project, "processes", file=str(beat))
    command = [sys.executable, "-m", "ensemble.cli", "fit", str(project.path / "config.toml")]
    parent = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        _wait_until(beat.exists, 60)
    finally:
        parent.kill()
        parent.wait()
    # The beat stands still once nobody writes it.
    _wait_until(lambda: _stands_still(beat), 3)
    assert int(beat.read_text() or 0) < 399


def _stands_still(beat: Path) -> bool:
    before = beat.stat().st_mtime_ns
    time.sleep(0.5)
    return beat.stat().st_mtime_ns == before


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)
