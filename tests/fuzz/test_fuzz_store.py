"""A run directory whose files say anything: every verb that reads it answers or refuses."""

from __future__ import annotations

import random
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

import ensemble
from ensemble import Run
from ensemble.audit.audit import audit_run
from ensemble.cli.terminal import summary
from tests.fuzz.forged import forge
from tests.fuzz.harmless import bounded_memory, harmless, nothing_else_written
from tests.fuzz.mutations import mutants, scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fixture_types import Project

pytestmark = pytest.mark.slow

VERBS: dict[str, Callable[[Path], object]] = {
    "battles": lambda run: Run(run).battles,
    "folds": lambda run: Run(run).folds,
    "verdict": lambda run: repr(Run(run).verdict),
    "submission": lambda run: Run(run).submission,
    "oof": lambda run: Run(run).oof("p"),
    "test": lambda run: Run(run).test("p"),
    "probabilities": lambda run: Run(run).probabilities(),
    "scores": lambda run: Run(run).scores,
    "status": lambda run: Run(run).status,
    "summary": summary,
    "html": lambda run: Run(run)._repr_html_(),
    "audit": audit_run,
    "report": lambda run: Run(run).report(),
}


@pytest.fixture
def finished(project: Project) -> Path:
    config = project.config(
        [{"name": "p", "plugin": "prior"}, {"name": "q", "plugin": "prior", "shift": 0.5}]
    )
    directory: Path = ensemble.run(config).directory
    return directory


def ask(run: Path, told: str, chance: random.Random) -> None:
    for name in ("status", "summary", *chance.sample(sorted(VERBS), 3)):
        harmless(f"{told}: {name}", partial(VERBS[name], run))


def files_of(run: Path) -> list[Path]:
    return sorted(p for p in run.rglob("*") if p.is_file() and p.suffix != ".html")


def test_what_is_stored_may_say_anything(finished: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(finished, kept)
    with bounded_memory():
        for number in range(100 * scale()):
            chance = random.Random(f"store {number}")
            path = chance.choice([p for p in files_of(finished) if p.suffix in _TOLD])
            with nothing_else_written(tmp_path, finished):
                name = forge(path.parent, path, chance)
                ask(finished, f"{number}, {path.relative_to(finished)}, {name}", chance)
            shutil.rmtree(finished)
            shutil.copytree(kept, finished)


_TOLD = (".json", ".parquet")


def test_damaged_bytes_of_a_run_are_named(finished: Path, tmp_path: Path) -> None:
    for path in files_of(finished):
        whole = path.read_bytes()
        chance = random.Random(path.name)
        with nothing_else_written(tmp_path, finished):
            for told, content in mutants(str(path.relative_to(finished)), whole, 2):
                path.write_bytes(content)
                ask(finished, told, chance)
        path.write_bytes(whole)
