"""Users' files are not overwritten, and names out of files do not reach the terminal raw."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors, run
from ensemble.cli.demo import CONFIG, demo
from ensemble.run_dir.progress import Terminal
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from tests.fixture_types import Project


def test_a_directory_that_is_no_run_is_left_alone(project: Project) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}], stack={"meta_learner": "none"})
    place = Path(config.run_dir)
    place.mkdir(exist_ok=True)
    (place / "submission.csv").write_text("mine")
    with pytest.raises(errors.ConfigError, match="no run and not empty: it holds submission.csv"):
        run(config)
    assert [path.name for path in place.iterdir()] == ["submission.csv"]
    assert (place / "submission.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "there", [(), (".lock", ".DS_Store"), ("events.jsonl", "notes.txt"), ("running.json",)]
)
def test_an_empty_directory_or_a_run_is_taken(there: tuple[str, ...], project: Project) -> None:
    config = project.config([{"name": "x", "plugin": "prior"}])
    place = Path(config.run_dir)
    place.mkdir(exist_ok=True)
    for name in there:
        (place / name).write_text("")
    with writing(config):
        pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, errors.LearnerError("it failed")])
def test_what_a_worker_that_was_ended_left_is_put_away(error: Any, project: Project) -> None:
    config = project.config()
    fold = Path(config.run_dir) / "learners/p" / f".tmp-{'0' * 32}-fold-0"
    with suppress(KeyboardInterrupt, errors.LearnerError), writing(config):
        fold.mkdir(parents=True)
        (fold / "oof.parquet").write_text("half")
        if error is not None:
            raise error
    assert not fold.exists()


@pytest.mark.parametrize("name", ["config.toml", "train.csv", "data/train.csv"])
def test_the_demonstration_replaces_nobodys_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(errors.ConfigError, match="no demonstration and not empty"):
        demo(tmp_path, rows=100, seed=0)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == 1 + ("/" in name)


def test_a_demonstration_that_was_killed_early_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)

    def stop(**_: object) -> None:
        raise OSError("as far as here")

    monkeypatch.setattr("ensemble.cli.demo.make_battles", stop)
    with pytest.raises(OSError, match="as far as here"):
        demo(tmp_path, rows=100, seed=0)


@pytest.mark.parametrize("name", ["best_single", "vector_scaling", "lightgbm"])
def test_no_learner_is_called_like_a_candidate(name: str, project: Project) -> None:
    config = project.config([{"name": name, "plugin": "prior"}], stack={"meta_learner": "lightgbm"})
    with pytest.raises(errors.ConfigError, match=f'a learner cannot be called "{name}"'):
        check_plugins(config)


def test_terminal_escapes_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    told = str(
        errors.DataError("id \x1b[2J\x07", where="a\u202eb.csv", hint="two\nlines\tand é 模")
    )
    assert told == ("id \\x1b[2J\\x07\n  where: a\\u202eb.csv\n  hint:  two\nlines\tand é 模")
    Terminal().log("name \x1b]0;title\x07")
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_a_minus_sign_ends_nothing(encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    program = (
        "import sys, click, ensemble.cli as c\n"
        "c.cli = lambda **_: click.echo('loss \u2212 0.1 \u2502')\n"
        "c.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"loss ")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ensemble", "--version"], capture_output=True, check=True
    )
    assert b"version" in done.stdout or b"." in done.stdout
