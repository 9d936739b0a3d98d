from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import ensemble
from ensemble.run_dir import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

CORE = Path(ensemble.__file__).parent
FILES = {value for value in vars(layout).values() if isinstance(value, str) and "." in value[1:]}
SHARED = {"oof.parquet", "index.json"}
"""Names that mean something in more places than a run, such as in an example."""


def _texts(tree: ast.Module) -> Iterator[str]:
    """Give the texts of a module but docstrings and what stands alone."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_the_layout_knows_the_files_of_a_run() -> None:
    assert {"battles.parquet", "folds.json", "verdict.json", "submission.csv"} <= FILES


def test_no_other_module_writes_the_name_of_a_run_s_file_down() -> None:
    found = {
        (path.relative_to(CORE).as_posix(), text)
        for path in sorted(CORE.rglob("*.py"))
        if path != Path(layout.__file__)
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        for name in FILES - SHARED
        if text == name or text.endswith(f"/{name}")
    }
    assert not found
