"""Which texts a module is known by, and of when."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from ensemble import hookimpl
from ensemble.plugin.code import code_digest
from ensemble.plugin.manager import Manager
from ensemble.plugin.modules import (
    digest_of,
    imported_from_elsewhere,
    is_local,
    is_of_python,
    module_texts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble.plugin.base import Register

MODULES = ("digested", "digested_helper", "antigravity")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory that modules are imported from, before Python's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def test_what_is_edited_counts_when_it_is_reloaded(place: Path) -> None:
    helper = place / "digested_helper.py"
    (place / "digested.py").write_text(
        "import digested_helper as h\nclass Learner:\n    def f(self):\n        return h.x\n"
    )
    helper.write_text("x = 1\n")
    module = importlib.import_module("digested")
    before = code_digest(module.Learner)
    helper.write_text("x = 2000\n")
    assert code_digest(module.Learner) == before  # this process still has x = 1
    importlib.reload(module.h)
    assert code_digest(module.Learner) != before
    helper.write_text("x = 1\n")
    importlib.reload(module.h)
    assert code_digest(module.Learner) == before


def test_a_module_that_is_not_imported_yet_counts_as_it_is(place: Path) -> None:
    helper = place / "digested_helper.py"
    (place / "digested.py").write_text(
        "class Learner:\n    def f(self):\n        import digested_helper\n"
    )
    helper.write_text("x = 1\n")
    kind = importlib.import_module("digested").Learner
    before = code_digest(kind)
    importlib.import_module("digested_helper")
    assert code_digest(kind) == before
    del sys.modules["digested_helper"]
    helper.write_text("x = 2000\n")
    assert code_digest(kind) != before


def test_a_module_that_is_called_like_one_of_pythons_is_no_other(place: Path) -> None:
    assert is_of_python("antigravity")
    path = place / "antigravity.py"
    found = []
    for value in (1, 2):
        path.write_text(f"class Learner:\n    x = {value}\n")
        sys.modules.pop("antigravity", None)
        found.append(code_digest(importlib.import_module("antigravity").Learner))
    assert found[0] != found[1]
    assert not is_of_python("antigravity")
    assert is_local("antigravity")
    assert not is_local("json")
    assert not is_local("numpy")
    assert not is_local("ensemble.errors")


def test_what_a_string_holds_is_no_blank_line() -> None:
    texts = [
        'x = """a\n\nb"""\n',
        'x = """a\nb"""\n',
        'x = """a \nb"""\n',
        'x = f"""a\n\nb"""\n',
        'x = f"""a\nb"""\n',
    ]
    assert len({digest_of(text.encode()) for text in texts}) == 5
    assert digest_of(b"x = 1  # so\n\n\ny = 2") == digest_of(b"x = 1\n# no\ny = 2\n")
    assert digest_of(b"\x0c\nx = 1\ny = 2 # so\n") != digest_of(b"\x0c\nx = 1\ny = 3 # so\n")


def test_an_object_is_known_by_what_has_made_it_too(place: Path) -> None:
    path = place / "digested.py"

    def source(number: int) -> str:
        path.write_text(
            f"import re\nclass Table:\n    def __call__(self, path): ...\nt = Table()\n# {number}\n"
            f"made = {number}\n"
        )
        sys.modules.pop("digested", None)
        module = importlib.import_module("digested")

        class Brings:
            @hookimpl
            def register_loaders(self, register: Register) -> None:
                register("lazy", "digested:t")
                register("eager", module.t)

        module.register_loaders = Brings().register_loaders  # type: ignore[attr-defined]
        loaders = Manager({"mine": module}, discover=False).loaders
        return "".join(loaders.entry(name).code()["source"] for name in ("lazy", "eager"))

    assert source(1) == source(1)
    assert source(1)[:64] != source(2)[:64]
    assert source(1)[64:] != source(2)[64:]


def test_a_missing_module_has_no_texts() -> None:
    assert module_texts("no_such_module.at_all") == {}


def test_what_is_imported_from_other_folders_is_named(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text does not count: whoever wrote it should know."""
    other = tmp_path_factory.mktemp("other")
    monkeypatch.syspath_prepend(other)
    (other / "digested_helper.py").write_text("x = 1\n")
    (place / "digested.py").write_text("import json, numpy, ensemble, digested_helper\n")
    importlib.import_module("digested")
    assert imported_from_elsewhere(["digested"]) == {
        "digested_helper": other / "digested_helper.py"
    }
    assert imported_from_elsewhere(["digested", "digested_helper"]) == {}
