"""Which code a fit depends on: in doubt all of it, but a mended prediction is no new fit."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ensemble.plugin.code import code_digest
from ensemble.plugin.fit_code import AFTER_FIT, fit_digest
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEARNER = """
from dataclasses import dataclass, fields
from ensemble import BaseLearner
import fit_helper
{top}

class Learner(BaseLearner):
    '''Not like predict_logits and load.'''

    def fit(self, battles, labels, **_):
        {fit}
        return self

    def predict_logits(self, battles):
        if not len(battles):
            raise ValueError("nothing to predict_logits of")
        return {predict}

    def save(self, directory):
        {save}

    def load(self, directory):
        self.loaded = {load}
        return self

    def check(self, battles, *, context):
        return {{"rows": {check}}}
{more}
"""
PLAIN = {
    **dict.fromkeys(("top", "more"), ""),
    **dict.fromkeys(("fit", "save"), "pass"),
    **dict.fromkeys(("predict", "load", "check"), "1"),
}
NAMES = ("fit_plugin", "fit_helper")


WRAPS = """
from functools import wraps
def logged(method):
    @wraps(method)
    def inner(me, *rest):
        print(me)
        return method(me, *rest)
    return inner
"""


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Give a function that writes a learner and its helper, and names the code of its fit."""
    made: list[Path] = []

    def name(helper: str = "", **parts: str) -> str:
        place = tmp_path / str(len(made))
        made.append(place)
        place.mkdir()
        (place / "fit_plugin.py").write_text(LEARNER.format(**PLAIN | parts))
        (place / "fit_helper.py").write_text(helper)
        for module in NAMES:
            sys.modules.pop(module, None)
        monkeypatch.setattr(sys, "path", [str(place), *sys.path])
        importlib.invalidate_caches()
        return fit_digest(importlib.import_module("fit_plugin").Learner)

    yield name
    for module in NAMES:
        sys.modules.pop(module, None)


@pytest.mark.parametrize("part", ["predict", "load", "check"])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"fit": "self.scores = [getattr(self, name) for name in ('rate', 'shift')]"},
        {"fit": "self.kind = isinstance(self, BaseLearner) and fields(self)"},
        {"more": "    @staticmethod\n    def half(value):\n        return float(value)"},
        {"more": "    @cache\n    def rate(self): pass", "top": "from functools import cache"},
        {
            "more": "    @c\n    def g(self): yield",
            "top": "from contextlib import contextmanager as c",
        },
        {"top": "class Other(BaseLearner):\n    def load(self, d):\n        self.check(d)"},
    ],
)
def test_what_is_asked_after_a_fit_does_not_count(
    digest: Callable[..., str], part: str, parts: dict[str, str]
) -> None:
    if "torch" in parts.get("top", ""):
        pytest.importorskip("torch")
    assert digest(**parts) == digest(**parts, **{part: "2"})


def test_what_fits_and_saves_counts(digest: Callable[..., str]) -> None:
    plain = digest()
    assert digest(fit="self.rate = 1") != plain
    assert digest(save="self.rate = 1") != plain
    assert digest(helper="rate = 1") != plain


@pytest.mark.parametrize(
    "parts",
    [
        {"fit": "self.best = self.predict_logits(battles)"},
        {"fit": "self.best = getattr(self, 'predict_logits')(battles)"},
        {"fit": "self.best = getattr(self, 'predict_' + 'logits')(battles)"},
        {"fit": "self.best = getattr(self, f'{battles}_logits')(battles)"},
        {"fit": "self.best = eval('self .predict_logits(battles)')"},
        {"fit": "self.best = fit_helper.score(self)"},
        {"fit": "model = self; fit_helper.score(model)"},
        {"fit": "self.best = [fit_helper.score(one) for one in (self,)]"},
        {"fit": "fit_helper.score(Learner().fit(battles, labels))"},
        {"fit": "fit_helper.score(type(self)())"},
        {"fit": "fit_helper.score(self.__class__())"},
        {"save": "self.load(directory)"},
        {"more": "    score = predict_logits"},
        {"more": "    def me(self):\n        return self"},
        {"more": "    @classmethod\n    def new(cls):\n        return fit_helper.score(cls())"},
        {"more": "    score = lambda self: fit_helper.score(self)"},
        {"more": "    if True:\n        def score(me):\n            return fit_helper.score(me)"},
        {"helper": WRAPS, "more": "    @fit_helper.logged\n    def rate(self): pass"},
        {"helper": "def rate(me):\n    return print(me)", "more": "    rate = fit_helper.rate"},
        {"helper": "def score(model):\n    return model.predict_logits(None)"},
        {"helper": "from operator import methodcaller\nask = methodcaller('predict_logits', 1)"},
    ],
)
def test_what_other_code_may_call_counts(digest: Callable[..., str], parts: dict[str, str]) -> None:
    part = "load" if "save" in parts else "predict"
    assert digest(**parts) != digest(**parts, **{part: "2"})


def test_what_a_method_that_counts_calls_counts_as_well(digest: Callable[..., str]) -> None:
    parts = {"fit": "self.predict_logits(battles)", "predict": "self.check(battles)"}
    assert digest(**parts) != digest(**parts, check="2")
    assert digest(predict="self.check(battles)") == digest(predict="self.check(battles)", check="2")


def test_methods_of_other_classes_count_whatever_they_are_called(
    digest: Callable[..., str],
) -> None:
    helper = "class Vocabulary:\n    @classmethod\n    def load(cls, path):\n        return {}"
    fit = "self.words = fit_helper.Vocabulary.load('x')"
    assert digest(helper.format(1), fit=fit) != digest(helper.format(2), fit=fit)
    assert digest(helper.format(1)) != digest(helper.format(2))


NOTEBOOK = """
from ensemble import BaseLearner
class Vocabulary:
    @classmethod
    def load(cls, path): return {word}
def words(): return Vocabulary.load("x")
def score(model): return model.predict_logits(None)
class Learner(BaseLearner):
    def fit(self, battles, labels, **_):
        {fit}
        return self
    def predict_logits(self, battles): return {predict}
    def save(self, directory): pass
    def load(self, directory): return self
"""


@pytest.fixture
def in_notebook(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Give a function that defines a learner in a cell, and names the code of its fit."""
    import linecache

    cells: list[str] = []

    def name(fit: str = "pass", word: int = 1, predict: int = 1) -> str:
        text, cell = NOTEBOOK.format(fit=fit, word=word, predict=predict), f"<cell {len(cells)}>"
        cells.append(cell)
        lines = text.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, cell, (len(text), None, lines, cell))
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, cell, "exec"), space)  # noqa: S102 - a cell
        return fit_digest(space["Learner"])

    return name


def test_in_a_notebook_the_same_counts(in_notebook: Callable[..., str]) -> None:
    assert in_notebook() == in_notebook(predict=2)
    assert in_notebook("self.x = score(self)") != in_notebook("self.x = score(self)", predict=2)
    assert in_notebook("self.x = words()") != in_notebook("self.x = words()", word=2)
    asks = "self.x = self.predict_logits(battles)"
    assert in_notebook(asks) != in_notebook(asks, predict=2)


def test_what_dataclass_adds_hands_on_nothing(
    in_notebook: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it adds ``__replace__`` from Python 3.13 on."""
    head = NOTEBOOK.index("class Learner")
    added = (
        "\nimport types\ndef give(self, /, **changes): return 1\n{0}Learner.__replace__ = "
        "types.FunctionType(give.__code__, vars(dataclasses), '_replace')\n"
    )
    text = f"{NOTEBOOK[:head]}import dataclasses\n@dataclasses.dataclass\n{NOTEBOOK[head:]}"
    monkeypatch.setattr(f"{__name__}.NOTEBOOK", text + added.format(""))
    assert in_notebook() == in_notebook(predict=2)
    monkeypatch.setattr(f"{__name__}.NOTEBOOK", text + added.format("Learner.own = lambda x: x\n"))
    assert in_notebook() != in_notebook(predict=2), "what the user puts there counts"


def test_what_a_user_writes_into_a_dataclass_counts() -> None:
    """However it is wrapped, and where its text has no file."""
    texts = [
        "    @functools.wraps(dataclasses.replace)\n    def __getstate__(self): return {}\n",
        "    def __post_init__(self): self.x = {}\n",
        "    __repr__ = reprlib.recursive_repr()(repr)\n    def __eq__(self, other): return {}\n",
    ]
    for text in texts:
        digests = set()
        for value in (1, 2):
            space: dict[str, Any] = {"__name__": "__main__"}
            exec("import dataclasses, functools, reprlib\n", space)  # noqa: S102
            head = "@dataclasses.dataclass\nclass Learner:\n"
            exec(head + text.format(value), space)  # noqa: S102
            digests |= {fit_digest(space["Learner"]), code_digest(space["Learner"])}
        assert len(digests) == 4, text


def test_the_text_of_a_command_is_not_that_of_what_it_executes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are of a file called so; Python 3.13 knows the text of ``python -c``."""
    import linecache

    command = "exec('...')\n" * 50
    told = (len(command), None, command.splitlines(keepends=True), "<string>")
    monkeypatch.setitem(linecache.cache, "<string>", told)
    test_where_there_is_no_text_everything_counts()


def test_where_there_is_no_text_everything_counts() -> None:
    digests = set()
    for predict in (1, 2):
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(NOTEBOOK.format(fit="pass", word=1, predict=predict), space)  # noqa: S102
        digests.add(fit_digest(space["Learner"]))
    assert len(digests) == 2


@pytest.mark.parametrize("name", ["gemma2-lora", "tfidf"])
def test_predictions_of_learners_that_come_with_the_toolkit_can_be_mended(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = get_manager().base_learners.get(name)
    texts: list[frozenset[str]] = []

    def left_out(self: Any, kinds: Any, names: frozenset[str]) -> None:
        texts.append(names)

    monkeypatch.setattr("ensemble.plugin.fit_code._OwnMembers.__init__", left_out)
    monkeypatch.setattr("ensemble.plugin.fit_code._OwnMembers.of_class", lambda *_: {})
    fit_digest(kind)
    assert texts == [AFTER_FIT]
