"""Private names of torch, transformers and peft: each stands in one module, which says why."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "plugins/ensemble_plugins/language_model/model"
SOURCES = ("ensemble", "features", "plugins", "benchmarks")
MODULES = {
    "forward": "forward.py",
    "_compiled_call_impl": "compiled.py",
    "_attn_implementation": "implementation.py",
    "_int_mm": "precision.py",
    "_scaled_mm": "precision.py",
    "_inductor": "soft_capping.py",
    "_dynamo": "flash.py",
    "_flash_attn_fwd": "flash.py",
    "_flash_attn_bwd": "flash.py",
    "_foreach_add_": "gradients.py",
}
"""Where each private name may stand, and nowhere else."""
LIBRARIES = {"torch", "transformers", "peft"}


def names(node: ast.AST) -> Iterable[str]:
    """Give the names by which a node may reach for something private."""
    match node:
        case ast.Attribute(attr="forward", ctx=ast.Store() | ast.Del()):
            return ["forward"]
        case ast.Attribute(attr=name) if name != "forward":
            return [name]
        case ast.ImportFrom(module=str(module), names=imported) if in_library(module):
            return [*module.split("."), *(alias.name for alias in imported)]
        case ast.Import(names=imported):
            return [part for alias in imported for part in alias.name.split(".")]
        case ast.Call(args=values) | ast.Compare(left=ast.Constant() as values):
            return texts(values if isinstance(values, list) else [values])
        case ast.Subscript(slice=value):
            return texts([value])
    return []


def in_library(path: str) -> bool:
    return path.split(".")[0] in LIBRARIES


def texts(nodes: list[Any]) -> list[str]:
    parts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [part for value in parts if isinstance(value, str) for part in value.split(".")]


def doors_of(source: str) -> set[str]:
    """Name the private doors that a source uses: the known ones, and others by what is private."""
    tree = list(ast.walk(ast.parse(source)))
    return {name for node in tree for name in names(node) if name in MODULES} | {
        name for node in tree for name in unknown(node)
    }


def unknown(node: ast.AST) -> list[str]:
    """Give the private parts of what is taken from one of the libraries."""
    match node:
        case ast.Attribute():
            parts = ast.unparse(node).split(".")
        case ast.ImportFrom(module=str(module), names=imported):
            parts = [*module.split("."), *(alias.name for alias in imported)]
        case _:
            return []
    private = [part for part in parts if part.startswith("_") and not part.endswith("__")]
    return private if in_library(parts[0]) else []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch._int_mm(a, b)", {"_int_mm"}),
        ("from torch import _scaled_mm", {"_scaled_mm"}),
        ("import torch._inductor.lowering", {"_inductor"}),
        ("from torch._inductor.virtualized import ops", {"_inductor"}),
        ("importlib.import_module('torch._inductor.lowering')", {"_inductor"}),
        ("getattr(config, '_attn_implementation')", {"_attn_implementation"}),
        ("module._compiled_call_impl = None", {"_compiled_call_impl"}),
        ("layer.forward = computed", {"forward"}),
        ("del layer.forward", {"forward"}),
        ("setattr(layer, 'forward', computed)", {"forward"}),
        ("vars(layer)['forward']", {"forward"}),
        ("'forward' in vars(layer)", {"forward"}),
        ("torch._dynamo.reset()", {"_dynamo"}),
        ("from ensemble_plugins.language_model.model.forward import replace_forward", set()),
        ("from transformers.utils import _hidden", {"_hidden"}),
        ("layer.forward(x)\nbase.set_attn_implementation('eager')", set()),
        ("from __future__ import annotations\nself._mine = torch.ones(1)", set()),
    ],
)
def test_the_scan_sees_every_way_to_a_door(source: str, found: set[str]) -> None:
    assert doors_of(source) == found


def test_each_private_name_stands_in_its_own_module() -> None:
    paths = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 100
    used = {(path, name) for path in paths for name in doors_of(path.read_text("utf-8"))}
    wanted = {(MODEL / module, name) for name, module in MODULES.items()}
    astray = {f"{name} in {path.relative_to(ROOT)}" for path, name in used - wanted}
    assert not astray, "a private name of a library belongs in a module that says what it is for"
    unused = {name for _, name in wanted - used}
    assert not unused, "MODULES lists names that are not used any more"


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_the_module_of_a_private_name_says_what_it_is_for(name: str, module: str) -> None:
    said = ast.get_docstring(ast.parse((MODEL / module).read_text("utf-8")))
    assert name in (said or "")
