"""Finding plugins and what they bring.

Entry points of the group ``ensemble`` are imported when a manager is made; what they register is
imported only when it is asked for. A plugin that something is wrong with is set aside with its
error, which becomes one only for a config that needs the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from ensemble.config.plugin_files import named_files
from ensemble.errors import ConfigError, PluginError
from ensemble.plugin import hookspecs
from ensemble.plugin.adoption import Found, find_installed, own_file, read_hooks
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.faults import plugin_errors, staying
from ensemble.plugin.feature import FeatureSet
from ensemble.plugin.files import load_file
from ensemble.plugin.registered import DISTRIBUTION, FILE, GIVEN, BrokenPlugin, Registered
from ensemble.plugin.registry import Registry, refuse_swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ensemble.plugin.base import Loader

__all__ = ["DISTRIBUTION", "GIVEN", "Manager", "get_manager", "use_manager"]


def _subclass_of(base: type) -> Callable[[object], bool]:
    return lambda target: isinstance(target, type) and issubclass(target, base)


def _is_loader(target: object) -> bool:
    return callable(target) and not isinstance(target, type)


class Manager:
    """All plugins of one process and everything they registered.

    Parameters
    ----------
    extra
        Plugin modules or objects beside those found through entry points, by name; tests and
        notebooks use it.
    discover
        Whether to look for entry points.

    Attributes
    ----------
    broken
        Plugins that are not there: set aside, or left out by the user.
    found
        All plugins, by name, whatever became of them.
    """

    def __init__(self, extra: dict[str, object] | None = None, *, discover: bool = True) -> None:
        self.broken: list[BrokenPlugin] = []
        self.found: dict[str, Found] = {}
        self.base_learners: Registry[type[BaseLearner]] = Registry(
            "base learner", _subclass_of(BaseLearner), self.broken
        )
        self.meta_learners: Registry[type[MetaLearner]] = Registry(
            "meta-learner", _subclass_of(MetaLearner), self.broken
        )
        self.feature_sets: Registry[FeatureSet] = Registry(
            "feature set", lambda target: isinstance(target, FeatureSet), self.broken
        )
        self.loaders: Registry[Loader] = Registry("loader", _is_loader, self.broken)
        self.observers: Registry[type] = Registry(
            "observer", lambda target: isinstance(target, type), self.broken
        )
        for found in find_installed() if discover else ():
            self._adopt(found)
        for name, plugin in (extra or {}).items():
            self._adopt(Found(name, GIVEN, plugin=plugin))

    @property
    def registries(self) -> dict[str, Registry[Any]]:
        """The registries, by the hook that fills each."""
        return {
            "register_base_learners": self.base_learners,
            "register_meta_learners": self.meta_learners,
            "register_feature_sets": self.feature_sets,
            "register_loaders": self.loaders,
            "register_observers": self.observers,
        }

    def feature_identity(self, name: str) -> dict[str, Any]:
        """Say as JSON what a model fitted on a feature set depends on: ``FeatureSet.identity``.

        Where an expression calls Python, the code that brings the set counts too.
        """
        found = self.feature_sets.get(name)
        known = found.identity()
        if None in found.digests.values():
            known["source"] = self.feature_sets.entry(name).code()["source"]
        return known

    def plugins(self) -> list[tuple[str, str]]:
        """Names of the working plugins with their distributions, sorted."""
        return sorted((one.name, one.distribution) for one in self.found.values() if one.works)

    def use_files(self, files: Iterable[Path]) -> None:
        """Take in files of Python with hooks; a version of before, and its names, go.

        Parameters
        ----------
        files
            Absolute paths.

        Raises
        ------
        ConfigError
            A file is missing or faulty, or has no hooks that can be called.
        """
        wanted = {file: load_file(file) for file in files}
        for found in [one for one in self.found.values() if one.distribution.startswith(FILE)]:
            if found.plugin not in wanted.values():
                self._forget(found)
        known = [one.plugin for one in self.found.values()]
        for file, module in wanted.items():
            if module not in known:
                found = Found(self._free_name(file.name), f"{FILE}{file.name}", plugin=module)
                self._adopt(found)
                if found.error is not None:
                    self._forget(found)
                    raise ConfigError(
                        f"{file.name} cannot be used as a plugin: {found.error}", where=str(file)
                    )

    def faults(self, found: Found, *, resolve: bool = False) -> list[str]:
        """List all that is wrong with a plugin, also what does not set it aside.

        Parameters
        ----------
        found
            The plugin.
        resolve
            Whether its lazy targets are imported to see.
        """
        own = [found.error] if found.error is not None else []
        names = [
            fault
            for registry in self.registries.values()
            for entry in registry.claims(found.name)
            if (fault := registry.fault(entry, resolve=resolve)) is not None
        ]
        return [*own, *found.warnings, *names]

    def _adopt(self, found: Found) -> None:
        """Take in a plugin with all that it registers, or set it aside with none of it."""
        self.found[found.name] = found
        if found.error is None:
            try:
                with staying():
                    found.hooks, found.error = read_hooks(found.plugin)
                    found.file = found.file or own_file(found.plugin)
                    if found.error is None:
                        self._register(found)
            except plugin_errors() as error:
                found.fail(error)
        if found.error is not None:
            self._set_aside(found)

    def _register(self, found: Found) -> None:
        """Call the hooks that register; all names are taken in, or none."""
        found.manager = pluggy.PluginManager(hookspecs.PROJECT)
        found.manager.add_hookspecs(hookspecs)
        found.manager.register(found.plugin, found.name)
        brought: list[tuple[Registry[Any], Registered]] = []
        try:
            for hook, registry in self.registries.items():
                taker = _Taker(registry, found, brought)
                getattr(found.manager.hook, hook)(register=taker)
        except BaseException:
            for registry, entry in brought:
                registry.lose(entry.name, found.name)
            raise
        for registry, entry in brought:
            registry.add(entry)

    def _set_aside(self, found: Found) -> None:
        wanted = not found.is_left_out
        self.broken.append(
            BrokenPlugin(found.name, found.distribution, str(found.error), is_wanted=wanted)
        )

    def _forget(self, found: Found) -> None:
        self.found.pop(found.name, None)
        self.broken[:] = [one for one in self.broken if one.name != found.name]
        for registry in self.registries.values():
            registry.withdraw(found.name)

    def _free_name(self, name: str) -> str:
        """Give a name that no other plugin has: two files may be called the same."""
        number, free = 1, name
        while free in self.found:
            number += 1
            free = f"{name} ({number})"
        return free

    def hook_of(self, name: str, hook: str) -> Any:
        """Give a hook that calls one plugin alone."""
        manager = self.found[name].manager
        if manager is None:
            raise PluginError(f'plugin "{name}" was set aside')
        return getattr(manager.hook, hook)


class _Taker:
    """The ``register`` that a hook is given."""

    def __init__(
        self,
        registry: Registry[Any],
        found: Found,
        brought: list[tuple[Registry[Any], Registered]],
    ) -> None:
        self._registry, self._found, self._brought = registry, found, brought

    def __call__(self, name: str, target: object) -> None:
        found = self._found
        refuse_swapped(name, target, f'plugin "{found.name}" ({found.distribution})')
        entry = Registered(name, target, found.name, found.distribution, found.plugin)
        self._registry.check_name(entry)
        if any(known is self._registry and one.name == name for known, one in self._brought):
            raise PluginError(f'it registers the {self._registry.kind} "{name}" twice')
        self._brought.append((self._registry, entry))


_current: Manager | None = None


def get_manager() -> Manager:
    """Give the manager of this process, made at the first call.

    It knows the files with hooks that the command line and the config name.

    Raises
    ------
    ConfigError
        Such a file is missing or faulty.
    """
    global _current
    if _current is None:
        _current = Manager()
    _current.use_files(named_files())
    return _current


def use_manager(manager: Manager | None) -> None:
    """Make another manager that of this process: for notebooks and tests; None starts afresh."""
    global _current
    _current = manager
