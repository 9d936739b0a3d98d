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
LOADERS = {
    *("torch.load", "torch.hub.load", "torch.jit.load", "pandas.read_pickle", "pd.read_pickle"),
    *("pd.read_hdf", "yaml.load", "yaml.unsafe_load", "datasets.load_from_disk"),
    *(f"pl.{kind}.deserialize" for kind in ("Expr", "DataFrame", "LazyFrame")),
    *("np.lib.format.read_array", "eval", "exec", "os.system", "builtins.eval", "builtins.exec"),
}
TRUSTS = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True, "shell": False}
"""Options that let a file or a checkpoint bring code, and what they have to be where they stand."""


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
        if word.arg in TRUSTS
        and not (isinstance(word.value, ast.Constant) and word.value.value is TRUSTS[word.arg])
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
        "AutoModel.from_pretrained('a', trust_remote_code=True)",
        "AutoModel.from_pretrained('a', trust_remote_code=trusted)",
        "pl.LazyFrame.deserialize('a')",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_an_offence_is_seen(source: str) -> None:
    assert len(offences(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.load('a', allow_pickle=False)",
        "import json",
        "load('a')",
        "model.eval()",
        "ast.literal_eval(text)",
        "AutoModel.from_pretrained('a', trust_remote_code=False)",
    ],
)
def test_what_is_harmless_is_let_through(source: str) -> None:
    assert offences(source) == []
