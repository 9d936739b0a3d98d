"""``ensemble learners NAME`` says what a name takes, whatever kind of thing it stands for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ensemble.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

LOADERS = """
from dataclasses import dataclass
from functools import partial
from ensemble import BaseLearner, hookimpl

def votes(path, *, language: str = "en"):
    \"\"\"Read votes.

    Parameters
    ----------
    path
        The file.
    language
        Which votes.
    \"\"\"

@dataclass
class Reader:
    \"\"\"Reads.\"\"\"

    strict: bool = True

    def __call__(self, path, *, language: str = "en"):
        return None

class Loose(BaseLearner):
    \"\"\"Rounds.\"\"\"

    batch_tolerance = 0.25

@hookimpl
def register_base_learners(register):
    register("loose", Loose)

@hookimpl
def register_loaders(register):
    register("function", votes)
    register("object", Reader())
    register("partial", partial(votes, language="de"))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all: what is registered stays registered in this process."""
    place = tmp_path_factory.mktemp("plugin") / "my_loaders.py"
    place.write_text(LOADERS)
    return place


def _asked(name: str, file: Path, *options: str) -> str:
    done = CliRunner().invoke(cli, ["--plugin", str(file), "learners", name, *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("name", "default"), [("function", "en"), ("object", "en"), ("partial", "de")]
)
def test_a_loader_says_its_options_without_the_path(name: str, default: str, file: Path) -> None:
    found: list[dict[str, Any]] = json.loads(_asked(name, file, "--json"))
    said = [(one["name"], one["default"]) for one in found[0]["parameters"]]
    assert said == [("language", default)]


def test_a_loader_says_what_its_options_mean(file: Path) -> None:
    assert "Which votes." in _asked("function", file)


def test_a_learner_says_a_batch_tolerance_beyond_the_default(file: Path) -> None:
    assert "logits may differ by 0.25 between batches" in _asked("loose", file)
    assert "between batches" not in _asked("tfidf", file)
