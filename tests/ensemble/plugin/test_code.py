from __future__ import annotations

import dataclasses
import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.plugin.code import code_digest, module_digest, told_difference
from ensemble.plugin.modules import module_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEARNER = """
from .numbers import half
import helper_beside

class Learner:
    rate = 2  # a comment

    def predict(self, value):
        return half(value) * self.rate
"""
FILES = {
    "owned/__init__.py": "",
    "owned/learner.py": LEARNER,
    "owned/numbers.py": "def half(value):\n    return value / 2\n",
    "owned/unrelated.py": "nothing = 0\n",
    "helper_beside.py": "x = 1\n",
}


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Give a function that writes a package, with some files changed, and imports its class."""
    places: list[str] = []

    def load(**changes: str) -> Any:
        place = tmp_path / str(len(places))
        places.append(str(place))
        changed = {name.replace("__", "/") + ".py": text for name, text in changes.items()}
        for name, text in {**FILES, **changed}.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        for name in [n for n in sys.modules if n.partition(".")[0] in ("owned", "helper_beside")]:
            del sys.modules[name]
        monkeypatch.setattr(sys, "path", [str(place), *sys.path])
        importlib.invalidate_caches()
        return importlib.import_module("owned.learner").Learner

    yield load
    for name in [n for n in sys.modules if n.partition(".")[0] in ("owned", "helper_beside")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "changes",
    [
        {"owned__learner": LEARNER.replace("self.rate", "3")},
        {"owned__learner": LEARNER.replace("rate = 2", "rate = 3")},
        {"owned__numbers": "def half(value):\n    return value / 3\n"},
        {"helper_beside": "x = 2\n"},
    ],
    ids=["method", "attribute", "relative import", "module beside"],
)
def test_whatever_a_class_does_is_part_of_its_code(
    imported: Callable[..., Any], changes: dict[str, str]
) -> None:
    before = code_digest(imported())
    assert code_digest(imported()) == before
    assert code_digest(imported(**changes)) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"owned__unrelated": "nothing = 1\n"},
        {"owned__learner": LEARNER.replace("a comment", "another").replace("\n\n", "\n\n\n")},
        {"owned__numbers": "# half of it\ndef half(value):\n    return value / 2   # so\n"},
    ],
    ids=["not imported", "comment", "comment of an import"],
)
def test_what_does_nothing_is_none(imported: Callable[..., Any], changes: dict[str, str]) -> None:
    assert code_digest(imported()) == code_digest(imported(**changes))


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not(
    imported: Callable[..., Any],
) -> None:
    inside = LEARNER.replace("        return", "        import owned.unrelated\n        return")
    apart = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import owned.unrelated\n"
    imported(owned__learner=inside)
    assert "owned.unrelated" in module_texts("owned.learner")
    imported(owned__learner=apart + LEARNER)
    assert "owned.unrelated" not in module_texts("owned.learner")


IMPORTS = {
    "not for type checkers": "if not TYPE_CHECKING:\n    import owned.unrelated\n",
    "else of type checkers": "if TYPE_CHECKING:\n    pass\nelse:\n    import owned.unrelated\n",
    "asks more": "if TYPE_CHECKING or half:\n    import owned.unrelated\n",
    "elif": "if half is None:\n    pass\nelif half:\n    import owned.unrelated\n",
    "tried": "try:\n    import nowhere\nexcept ImportError:\n    from owned import unrelated\n",
    "star": "from .unrelated import *\n",
    "relative": "from . import unrelated\n",
    "called": "import importlib\nimportlib.import_module('owned.unrelated')\n",
    "called with a keyword": "import importlib as i\ni.import_module(name='owned.unrelated')\n",
    "called relative": "from importlib import import_module as m\nimport importlib\n"
    "importlib.import_module('.unrelated', __package__)\n",
    "built in": "__import__('owned.unrelated')\n",
}


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS)
def test_imports_of_every_form_count(imported: Callable[..., Any], text: str) -> None:
    imported(owned__learner=f"{LEARNER}\nfrom typing import TYPE_CHECKING\n{text}")
    assert "owned.unrelated" in module_texts("owned.learner")


@pytest.mark.parametrize(
    "text",
    [
        "if TYPE_CHECKING:\n    import owned.unrelated\n",
        "if not TYPE_CHECKING:\n    pass\nelse:\n    import owned.unrelated\n",
        "if half is None:\n    pass\nelif TYPE_CHECKING:\n    import owned.unrelated\n",
    ],
)
def test_imports_for_type_checkers_count_in_no_form(
    imported: Callable[..., Any], text: str
) -> None:
    imported(owned__learner=f"{LEARNER}\nfrom typing import TYPE_CHECKING\n{text}")
    assert "owned.unrelated" not in module_texts("owned.learner")


@pytest.mark.parametrize(
    "start",
    [b"\xef\xbb\xbf", b"# -*- coding: latin-1 -*-\nname = '\xe9'\n"],
    ids=["byte order mark", "Latin 1"],
)
def test_a_file_in_another_encoding_has_imports_and_comments(
    imported: Callable[..., Any], tmp_path: Path, start: bytes
) -> None:
    imported()
    path = tmp_path / "0" / "owned" / "learner.py"
    texts = []
    for comment in (b"", b"# more\n"):
        path.write_bytes(start + LEARNER.encode() + comment)
        del sys.modules["owned.learner"]
        importlib.import_module("owned.learner")
        texts.append(module_texts("owned.learner"))
    assert {"helper_beside", "owned.numbers"} < texts[0].keys()
    assert texts[0] == texts[1]


def test_a_class_redefined_in_one_file_is_another() -> None:
    class Learner:
        def predict(self) -> int:
            return 1

    first = Learner

    class Learner:  # type: ignore[no-redef]
        def predict(self) -> int:
            return 2

    assert code_digest(first) != code_digest(Learner)


def _of_a_notebook(text: str) -> Any:
    """Run a cell: a module without a file."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(text, space)  # noqa: S102 - as a notebook does
    return space["Learner"]


CELL = "RATE = 2\ndef twice(x):\n    return x * RATE\nclass Learner:\n    def f(self):\n        "


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("RATE = 2", "RATE = 3"), False),
        (("x * RATE", "x * RATE + 1"), False),
        (("return twice(1)", "return twice(2)"), False),
        (("RATE = 2\n", "RATE = 2\nother = 5\n"), True),
    ],
    ids=["global", "function", "method", "other cell"],
)
def test_a_class_of_a_notebook_is_known_by_what_it_refers_to(
    change: tuple[str, str], same: bool
) -> None:
    cell = CELL + "return twice(1)\n"
    before, after = (code_digest(_of_a_notebook(text)) for text in (cell, cell.replace(*change)))
    assert (before == after) is same


def test_what_a_closure_holds_is_part_of_the_code() -> None:
    def make(rate: int) -> type:
        class Learner:
            def f(self) -> int:
                return rate

        return Learner

    assert code_digest(make(1)) == code_digest(make(1))
    assert code_digest(make(1)) != code_digest(make(2))


def test_a_method_that_is_replaced_at_run_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> type:
        class Learner:
            def f(self) -> int:
                return 1

        return Learner

    kind = make()
    monkeypatch.setattr(kind, "f", lambda self: 2)
    assert code_digest(kind) != code_digest(make())


def test_a_parent_counts_too() -> None:
    def make(value: int) -> type:
        class Parent:
            number = value

        class Learner(Parent):
            pass

        return Learner

    assert code_digest(make(1)) != code_digest(make(2))


def test_arguments_of_a_partial_and_kinds_of_callables_count() -> None:
    def load(path: str, side: str = "a") -> str:
        return path + side

    class Loader:
        def __call__(self, path: str) -> str:
            return path

    assert code_digest(partial(load, side="a")) != code_digest(partial(load, side="b"))
    assert code_digest(load) != code_digest(partial(load))
    assert code_digest(Loader()) == code_digest(Loader())
    assert code_digest(Loader()) != code_digest(Loader)
    assert code_digest("a set of features") is None


def test_what_a_class_gathers_while_it_works_is_no_code() -> None:
    def make() -> type:
        class Learner:
            seen: list[int] = []  # noqa: RUF012

        return Learner

    used = make()
    used.seen.append(1)  # type: ignore[attr-defined]
    assert code_digest(used) == code_digest(make())


def test_members_that_python_writes_are_no_code() -> None:
    @dataclasses.dataclass
    class Learner:
        rate: float = 0.1

    digest = code_digest(Learner)
    del Learner.__init__, Learner.__eq__, Learner.__repr__
    from ensemble.plugin import code

    code._KNOWN.clear()
    assert code_digest(Learner) == digest


def test_a_module_without_a_file_has_no_text() -> None:
    assert module_texts("sys") == {}
    assert module_digest("sys") == module_digest("__main__")


def test_a_difference_names_versions_or_the_code() -> None:
    then = {"source": "1", "distribution": "mine 1.0"}
    assert told_difference(then, {**then, "source": "2"}) == "the plugin's code has changed"
    told = told_difference(then, {**then, "distribution": "mine 2.0"})
    assert told == "mine 1.0 then, mine 2.0 now"
