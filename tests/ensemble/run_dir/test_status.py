"""How far a run is: while another process works on it, after that has died, and at rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ensemble
from ensemble import errors, hookimpl
from ensemble.run_dir.jobs_record import LearnerJobs, write_jobs
from ensemble.run_dir.process_mark import own_mark, state_of
from ensemble.run_dir.running import Running
from ensemble.run_dir.status.status import run_status
from ensemble.run_dir.status.text import lines
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import write_checksummed
from tests.fakes import Prior

if TYPE_CHECKING:
    from typing import Self

    from tests.fixture_types import Project, UsePlugins

STATUS = [sys.executable, "-m", "ensemble", "status"]
FILE = """
import time
from pathlib import Path
import numpy as np
from ensemble import BaseLearner

class Waits(BaseLearner):
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        stop = Path(__file__).with_name("go")
        while not stop.exists():
            context.progress(0.25, "waiting")
            time.sleep(0.05)
        return self
    def predict_logits(self, battles):
        return np.zeros((len(battles), 3), dtype=np.float32)
    def save(self, directory):
        (directory / "m").write_text("")
    def load(self, directory):
        return self
"""


class Looks(Prior):
    """Asks in another process how far its own run is."""

    run: Path
    found: list[dict[str, Any]]

    def fit(self, *arguments: Any, **options: Any) -> Self:
        options["context"].progress(0.5, "looking")
        time.sleep(1.2)
        told = subprocess.run([*STATUS, str(Looks.run), "--json"], capture_output=True, check=True)
        Looks.found.append(json.loads(told.stdout))
        return super().fit(*arguments, **options)


class Plugin:
    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("looks", Looks)


def _snapshot(run: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }


def test_another_process_sees_what_is_running(project: Project, use_plugins: UsePlugins) -> None:
    use_plugins(looks=Plugin())
    Looks.run, Looks.found = project.path / "run", []
    ensemble.run(
        project.config([{"name": "p", "plugin": "prior"}, {"name": "l", "plugin": "looks"}])
    )
    first, second, third = Looks.found
    assert first["state"] == "running"
    assert first["process"]["pid"] == os.getpid()
    assert first["stage"] == "fit"
    (job,) = first["running"]
    assert (job["learner"], job["fit"], job["progress"]) == ("l", "fold-0", 0.5)
    assert job["message"] == "looking"
    assert job["seconds"] > 0
    assert job["expected_end"] is not None
    assert first["jobs"] == {"total": 6, "done": 1, "running": 1, "failed": 0, "waiting": 4}
    assert first["best"]["name"] == "p"
    assert first["best"]["folds"] == 1
    assert [one["jobs"]["done"] for one in (second, third)] == [4, 5]
    after = run_status(Looks.run)
    assert (after["state"], after["running"], after["process"]) == ("finished", [], None)
    assert after["best"]["kind"] == "stack"
    assert not (Looks.run / "running.json").exists()


def test_it_writes_nothing_and_needs_no_lock(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    before = _snapshot(run)
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    told = subprocess.run([*STATUS, str(run)], capture_output=True, text=True, check=True)
    for path in (run, *run.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert "finished" in told.stdout
    assert "3 of 3 done" in told.stdout
    assert _snapshot(run) == before


def _flip_a_letter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"run_dir", b"run_dis", 1))


def _cut_the_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_what_is_damaged_or_gone_is_named(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    assert run_status(run)["damaged"] == []
    learner = run_status(run)["learners"][0]["name"]
    for name, harm in (
        ("config.toml", _flip_a_letter),
        ("config.toml", Path.unlink),
        (f"learners/{learner}/fold-1/manifest.json", Path.unlink),
        ("stack/manifest.json", Path.unlink),
        ("stack/manifest.json", _cut_the_last_byte),
        ("submission.json", Path.unlink),
    ):
        before = (run / name).read_bytes()
        harm(run / name)
        found = run_status(run)
        assert found["damaged"] == [name]
        assert found["state"] == "incomplete"
        (run / name).write_bytes(before)
    assert run_status(run)["state"] == "finished"


def test_nothing_heavy_is_imported_for_it(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    code = (
        "import sys; from ensemble.cli import main; sys.argv[1:] = ['status', sys.argv[1]]; main();"
        "heavy = {'polars', 'numpy', 'pydantic', 'lightgbm', 'torch', 'rich', 'sklearn'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_learner_that_failed_is_told_with_the_command_that_retries(project: Project) -> None:
    learners = [{"name": "p", "plugin": "prior"}, {"name": "bad", "plugin": "raises"}]
    config = project.config(learners)
    with pytest.raises(errors.IncompleteRunError):
        ensemble.run(config)
    found = run_status(project.path / "run", "my config.toml")
    assert found["state"] == "failed"
    (failed,) = found["failed"]
    assert (failed["name"], failed["at"]) == ("bad", "fold 0")
    assert failed["retry"] == "ensemble fit 'my config.toml' --learner bad"
    assert found["jobs"] == {"total": 6, "done": 3, "running": 0, "failed": 3, "waiting": 0}
    assert any(failed["retry"] in line for line in lines(found))


WILD = {
    "label": 3, "learner": ["a"], "fit": {"x": 1}, "where": [], "message": {}, "limit": "x",
    "elapsed": float("nan"), "progress": float("inf"), "since": 5,
}  # fmt: skip


@pytest.mark.parametrize("host", [None, "another"])
def test_what_a_process_can_never_have_said_is_passed_over(
    host: str | None, project: Project
) -> None:
    run = ensemble.run(project.config()).directory
    mark = {**own_mark(), "elapsed": 1e308, "beat": float("nan")}
    mark |= {} if host is None else {"host": host}
    endless = {"label": "y", "learner": "p", "fit": "fold-0", "elapsed": 1e14, "progress": 0.1}
    told = {"process": mark, "jobs": [WILD, endless, 3], "stages": [{"name": ["q"]}]}
    (run / "running.json").write_text(json.dumps(told))
    found = run_status(run)
    assert found["state"] == "running"
    json.dumps(found, allow_nan=False)
    assert list(lines(found))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
@pytest.mark.parametrize("name", ["jobs.json", "running.json", "config.toml", "battles.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, project: Project) -> None:
    run = ensemble.run(project.config()).directory
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    subprocess.run([*STATUS, str(run)], check=True, timeout=60, capture_output=True)


HALVES = [
    "",
    "{",
    "[]",
    '{"process": 3}',
    '{"process": {"pid": "x"}}',
    '{"process": {}, "jobs": 5, "stages": [3]}',
    "\x00\xff",
]


@pytest.mark.parametrize("content", HALVES)
def test_what_is_half_written_is_tolerated(content: str, project: Project) -> None:
    run = ensemble.run(project.config()).directory
    for name in ("running.json", "unfinished.json", "learners/p/failure.json",
                 "learners/p/fold-1/manifest.json", "stack/verdict.json"):  # fmt: skip
        (run / name).write_text(content, encoding="latin-1")
    found = run_status(run)
    assert found["jobs"]["done"] == 2
    assert list(lines(found))
    (run / "jobs.json").write_text(content, encoding="latin-1")
    assert run_status(run)["jobs"]["total"] == 0


def _write_running(run: Path, **mark: Any) -> None:
    told = {
        "process": {**own_mark(), "beat": 2.0, "elapsed": 7.0, **mark},
        "stages": [],
        "jobs": [],
    }
    (run / "running.json").write_text(json.dumps(told))


def test_a_dead_process_is_told_from_one_that_works(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    _write_running(run)
    assert run_status(run)["state"] == "running"
    _write_running(run, started="1")  # another process has its number now
    assert run_status(run)["state"] == "dead"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _write_running(run, pid=gone.pid)
    assert run_status(run)["state"] == "dead"
    _write_running(run, boot="another start of the machine")
    assert run_status(run)["state"] == "dead"


def test_a_process_elsewhere_is_known_by_its_signs_of_life(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    _write_running(run, host="node-7")
    assert run_status(run)["state"] == "running"
    past = time.time() - 3600
    os.utime(run / "running.json", (past, past))
    found = run_status(run)
    assert found["state"] == "silent"
    assert "no sign of life" in next(lines(found))


def test_a_clock_that_has_gone_back_breaks_nothing(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    _write_running(run)
    future = time.time() + 1e6
    os.utime(run / "running.json", (future, future))
    found = run_status(run)
    assert found["state"] == "running"
    assert found["process"]["seconds"] == 7.0
    assert list(lines(found))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="there is no run"):
        run_status(tmp_path)
    (tmp_path / "config.toml").write_text('run_dir = "run"')
    with pytest.raises(errors.ConfigError, match="(?s)no run.*or the config: .*config.toml"):
        run_status(tmp_path)
    told = subprocess.run([*STATUS, str(tmp_path / "no")], capture_output=True, text=True)
    assert told.returncode == 2


def test_a_stack_or_submission_of_former_fits_is_not_the_end(project: Project) -> None:
    def state() -> str:
        return str(run_status(run)["state"])

    plain = {"meta_learner": "none", "resamples": 200}
    config = project.config([{"name": "p", "plugin": "prior"}], stack=plain)
    run = ensemble.run(config).directory
    assert state() == "finished"
    (run / "submission.csv").unlink()
    assert state() == "incomplete", "interrupted before the submission"
    again = project.config([{"name": "p", "plugin": "prior", "shift": 0.5}], stack=plain)
    with writing(again) as reporter:
        fit_stage(again, reporter)
        assert run_status(run)["jobs"]["done"] == 3
    assert state() == "incomplete", "the stack is of fits with other parameters"
    ensemble.run(again)
    assert state() == "finished"
    manifest = run / "stack" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["key_parts"]["unfinished"] = {"p": {"fold-1": "key"}}
    manifest.write_text(json.dumps(told))
    assert state() == "incomplete", "it was made without a fold that has come since"


def test_the_config_of_a_copy_is_of_the_copy(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    shutil.copytree(run, project.path / "copy")
    for place in ("copy", "run"):
        config = str(project.path / place / "config.toml")
        told = subprocess.run([*STATUS, config, "--json"], capture_output=True, check=True)
        assert json.loads(told.stdout)["run"] == str(project.path / place)


def test_this_process_is_alive() -> None:
    assert state_of(own_mark()) == "alive"
    assert state_of({}) == "unknown"


def test_jobs_are_written_while_they_go_on_and_gone_after(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        with running.stage("fit"), running.job("a fold 0", learner="a", fit="fold-0") as job:
            job.update(0.5, "half")
            time.sleep(1.2)
            told = json.loads((tmp_path / "running.json").read_text())
            assert [one["name"] for one in told["stages"]] == ["fit"]
            assert [one["fit"] for one in told["jobs"]] == ["fold-0"]
        time.sleep(1.2)
        assert json.loads((tmp_path / "running.json").read_text())["jobs"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_of_500_fits_is_told_within_a_second(tmp_path: Path) -> None:
    fits = {f"fold-{k}": f"{k:064d}" for k in range(5)}
    planned = [LearnerJobs(f"l{i}", fits) for i in range(100)]
    (tmp_path / "events.jsonl").write_text("")
    write_jobs(tmp_path, planned)
    for one in planned:
        for name, key in fits.items():
            place = tmp_path / "learners" / one.name / name
            place.mkdir(parents=True)
            told = {"key": key, "seconds": {"job": 2.0}, "score": {"rows": 9, "log_loss": 1.0}}
            write_checksummed(place / "manifest.json", {**told, "more": ["x" * 50] * 100})
    began = time.process_time()
    found = run_status(tmp_path)
    assert found["jobs"]["done"] == 500
    assert time.process_time() - began < 1.0


@pytest.mark.slow
def test_a_run_that_was_killed_is_dead_and_goes_on(project: Project) -> None:
    (project.path / "waits.py").write_text(FILE)
    learners = [{"name": "w", "plugin": "waits.py:Waits"}]
    project.config(learners, execution={"executor": "processes", "workers": 2, "threads": 1})
    run, config = project.path / "run", project.path / "config.toml"
    ensemble_run = [sys.executable, "-m", "ensemble", "run", str(config), "--quiet"]
    process = subprocess.Popen(ensemble_run, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (run / "jobs.json").exists() or len(run_status(run)["running"]) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run_status(run)["state"] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run_status(run)["state"] == "dead"
    told = subprocess.run(
        [*STATUS, str(run), "--follow"], capture_output=True, text=True, timeout=30
    )
    assert "dead" in told.stdout
    (project.path / "go").touch()
    subprocess.run(ensemble_run, check=True, stdout=subprocess.DEVNULL)
    found = run_status(run)
    assert (found["state"], found["jobs"]["done"]) == ("finished", 3)


def test_a_job_that_may_hang_is_told_with_the_limit_that_it_has(project: Project) -> None:
    run = ensemble.run(project.config()).directory
    _write_running(run)
    told = json.loads((run / "running.json").read_text())
    for seconds, overdue in ((30.0, False), (3600.0, True)):
        told["jobs"] = [{"learner": "p", "fit": "fold-1", "label": "p", "elapsed": seconds}]
        (run / "running.json").write_text(json.dumps(told))
        (job,) = run_status(run)["running"]
        assert (job["overdue"], job["limit"]) == (overdue, None)
        assert any("far longer" in line for line in lines(run_status(run))) == overdue
    told["jobs"][0] |= {"limit": 7200.0, "learner": "unknown"}
    (run / "running.json").write_text(json.dumps(told))
    (line,) = [one for one in lines(run_status(run)) if one.startswith("running  p")]
    assert "limit 2.0 h" in line and "far longer" not in line
