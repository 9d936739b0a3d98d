"""``ensemble check NAME``: a line for each check, or JSON, and what is said of unknown names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ensemble.cli import cli
from ensemble.plugin.hookspecs import hookimpl
from tests.ensemble.testing.broken_learners import BROKEN, Sound

if TYPE_CHECKING:
    from collections.abc import Callable


class _Plugin:
    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        register("sound", Sound)
        register("numbered", BROKEN["NumbersRows"][0])


@pytest.fixture
def check(use_plugins: Callable[..., None]) -> Callable[..., Any]:
    use_plugins(mine=_Plugin())
    return lambda *arguments: CliRunner().invoke(cli, ["check", *arguments])


def test_a_name_is_checked_line_by_line(check: Callable[..., Any]) -> None:
    found = check("sound")
    assert found.exit_code == 0
    assert "ok    sound, other ids: difference 0\n" in found.output
    assert "--    sound, pretrain: it has no pretrain\n" in found.output


def test_a_fault_exits_with_one(check: Callable[..., Any]) -> None:
    found = check("numbered", "--json")
    assert found.exit_code == 1
    failed = {one["what"]: one["detail"] for one in json.loads(found.stdout) if one["ok"] is False}
    assert "in another order" in failed["order of rows"]


def test_parameters_and_other_kinds(check: Callable[..., Any]) -> None:
    assert "ok    length, exchange of A and B" in check("length").output
    assert check("sound", "--option", "strenth=2").exit_code == 1


def test_an_unknown_name_says_which_is_near(check: Callable[..., Any]) -> None:
    found = check("soudn")
    assert found.exit_code == 2 or found.exception is not None
    assert 'did you mean "sound"?' in str(getattr(found.exception, "hint", found.output))
