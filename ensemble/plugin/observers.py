"""Telling observers what happens in a run: plugins with such hooks, and those that a config names.

An observer never stops a run: what it raises is a warning, and one that takes too long is not asked
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from ensemble.errors import ConfigError, PluginError
from ensemble.plugin import hookspecs
from ensemble.plugin.faults import own_line, plugin_errors, staying
from ensemble.plugin.manager import get_manager
from ensemble.plugin.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.run_dir.reporter import Reporter

OBSERVER_HOOKS = ("fold_fitted", "stack_decided", "run_finished")
"""Hooks that tell of something; the others ask plugins what they bring."""
PATIENCE = 60.0
"""Seconds that an observer may take for one call."""


class Observers:
    """Everyone who watches a run.

    Parameters
    ----------
    asked
        Observers that the config names, each with its name there; their methods are marked with
        ``hookimpl``, as a plugin's hooks are.

    Raises
    ------
    ConfigError
        One of them has no observer hook, or one whose arguments no hook has.
    """

    def __init__(self, asked: Sequence[tuple[str, object]] = ()) -> None:
        self._own = pluggy.PluginManager(hookspecs.PROJECT)
        self._own.add_hookspecs(hookspecs)
        self._silent: set[str] = set()
        for number, (name, observer) in enumerate(asked, 1):
            self._take(f'observer {number}, "{name}"', observer)

    def watched(self, hook: str) -> bool:
        """Say whether anybody implements a hook."""
        return any(True for _ in self._callers(hook))

    def tell(self, hook: str, arguments: Mapping[str, Any]) -> list[str]:
        """Call a hook of every observer, one after the other.

        Parameters
        ----------
        hook
            Its name.
        arguments
            As the hook's specification names them.

        Returns
        -------
        list of str
            What went wrong, each with its observer.
        """
        faults = (self._call(*one, hook, arguments) for one in self._callers(hook))
        return [fault for fault in faults if fault is not None]

    def _take(self, name: str, observer: object) -> None:
        try:
            self._own.register(observer, name)
            self._own.check_pending()
        except (ValueError, pluggy.PluginValidationError) as error:
            raise ConfigError(f"it cannot observe: {error}", where=name) from error
        hooks = {caller.name for caller in self._own.get_hookcallers(observer) or ()}
        if not hooks & set(OBSERVER_HOOKS):
            raise ConfigError(
                "it observes nothing: none of its methods is a hook of an observer",
                where=name,
                hint=f"mark methods with @hookimpl that are called {', '.join(OBSERVER_HOOKS)}",
            )

    def _callers(self, hook: str) -> Iterator[tuple[str, Any]]:
        """Give everyone who implements a hook, by name, with what calls it alone."""
        manager = get_manager()
        found = [
            (f'plugin "{name}" ({distribution})', manager.hook_of(name, hook))
            for name, distribution in manager.plugins()
        ]
        for name, observer in self._own.list_name_plugin():
            others = [other for other in self._own.get_plugins() if other is not observer]
            found.append((name, self._own.subset_hook_caller(hook, others)))
        for name, caller in found:
            if caller.get_hookimpls() and name not in self._silent:
                yield name, caller

    def _call(self, name: str, caller: Any, hook: str, arguments: Mapping[str, Any]) -> str | None:
        try:
            with staying(), time_limit(PATIENCE, hook, kind=_TooSlowError):
                caller(**arguments)
        except _TooSlowError as error:
            self._silent.add(name)
            place = f" ({error.where})" if error.where else ""
            return f"{name}: it took longer than {PATIENCE:g} s{place}, and is told no more"
        except plugin_errors() as error:
            line = own_line(error)
            place = f" ({line})" if line else ""
            return f"{name}: {hook} raised {type(error).__name__}: {error}{place}"
        return None


class _TooSlowError(PluginError):
    """An observer took longer than it may."""


def observe(reporter: Reporter, hook: str, arguments: Callable[[], Mapping[str, Any]]) -> None:
    """Tell the observers of a run; their faults are warnings.

    Parameters
    ----------
    reporter
        Of the run.
    hook
        Name of the hook.
    arguments
        Gives its arguments but ``run_dir``; called only where somebody listens.
    """
    if reporter.observers is None:
        reporter.observers = Observers()
    observers: Observers = reporter.observers
    if observers.watched(hook):
        for fault in observers.tell(hook, {"run_dir": reporter.run, **arguments()}):
            reporter.warn(fault)
