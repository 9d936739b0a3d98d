"""What a class without a file is known by: a notebook's, a script's."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble.plugin.code import code_digest
from ensemble.plugin.members import Members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

METHOD = "class Learner:\n    def f(self, x):\n        return {}\n"
HELPERS = {
    "helping/__init__.py": "",
    "helping/inner.py": "def one(x):\n    return x + 1\n",
    "helping/sums.py": "from helping.inner import one\ndef learn(x):\n    return one(x)\n"
    "class Model:\n    rate = one(1)\n",
}


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Give a function that writes modules beside a notebook, with one of them as given."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(inner: str = HELPERS["helping/inner.py"]) -> None:
        for name, text in (HELPERS | {"helping/inner.py": inner}).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        _forget()

    yield write
    _forget()


def _forget() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "helping"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _cell(text: str, space: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a cell: of a module without a file."""
    space = {"__name__": "__main__"} if space is None else space
    exec(text, space)  # noqa: S102 - as a notebook does
    return space


def _digest(text: str) -> str | None:
    return code_digest(_cell(text)["Learner"])


@pytest.mark.parametrize(
    "cell",
    [
        "import helping.sums\n" + METHOD.format("helping.sums.learn(x)"),
        "from helping import sums\n" + METHOD.format("sums.learn(x)"),
        "from helping.sums import learn\n" + METHOD.format("learn(x)"),
        "from helping.sums import Model\n" + METHOD.format("Model().rate"),
        "from helping.sums import *\n" + METHOD.format("learn(x)"),
        "from helping.sums import Model\nm = Model()\n" + METHOD.format("m.rate"),
        "from helping.sums import learn\n" + METHOD.format("x").replace("x)", "x=learn)"),
        "from helping.sums import Model\nclass Learner(Model):\n    pass\n",
        "class Learner:\n    def f(self):\n        import helping.sums\n",
        "class Learner:\n    def f(self):\n        from helping import sums\n",
    ],
    ids=[
        "import",
        "from",
        "function",
        "class",
        "star",
        "object",
        "default",
        "parent",
        "inside",
        "inside-from",
    ],
)
def test_modules_that_a_notebook_uses_count(helpers: Callable[..., None], cell: str) -> None:
    helpers()
    before = _digest(cell)
    helpers()
    assert _digest(cell) == before
    helpers("def one(x):\n    return x + 2\n")
    assert _digest(cell) != before


RATED = """
import functools
def rated(rate):
    def decorate(function):
        @functools.wraps(function)
        def call(*arguments):
            return rate * function(*arguments)
        return call
    return decorate
"""
SETTINGS = """
class Settings:
    def __init__(self, rate):
        self.rate = rate
        self.itself = self
"""
SLOTS = (
    "class Settings:\n    __slots__ = 'rate'\n    def __init__(self, r):\n        self.rate = r\n"
)


@pytest.mark.parametrize(
    "cell",
    [
        SETTINGS + "s = Settings({})\n" + METHOD.format("s.rate"),
        SLOTS + "s = Settings({})\n" + METHOD.format("s.rate"),
        SETTINGS + "s = [dict(a=Settings({}))]\n" + METHOD.format("s"),
        SETTINGS + "class Learner:\n    settings = Settings({})\n",
        SETTINGS + "class Learner:\n    def f(self, s=Settings({})):\n        pass\n",
        SETTINGS + "class Learner:\n    def f(self, *, s=Settings({})):\n        pass\n",
        RATED + "R = {}\nclass Learner:\n    @rated(R)\n    def f(self):\n        return 1\n",
        "class C:\n    rate = {}\n" + METHOD.format("C.rate"),
        "class Learner:\n    def __new__(cls):\n        return {}\n",
        "class Learner:\n    def __init_subclass__(cls):\n        return {}\n",
        "from functools import partialmethod as p\n"
        "class Learner:\n    def f(self, x):\n        pass\n    g = p(f, {})\n",
        "import numpy as np\ns = np.float32({})\n" + METHOD.format("s"),
        "import re\ns = re.compile('{}')\n" + METHOD.format("s"),
        "from functools import lru_cache\n@lru_cache\ndef s():\n    return {}\n"
        + METHOD.format("s()"),
        "f = {{'a': lambda x: x + {}}}\n" + METHOD.format("f['a'](x)"),
    ],
    ids=[
        "object",
        "slots",
        "in-list",
        "attribute",
        "default",
        "option",
        "decorator",
        "constants",
        "new",
        "subclass",
        "partial",
        "number",
        "pattern",
        "cached",
        "function-in-table",
    ],
)
def test_what_a_notebook_refers_to_counts(cell: str) -> None:
    def filled(value: str) -> str:
        return cell.replace("{}", value).replace("{{", "{").replace("}}", "}")

    assert _digest(filled("1")) == _digest(filled("1"))
    assert _digest(filled("1")) != _digest(filled("2"))


def test_a_cell_that_is_run_again_counts_and_what_work_gathers_does_not() -> None:
    space = _cell(
        "RATE, SEEN, STEPS, MODEL = 1, [], 0, None\nclass C:\n    rate = 1\n"
        "class Learner:\n    def f(self):\n        global STEPS\n        STEPS = STEPS + 1\n"
        "        SEEN.append(RATE)\n        return C.rate, MODEL\n"
    )
    digests = [code_digest(space["Learner"])]
    space["Learner"]().f()
    space["MODEL"] = object()
    assert code_digest(space["Learner"]) == digests[0]
    for change in ("RATE = 2", "C.rate = 2", "SEEN = [7]"):
        _cell(change, space)
        digests.append(code_digest(space["Learner"]))
    assert len({*digests}) == 4


def test_a_digest_is_the_same_in_every_process() -> None:
    cell = (
        "import helping, threading, numpy as np\nclass S:\n    pass\ns = S()\n"
        "s.lock = threading.Lock()\ns.names = {'a', 'b', 'c', 'd'}\n"
        "o = np.array([object()])\nclass Learner:\n"
        "    def f(self, x):\n        return x in {'one', 'two', 'three'}, s, o\n"
        "from ensemble.plugin.code import code_digest\nprint(code_digest(Learner))\n"
    ).replace("helping, ", "")
    found = set()
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", cell],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_what_an_object_holds_is_part_of_its_code() -> None:
    class Options:
        def __init__(self, side: str) -> None:
            self.side = side

    class Loader:
        def __init__(self, side: str) -> None:
            self.options = Options(side)

        def __call__(self, path: str) -> str:
            return path

        def load(self, path: str) -> str:
            return path

    def load(path: str, options: Any) -> str:
        return path

    def reading(side: str) -> Callable[[str], object]:
        options = Options(side)
        return lambda path: (path, options)

    makers: list[Callable[[str], Any]] = [
        Loader,
        lambda side: Loader(side).load,
        lambda side: partial(load, options=Options(side)),
        lambda side: partial(load, "x", Options(side)),
        reading,
    ]
    for make in makers:
        assert code_digest(make("a")) == code_digest(make("a"))
        assert code_digest(make("a")) != code_digest(make("b"))


LIBRARIES = {
    "table": "import polars as pl\nX = pl.DataFrame({{'a': ['x', '{}']}})",
    "column": "import polars as pl\nX = pl.Series([1.0, {}])",
    "expression": "import polars as pl\nX = pl.col('a') * {}",
    "tables-in-list": "import polars as pl\nX = [pl.DataFrame({{'a': [{}]}})]",
    "pandas": "import pandas as pd\nX = pd.DataFrame({{'a': ['x', '{}']}})",
    "vectorizer": "from sklearn.feature_extraction.text import CountVectorizer\n"
    "X = CountVectorizer(min_df={})",
    "pipeline": "from sklearn.linear_model import LogisticRegression\n"
    "from sklearn.pipeline import make_pipeline\n"
    "X = make_pipeline(LogisticRegression(C={}))",
    "generator": "import numpy as np\nX = np.random.default_rng({})",
    "tensor": "import torch\nX = torch.tensor([1.0, {}], dtype=torch.bfloat16, requires_grad=True)",
    "layer": "import torch\nX = torch.nn.Linear(1, 1)\nX.weight.data.fill_({})\n"
    "X.bias.data.fill_(0)",
    "objects": "import numpy as np\nX = np.array(['a', {}], dtype=object)",
    "path": "from pathlib import Path\nX = Path('{}')",
    "date": "import datetime\nX = datetime.date(2024, 1, {})",
    "decimal": "from decimal import Decimal\nX = Decimal({})",
    "namespace": "from types import SimpleNamespace\nX = SimpleNamespace(rate={})",
    "proxy": "from types import MappingProxyType\nX = MappingProxyType(dict(rate={}))",
    "deque": "from collections import deque\nX = deque([{}])",
    "getter": "from operator import itemgetter\nX = itemgetter({})",
    "bytes": "X = bytearray([{}])",
    "resources": "from ensemble import Resources\nX = Resources(memory_gib={})",
}


@pytest.mark.parametrize("cell", LIBRARIES.values(), ids=LIBRARIES)
def test_what_objects_of_libraries_hold_counts_in_a_notebook(cell: str) -> None:
    pytest.importorskip(cell.split()[1] if cell.startswith("import ") else "polars")
    one, again, other = (_digest(f"{cell.format(x)}\n{METHOD.format('X')}") for x in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_chain_of_objects_is_looked_into_so_far_and_from_anywhere_alike() -> None:
    chain = "from collections import deque as D\nX = D([{}])\nfor _ in range({}):\n    X = D([X])"

    def digest(value: int, length: int, deeper: int = 0) -> str | None:
        if deeper:
            return digest(value, length, deeper - 1)
        return _digest(f"{chain.format(value, length)}\n{METHOD.format('X')}")

    assert digest(1, 20) != digest(2, 20)
    assert digest(1, 3000) == digest(1, 3000, deeper=300)


def test_what_objects_of_libraries_hold_does_not_count_where_a_text_says_it(
    helpers: Callable[..., None],
) -> None:
    helpers("import numpy as np\ndef one(x):\n    return x\nclass C:\n    drawn = np.random\n")
    kind = importlib.import_module("helping.inner").C
    kind.drawn = np.random.default_rng(1)
    before = Members().of_class(kind)
    kind.drawn.normal()
    assert Members().of_class(kind) == before


def test_of_classes_and_functions_that_are_installed_only_the_name_counts() -> None:
    import polars as pl

    of = Members().of
    assert of(pl.DataFrame) == ["polars.dataframe.frame.DataFrame", {}]
    assert of(pl.read_csv)["text"] == "polars.io.csv.functions.read_csv"
    assert of(subprocess.run)["text"] == "subprocess.run"
    assert of(np.random.Generator) == ["numpy.random._generator.Generator", {}]


def test_arrays_are_known_by_their_form_and_content() -> None:
    of = Members().of
    assert of(np.zeros(4)) == of(np.zeros(4))
    assert of(np.zeros(4)) != of(np.zeros((2, 2)))
    assert of(np.zeros(4)) != of(np.zeros(8, dtype=np.float32))
