"""Plugins as they are found: installed ones, and what is known of each before it is taken in."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import distributions, entry_points
from typing import TYPE_CHECKING

from ensemble.errors import EnsembleError, InputError, unknown_name
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.plugin.hook_checks import hook_faults, hooks_of
from ensemble.plugin.referred import other_api
from ensemble.plugin.registered import DISTRIBUTION, FILE
from ensemble.plugin.selection import (
    ALLOWED,
    allowed_names,
    leave_out,
    same_name,
    why_left_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint

    import pluggy

GROUP = "ensemble"
"""The entry-point group that plugins are found through."""
_OWN = "ensemble_plugins"
"""The module of the built-in plugins."""


@dataclass
class Found:
    """A plugin, and what became of it.

    Parameters
    ----------
    name
        Of its entry point, or its file; no two have one.
    distribution
        Installed distribution and version, ``"name 1.2"``, or what stands for it.
    target
        What the entry point names.
    plugin
        The module or object; None where it could not be imported.
    file
        Where its code is.
    hooks
        Hooks that it has.
    error
        Why it is not there; None where it is.
    warnings
        What is wrong with it, though it is there.
    is_left_out
        Whether the user wants it away.
    manager
        Calls its hooks.
    """

    name: str
    distribution: str
    target: str | None = None
    plugin: object = None
    file: str | None = None
    hooks: tuple[str, ...] = ()
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    is_left_out: bool = False
    manager: pluggy.PluginManager | None = None

    @property
    def works(self) -> bool:
        """Whether it was taken in."""
        return self.error is None

    @property
    def is_builtin(self) -> bool:
        """Whether the toolkit brings it."""
        return self.distribution.partition(" ")[0] == DISTRIBUTION

    @property
    def is_file(self) -> bool:
        """Whether it is a file, of no distribution."""
        return self.distribution.startswith(FILE)

    def fail(self, error: BaseException) -> None:
        """Note what it raised, and in which line."""
        line = own_line(error)
        if isinstance(error, EnsembleError):
            told = f"{error.message}{f'; {error.hint}' if error.hint else ''}"
        else:
            told = f"{type(error).__name__}: {error}"
        self.error = f"{told}{f' ({line})' if line else ''}"


def read_hooks(plugin: object) -> tuple[tuple[str, ...], str | None]:
    """List a plugin's hooks, and say what is wrong with them or with its version of the hooks."""
    faults = [told] if (told := other_api(plugin)) else list(hook_faults(plugin))
    return tuple(hook.name for hook in hooks_of(plugin)), "; ".join(faults) or None


def own_file(plugin: object) -> str | None:
    """Find the file of a plugin's code."""
    try:
        kind = plugin if inspect.ismodule(plugin) or inspect.isclass(plugin) else type(plugin)
        return inspect.getfile(kind)
    except (TypeError, OSError):
        return None


def find_installed() -> Iterator[Found]:
    """Import the plugins that are installed and wanted, the toolkit's own first."""
    points = sorted(_entry_points(), key=lambda one: (not _is_own(one), one.name, _told(one)))
    own = {point.name for point in points if _is_own(point)}
    counts = Counter(point.name for point in points)
    for point in points:
        name, version = _distribution(point)
        found = Found(point.name, f"{name} {version}".strip(), target=point.value)
        if not _is_own(point):
            if counts[point.name] > 1:
                found.name = f"{point.name}@{name}"
                others = [_told(one) for one in points if one.name == point.name and one != point]
                found.warnings.append(
                    f'its entry point has the name "{point.name}", which is taken: '
                    f"{' and '.join(others)} has it too"
                )
            if why := why_left_out(point.name, name):
                found.error, found.is_left_out = why, True
            elif point.name in own:
                found.error = f'the entry point "{point.name}" is the toolkit\'s own'
        if found.error is None:
            _load(found, point)
        yield found
    yield from _not_installed(points)


def check_left_out(names: Iterable[str]) -> None:
    """Have installed plugins of these names, or of distributions of these names, left out.

    Raises
    ------
    UnknownNameError
        There is none; says which is near and which exist.
    InputError
        It is the toolkit's own.
    """
    points = list(_entry_points())
    known = {name for one in points for name in (one.name, _distribution(one)[0])}
    own = {name for one in points if _is_own(one) for name in (one.name, _distribution(one)[0])}
    for name in names:
        if same_name(name, own):
            raise InputError(f'"{name}" is the toolkit\'s own, and cannot be left out')
        if not same_name(name, known):
            raise unknown_name("plugin", name, known - own)
    leave_out(names)


def _load(found: Found, point: EntryPoint) -> None:
    try:
        with staying():
            found.plugin = point.load()
    except plugin_errors() as error:  # one broken plugin must not stop the whole program
        found.fail(error)


def _not_installed(points: Iterable[EntryPoint]) -> Iterator[Found]:
    """Give what the environment asks for and is not there."""
    known = {name for one in points for name in (one.name, _distribution(one)[0])}
    for name in sorted(allowed_names() or ()):
        if same_name(name, known):
            continue
        yield Found(name, "not installed", error=f"{ALLOWED} names it, and it is not installed")


def _entry_points() -> Iterable[EntryPoint]:
    """Entry points of our group, once each: an editable install may list them twice."""
    try:
        found = list(entry_points(group=GROUP))
    except Exception:  # the metadata of any distribution may be broken
        found = list(_sound_entry_points())
    return {(point.name, point.value): point for point in found}.values()


def _sound_entry_points() -> Iterator[EntryPoint]:
    for distribution in distributions():
        try:
            yield from distribution.entry_points.select(group=GROUP)
        except Exception:  # noqa: S112 - it has none that anybody could read
            continue


def _is_own(point: EntryPoint) -> bool:
    return point.value == _OWN and _distribution(point)[0] == DISTRIBUTION


def _told(point: EntryPoint) -> str:
    return " ".join(filter(None, _distribution(point)))


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Give name and version; metadata may be missing or broken."""
    try:
        known = point.dist
        if known is not None:
            return str(known.name or "unknown"), str(known.version or "")
    except Exception:  # noqa: S110 - then nobody knows them
        pass
    return "unknown", ""
