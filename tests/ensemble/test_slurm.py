"""Scripts for Slurm: what they say, and what comes of them where a program stands in for it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.held_out import HeldOut
from ensemble.cli.shared import fit_names
from ensemble.config.load import load_run_config
from ensemble.config.settings import Execution
from ensemble.oof.cluster.jobs import Need
from ensemble.oof.cluster.nodes import room_on, too_large
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.refits import Again
from ensemble.plugin.base import Resources
from ensemble.plugin.manager import use_manager
from ensemble.run_dir.status.status import run_status
from ensemble.stacking.settings import learner_specs
from ensemble.stages.copies import copied
from ensemble.stages.fit_list import fits_of
from ensemble.stages.shared import record_config
from ensemble.stages.slurm import Array, array_script, merge_script, slurm_stage, submit_script
from tests.ensemble.oof.plugin_text import PREDICTS_LOGITS
from tests.ensemble.oof.prepared import prepared
from tests.fakes import Prior

if TYPE_CHECKING:
    from tests.fixture_types import Project

PLUGIN = """
import json
import numpy as np
from ensemble import BaseLearner

class Mean(BaseLearner):
    def __init__(self, shift: float = 0.0, teachers: tuple[str, ...] = ()) -> None:
        self.shift, self.teachers = shift, teachers
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        taught = [np.nanmean(logits, axis=0) for logits in context.teachers.values()]
        self.logits_ = np.log(labels.mean(axis=0) + 1e-9) + self.shift + sum(taught)
        return self
"""

SBATCH = """#!{python}
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
array = re.search(r"--array=0-(\\d+)", text)
for index in range(int(array[1]) + 1 if array else 1):
    environment = dict(os.environ, SLURM_ARRAY_TASK_ID=str(index))
    done = subprocess.run(["bash", script], env=environment, stdout=sys.stderr)
    if done.returncode:
        sys.exit(done.returncode)
print(f"{{os.getpid()}};cluster")
"""


def _config(project: Project, run: str) -> Any:
    (project.path / "mean.py").write_text(PLUGIN + PREDICTS_LOGITS)
    learners: list[dict[str, Any]] = [
        {"name": "pupil", "plugin": "mean.py:Mean", "teachers": ["teacher"]},
        {"name": "teacher", "plugin": "mean.py:Mean", "shift": 0.5},
    ]
    return project.config(learners, run_dir=run, folds={"n_splits": 3})


def _files(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted((run / "learners").rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.mark.slow
def test_submitted_scripts_fit_what_this_process_would(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_manager(None)
    here = _config(project, "a run here")
    space = prepared(here)
    for spec, held_out in fits_of(here, learner_specs(here)[::-1]):
        fit_fold(space, spec, held_out)
    config = _config(project, "a run, by Slurm")
    run = prepared(config).run
    record_config(config)
    (run / "events.jsonl").touch()
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(python=sys.executable, log=str(log)))
    (programs / "sbatch").chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    told = slurm_stage(config, project.path / "config.toml")
    jobs = {name: set(folds) for name, folds in told["jobs"].items()}
    folds = {"0", "1", "2"}
    assert jobs == {"pupil": folds, "teacher": folds | {"0-1", "0-2", "1-2"}}
    subprocess.run(["bash", told["submit"]], check=True, timeout=300)
    assert _files(run) == _files(space.run)
    queued = log.read_text().splitlines()
    scripts = [line.rpartition("/")[2] for line in queued]
    assert scripts == ["fit-teacher.sh", "merge.sh", "fit-pupil.sh", "merge.sh"]
    assert ["--dependency=afterany:" in line for line in queued] == [False, True, True, True]
    counts = run_status(run)["jobs"]
    assert (counts["done"], counts["total"]) == (9, 9), "though no process has fitted in the run"
    again = slurm_stage(config, project.path / "config.toml")
    assert again == {"submit": None, "jobs": {}}, "all is there"


def test_a_script_asks_for_what_the_learner_declares(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}])
    (spec,) = learner_specs(config)
    needs = Resources(gpus=2, memory_gib=40.5, minutes=45.0, threads=6)
    monkeypatch.setattr(type(spec.prototype), "resources", needs)
    spec = replace(spec, seeds=2)
    array = Array(spec, 0, ("0", "1", "refit"), Execution())
    place = Path("/shared/100% mine/slurm")
    text = array_script(array, Path("/a b/config.toml"), place, ["--partition=gpu"], ["module x"])
    asked = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert asked == [
        "--job-name=ensemble-x",
        "--array=0-2",
        "--cpus-per-task=6",
        "--mem=41472M",
        "--gres=gpu:2",
        "--time=190",
        "--requeue",
        "--open-mode=append",
        '"--output=/shared/100%% mine/slurm/logs/%x-%A_%a.log"',
        "--partition=gpu",
    ]
    assert "\nmodule x\n" in text and "fits=(0 1 refit)" in text
    assert "'/a b/config.toml' --learner x" in text
    for script in (text, merge_script(config, place, [], []), submit_script([array], place)):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_options_come_to_sbatch_as_they_were_given(project: Project) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}])
    (spec,) = learner_specs(config)
    given = ["--comment=two words", "--mail-user=a#b", """--wckey=it's "\\x\"""", "--nice"]
    place = Path("/data of mine/#1")
    for text in (
        array_script(Array(spec, 0, ("0",), Execution()), Path("c.toml"), place, given, []),
        merge_script(config, place, given, []),
    ):
        lines = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
        # As sbatch reads them: words part, quotes and backslashes go, # begins a comment.
        asked = [word for line in lines for word in shlex.split(line, comments=True)]
        assert asked[-4:] == given
        assert any(one.startswith("--output=/data of mine/#1/logs/") for one in asked)


def test_learners_may_be_called_as_scripts_are(project: Project) -> None:
    learners: list[dict[str, Any]] = [{"name": n, "plugin": "prior"} for n in ("merge", "submit")]
    config = project.config(learners)
    prepared(config)
    told = slurm_stage(config, project.path / "config.toml")
    place = Path(told["submit"]).parent
    assert {path.name for path in place.glob("*.sh")} == {
        *("fit-merge.sh", "fit-submit.sh", "merge.sh", "submit.sh")
    }
    queued = re.findall(r"[\w-]+\.sh", Path(told["submit"]).read_text())
    assert queued == ["fit-merge.sh", "fit-submit.sh", "merge.sh"]


def test_predictions_from_files_are_left_to_the_run_itself(project: Project) -> None:
    ids = [f"{source}-{row}" for source, rows in (("arena", 60), ("t", 9)) for row in range(rows)]
    logits = {f"logit_{side}": [0.0] * len(ids) for side in ("a", "b", "tie")}
    pl.DataFrame({"id": ids, **logits}).write_parquet(project.path / "brought.parquet")
    brought = {"plugin": "precomputed", "oof": "brought.parquet", "test": "brought.parquet"}
    config = project.config([{"name": "brought", **brought}, {"name": "x", "plugin": "prior"}])
    prepared(config)
    told = slurm_stage(config, project.path / "config.toml")
    assert list(told["jobs"]) == ["x"], "merging would refuse what a job makes of files"


def test_no_array_has_more_jobs_than_slurm_takes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.stages.slurm._MOST_JOBS", 2)
    monkeypatch.setattr(Prior, "cheap", False)
    config = project.config([{"name": "x", "plugin": "prior"}])
    prepared(config)
    assert slurm_stage(config, project.path / "config.toml")["jobs"] == {"x": ["0,1", "2"]}


def test_a_learner_that_the_config_has_since_is_merged_too(project: Project) -> None:
    prepared(first := project.config([{"name": "x", "plugin": "prior"}]))
    record_config(first)
    config = project.config([{"name": "x", "plugin": "prior"}, {"name": "y", "plugin": "prior"}])
    slurm_stage(config, project.path / "config.toml")
    recorded = load_run_config(Path(config.run_dir))
    assert [one.name for one in recorded.learners] == ["x", "y"]


def test_threads_of_the_config_come_before_those_that_a_learner_declares(project: Project) -> None:
    (spec,) = learner_specs(project.config([{"name": "x", "plugin": "prior"}]))
    array = Array(spec, 0, ("0",), Execution(threads=3))
    text = array_script(array, Path("c.toml"), Path("s"), [], [])
    assert "--cpus-per-task=3\n" in text and "--gres" not in text and "--time" not in text


@pytest.mark.parametrize(("device", "gpus"), [("auto", 2), ("cuda", 2), ("cpu", 0)])
def test_no_gpu_is_asked_for_where_the_config_names_another_device(
    project: Project, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int
) -> None:
    (spec,) = learner_specs(project.config([{"name": "x", "plugin": "prior"}]))
    monkeypatch.setattr(type(spec.prototype), "resources", Resources(gpus=2))
    execution = Execution(device=device)
    text = array_script(Array(spec, 0, ("0",), execution), Path("c.toml"), Path("s"), [], [])
    assert ("--gres=gpu:2" in text) == bool(gpus) and "--gres=gpu:0" not in text
    need = Need.of(spec, execution)
    assert need.gpus == gpus
    bare = {"Resources": {"CPU": 8.0, "memory": 2.0**40}}
    assert bool(room_on(bare, need)) == (gpus == 0)
    assert ('device = "cpu"' in str(too_large(need, [bare], "x"))) == bool(gpus)


def test_what_each_job_would_refuse_is_refused_before_any_is_queued(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}])
    prepared(config)
    (spec,) = learner_specs(config)
    monkeypatch.setattr(type(spec.prototype), "cheap", False)
    found = Again(spec, HeldOut((0,)), "the plugin's code has changed", {"source": "0" * 64})
    monkeypatch.setattr("ensemble.stages.slurm.made_again", lambda *_: [found])
    with pytest.raises(errors.ConfigError, match="other code has made what is there") as caught:
        slurm_stage(config, project.path / "config.toml")
    assert "--learner NAME --keep NAME" in (caught.value.hint or "")
    assert not (Path(config.run_dir) / "slurm").exists()


def test_where_slurm_refuses_a_job_none_stays_queued(project: Project, tmp_path: Path) -> None:
    specs = learner_specs(project.config([{"name": n, "plugin": "prior"} for n in ("x", "y")]))
    arrays = [Array(spec, depth, ("0",), Execution()) for depth, spec in enumerate(specs)]
    programs, log = tmp_path / "programs", tmp_path / "log"
    programs.mkdir()
    told = f'#!/bin/bash\necho "${{0##*/}} $*" >> {log}\n'
    (programs / "scancel").write_text(told)
    (programs / "sbatch").write_text(f'{told}[[ "$*" != *fit-y* ]] && wc -l < {log}\n')
    for program in programs.iterdir():
        program.chmod(0o700)
    ended = subprocess.run(
        ["bash"],
        input=submit_script(arrays, tmp_path),
        text=True,
        capture_output=True,
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=False,
    )
    assert ended.returncode and "none stays queued" in ended.stderr and not ended.stdout
    assert log.read_text().splitlines()[-1] == "scancel 1 2", "the fits of x, and their merge"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"options": ["gpu"]}, "no option of sbatch"),
        ({"options": ["--partition=gpu\nrm -r x"]}, "no option of sbatch"),
        ({"setup": ["a\nb"]}, "breaks the line"),
        ({"output": Path("/data/a\nb")}, "breaks the line"),
    ],
)
def test_what_would_break_a_script_is_refused(
    given: dict[str, Any], message: str, project: Project
) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}])
    with pytest.raises(errors.ConfigError, match=message):
        slurm_stage(config, project.path / "config.toml", **given)


def test_a_copy_is_no_place_around_the_run(project: Project) -> None:
    config = project.config(execution={"executor": "ray", "address": "auto"})
    for place in (Path(config.run_dir), project.path):
        with pytest.raises(errors.ConfigError, match="cannot be where the run is"):
            copied(config, place)
    copy = copied(config, project.path / "copy")
    assert (copy.run_dir, copy.execution.executor) == (str(project.path / "copy"), "auto")


def test_fits_are_named_as_folds_pairs_and_refit() -> None:
    names = [held_out.name for held_out in fit_names(["0,refit,0-2,1-2-3"]) or []]
    assert names == ["fold-0", "refit", "pair-0-2", "triple-1-2-3"]
    assert fit_names([]) is None
    for text in ("2-0", "x", "", "1-1", "0,,1"):
        with pytest.raises(click.BadParameter, match="not a list of folds"):
            fit_names([text])
