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

import polars as pl
import pytest
from filelock import FileLock

from tests.ensemble.audit.forging import add_training_row
from tests.installed import install_distribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fixture_types import Learners, Project

    Command = Callable[..., subprocess.Popen[str]]
    """Starts ``ensemble`` in a process of its own."""

SLOW_LEARNER = """
import json, os, time
import numpy as np
from ensemble import BaseLearner, hookimpl

print("heard on import")

class Slow(BaseLearner):
    def __init__(self, seconds: float = 0.3) -> None:
        self.seconds = seconds
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        time.sleep(self.seconds)
        print("heard from fit")
        os.system("echo heard from a child")
        self.shares = labels.mean(axis=0)
        return self
    def predict_logits(self, battles):
        return np.tile(np.log(self.shares + 0.01), (len(battles), 1)).astype(np.float32)
    def save(self, directory):
        (directory / "a.json").write_text(json.dumps(self.shares.tolist()))
    def load(self, directory):
        self.shares = np.array(json.loads((directory / "a.json").read_text()))
        return self

@hookimpl
def register_base_learners(register):
    register("slow", Slow)
"""
LEARNERS: Learners = [
    {"name": "s", "plugin": "slow"},
    {"name": "z", "plugin": "slow", "seconds": 0.2},
]


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Give a function that starts ``ensemble`` in a process where a third-party plugin is there."""
    site = tmp_path_factory.mktemp("site")
    install_distribution(site, "slow-learner", "1.2", "slow_learner", SLOW_LEARNER, point="slow")

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ensemble.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(site)},
        )

    return start


def _finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def _write_config(project: Project, **changes: Any) -> Path:
    project.config(LEARNERS, **changes)
    return project.path / "config.toml"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ensemble.cli import cli; cli(['--help'], standalone_mode=False);"
        "heavy = {'torch', 'polars', 'lightgbm', 'sklearn', 'numpy', 'scipy', 'pydantic', 'rich',"
        " 'matplotlib', 'pluggy'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Commands:" in done.stdout


def test_importing_the_package_is_light() -> None:
    code = "import sys, ensemble; sys.exit(int('polars' in sys.modules or 'numpy' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there() -> None:
    import ensemble

    assert all(getattr(ensemble, name) is not None for name in ensemble.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ensemble.nothing


@pytest.mark.slow
def test_a_run_through_the_command_line(project: Project, command: Command) -> None:
    config = _write_config(project)
    code, out, err = _finish(command("run", config, "--json"))
    assert code == 0, err
    outcome = json.loads(out)
    assert [item["name"] for item in outcome["learners"]] == ["s", "z"]
    assert Path(outcome["submission"]).exists()
    assert "s  fold 0  fitted in" in err
    code, out, _ = _finish(command("audit", project.path / "run"))
    assert code == 0
    assert "checks hold" in out
    test = project.path / "test.csv"
    code, out, _ = _finish(command("validate", outcome["submission"], "--test", test))
    assert (code, "valid, 9 rows" in out) == (0, True)
    moved = project.path / "moved"
    (project.path / "run").rename(moved)
    output = project.path / "new.csv"
    code, out, err = _finish(command("predict", moved, "--test", test, "--output", output))
    assert code == 0, err
    assert output.read_text() == (moved / "submission.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_what_plugins_print_goes_to_standard_error(
    executor: str, project: Project, command: Command
) -> None:
    config = _write_config(project, execution={"executor": executor, "threads": 1})
    for verb in ("prepare", "split"):
        _, out, _ = _finish(command(verb, config, "--json"))
        json.loads(out)
    _, out, err = _finish(command("fit", config, "--learner", "z", "--folds", "0", "--json"))
    assert json.loads(out) == {"fitted": 1, "kept": 0}
    for words in ("heard on import", "heard from fit", "heard from a child"):
        assert words in err
    for verb in ("learners", "plugins"):
        _, out, err = _finish(command(verb, "--json"))
        assert json.loads(out)
        assert "heard on import" in err


@pytest.mark.slow
def test_the_stages_one_by_one(project: Project, command: Command) -> None:
    config = _write_config(project)
    stages: list[tuple[str, ...]] = [
        ("prepare",),
        ("split",),
        ("fit", "--learner", "s", "--folds", "0,1"),
        ("fit", "--learner", "s", "--folds", "2"),
        ("fit",),
        ("stack",),
        ("predict",),
        ("report",),
    ]
    for verb, *options in stages:
        code, _, err = _finish(command(verb, config, *options))
        assert code == 0, err
    assert (project.path / "run" / "submission.csv").exists()
    assert (project.path / "run" / "report.html").exists()


@pytest.mark.slow
def test_sources_from_preparing_to_the_verdict(project: Project, command: Command) -> None:
    project.config([{"name": "s", "plugin": "slow", "seconds": 0.0}])
    path = project.path / "config.toml"
    asked = ("--learner", "s", "--folds", "0", "--rows", "50", "--seeds", "2", "--source", "extra")
    code, out, err = _finish(command("sources", path, *asked, "--json"))
    assert code == 0, err
    assert "heard from fit" in err
    (study,) = json.loads(out)
    assert study["name"] == "extra"
    assert (study["effect"]["learner"], study["effect"]["folds"]) == ("s", [0])
    assert study["verdict"]["sentence"] in err
    code, out, err = _finish(command("sources", path, *asked))
    assert (code, "heard from fit" in err) == (0, False)
    assert study["verdict"]["sentence"] in out
    assert "extra: effect on the target" in out
    assert "not measured" in out  # the learner has no pretrain
    assert not (project.path / "run" / "learners").exists()


@pytest.mark.slow
def test_sources_measures_only_the_parts_that_are_asked_for(
    project: Project, command: Command
) -> None:
    project.config([{"name": "s", "plugin": "slow", "seconds": 0.0}])
    asked = ("--learner", "s", "--folds", "0", "--seeds", "2", "--no-curve", "--no-shift")
    treatments = ("--treatment", "train", "--treatment", "train, weight 0.1")
    path = project.path / "config.toml"
    code, out, err = _finish(command("sources", path, *asked, *treatments, "--json"))
    assert code == 0, err
    (study,) = json.loads(out)
    assert [one["name"] for one in study["effect"]["treatments"]] == ["train", "train, weight 0.1"]
    assert study["effect"]["curve"] == []
    assert study["shift"] is None


def test_an_unknown_treatment_is_refused_with_the_list_of_those_there_are(
    project: Project, command: Command
) -> None:
    project.config([{"name": "s", "plugin": "slow"}])
    path = project.path / "config.toml"
    code, _, err = _finish(command("sources", path, "--treatment", "trian"))
    assert code == 2
    assert 'unknown treatment "trian"' in err
    assert "train, labels matched" in err and "pretrain" in err
    assert not (project.path / "run").exists()


@pytest.mark.slow
def test_an_audit_that_fails_exits_with_1_and_names_the_ids(
    project: Project, command: Command
) -> None:
    config = _write_config(project)
    assert _finish(command("run", config, "--quiet"))[0] == 0
    fold = project.path / "run/learners/s/fold-0"
    leak = pl.read_parquet(fold / "oof.parquet")["id"][0]
    add_training_row(fold, leak)
    code, out, _ = _finish(command("audit", project.path / "run", "--json"))
    assert code == 1
    failed = [check for check in json.loads(out)["checks"] if not check["ok"]]
    assert [check["ids"] for check in failed] == [[leak]]


@pytest.mark.slow
def test_a_check_exits_with_1_where_a_stored_model_says_something_else(
    project: Project, command: Command
) -> None:
    from ensemble.storage.hashing import hash_file
    from ensemble.storage.json_files import write_checksummed

    config = _write_config(project)
    code, out, _ = _finish(command("check", config, "--json"))
    found = [(finding["what"], finding["ok"]) for finding in json.loads(out)]
    assert code == 0
    assert ("save and load", True) in found
    assert {ok for what, ok in found if what.startswith("fold")} == {None}
    assert _finish(command("fit", config, "--quiet"))[0] == 0
    fold = project.path / "run/learners/s/fold-0"
    (fold / "model/a.json").write_text("[0.1, 0.2, 0.7]")
    manifest = json.loads((fold / "manifest.json").read_text())
    manifest["files"]["model/a.json"] = hash_file(fold / "model/a.json")
    write_checksummed(fold / "manifest.json", manifest)
    code, out, _ = _finish(command("check", config, "--learner", "s", "--quiet"))
    assert code == 1
    assert [line[:4] for line in out.splitlines() if " s, fold" in line] == [
        "FAIL",
        "ok  ",
        "ok  ",
    ]


@pytest.mark.slow
def test_an_audit_of_a_part_exits_with_0_only_where_a_part_is_asked_for(
    project: Project, command: Command
) -> None:
    config = _write_config(project)
    assert _finish(command("run", config, "--quiet"))[0] == 0
    run = project.path / "run"
    shutil.rmtree(run / "learners")
    shutil.rmtree(run / "stack")
    code, out, _ = _finish(command("audit", run))
    assert (code, "the run is not complete, not measured: s fold 0" in out) == (1, True)
    code, out, _ = _finish(command("audit", run, "--partial", "--json"))
    outcome = json.loads(out)
    assert (code, outcome["ok"], outcome["complete"]) == (0, True, False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nothing.toml"), 2, "error: the config cannot be read"),
        (("run",), 2, "Missing argument 'CONFIG'"),
        (("rnu",), 2, "No such command 'rnu'"),
        (("audit", "nowhere"), 2, "error: this is not a run directory"),
        (("validate", "x.csv", "--test", "y.csv"), 2, "error: "),
        (("predict", "x", "--test", "y.csv"), 2, "--test and --output go together"),
        (("demo", "--rows", "3"), 2, "Invalid value for '--rows'"),
    ],
)
def test_exit_codes(command: Command, arguments: tuple[str, ...], code: int, message: str) -> None:
    returned, _, err = _finish(command(*arguments))
    assert (returned, message in err) == (code, True), err
    assert "Traceback" not in err


def test_a_list_of_folds_that_is_none(project: Project, command: Command) -> None:
    code, _, err = _finish(command("fit", _write_config(project), "--folds", "0;1"))
    assert code == 2
    assert "'0;1' is not a list of folds" in err


def test_learners_and_plugins_list_what_is_installed(command: Command) -> None:
    code, out, _ = _finish(command("learners", "--json"))
    assert code == 0
    listed = {(row["kind"], row["name"]): row["distribution"] for row in json.loads(out)}
    assert listed["base learner", "slow"] == "slow-learner 1.2"
    assert ("meta-learner", "lightgbm") in listed
    code, out, _ = _finish(command("plugins"))
    assert (code, "slow  slow-learner 1.2" in out, "builtin  " in out) == (0, True, True)


@pytest.mark.slow
def test_two_processes_on_one_run(project: Project, command: Command) -> None:
    config = _write_config(project)
    (project.path / "run").mkdir(exist_ok=True)
    with FileLock(project.path / "run" / ".lock"):
        code, _, err = _finish(command("run", config))
    assert code == 1
    assert "another process writes to this run" in err
    assert _finish(command("run", config))[0] == 0


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes(project: Project, command: Command) -> None:
    config = _write_config(project)
    process = command("run", config)
    _wait_for(project.path / "run/learners/s/fold-0/manifest.json")
    process.send_signal(signal.SIGINT)
    code, _, err = _finish(process)
    assert code == 130, err
    assert "run the same command again to resume" in err
    assert "Traceback" not in err
    assert not list((project.path / "run/learners").rglob(".tmp-*"))
    code, _, err = _finish(command("run", config))
    assert code == 0, err
    assert "s  fold 0" not in err


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_a_working_directory_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); from ensemble.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo"],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the working directory is not there any more" in done.stderr
    assert "change to one that is" in done.stderr
