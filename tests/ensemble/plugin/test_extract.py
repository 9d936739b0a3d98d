"""The source of a notebook's class with all that it refers to, as a module of its own."""

from __future__ import annotations

import linecache
import re
import sys
import textwrap
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.plugin.extract import UnportableError, extracted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Give a function that runs a cell in a ``__main__`` of its own."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    cells = iter(range(100))

    def cell(text: str) -> ModuleType:
        name, text = f"<ipython-input-{next(cells)}>", textwrap.dedent(text)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), vars(main))  # noqa: S102 - a cell
        return main

    return cell


def test_the_source_of_a_notebooks_class_brings_what_it_refers_to(
    notebook: Callable[[str], ModuleType],
) -> None:
    notebook("import xml.dom.minidom\nimport numpy as np\nfrom pathlib import Path as P\nN = 3")
    notebook("def lean(x, by=N):\n    return np.tanh(x / by)\n")
    notebook("class Unused: ...\nUNUSED = object()")
    main = notebook(
        """
        class Parent:
            scale = N
            def name(self):
                return xml.dom.minidom.Document.__name__

        @staticmethod
        def nothing(): ...

        class Mine(Parent):
            def ask(self, x):
                return lean(x), P("a"), Mine.__name__
        """
    )
    ((file, text),) = extracted(main.Mine).items()
    space: dict[str, Any] = {"__name__": "fresh"}
    exec(compile(text, file, "exec"), space)  # noqa: S102 - what was extracted
    mine = space["Mine"]()
    assert (file, mine.name(), mine.scale) == ("mine.py", "Document", 3)
    assert mine.ask(0.0)[2] == "Mine"
    assert "Unused" not in text
    assert "UNUSED" not in text


def test_names_of_a_scope_of_their_own_are_no_globals(
    notebook: Callable[[str], ModuleType],
) -> None:
    notebook("import numpy as np")
    notebook("battles = labels = side = x = attribute = word = rate = shares_ = object()")
    main = notebook(
        """
        class Mine:
            def __init__(self, rate: float = 0.5):
                self.rate = rate

            def fit(self, battles, labels):
                def inner(row):
                    return battles[row]["word"]
                self.shares_ = np.mean([labels[inner(x)] for x in range(3)])
                return {side: battles for side in "ab"}, (lambda x: x + len(battles)), "x"

            def attribute(self, word):
                for x in (y for y in word if y in battles_of(word)):
                    return x

        def battles_of(word):
            return word
        """
    )
    text = extracted(main.Mine)["mine.py"]
    assert "def battles_of" in text
    assert "import numpy as np" in text
    assert "object" not in text


@pytest.mark.parametrize(
    "text",
    [
        "X = 3\nclass Mine:\n    X = X + 1\n    def ask(self): return self.X",
        "X = 3\nclass Mine:\n    def ask(self, by=X): return by + 1",
        "X = 3\nclass Mine:\n    def ask(self): return [X + i for i in (1,)][0]",
        "X = 3\nclass Mine:\n    def ask(self): return (lambda: X + 1)()",
        "X = 3\nclass Mine:\n    def ask(self):\n        global X\n        return X + 1",
        "import re\nX = re.compile('B+', re.I)\nclass Mine:\n"
        "    def ask(self): return len(X.match('bbbb')[0])",
        "import numpy as np\nX = np.array([[1, 2], [3, 4]])\nclass Mine:\n"
        "    def ask(self): return int(X[1, 1])",
        "import numpy as np\nX = np.float32(4)\nclass Mine:\n    def ask(self): return int(X)",
        "from pathlib import Path\nX = Path('aaaa')\nclass Mine:\n"
        "    def ask(self): return len(X.name)",
        "import functools\ndef by(f):\n    return functools.wraps(f)(lambda self: f(self) + 1)\n"
        "class Mine:\n    @by\n    def ask(self): return 3",
        "from dataclasses import dataclass\nclass Part:\n    def __init__(self): ...\n"
        "@dataclass\nclass Mine:\n    x: Part = 4\n    def ask(self): return self.x",
    ],
)
def test_what_is_referred_to_comes_with_it(
    text: str, notebook: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = notebook(text)
    assert main.Mine().ask() == 4
    ((file, made),) = extracted(main.Mine).items()
    fresh = ModuleType("fresh")
    monkeypatch.setitem(sys.modules, "fresh", fresh)  # where data classes look
    exec(compile(made, file, "exec"), vars(fresh))  # noqa: S102 - what was extracted
    assert fresh.Mine().ask() == 4


def test_a_cell_that_is_run_again_is_the_class_as_it_is_now(
    notebook: Callable[[str], ModuleType],
) -> None:
    for value in (1, 2):
        main = notebook(f"class Mine:\n    def ask(self):\n        return {value}\n")
    assert "return 2" in extracted(main.Mine)["mine.py"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("X = object()\nclass Mine:\n    def ask(self):\n        return X", "it refers to X"),
        ("class Mine:\n    x = 1", "has no code of its own"),
        (
            "class Mine:\n    def a(self): ...\n    def b(self): ...\n"
            "def other(self): ...\nMine.b = other",
            "other was put into Mine from elsewhere",
        ),
        (
            "def f():\n    class Mine:\n        def a(self): ...\n    return Mine\nMine = f()",
            "not defined at the top level",
        ),
    ],
)
def test_what_has_no_source_is_said(
    text: str, told: str, notebook: Callable[[str], ModuleType]
) -> None:
    main = notebook(text)
    with pytest.raises(UnportableError, match=told):
        extracted(main.Mine)


@pytest.mark.parametrize(
    "then",
    [
        "import statistics\nMine._middle = staticmethod(statistics.median)",
        "import json\nMine.__str__ = json.dumps",
        "import dataclasses\nMine.__getstate__ = dataclasses.asdict",
        "import functools\nfunctools.total_ordering(Mine)",
    ],
)
def test_a_function_of_python_that_was_put_into_a_class_is_named(
    then: str, notebook: Callable[[str], ModuleType]
) -> None:
    notebook(
        "import dataclasses\n@dataclasses.dataclass(eq=False)\nclass Mine:\n    a: int = 3\n"
        "    def __lt__(self, other): ...\n    def _middle(self, values): ...\n"
    )
    main = notebook(then)
    with pytest.raises(UnportableError, match="was put into Mine from elsewhere"):
        extracted(main.Mine)


BODY = "class Mine:\n    rate, other = 1, 2\n    top = 3\n    also = N + 1\n    named: str\n{more}"
ASK = "    def ask(self):\n        return [self.rate, self.top, self.also, self.named]\n"


def test_attributes_that_a_class_gets_after_its_body_go_with_it(
    notebook: Callable[[str], ModuleType],
) -> None:
    notebook("import re\nN = 3")
    notebook(BODY.format(more=ASK))
    main = notebook(
        "Mine.rate = 0.5\nMine.top = (1, 'x')\nMine.also = N * 3\nMine.named = re.compile('z')"
    )
    text = extracted(main.Mine)["mine.py"]
    space: dict[str, Any] = {"__name__": "fresh"}
    exec(compile(text, "mine.py", "exec"), space)  # noqa: S102 - what was extracted
    assert space["Mine"]().ask() == main.Mine().ask() == [0.5, (1, "x"), 9, re.compile("z")]


def test_a_parents_attributes_go_with_it_too(notebook: Callable[[str], ModuleType]) -> None:
    notebook("class Parent:\n    rate = 1\n    def ask(self):\n        return self.rate\n")
    notebook("class Mine(Parent):\n    def b(self): ...\n")
    main = notebook("Parent.rate = 7")
    space: dict[str, Any] = {"__name__": "fresh"}
    exec(compile(extracted(main.Mine)["mine.py"], "x", "exec"), space)  # noqa: S102
    assert space["Mine"]().ask() == 7


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("Mine.table = object()", "Mine.table was set after the class body.*object"),
        ("Mine.top = object()", "Mine.top was set after the class body"),
        ("Mine.hook = print", "Mine.hook was set after the class body"),
        ("import functools\nMine.hook = functools.partial(int)", "Mine.hook was set after"),
        ("del Mine.top", "Mine.top was deleted after the class body"),
    ],
)
def test_an_attribute_that_cannot_go_with_a_class_is_named(
    then: str, told: str, notebook: Callable[[str], ModuleType]
) -> None:
    notebook("N = 3")
    notebook(BODY.format(more=ASK))
    main = notebook(then)
    with pytest.raises(UnportableError, match=told):
        extracted(main.Mine)


@pytest.mark.parametrize(
    "text",
    [
        "from dataclasses import dataclass, field\n@dataclass(slots=True)\nclass Mine:\n"
        "    a: int = 3\n    b: list = field(default_factory=list)\n    def ask(self): ...\n",
        "import threading\nclass Mine:\n    lock = threading.Lock()\n    __own = 1\n    tmp = 2\n"
        "    del tmp\n    for i in range(2):\n        x = i\n    del i, x\n"
        "    def ask(self): ...\n",
        "from typing import NamedTuple\nclass Mine(NamedTuple):\n    a: int = 3\n"
        "    def ask(self): ...\n",
        "import enum\nclass Mine(enum.Enum):\n    A = 1\n    def ask(self): ...\n",
        "from typing import Protocol\nclass Mine(Protocol):\n    def ask(self): ...\n",
    ],
)
def test_what_a_body_or_its_decorator_makes_is_nothing_that_was_put(
    text: str, notebook: Callable[[str], ModuleType]
) -> None:
    assert "\nMine." not in extracted(notebook(text).Mine)["mine.py"]
