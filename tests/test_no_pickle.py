"""No stored file may run code when it is read: nothing of the toolkit reads or writes pickles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path for room in ("ensemble", "features", "plugins") for path in (ROOT / room).rglob("*.py")
)
FORBIDDEN = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HARMLESS = {"joblib.cpu_count", "joblib.parallel_config"}
LOADERS = {"torch.load", "pandas.read_pickle", "pd.read_pickle", "pl.Expr.deserialize"}


def offences(source: str) -> list[str]:
    """List imports of serializers that run code, and calls that unpickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _root(alias.name) in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} - HARMLESS
            found += [name for name in names if _root(name) in FORBIDDEN or name in LOADERS]
        elif isinstance(node, ast.Call):
            found += _calls(node)
    return found


def _calls(node: ast.Call) -> list[str]:
    called = ast.unparse(node.func)
    allows = [
        word.arg
        for word in node.keywords
        if word.arg == "allow_pickle"
        and not (isinstance(word.value, ast.Constant) and word.value.value is False)
    ]
    dynamic = called in {"__import__", "importlib.import_module"} and any(
        isinstance(value, ast.Constant) and _root(str(value.value)) in FORBIDDEN
        for value in node.args
    )
    return [called] if called in LOADERS or allows or dynamic else []


def _root(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_pickles(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    import joblib.externals as e",
        "from dill import loads",
        "from joblib import cpu_count, load",
        "import torch\nx = torch.load('a', weights_only=True)",
        "from torch import load",
        "np.load('a', allow_pickle=True)",
        "numpy.load('a', allow_pickle=flag)",
        "importlib.import_module('shelve')",
    ],
)
def test_an_offence_is_seen(source: str) -> None:
    assert len(offences(source)) == 1


@pytest.mark.parametrize("source", ["np.load('a', allow_pickle=False)", "import json", "load('a')"])
def test_what_is_harmless_is_let_through(source: str) -> None:
    assert offences(source) == []
