"""The texts of the modules that a plugin's code is made of, as this process has run them.

A module counts by its text without comments and blank lines, and so does every module of the same
home that it imports: of the same package, of a package of the same distribution, or of the same
folder outside the installed ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import sysconfig
import tokenize
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ensemble.plugin.imports import imported_in
from ensemble.plugin.snapshots import public_name, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

_CORE = __name__.partition(".")[0]
"""The toolkit's core counts by versions of its own: ``oof.fold_key.VERSION`` and its like."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PYTHONS = tuple(Path(sysconfig.get_path(k)).resolve() for k in ("stdlib", "platstdlib"))
_READ: dict[Path, tuple[object, bytes]] = {}
"""Texts that were read, and the state of the module or of the file at that time."""


def module_texts(name: str, digest: Callable[[Path, bytes], str] | None = None) -> dict[str, str]:
    """Give digests of the modules that a module's code is, by name; none where it has no file.

    Parameters
    ----------
    name
        A module, imported or not. ``__main__`` counts as one without a file: a script that runs
        the toolkit changes for many reasons.
    digest
        Names the text of a file, given both; None names all of it but comments.
    """
    files = module_files(name)
    if digest is not None:
        return {public_name(one): digest(path, _text(one, path)) for one, path in files.items()}
    return {public_name(one): text_digest(one, path) for one, path in files.items()}


def module_files(name: str) -> dict[str, Path]:
    """Find the files of the modules that ``module_texts`` names."""
    if (snapshot := snapshot_of(name)) is not None:
        return snapshot.files_from(name)
    start = place_of(name)
    if start is None or name == "__main__":
        return {}
    found, waiting = dict[str, Path](), [(name, start)]
    home = Home.of(name, start)
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        found[name] = path
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        for other in imported_in(_text(name, path), package):
            place = None if other in found else home.find(other)
            if place is not None:
                waiting.append((other, place))
    return found


def imported_from_elsewhere(names: Iterable[str]) -> dict[str, Path]:
    """Find what the code of modules imports that is neither installed nor of their homes.

    It is no part of ``module_texts``: nothing says that it has changed.
    """
    own = {one: path for name in names for one, path in module_files(name).items()}
    found = dict[str, Path]()
    for name, path in own.items():
        public = public_name(name)
        package = public if path.stem == "__init__" else public.rpartition(".")[0]
        for other in imported_in(_text(name, path), package):
            place = place_of(other) if is_local(other) else None
            if place is None or place in own.values() or _is_editable(place):
                continue
            found[other] = place
    return found


def _is_editable(path: Path) -> bool:
    return any(path.is_relative_to(root) for root in _editable_projects())


@lru_cache(maxsize=1)
def _editable_projects() -> tuple[Path, ...]:
    """Find the projects that are installed where they lie, as PEP 610 has it."""
    found = []
    for one in distributions():
        try:
            told = json.loads(one.read_text("direct_url.json") or "{}")
            if told.get("dir_info", {}).get("editable"):
                found.append(Path(unquote(urlsplit(told["url"]).path)).resolve())
        except (OSError, ValueError, LookupError, AttributeError):  # metadata may be broken
            continue
    return tuple(found)


def text_digest(name: str, path: Path) -> str:
    """Name the text of a module: 64 hex digits."""
    return digest_of(_text(name, path))


@lru_cache(maxsize=4096)
def digest_of(text: bytes) -> str:
    """Name a text of Python without its comments and blank lines: 64 hex digits."""
    stripped = _without_comments(_decoded(text))
    return hashlib.sha256(stripped.encode("utf-8", "surrogateescape")).hexdigest()


def lines_of(name: str) -> list[str]:
    """Give the lines of a module's text as it was run; none where it has no file."""
    path = place_of(name)
    return io.StringIO(_decoded(_text(name, path))).readlines() if path else []


def place_of(name: str) -> Path | None:
    """Find the file of a module, which need not be imported yet; None where it has none."""
    if (snapshot := snapshot_of(name)) is not None:
        return snapshot.paths.get(public_name(name))
    if name in sys.modules:
        return _file_of(sys.modules[name])
    top, *rest = name.split(".")
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    roots = [Path(root) for root in (spec and spec.submodule_search_locations) or ()]
    if not rest:
        return _python_file(spec.origin) if spec else None
    places = (root.joinpath(*rest) for root in roots)
    files = (f for p in places for f in (p.with_suffix(".py"), p / "__init__.py"))
    return next((file.resolve() for file in files if file.is_file()), None)


def is_local(name: str) -> bool:
    """Say whether a module is known by its text wherever it is met: of no package or Python."""
    if name.partition(".")[0] in (_CORE, "__main__") or is_of_python(name):
        return False
    path = place_of(name)
    return path is not None and not _INSTALLED & set(path.parts)


def is_fileless(name: str) -> bool:
    """Say whether no text says what is in a module: a notebook's, or one made at run time."""
    if name == "__main__":
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return place_of(name) is None and not file.endswith(tuple(EXTENSION_SUFFIXES))


def is_of_python(name: str) -> bool:
    """Say whether a module is of Python itself, and not one of a user that is called like it."""
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names or top == "__main__":
        return False
    path = _file_of(sys.modules.get(top))
    return path is None or any(map(path.is_relative_to, _PYTHONS))


def is_of_core(name: str) -> bool:
    """Say whether a module is of the toolkit's core."""
    return name.partition(".")[0] == _CORE


class Home:
    """Where the modules lie that belong to one plugin.

    Parameters
    ----------
    folder
        They are imported from it.
    top
        Top-level name of the plugin's own module.
    installed
        Top-level names of its distribution; None where it is of none.
    """

    def __init__(self, folder: Path, top: str, installed: frozenset[str] | None) -> None:
        self._folder, self._top, self._installed = folder, top, installed

    @classmethod
    def of(cls, name: str, path: Path) -> Home:
        """Find the home of a module, given its name and file."""
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
        if top == _CORE or is_of_python(top):
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


def _text(name: str, path: Path) -> bytes:
    """Read a module's text, once each time that the module is run.

    What is edited counts when it is reloaded, or is imported for the first time: until then the
    text of before is what this process does.
    """
    if (snapshot := snapshot_of(name)) is not None:
        return snapshot.texts[public_name(name)]
    module = sys.modules.get(name)
    # ``reload`` gives a module another specification; a script has none.
    state: object = getattr(module, "__spec__", None) or module
    known = _READ.get(path)
    if _file_of(module) != path:
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
        if known is not None and known[0] == state:
            return known[1]
    elif known is not None and known[0] is state:
        return known[1]
    text = path.read_bytes()
    _READ[path] = (state, text)
    return text


def _file_of(module: ModuleType | None) -> Path | None:
    return _python_file(getattr(module, "__file__", None))


@lru_cache(maxsize=4096)
def _python_file(file: str | None) -> Path | None:
    path = Path(file).resolve() if file else None
    return path if path and path.suffix == ".py" and path.is_file() else None


def _decoded(text: bytes) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
        return text.decode(encoding)
    except (SyntaxError, ValueError):
        return text.decode("utf-8", "surrogateescape")


def _without_comments(text: str) -> str:
    """Take comments, blank lines and blanks at line ends away; all of the text if it is no code.

    What a string holds stays as it is: a prompt may have blank lines.
    """
    lines, kept = text.split("\n"), set[int]()
    started: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind, (row, column) = tokenize.tok_name[token.type], token.start
            if kind == "COMMENT":
                lines[row - 1] = lines[row - 1][:column]
            elif kind == "STRING":
                kept.update(range(row - 1, token.end[0] - 1))
            elif kind.endswith("STRING_START"):  # since Python 3.12 an f-string is several tokens
                started.append(row)
            elif kind.endswith("STRING_END"):
                kept.update(range(started.pop() - 1, row - 1))
    except (tokenize.TokenError, SyntaxError, IndexError):
        return text
    stripped = (line if i in kept else line.rstrip() for i, line in enumerate(lines))
    return "\n".join(line for i, line in enumerate(stripped) if line or i in kept)
