"""What a config names by ``package.module.Name``, ``package.module:Name`` or ``file.py:Name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError, LearnerError, nearest
from ensemble.plugin.faults import call_plugin, own_line, plugin_errors
from ensemble.plugin.modules import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def resolve(reference: str) -> Any:
    """Find what a reference names.

    Parameters
    ----------
    reference
        ``"package.module.Name"``, ``"package.module:Name"`` or ``"file.py:Name"``: a class, a
        function that returns an estimator, or an estimator.

    Raises
    ------
    ConfigError
        It cannot be found or imported.
    """
    place, attribute = parts_of(reference)
    in_file = place.endswith(".py")
    module = module_of_file(Path(place)) if in_file else _imported(place, reference)
    try:
        return attrgetter(attribute)(module)
    except AttributeError as error:
        names = [name for name in dir(module) if not name.startswith("_")]
        raise ConfigError(
            f'{place} has no "{attribute}"', hint=nearest(attribute, names)
        ) from error


def check_reference(reference: str) -> None:
    """Refuse what cannot be a reference, without an import.

    Raises
    ------
    ValueError
        It names no module.
    """
    place, attribute = parts_of(reference)
    if not (place and attribute):
        raise ValueError(
            f'estimator "{reference}" names no module: give "package.module.Class", '
            '"package.module:function" or "file.py:function"'
        )


def module_of_file(path: Path) -> ModuleType:
    """Import a file, under a name that says its content: ``"stem_<8 hex digits>"``.

    Raises
    ------
    ConfigError
        There is no such file, or it raises.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    name = file_module_name(path)
    if name not in sys.modules:
        module = _spec_of(name, path)
        sys.modules[name] = module
        try:
            with _beside(path):
                run_named(f"{path}", lambda: module.__spec__.loader.exec_module(module))  # type: ignore[union-attr]
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def file_module_name(path: Path) -> str:
    """Name the module that a file is imported as; comments do not change it."""
    return f"{path.stem}_{digest_of(path.read_bytes())[:8]}"


def module_name(reference: str) -> str:
    """Name the module in which a reference is looked up, as this process knows it."""
    place, _ = parts_of(reference)
    return file_module_name(Path(place)) if place.endswith(".py") else place


def parts_of(reference: str) -> tuple[str, str]:
    """Split a reference into module or file, and name; empty where there is none."""
    place, colon, attribute = reference.rpartition(":")
    if not colon:
        place, _, attribute = reference.rpartition(".")
    return place, attribute


def run_named(what: str, action: Callable[[], Any]) -> Any:
    """Run what a reference names.

    Raises
    ------
    ConfigError
        It raised: the config names it.
    """
    try:
        return call_plugin(what, "", action)
    except LearnerError as error:
        line = _line(error.__cause__)
        told = f"{error.message} ({line})" if line else error.message
        raise ConfigError(told, hint=error.hint) from error


def _line(error: BaseException | None) -> str | None:
    """Say where the code that a reference names last was: behind the frames of the toolkit."""
    frames = error.__traceback__ if error else None
    while frames and str(frames.tb_frame.f_globals.get("__name__")).startswith("ensemble"):
        frames = frames.tb_next
    return own_line(error.with_traceback(frames)) if error and frames else None


def _imported(module: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f'"{reference}" cannot be imported: there is no module "{error.name}"',
                hint="correct the name, install it, or give a file beside the config: file.py:name",
            ) from error
    except plugin_errors():
        pass
    found: ModuleType = run_named(reference, lambda: importlib.import_module(module))
    return found  # it raises again, and is told where


def _spec_of(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None:
        raise ConfigError(f"{path} cannot be imported")
    return importlib.util.module_from_spec(spec)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let a file import its neighbors."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
