"""Names and what they stand for, each brought by one plugin and imported only when asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

from ensemble.errors import PluginError, unknown_name
from ensemble.plugin.referred import is_reference, refer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble.errors import UnknownNameError
    from ensemble.plugin.registered import BrokenPlugin, Registered

Target = TypeVar("Target")

_NAME = re.compile(r"\w[\w.-]*")


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
    """Names of one kind, and what each plugin brings under them.

    A name of the toolkit's own stands for what the toolkit brings, whoever claims it too. A name
    that several other plugins bring stands for nothing until all but one are left out.

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
        self.accepts = accepts
        self._broken = broken
        self._claims: dict[str, list[Registered]] = {}
        self._lost: dict[str, str] = {}

    def __iter__(self) -> Iterator[Registered]:
        """Give what can be asked for; a name that is in dispute is left out."""
        sound = (self._rightful(name) for name in sorted(self._claims))
        return iter([entry for entry in sound if entry is not None and self.fault(entry) is None])

    def __contains__(self, name: object) -> bool:
        return name in self._claims

    def check_name(self, entry: Registered) -> None:
        """Refuse what cannot be a name: configs and the run directory hold it.

        Raises
        ------
        PluginError
            It cannot.
        """
        name: object = entry.name  # what a plugin gives, whatever it was asked for
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise PluginError(
                f"{entry.name!r:.60} cannot be the name of a {self.kind}",
                where=f'plugin "{entry.plugin}" ({entry.distribution})',
                hint="letters, digits, and . _ - inside: it names files in the run directory",
            )

    def add(self, entry: Registered) -> None:
        """Take in one name; errors as ``check_name``. Others may have brought it too."""
        self.check_name(entry)
        self._claims.setdefault(entry.name, []).append(entry)

    def withdraw(self, plugin: str) -> None:
        """Take all names of a plugin back."""
        for name, claims in list(self._claims.items()):
            self._claims[name] = [one for one in claims if one.plugin != plugin]
            if not self._claims[name]:
                del self._claims[name]

    def lose(self, name: str, plugin: str) -> None:
        """Note that a name would be there, were its plugin not set aside."""
        self._lost[name] = plugin

    def claims(self, plugin: str) -> list[Registered]:
        """List what a plugin brings."""
        return [one for claims in self._claims.values() for one in claims if one.plugin == plugin]

    def fault(self, entry: Registered, *, resolve: bool = False) -> str | None:
        """Say why a config cannot have what a plugin brings under a name; None where it can.

        Parameters
        ----------
        entry
            The name.
        resolve
            Whether lazy targets are imported to see.
        """
        if self._rightful(entry.name) is not entry:
            return self._dispute(entry.name).message
        if isinstance(entry.target, str) and not resolve:
            return None
        try:
            target = entry.resolve()
        except PluginError as error:
            return f"{error.message} ({error.where})"
        return None if self.accepts(target) else self._foreign(entry, target).message

    def entry(self, name: str) -> Registered:
        """Find who brings a name.

        Parameters
        ----------
        name
            Registered, or ``"file.py:Name"``, or ``"module:Name"``.

        Raises
        ------
        UnknownNameError
            Nothing is registered under it; says which name is near and which exist, and which
            plugins were set aside.
        ConfigError
            The file that it names is missing or faulty.
        PluginError
            Two plugins bring it, or the plugin that brings it was set aside.
        """
        if name in self._claims:
            found = self._rightful(name)
            if found is None:
                raise self._dispute(name)
            return found
        if is_reference(name):
            return refer(name, self.kind, self.accepts)
        if name in self._lost:
            raise self._set_aside(name)
        raise self._unknown(name)

    def get(self, name: str) -> Target:
        """Find what a name stands for; imports it.

        Raises
        ------
        UnknownNameError
            As ``entry`` does.
        PluginError
            It cannot be imported, or is of another kind; else as ``entry`` does.
        """
        entry = self.entry(name)
        target = entry.resolve()
        if not self.accepts(target):
            raise self._foreign(entry, target)
        return target  # type: ignore[return-value]  # ``accepts`` has just said so

    def _rightful(self, name: str) -> Registered | None:
        """Give the one who may have a name: the toolkit, or whoever alone brings it."""
        claims = self._claims[name]
        own = [one for one in claims if one.is_builtin]
        return own[0] if own else (claims[0] if len(claims) == 1 else None)

    def _dispute(self, name: str) -> PluginError:
        claims = self._claims[name]
        names = " and ".join(
            dict.fromkeys(f'"{one.plugin}" ({one.distribution})' for one in claims)
        )
        if any(one.is_builtin for one in claims):
            return PluginError(
                f'{self.kind} "{name}" is a name of the toolkit\'s own, which keeps it',
                where=f"plugins {names}",
                hint="the plugin's author must give it another name",
            )
        outs = " or ".join(dict.fromkeys(one.way_out() for one in claims))
        return PluginError(
            f'{self.kind} "{name}" is registered twice: by plugins {names}',
            where=f"plugins {names}",
            hint=f"leave one of them out: {outs}",
        )

    def _foreign(self, entry: Registered, target: object) -> PluginError:
        return PluginError(
            f'"{entry.name}" is not a {self.kind}: {target!r:.120}',
            where=f'plugin "{entry.plugin}" ({entry.distribution})',
            hint="the plugin's author must register it by another hook, or another target",
        )

    def _set_aside(self, name: str) -> PluginError:
        plugin = self._lost[name]
        broken = next((one for one in self._broken if one.name == plugin), None)
        why = broken.error if broken else "it is not here"
        return PluginError(
            f'{self.kind} "{name}" cannot be had: its plugin was set aside: {why}',
            where=f'plugin "{plugin}" ({broken.distribution if broken else "unknown"})',
            hint="fix or update the plugin; `ensemble plugins` shows what is wrong",
        )

    def _unknown(self, name: str) -> UnknownNameError:
        error = unknown_name(self.kind, name, [entry.name for entry in self])
        for note in (_near_reference(name), *(one.note for one in self._broken)):
            if note:
                error.hint = f"{error.hint}\n  note:  {note}"
        return error


def _near_reference(name: str) -> str | None:
    """Say how a file is named, where that seems to be meant."""
    if ".py" not in name:
        return None
    return 'a plugin out of a file is named as "my_learner.py:MyModel": the file, and the class'
