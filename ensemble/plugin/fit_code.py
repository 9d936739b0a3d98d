"""The part of a plugin's code that a fitted model depends on.

What is asked of a model after its fit may be changed without a new fit: hours of training do not
hang on a wrong shape. Everything else counts, ``save`` included, which has written the model; and
so does what other code of the plugin may call, since a fit may. In doubt a method counts: a fit
too many is dear, a model of other code is wrong.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from functools import cached_property, lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ensemble.plugin.functions import is_of_dataclass, names_in, text_of_code
from ensemble.plugin.members import Members, is_foreign
from ensemble.plugin.modules import module_texts
from ensemble.plugin.references import (
    ANY,
    METHOD,
    classes_in,
    hands_on_itself,
    names_in_class,
    names_in_text,
    reached,
)
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

AFTER_FIT = frozenset(
    {
        *("predict_logits", "load", "average_models", "export", "check", "preflight", "suggest"),
        *("cautions", "doubts"),
    }
)
"""Methods that a model is asked by when it is fitted, or a class before there is a config."""


def fit_digest(kind: type[Any], after: frozenset[str] = AFTER_FIT) -> str:
    """Name the code that a fit of a class depends on: 64 hex digits.

    As ``code_digest`` does, but for methods of the class, and of those that it inherits from, that
    nothing else may call.

    Parameters
    ----------
    kind
        The class.
    after
        Names of the methods that need not count.
    """
    kinds = [one for one in kind.__mro__ if not is_foreign(one)]
    left_out = after
    while True:
        texts, named = _texts(kinds, left_out)
        counted = reached(left_out, named)
        if not counted:
            break
        left_out -= counted  # and what these call counts as well
    own = _OwnMembers(kinds, left_out)
    # A class that says nothing but how to predict is, for a fit, the one that it is derived from.
    members = [said for one in kinds if (said := own.of_class(one))]
    return fingerprint({"members": members, "modules": texts})


class _OwnMembers(Members):
    """As they are at run time; what is left out is left out of the learner's classes alone."""

    def __init__(self, kinds: Sequence[type], left_out: frozenset[str]) -> None:
        super().__init__()
        self._kinds, self._left_out = kinds, left_out

    def of_class(self, kind: type) -> dict[str, Any]:
        """Describe what a class holds."""
        before = self._without
        self._without = self._left_out if kind in self._kinds else frozenset()
        try:
            return super().of_class(kind)
        finally:
            self._without = before


def _texts(kinds: Sequence[type], left_out: frozenset[str]) -> tuple[dict[str, str], set[str]]:
    """Give digests of all modules of the home, and the names by which they may reach methods."""
    simple = frozenset(one.__name__ for one in kinds)
    own: dict[Path, set[str]] = {}
    for one in kinds:
        if file := getattr(sys.modules.get(one.__module__), "__file__", None):
            own.setdefault(Path(file).resolve(), set()).add(one.__qualname__)
    named: set[str] = set()
    files: set[str] = set()

    def look(path: Path, text: bytes) -> str:
        files.add(str(path))
        digest, found = _looked_at(text, frozenset(own.get(path, ())), simple, left_out)
        named.update(found)
        return digest

    texts: dict[str, str] = {}
    for one in kinds:
        texts |= module_texts(one.__module__, look)
    for function, is_own in _functions_apart(kinds, files, left_out):
        named |= _names_in_function(function, simple, is_own=is_own)
    return texts, named


@lru_cache(maxsize=1024)
def _looked_at(
    text: bytes, own: frozenset[str], kinds: frozenset[str], left_out: frozenset[str]
) -> tuple[str, frozenset[str]]:
    """Name a module's code by what Python makes of it, and give the names that it refers to.

    What is left out is left out of the text of the module's ``own`` classes. Of other classes it
    counts; but what such a method refers to matters only once it may be called itself.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return hashlib.sha256(text).hexdigest(), frozenset({ANY})
    classes = dict.fromkeys(node for _, node in classes_in(tree))
    mine = [node for name, node in classes_in(tree) if name in own]
    _leave_out(mine, left_out)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    _leave_out(classes, left_out)
    named = names_in_text(tree, kinds).union(*(names_in_class(node) for node in mine))
    return digest, frozenset(named)


def _leave_out(classes: Iterable[ast.ClassDef], names: frozenset[str]) -> None:
    for node in classes:
        node.body = [
            part
            for part in node.body
            if not (isinstance(part, ast.FunctionDef) and part.name in names)
        ]


def _functions_apart(
    kinds: Sequence[type], files: set[str], left_out: frozenset[str]
) -> Iterator[tuple[FunctionType, bool]]:
    """Give functions that no class's text in a module says, and whether each is of the classes.

    A notebook's, with those that they use; what wraps a method, and what was put into a class.
    """
    places = tuple(f"{kind.__qualname__}." for kind in kinds)
    waiting = [(part, True) for kind in kinds for part in _parts(kind, left_out)]
    seen: set[int] = set()
    while waiting:
        value, is_own = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            code = value.__code__
            in_module = code.co_filename in files
            if not in_module or (is_own and not code.co_qualname.startswith(places)):
                yield value, is_own
            if not in_module:
                waiting += [(used, False) for used in _used_by(value)]
        elif isinstance(value, type):
            if _has_text(value.__module__):
                continue
            waiting += [(part, False) for part in _parts(value, left_out)]
        else:
            waiting += [(part, is_own) for part in _inside(value)]


def _parts(kind: type, left_out: frozenset[str]) -> list[Any]:
    """Give what a class holds, but what ``dataclass`` has made: it calls nothing of ours."""
    return [
        value
        for name, value in vars(kind).items()
        if name not in left_out and not is_of_dataclass(kind, value)
    ]


def _has_text(module: str) -> bool:
    """Say whether a module has a file; that of ``__main__`` changes for many reasons."""
    return module != "__main__" and bool(getattr(sys.modules.get(module), "__file__", None))


def _inside(value: object) -> list[Any]:
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset]
    return [value.func] if isinstance(value, cached_property) else []


def _used_by(function: FunctionType) -> Iterator[Any]:
    """Give what a function without a text wraps, and what it refers to of its own notebook."""
    home = function.__globals__
    yield inspect.unwrap(function)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue
    if _has_text(str(home.get("__name__"))):  # what wraps a method may be of any library
        return
    for name in names_in(function.__code__) & home.keys():
        if getattr(home[name], "__module__", None) == home.get("__name__"):
            yield home[name]


def _names_in_function(function: FunctionType, kinds: frozenset[str], *, is_own: bool) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(text_of_code(function.__code__)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return {ANY}
    methods = [node for node in ast.walk(tree) if isinstance(node, METHOD)]
    hands_on = is_own and (not methods or any(hands_on_itself(method) for method in methods[:1]))
    return names_in_text(tree, kinds) | names_in(function.__code__) | ({ANY} if hands_on else set())
