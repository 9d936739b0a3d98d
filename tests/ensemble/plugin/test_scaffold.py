from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ensemble.cli import cli
from ensemble.errors import InputError
from ensemble.plugin.files import load_file
from ensemble.plugin.manager import Manager
from ensemble.plugin.scaffold import KINDS, new_plugin

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_registers_itself(kind: str, tmp_path: Path) -> None:
    made = new_plugin("my-own", tmp_path, kind=kind)
    project = tomllib.loads((tmp_path / "my-own" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["ensemble"] == {"my-own": "my_own"}
    manager = Manager({"mine": load_file(tmp_path / "my-own" / "my_own.py")}, discover=False)
    registry = manager.registries[KINDS[kind].hook]
    assert [entry.name for entry in registry] == ["my-own"]
    assert registry.get("my-own")
    tomllib.loads(made.fragment)
    alone = new_plugin("my-own", tmp_path, kind=kind, single_file=True)
    reference = f"{tmp_path}/{alone.commands[-1].rpartition(' ')[2]}"
    assert registry.get(reference)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_its_own_test_and_ruff(kind: str, tmp_path: Path) -> None:
    new_plugin("my-own", tmp_path, kind=kind)
    home = tmp_path / "my-own"
    # Without the kit the test that asks it is left out; what was learned is looked at all the same.
    apart = []
    if importlib.util.find_spec("ensemble.testing") is None:
        test = home / "tests" / "test_my_own.py"
        lines = test.read_text().splitlines(keepends=True)
        test.write_text("".join(line for line in lines if "ensemble.testing" not in line))
        apart = ["-k", "not contract"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    asked = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(
        [*command, *apart], cwd=home, env=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    rules = ["--isolated", "--line-length", "100", "--select", "E,F,W,B,UP,RUF"]
    ruff = subprocess.run([sys.executable, "-m", "ruff", "check", *rules, home], check=False)
    assert ruff.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_installs_and_is_found(kind: str, tmp_path: Path) -> None:
    new_plugin("my-own", tmp_path, kind=kind)
    place = tmp_path / "site"
    # Without its dependencies: this package, and those that it needs, are installed already.
    options = ["--quiet", "--no-deps", "--target", str(place)]
    install = [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "my-own")]
    subprocess.run(install, check=True, capture_output=True)
    asked = {**os.environ, "PYTHONPATH": str(place)}
    for verb in ("plugins", "learners", "check"):
        name = [] if verb == "plugins" else ["my-own"]
        command = [sys.executable, "-m", "ensemble", verb, *name]
        done = subprocess.run(
            command, cwd=tmp_path, env=asked, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "my-own" in done.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My Learner", 'cannot be the name of a plugin(.|\n)*"my-learner"'),
        ("1st", "cannot be the name of a plugin"),
        ("../evil", "cannot be the name of a plugin"),
        ("class", "a word of Python"),
        ("json", "a module of Python's own"),
        ("tfidf", "a base learner that is installed"),
        ("length", "a feature set that is installed"),
        ("numpy", "a module that is installed"),
        ("scikit-learn", "a distribution that is installed"),
        ("ensemble", "a module that is installed"),
    ],
)
def test_names_that_are_none_or_taken_are_refused(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my-own").mkdir()
    with pytest.raises(InputError, match="my-own is there already"):
        new_plugin("my-own", tmp_path)
    (tmp_path / "test_my_own.py").write_text("mine")
    with pytest.raises(InputError, match="test_my_own.py is there already"):
        new_plugin("my-own", tmp_path, single_file=True)
    assert not (tmp_path / "my_own.py").exists()


def test_the_verb_says_what_comes_next(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["new-plugin", "my-own", "--directory", str(tmp_path)])
    assert shown.exit_code == 0
    for line in (f"cd {tmp_path / 'my-own'}", "pip install -e . pytest", 'plugin = "my-own"'):
        assert f"  {line}\n" in shown.output
