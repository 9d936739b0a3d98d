"""Slips of plugin authors, as the command line shows them: never a traceback, never silence."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import hookimpl
from ensemble.cli import main
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType
    from typing import NoReturn

    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins


def _leaves(*_: object, **__: object) -> NoReturn:
    os._exit(0)


def _quits(*_: object, **__: object) -> NoReturn:
    raise SystemExit(0)


@pytest.fixture
def ensemble(
    project: Project,
    use_plugins: UsePlugins,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[str | int | None, str]]:
    """Give a function that runs a verb with a learner of these members: exit code and stderr."""

    def go(verb: str, loader: str | None = None, **members: Any) -> tuple[str | int | None, str]:
        class Plugin:
            @hookimpl
            def register_base_learners(self, register: Register) -> None:
                register("odd", type("Odd", (Prior,), members))

            @hookimpl
            def register_loaders(self, register: Register) -> None:
                register("quits", _quits)
                register("leaves", _leaves)

        use_plugins(odd=Plugin())
        source = {"name": "arena", "path": "train.csv", "role": "target"}
        sources = [source | ({"loader": loader} if loader else {})]
        project.config([{"name": "mine", "plugin": "odd"}], sources=sources)
        path = project.path / "config.toml"
        monkeypatch.setattr(sys, "argv", ["ensemble", verb, str(path), "--quiet"])
        code: str | int | None = 0
        try:
            main()
        except SystemExit as error:
            code = error.code
        return code, capfd.readouterr().err

    return go


@pytest.mark.parametrize("member", ["fit", "predict_logits", "save", "load"])
@pytest.mark.parametrize(
    ("slip", "told"), [(_leaves, "it called os._exit(0)"), (_quits, "SystemExit: 0")]
)
def test_a_learner_that_ends_the_program_is_an_error(
    ensemble: Callable[..., tuple[str | int | None, str]],
    member: str,
    slip: FunctionType,
    told: str,
) -> None:
    code, shown = ensemble("run", **{member: slip})
    assert code == 1
    assert "error: no learner is complete" in shown
    assert f"{member} raised SystemExit: " in shown
    assert told in shown
    assert re.search("mine +fold 0 ", shown)
    assert f"{__file__}:{slip.__code__.co_firstlineno + 1}" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("loader", ["quits", "leaves"])
def test_a_loader_that_ends_the_program_is_an_error(
    ensemble: Callable[..., tuple[str | int | None, str]], loader: str
) -> None:
    code, shown = ensemble("prepare", loader=loader)
    assert code == 1
    assert "error: the loader raised SystemExit" in shown
    assert f'loader "{loader}"' in shown
    assert __file__ in shown


@pytest.mark.parametrize(
    "members",
    [
        {"resources": property(_quits)},
        {"resources": property(_leaves)},
        {"dependencies": _quits},
        {"teachers": property(_leaves)},
        {"batch_tolerance": property(_quits)},
        {"__init__": _quits},
    ],
)
def test_a_learner_that_ends_the_program_when_asked_is_an_error(
    ensemble: Callable[..., tuple[str | int | None, str]], members: dict[str, Any]
) -> None:
    code, shown = ensemble("fit", **members)
    assert code == 2
    assert "SystemExit" in shown
    assert 'learner "mine", plugin "odd"' in shown
    assert "Traceback" not in shown


def test_an_interruption_of_a_fit_stays_one(
    ensemble: Callable[..., tuple[str | int | None, str]],
) -> None:
    def fit(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    code, shown = ensemble("run", fit=fit)
    assert code == 130
    assert "interrupted: run the same command again" in shown
