"""What a plugin's code is, as a digest: predictions of other code are other predictions.

Of a class or function that a module brings, the text of that module counts, and of every module
of the same home that it imports: of the same package, of a package of the same distribution, or
of the same folder outside the installed ones. Of what has no file (a notebook), and of what was put
in a class's place at run time, the functions themselves count, with all that they refer to.
Comments and blank lines count nothing. What is imported from elsewhere is known by its version at
most; so is compiled code.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
import tokenize
from functools import cached_property, lru_cache, partial
from importlib.metadata import packages_distributions
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.artifacts import fingerprint
from ensemble.plugin.imports import imported_by

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

_CORE = __name__.partition(".")[0]
"""The toolkit's core counts by versions of its own: ``oof.spec.VERSION`` and its like."""
_INSTALLED = ("site-packages", "dist-packages")
_MADE_AT_RUN_TIME = 1 << 9
"""Flag of a class that a ``class`` statement made (``Py_TPFLAGS_HEAPTYPE``)."""


def code_digest(target: object) -> str | None:
    """Name the code of what a plugin brings: 64 hex digits that change with what it does.

    Parameters
    ----------
    target
        A class, with those that it inherits from; a function or method, or what is called like
        one. Of anything else nobody knows the code: None.
    """
    if isinstance(target, partial):
        rest = [_plain(target.args), _plain(target.keywords)]
        return fingerprint([code_digest(target.func), rest])
    if isinstance(target, MethodType):
        return fingerprint([code_digest(type(target.__self__)), target.__name__])
    if isinstance(target, type | FunctionType):
        known: Hashable = target
        return _digest_code(known)
    return code_digest(type(target)) if callable(target) else None


@lru_cache(maxsize=256)
def _digest_code(target: type[Any] | FunctionType) -> str:
    own = Members()
    if isinstance(target, type):
        kinds = [kind for kind in target.__mro__ if not is_foreign(kind)]
        members = {f"{kind.__module__}.{kind.__qualname__}": own.of_class(kind) for kind in kinds}
        modules = [kind.__module__ for kind in kinds]
    else:
        members = {target.__qualname__: own.of(target)}
        modules = [target.__module__]
    texts: dict[str, str] = {}
    for name in modules:
        texts |= module_texts(name)
    return fingerprint({"members": members, "modules": texts})


def module_digest(name: str) -> str:
    """Name the code of an imported module, and of what it imports of the same home."""
    return fingerprint(module_texts(name))


def module_texts(name: str, digest: Callable[[Path], str] | None = None) -> dict[str, str]:
    """Give digests of the modules that a module's code is, by name; none where it has no file.

    Parameters
    ----------
    name
        An imported module. ``__main__`` counts as one without a file: a script that runs the
        toolkit changes for many reasons.
    digest
        Names the text of a file; None names all of it but comments.
    """
    start = _file_of(sys.modules.get(name))
    if start is None or name == "__main__":
        return {}
    found, waiting = dict[str, str](), [(name, start)]
    home = _Home.of(name, start)
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        found[name] = (digest or _text_digest)(path)
        for other in imported_by(path, name, is_package=path.stem == "__init__"):
            place = home.find(other)
            if place is not None:
                waiting.append((other, place))
    return found


class _Home:
    """Where the modules lie that belong to one plugin."""

    def __init__(self, folder: Path, top: str, installed: frozenset[str] | None) -> None:
        self._folder, self._top, self._installed = folder, top, installed

    @classmethod
    def of(cls, name: str, path: Path) -> _Home:
        parts = name.split(".")
        top, depth = parts[0], len(parts) - 1 + (path.stem == "__init__")
        folder = path.parents[depth] if depth < len(path.parents) else path.parent
        own = path.parent if path.stem == "__init__" else path.with_suffix("")
        if folder.joinpath(*parts) != own:
            folder = path.parent  # loaded by hand, under a name that is not its place
        installed = _brought_with(top) if folder.name in _INSTALLED else None
        return cls(folder, top, installed)

    def find(self, name: str) -> Path | None:
        """Give the file of a module of this home; None for any other."""
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == _CORE:
            return None
        if top != self._top and self._installed is not None and top not in self._installed:
            return None
        place = self._folder.joinpath(*name.split("."))
        files = (place.with_suffix(".py"), place / "__init__.py")
        return next((file for file in files if file.is_file()), None)


@lru_cache(maxsize=64)
def _brought_with(top: str) -> frozenset[str]:
    """Name the top-level packages of the distribution that brings one of them."""
    known = packages_distributions()
    mine = set(known.get(top, ()))
    return frozenset(name for name, owners in known.items() if mine & set(owners))


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path and path.suffix == ".py" and path.is_file() else None


def is_foreign(kind: type) -> bool:
    """Say whether a class is of the core, of Python or built in: no plugin's."""
    top = kind.__module__.partition(".")[0]
    if top == "builtins":  # what `exec` makes says so too
        return not kind.__flags__ & _MADE_AT_RUN_TIME
    return top == _CORE or (top != "__main__" and top in sys.stdlib_module_names)


@lru_cache(maxsize=4096)
def _text_digest(path: Path) -> str:
    return _digest_of(path.read_text(encoding="utf-8", errors="surrogateescape"))


def _digest_of(text: str) -> str:
    stripped = _without_comments(text)
    return hashlib.sha256(stripped.encode("utf-8", "surrogateescape")).hexdigest()


def _without_comments(text: str) -> str:
    """Take comments, blank lines and blanks at line ends away; all of the text if it is no code."""
    lines = text.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError, IndexError):
        return text
    return "\n".join(line.rstrip() for line in lines if line.strip())


class Members:
    """Functions and values as they are at run time, each followed once.

    Parameters
    ----------
    without
        Names of members of classes that do not count.
    """

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self._seen: set[int] = set()
        self._without = without

    def of_class(self, kind: type) -> dict[str, Any]:
        """Describe what a class holds; what Python adds by itself is left out."""
        if id(kind) in self._seen:
            return {}
        self._seen.add(id(kind))
        # With a file, its text says how lists and the like begin; what is in them by now does not.
        filled = () if _is_fileless(kind) else (list, dict, set, np.ndarray)
        return {
            name: self.of(value)
            for name, value in sorted(vars(kind).items())
            if name not in self._without
            and not _is_made_by_python(kind, name, value)
            and not isinstance(value, filled)
        }

    def of(self, value: object) -> Any:
        """Describe a value as JSON: functions by their code, plain values by what they are."""
        if isinstance(value, staticmethod | classmethod):
            return self.of(value.__func__)
        if isinstance(value, property):
            return [self.of(part) for part in (value.fget, value.fset)]
        if isinstance(value, cached_property):
            return self.of(value.func)
        if isinstance(value, partial):
            return [self.of(value.func), _plain(value.args), _plain(value.keywords)]
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            followed = _is_fileless(value) and not is_foreign(value)
            return self.of_class(value) if followed else value.__qualname__
        return _plain(value)

    def _of_function(self, function: FunctionType) -> Any:
        if id(function) in self._seen:
            return function.__qualname__
        self._seen.add(id(function))
        cells = [_content(cell) for cell in function.__closure__ or ()]
        return {
            "text": _function_text(function),
            "defaults": [self.of(item) for item in function.__defaults__ or ()],
            "options": {k: self.of(v) for k, v in (function.__kwdefaults__ or {}).items()},
            "closure": [self.of(item) for item in cells],
            "globals": dict(self._globals(function)),
        }

    def _globals(self, function: FunctionType) -> Iterator[tuple[str, Any]]:
        """Describe what a function refers to; of one with a file, the module's text says it."""
        module = str(function.__globals__.get("__name__"))
        if module != "__main__" and _file_of(sys.modules.get(module)) is not None:
            return
        for name in sorted(names_in(function.__code__)):
            if name in function.__globals__:
                value = function.__globals__[name]
                is_module = isinstance(value, ModuleType)
                yield name, value.__name__ if is_module else self.of(value)


def _is_fileless(kind: type) -> bool:
    """Say whether no module's text says what a class is."""
    return kind.__module__ == "__main__" or _file_of(sys.modules.get(kind.__module__)) is None


def _is_made_by_python(kind: type, name: str, value: object) -> bool:
    """Say whether a member follows from the others: how it looks differs between versions."""
    is_special = name.startswith("__") and name.endswith("__")
    if not isinstance(value, FunctionType):
        return is_special or name == "_abc_impl"
    inner = inspect.unwrap(value)
    generated = isinstance(inner, FunctionType) and inner.__code__.co_filename == "<string>"
    return is_special and generated and hasattr(kind, "__dataclass_fields__")


def _function_text(function: FunctionType) -> str:
    """Name the text of a function, or its bytes where there is no text."""
    try:
        return _digest_of(inspect.cleandoc(inspect.getsource(function)))
    except (OSError, TypeError):
        return _code_digest(function.__code__)


def _code_digest(code: CodeType) -> str:
    constants = [_code_digest(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return fingerprint([code.co_code.hex(), constants, list(code.co_names)])


def names_in(code: CodeType) -> set[str]:
    """Names that code refers to: globals and attributes, of functions inside it too."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*(names_in(c) for c in inner))


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _plain(value: object) -> Any:
    """Give what has a text of its own; of anything else only the kind."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(_plain(item)) for item in value)
    if isinstance(value, dict):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    return f"{type(value).__module__}.{type(value).__qualname__}"


def told_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Say in words in what two codes differ."""
    if before is None:
        return "nobody knows by what code"
    parts = []
    if before.get("distribution") != now["distribution"]:
        parts.append(f"{before.get('distribution')} then, {now['distribution']} now")
    if before.get("source") != now["source"]:
        parts.append("the plugin's code has changed")
    return "; ".join(parts)
