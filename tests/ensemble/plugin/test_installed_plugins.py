from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from ensemble.cli import cli
from ensemble.config.plugin_files import forget_files
from ensemble.errors import InputError, UnknownNameError
from ensemble.plugin.adoption import check_left_out
from ensemble.plugin.manager import Manager, use_manager
from ensemble.plugin.selection import ALLOWED, LEFT_OUT
from tests.installed import install_distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fixture_types import Project

HOOKS = """
from ensemble import hookimpl

@hookimpl
def register_base_learners(register):
    for name in {names}:
        register(name, "json:JSONEncoder")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give a function that installs a distribution of one plugin."""
    for variable in (ALLOWED, LEFT_OUT):
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)
    use_manager(None)

    def put(distribution: str, *names: str, point: str = "", text: str | None = None) -> None:
        site = tmp_path / distribution
        module = f"plugin_module_{distribution.replace('-', '_')}"
        source = HOOKS.format(names=names) if text is None else text
        install_distribution(site, distribution, "1.5", module, source, point=point)
        monkeypatch.syspath_prepend(str(site))

    yield put
    for name in [name for name in sys.modules if name.startswith("plugin_module_")]:
        del sys.modules[name]
    use_manager(None)
    forget_files()


def _names(manager: Manager) -> list[str]:
    return [entry.name for entry in manager.base_learners]


BREAKAGES = {
    "import error": ("import no_such_module_here", "No module named 'no_such_module_here'"),
    "broken dependency": ("from json import NoSuchName", "cannot import name 'NoSuchName'"),
    "system exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "leaves at once": ("import os; os._exit(0)", "it called os._exit(0)"),
    "syntax": ("def broken(:", "SyntaxError"),
    "misspelled": (HOOKS.replace("_learners", "_leaners").format(names=()), "did you mean"),
    "raises": (HOOKS.format(names=("x",)) + "    raise ValueError('boom')", "boom"),
    "no hooks": ("x = 1", "it has no hook"),
    "other version": ("ensemble_api = 99\n" + HOOKS.format(names=()), "version 99 of the hooks"),
    "null byte": ("x = 1\0", "null bytes"),
}


@pytest.mark.parametrize("kind", BREAKAGES)
def test_a_broken_plugin_is_set_aside_and_strict_alone_minds(
    kind: str, install: Callable[..., None]
) -> None:
    text, told = BREAKAGES[kind]
    install("bad-one", text=text)
    install("good-one", "fine")
    manager = Manager()
    assert "handcrafted" in _names(manager)
    assert "fine" in _names(manager)
    shown = CliRunner().invoke(cli, ["plugins", "--json"])
    rows = {row["name"]: row for row in json.loads(shown.stdout)["plugins"]}
    assert (rows["bad-one"]["state"], rows["bad-one"]["version"]) == ("set aside", "1.5")
    assert told in rows["bad-one"]["errors"][0]
    assert shown.exit_code == 0
    assert rows["builtin"]["errors"] == []


def test_strict_fails_where_something_is_wrong_and_else_does_not(
    install: Callable[..., None],
) -> None:
    assert CliRunner().invoke(cli, ["plugins", "--strict"]).exit_code == 0
    install("odd", "x")  # what it registers is no learner
    use_manager(None)
    shown = CliRunner().invoke(cli, ["plugins", "--strict"])
    assert shown.exit_code == 1
    assert '"x" is not a base learner' in shown.output
    assert "hooks:  register_base_learners" in shown.output
    assert "plugin_module_odd.py" in shown.output


def test_two_plugins_of_one_name_work_both_and_are_told(install: Callable[..., None]) -> None:
    text = HOOKS.replace("json:JSONEncoder", "ensemble_plugins.tfidf:Tfidf")
    install("dist-a", point="same", text=text.format(names=("of_a", "shared")))
    install("dist-b", point="same", text=text.format(names=("of_b", "shared")))
    manager = Manager()
    assert {"of_a", "of_b"} <= set(_names(manager))
    with pytest.raises(Exception, match="`--no-plugin dist-a` or `--no-plugin dist-b`"):
        manager.base_learners.get("shared")
    told = manager.faults(manager.found["same@dist-a"])
    assert told[0] == ('its entry point has the name "same", which is taken: dist-b 1.5 has it too')
    check_left_out(["dist-b"])
    assert {"of_a", "shared"} <= set(_names(Manager()))


def test_the_name_of_the_toolkits_own_entry_point_cannot_be_taken(
    install: Callable[..., None],
) -> None:
    install("thief", "tfidf", point="builtin")
    manager = Manager()
    assert manager.base_learners.entry("tfidf").distribution.startswith("preference-ensemble")
    (broken,) = manager.broken
    assert 'the entry point "builtin" is the toolkit\'s own' in broken.error


@pytest.mark.parametrize(
    ("allowed", "there"),
    [("", []), ("one", ["a"]), ("one,two", ["a", "b"]), ("dist_two", ["b"]), (None, ["a", "b"])],
)
def test_the_environment_says_which_plugins_are_loaded(
    allowed: str | None,
    there: list[str],
    install: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = HOOKS.replace("json:JSONEncoder", "ensemble_plugins.tfidf:Tfidf")
    install("dist-one", point="one", text=text.format(names=("a",)))
    install("dist-two", point="two", text=text.format(names=("b",)))
    if allowed is not None:
        monkeypatch.setenv(ALLOWED, allowed)
    manager = Manager()
    assert [name for name in _names(manager) if name in "ab"] == there
    assert "handcrafted" in _names(manager)
    assert not any(one.is_wanted for one in manager.broken)


def test_a_plugin_that_is_left_out_is_not_even_imported(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("fatal", text="raise RuntimeError('imported')")
    check_left_out(["FATAL"])
    manager = Manager()
    assert [one.error for one in manager.broken] == ["left out by --no-plugin"]
    with pytest.raises(UnknownNameError, match='plugin "fatal" is left out by --no-plugin'):
        manager.base_learners.get("fatal-learner")
    monkeypatch.setenv(ALLOWED, "nobody")
    errors = {one.name: one.error for one in Manager().broken}
    assert errors["nobody"] == "ENSEMBLE_PLUGINS names it, and it is not installed"


def test_names_that_cannot_be_left_out(install: Callable[..., None]) -> None:
    install("dist-one", point="one")
    with pytest.raises(UnknownNameError, match='unknown plugin "onne"(.|\n)*did you mean "one"'):
        check_left_out(["onne"])
    with pytest.raises(InputError, match="toolkit's own"):
        check_left_out(["builtin"])


def test_metadata_that_nobody_can_read_stops_nothing(
    install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good-one", "fine")
    info = tmp_path / "site" / "garbled-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[ensemble]\nno equals sign here\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garbled\nVersion: 1.0\n")
    without = tmp_path / "site" / "nameless-1.0.dist-info"
    without.mkdir()
    (without / "entry_points.txt").write_text("[ensemble]\nnameless = json\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    manager = Manager()
    assert {"fine", "handcrafted"} <= {*_names(manager), "fine"}
    assert [one.name for one in manager.broken] == ["nameless"]


def test_what_is_wrong_stops_a_config_only_that_needs_it(
    install: Callable[..., None], project: Project
) -> None:
    from ensemble.errors import ConfigError
    from ensemble.pipeline import run

    install("bad-one", text=BREAKAGES["raises"][0])
    use_manager(None)
    with pytest.raises(ConfigError, match='"x" cannot be had(.|\n)*boom(.|\n)*bad-one 1.5'):
        run(project.config([{"name": "x", "plugin": "x"}]))
    done = run(project.config([{"name": "t", "plugin": "tfidf", "min_df": 1}]))
    assert (done / "submission.csv").exists()
