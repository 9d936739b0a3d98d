"""Plugins out of a file: a module under a name of its own, with what lies beside it.

What the file imports from its own folder (``import helper``) is loaded for it alone, and neither
``sys.path`` nor the names of other modules change. Its ``if __name__ == "__main__"`` is not run.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from functools import partial
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import plugin_files, split_reference, with_files
from ensemble.errors import ConfigError, nearest
from ensemble.once import once
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.plugin.imports import imported_in
from ensemble.plugin.kept_sources import keep_source, kept_place, origin_of
from ensemble.plugin.modules import Home
from ensemble.plugin.snapshots import Snapshot, public_name, remember, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from ensemble.config.settings import Config

_LOADING: set[str] = set()
"""Modules that are being run right now."""


def load_file(path: Path) -> ModuleType:
    """Run a file of Python as a module, once for each version of it.

    Parameters
    ----------
    path
        The file. A copy that a run keeps stands for the file that it is a copy of, where that has
        not changed.

    Raises
    ------
    ConfigError
        It is missing, or is no Python, or raises; says in which line.
    """
    snapshot = current_snapshot(path)
    remember(snapshot)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    name = f"{snapshot.package}.{snapshot.main}"
    if name in sys.modules and name not in _LOADING:
        return sys.modules[name]
    _refuse_twice(name, path)
    _LOADING.add(name)
    try:
        with staying():
            return importlib.import_module(name)
    except ConfigError:
        raise
    except plugin_errors() as error:
        raise _refused(error, snapshot, path) from error
    finally:
        _LOADING.discard(name)


def current_snapshot(path: Path) -> Snapshot:
    """Read a file and what it imports from its own folder; the same all through one verb.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """

    def read() -> Snapshot:
        kept = take_snapshot(path)
        origin = origin_of(path, kept.digest)
        if origin is not None and origin.is_file():
            first = take_snapshot(origin)
            return first if first.digest == kept.digest else kept
        return kept

    return once(("plugin file", path), read)


def take_snapshot(path: Path) -> Snapshot:
    """Read a file and what it imports from its own folder; errors as ``current_snapshot``."""
    try:
        path = path.resolve(strict=True)
        first = path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    root = path.parent
    while (root / "__init__.py").is_file() and root != root.parent:
        root = root.parent
    parts = path.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if path.name == "__init__.py" else (*parts[:-1], parts[-1].replace(".", "_"))
    main = ".".join(parts)
    paths, texts = _with_imported(Home(root, parts[0], None), main, path, first)
    return Snapshot(root, main, paths, texts)


def _with_imported(
    home: Home, main: str, path: Path, text: bytes
) -> tuple[dict[str, Path], dict[str, bytes]]:
    paths, texts = {main: path}, {main: text}
    parents = [main.rpartition(".")[0]] if "." in main else []
    waiting = [*parents, *imported_in(text, _package(main, path))]
    while waiting:
        name = waiting.pop()
        place = None if name in paths else home.find(name)
        if place is None:
            continue
        paths[name], texts[name] = place.resolve(), place.read_bytes()
        waiting += imported_in(texts[name], _package(name, place))
    return dict(sorted(paths.items())), dict(sorted(texts.items()))


def _package(name: str, path: Path) -> str:
    return name if path.stem == "__init__" else name.rpartition(".")[0]


def keep_sources(config: Config) -> Config:
    """Write the plugin files of a config into its run, and give the config that names the copies.

    Raises
    ------
    ConfigError
        A file cannot be read.
    EnsembleError
        A copy cannot be written.
    """
    return with_files(config, partial(_copy, Path(config.run_dir)))


def named_copies(config: Config) -> Callable[[str], str]:
    """Write the same copies, and give what names one in the place of a plugin file of the config.

    Whoever asks a copy asks the code that the verb began with, whatever the file holds by then.
    """
    run = Path(config.run_dir)
    copies = {path: _copy(run, path) for path in plugin_files(config)}

    def named(name: str) -> str:
        found = split_reference(name)
        return name if found is None else f"{copies.get(found[0], found[0])}:{found[1]}"

    return named


def _copy(run: Path, file: Path | str) -> str:
    """Write a plugin file into a run, and name the copy."""
    return str(keep_source(run, current_snapshot(Path(file))).resolve())


def source_place(plugin: str) -> str | None:
    """Say where in a run the source of a plugin is kept, as ``"file.py:Name"``; None if no file."""
    found = split_reference(plugin)
    if found is None:
        return None
    snapshot = current_snapshot(found[0])
    return f"{kept_place(snapshot)}:{found[1]}"


class _Finder(MetaPathFinder):
    """Finds the modules of snapshots, and no others."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the name says it all
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        snapshot, public = snapshot_of(fullname), public_name(fullname)
        if snapshot is None or not (snapshot.package == fullname or snapshot.has(public)):
            return None
        file = snapshot.paths.get(public)
        is_package = file is None or file.stem == "__init__"
        loader = None if file is None else _Loader(snapshot, public)
        origin = None if file is None else str(file)
        spec = ModuleSpec(fullname, loader, origin=origin, is_package=is_package)
        spec.has_location = file is not None
        return spec


class _Loader(SourceLoader):
    """Runs a text as it was read, whatever its file holds by now."""

    def __init__(self, snapshot: Snapshot, public: str) -> None:
        self._snapshot, self._public = snapshot, public

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - it is of one module
        return str(self._snapshot.paths[self._public])

    def get_data(self, path: str | bytes) -> bytes:
        if path != self.get_filename(self._public):  # compiled code is not kept
            raise FileNotFoundError(path)
        return self._snapshot.texts[self._public]

    def exec_module(self, module: ModuleType) -> None:
        # Python asks a module's own ``__builtins__`` how to import, also when a function is called.
        importer = _importer(self._snapshot)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": importer}
        super().exec_module(module)


def _importer(snapshot: Snapshot) -> Callable[..., Any]:
    """Make an ``import`` that looks among the modules of a snapshot first."""
    package = snapshot.package

    def imports(
        name: str,
        space: Mapping[str, Any] | None = None,
        local: Mapping[str, Any] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        if level or not snapshot.has(top):
            return builtins.__import__(name, space, local, wanted or (), level)
        found = builtins.__import__(f"{package}.{name}", space, local, wanted or ("__name__",), 0)
        return found if wanted else sys.modules[f"{package}.{top}"]

    return imports


def _refuse_twice(name: str, path: Path) -> None:
    if name in _LOADING:
        raise ConfigError(
            "the file asks for itself while it is being run",
            where=str(path),
            hint='put what it does, beside defining things, under if __name__ == "__main__":',
        )


def _refused(error: BaseException, snapshot: Snapshot, path: Path) -> ConfigError:
    told = str(error).replace(f"{snapshot.package}.", "") or "(no message)"
    if isinstance(error, SyntaxError):
        told = f"{error.msg}" + (f": {error.text.strip()}" if error.text else "")
    return ConfigError(
        f"{path.name} cannot be loaded: {type(error).__name__}: {told}",
        where=own_line(error) or str(path),
        hint=_hint(error, path),
    )


def _hint(error: BaseException, path: Path) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return "fix the file, or take it out of the config"
    name = public_name(error.name)
    if (path.parent / f"{name}.py").is_file():
        return f"write `import {name}`: of a folder only what import statements name is loaded"
    return f"install {name}, or take the file out of the config"


def _unreadable(path: Path, error: OSError | ValueError) -> ConfigError:
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        names = sorted(one.name for one in folder.glob("*.py")) if folder.is_dir() else []
        return ConfigError(
            f"there is no file {path.name}", where=str(path), hint=nearest(path.name, names)
        )
    told = getattr(error, "strerror", None) or error
    return ConfigError(f"{path.name} cannot be read: {told}", where=str(path))
