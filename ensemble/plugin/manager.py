"""Finding plugins and what they bring.

Entry points of the group ``ensemble`` are imported when a manager is made; what they register is
imported only when it is asked for. A plugin that cannot be imported is set aside with its error,
which becomes one only for a config that needs the plugin.
"""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from ensemble.errors import PluginError
from ensemble.plugin import hookspecs
from ensemble.plugin.base import BaseLearner, FeatureSet, MetaLearner
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.plugin.registry import BrokenPlugin, Registered, Registry, refuse_swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from ensemble.plugin.base import Loader

GROUP = "ensemble"
"""The entry-point group that plugins are found through."""
GIVEN = "given in Python"
"""What stands for the distribution of a plugin that only this process knows."""


def _subclass_of(base: type) -> Callable[[object], bool]:
    return lambda target: isinstance(target, type) and issubclass(target, base)


class Manager:
    """All plugins of one process and everything they registered.

    Parameters
    ----------
    extra
        Plugin modules or objects beside those found through entry points, by name; tests and
        notebooks use it.
    discover
        Whether to look for entry points.
    """

    def __init__(self, extra: dict[str, object] | None = None, *, discover: bool = True) -> None:
        self.broken: list[BrokenPlugin] = []
        self.distributions: dict[str, str] = {}
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        for point in _entry_points() if discover else ():
            self._load(point)
        for name, plugin in (extra or {}).items():
            self._adopt(name, plugin, GIVEN)
        self._refuse_misspelled()
        self.base_learners: Registry[type[BaseLearner]] = Registry(
            "base learner", _subclass_of(BaseLearner), self.broken
        )
        self.meta_learners: Registry[type[MetaLearner]] = Registry(
            "meta-learner", _subclass_of(MetaLearner), self.broken
        )
        self.feature_sets: Registry[FeatureSet] = Registry(
            "feature set", lambda target: isinstance(target, FeatureSet), self.broken
        )
        self.loaders: Registry[Loader] = Registry("loader", callable, self.broken)
        for hook, registry in (
            ("register_base_learners", self.base_learners),
            ("register_meta_learners", self.meta_learners),
            ("register_feature_sets", self.feature_sets),
            ("register_loaders", self.loaders),
        ):
            self._collect(hook, registry)

    def notify_fold_fitted(
        self, *, learner: str, fold: int | None, directory: Path, seconds: float
    ) -> tuple[str, ...]:
        """Tell every observer that a fold is complete; parameters as in the hook ``fold_fitted``.

        Returns
        -------
        tuple of str
            What observers raised, each with its plugin: one that fails stops neither the run nor
            the other observers.
        """
        errors = []
        for name, distribution in self.plugins():
            tell = self._hook_of(name, "fold_fitted")
            try:
                with staying():
                    tell(learner=learner, fold=fold, directory=directory, seconds=seconds)
            except plugin_errors() as error:
                line = own_line(error)
                place = f" ({line})" if line else ""
                what = f"fold_fitted raised {type(error).__name__}: {error}{place}"
                errors.append(f'plugin "{name}" ({distribution}): {what}')
        return tuple(errors)

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
        return sorted(self.distributions.items())

    def _load(self, point: EntryPoint) -> None:
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
        try:
            with staying():
                plugin = point.load()
        except plugin_errors() as error:  # one broken plugin must not stop the whole program
            self._set_aside(point.name, distribution, error)
        else:
            self._adopt(point.name, plugin, distribution)

    def _adopt(self, name: str, plugin: object, distribution: str) -> None:
        try:
            self._pluggy.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(
                f'plugin "{name}" cannot be registered: {error}', where=distribution
            ) from error
        self.distributions[name] = distribution

    def _set_aside(self, name: str, distribution: str, error: BaseException) -> None:
        line = own_line(error)
        told = f"{type(error).__name__}: {error}{f' ({line})' if line else ''}"
        self.broken.append(BrokenPlugin(name, distribution, told))
        self.distributions.pop(name, None)

    def _refuse_misspelled(self) -> None:
        try:
            self._pluggy.check_pending()
        except pluggy.PluginValidationError as error:
            known = [name for name in vars(self._pluggy.hook) if not name.startswith("_")]
            specs = [name for name in known if getattr(self._pluggy.hook, name).has_spec()]
            odd = next(name for name in known if name not in specs)
            close = difflib.get_close_matches(odd, specs, n=1)
            raise PluginError(
                str(error),
                hint=(f'did you mean "{close[0]}"? ' if close else "")
                + f"There are: {', '.join(sorted(specs))}",
            ) from error

    def _collect(self, hook: str, registry: Registry[Any]) -> None:
        for name in list(self.distributions):
            # One plugin at a time, so that each name is known to be its bringer's.
            self._call(self._hook_of(name, hook), name, registry)

    def _hook_of(self, name: str, hook: str) -> Any:
        """Give a hook that calls one plugin alone."""
        plugin = self._pluggy.get_plugin(name)
        others = [other for other in self._pluggy.get_plugins() if other is not plugin]
        return self._pluggy.subset_hook_caller(hook, others)

    def _call(self, caller: Any, plugin: str, registry: Registry[Any]) -> None:
        distribution, bringer = self.distributions[plugin], self._pluggy.get_plugin(plugin)

        def register(name: str, target: object) -> None:
            refuse_swapped(name, target, f'plugin "{plugin}" ({distribution})')
            registry.add(Registered(name, target, plugin, distribution, bringer))

        try:
            with staying():
                caller(register=register)
        except PluginError:
            raise
        except plugin_errors() as error:
            self._set_aside(plugin, distribution, error)


def _entry_points() -> Iterable[EntryPoint]:
    """Entry points of our group, once each: an editable install may list them twice."""
    return {(point.name, point.value): point for point in entry_points(group=GROUP)}.values()


_current: Manager | None = None


def get_manager() -> Manager:
    """Give the manager of this process, made at the first call."""
    global _current
    if _current is None:
        _current = Manager()
    return _current


def use_manager(manager: Manager | None) -> None:
    """Make another manager that of this process: for notebooks and tests; None starts afresh."""
    global _current
    _current = manager
