"""Names and what they stand for, each brought by one plugin and imported only when asked for."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar

from ensemble.errors import PluginError, unknown_name
from ensemble.plugin.code import code_digest, module_digest
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Target = TypeVar("Target")

_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was set aside, and why."""

    name: str
    distribution: str
    error: str


@dataclass(frozen=True)
class Registered:
    """One name, what it stands for, and who brought it.

    Parameters
    ----------
    name
        The name that configs use.
    target
        The thing itself, or a lazy ``"module:attribute"`` string.
    plugin
        Name of the plugin (its entry point) that registered it.
    distribution
        Installed distribution and version of that plugin, ``"name 1.2"``.
    bringer
        The plugin itself, a module or an object.
    """

    name: str
    target: object
    plugin: str
    distribution: str
    bringer: object = None

    def code(self) -> dict[str, str]:
        """Name the code behind the name: ``source``, 64 hex digits, and ``distribution``.

        Of an object, such as a feature set or a loader with settings, the code is also that of the
        module which it is imported from, or else of the plugin: there it was made.

        Raises
        ------
        PluginError
            As ``resolve`` does.
        """
        return {"source": self._source(), "distribution": self.distribution}

    def _source(self) -> str:
        target = self.resolve()
        known = code_digest(target)
        if known is not None and isinstance(target, type | FunctionType):
            return known
        maker = self._maker()
        return maker if known is None else fingerprint([known, maker])

    def _maker(self) -> str:
        """Name the code that has made an object."""
        if isinstance(self.target, str):
            return module_digest(self.target.partition(":")[0])
        if isinstance(self.bringer, ModuleType):
            return module_digest(self.bringer.__name__)
        return str(code_digest(type(self.bringer)))

    def resolve(self) -> object:
        """Import a lazy target.

        Raises
        ------
        PluginError
            The module or the attribute cannot be imported.
        """
        if not isinstance(self.target, str):
            return self.target
        where = f'plugin "{self.plugin}" ({self.distribution}), target "{self.target}"'
        module, _, attribute = self.target.partition(":")
        if not (module and attribute):
            raise PluginError(
                f'"{self.name}" cannot be loaded: its target is no "module:name"', where=where
            )
        try:
            with staying():
                return attrgetter(attribute)(importlib.import_module(module))
        except plugin_errors() as error:
            line = own_line(error)
            raise PluginError(
                f'"{self.name}" cannot be loaded: {type(error).__name__}: {error}',
                where=f"{where}, {line}" if line else where,
                hint="install what it needs, or take it out of the config",
            ) from error


def refuse_swapped(name: object, target: object, where: str) -> None:
    """Refuse ``register(target, name)``.

    Raises
    ------
    PluginError
        The name is a class or an object, and the target could be a name.
    """
    if not isinstance(name, str | int | None) and isinstance(target, str):
        raise PluginError(
            f"register was given {name!r:.60} as a name, and {target!r:.60} as what it stands for",
            where=where,
            hint="the name comes first: register(name, target)",
        )


class Registry(Generic[Target]):
    """Names of one kind, each brought by one plugin.

    Parameters
    ----------
    kind
        What the names stand for, as errors call it.
    accepts
        Says whether a resolved target is of this kind.
    broken
        Plugins that were set aside; an unknown name may have been theirs.
    """

    def __init__(
        self, kind: str, accepts: Callable[[object], bool], broken: list[BrokenPlugin]
    ) -> None:
        self.kind = kind
        self._accepts = accepts
        self._broken = broken
        self._entries: dict[str, Registered] = {}

    def __iter__(self) -> Iterator[Registered]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def add(self, entry: Registered) -> None:
        """Take in one name.

        Raises
        ------
        PluginError
            Another plugin has registered the name (both are named), or it is none: configs and the
            run directory hold it.
        """
        name: object = entry.name  # what a plugin gives, whatever it was asked for
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise PluginError(
                f"{entry.name!r:.60} cannot be the name of a {self.kind}",
                where=f'plugin "{entry.plugin}" ({entry.distribution})',
                hint="letters, digits, and . _ - inside: it names files in the run directory",
            )
        other = self._entries.get(entry.name)
        if other is not None:
            raise PluginError(
                f'{self.kind} "{entry.name}" is registered twice',
                where=f'plugins "{other.plugin}" ({other.distribution}) and '
                f'"{entry.plugin}" ({entry.distribution})',
                hint="rename one of them, or uninstall one plugin",
            )
        self._entries[entry.name] = entry

    def entry(self, name: str) -> Registered:
        """Find who brought a name.

        Raises
        ------
        UnknownNameError
            Nothing is registered under it; says which name is near and which exist, and which
            plugins were set aside.
        """
        if name not in self._entries:
            error = unknown_name(self.kind, name, self._entries)
            for broken in self._broken:
                error.hint = (
                    f'{error.hint}\n  note:  plugin "{broken.name}" was skipped: {broken.error}'
                )
            raise error
        return self._entries[name]

    def get(self, name: str) -> Target:
        """Find what a name stands for; imports it.

        Raises
        ------
        UnknownNameError
            As ``entry`` does.
        PluginError
            It cannot be imported, or is of another kind.
        """
        entry = self.entry(name)
        target = entry.resolve()
        if not self._accepts(target):
            raise PluginError(
                f'"{name}" is not a {self.kind}: {target!r}',
                where=f'plugin "{entry.plugin}" ({entry.distribution})',
            )
        return target  # type: ignore[return-value]  # ``accepts`` has just said so
