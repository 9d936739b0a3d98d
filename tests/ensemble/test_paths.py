"""No path is a pattern: what lies at another place is never read in its stead."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ensemble import run
from ensemble.battles.prepared import read_battles

if TYPE_CHECKING:
    from tests.fixture_types import Project

ROOT = Path(__file__).parents[2]
READERS = {
    f"pl.{verb}_{form}" for verb in ("read", "scan") for form in ("parquet", "csv", "ndjson", "ipc")
}
MODULES = sorted(
    path for room in ("ensemble", "features", "plugins") for path in (ROOT / room).rglob("*.py")
)


def test_polars_is_told_that_paths_are_no_patterns() -> None:
    offences = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS:
                opened = ast.unparse(node.args[0]) if node.args else ""
                told = any(word.arg == "glob" for word in node.keywords)
                if not (told or "BytesIO" in opened or opened == "file"):
                    offences.append(f"{path}:{node.lineno}")
    assert len(MODULES) > 200 and not offences


def test_a_run_in_a_directory_with_brackets_reads_its_own_files(project: Project) -> None:
    learners = [{"name": "x", "plugin": "prior"}]
    stack = {"meta_learner": "none"}
    other = run(
        project.config(learners, stack=stack, run_dir=str(project.path / "exp1"), seed=1)
    ).directory
    own = run(
        project.config(learners, stack=stack, run_dir=str(project.path / "exp[1]"), seed=2)
    ).directory
    assert (own.name, other.name) == ("exp[1]", "exp1")
    folds = [pl.read_parquet(place / "folds.parquet", glob=False) for place in (own, other)]
    assert not folds[0].equals(folds[1]), "the two have other folds"
    stacked = pl.read_parquet(own / "stack" / "oof.parquet", glob=False)
    joined = stacked.join(folds[0], on="id", suffix="_planned")
    assert (joined["fold"] == joined["fold_planned"]).all()
    assert len(read_battles(own)[0])
