"""A name, what it stands for, and who brought it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from operator import attrgetter
from types import FunctionType, ModuleType

from ensemble.errors import PluginError
from ensemble.plugin.code import code_digest, module_digest
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.storage.hashing import fingerprint

DISTRIBUTION = "preference-ensemble"
"""The toolkit's own distribution, which brings the built-in plugins."""
GIVEN = "given in Python"
"""What stands for the distribution of a plugin that only this process knows."""
FILE = "file "
"""What the distribution of a plugin that is a file begins with."""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that is not there, and why.

    Parameters
    ----------
    name, distribution
        Which.
    error
        What is wrong with it, or who left it out.
    is_wanted
        False where the user has left it out.
    """

    name: str
    distribution: str
    error: str
    is_wanted: bool = True

    @property
    def note(self) -> str:
        """Say that an unknown name may have been of this plugin."""
        skipped = f"was skipped: {self.error}" if self.is_wanted else f"is {self.error}"
        return f'plugin "{self.name}" {skipped}'


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

    @property
    def is_builtin(self) -> bool:
        """Whether the toolkit brings it."""
        return self.distribution.partition(" ")[0] == DISTRIBUTION

    def way_out(self) -> str:
        """Say how a plugin is left out."""
        if self.distribution.startswith(FILE):
            return f"take {self.plugin} out of `plugins` or `--plugin`"
        if self.distribution == GIVEN:
            return f'give no plugin "{self.plugin}"'
        # Of two plugins with one name each goes by that of its distribution too.
        return f"`--no-plugin {self.plugin.partition('@')[2] or self.plugin}`"

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
