"""What registered learners suggest for data and machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.errors import EnsembleError, PluginError
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.manager import get_manager
from ensemble.plugin.suggestion import Suggestion

if TYPE_CHECKING:
    from ensemble.plugin.registered import Registered
    from ensemble.plugin.suggestion import DataSummary, Machine


@dataclass(frozen=True)
class Advice:
    """One learner for the config.

    Parameters
    ----------
    plugin
        The registered name.
    name
        Of the learner, unlike the others'.
    suggestion
        What its plugin says.
    """

    plugin: str
    name: str
    suggestion: Suggestion

    @property
    def fits(self) -> bool:
        """Whether it can run here as it stands."""
        return self.suggestion.unfit is None

    def told_minutes(self) -> str:
        """Say how long it takes."""
        minutes, basis = self.suggestion.minutes, self.suggestion.basis
        if minutes is None:
            return basis
        return f"{told_time(minutes)}{f' ({basis})' if basis else ''}"


def told_time(minutes: float) -> str:
    """Say minutes no more exactly than they are known."""
    if not minutes:
        return "nothing to fit"
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        rounded = round(minutes) if minutes < 10 else 5 * round(minutes / 5)
        return f"about {rounded} minute{'s' * (rounded != 1)}"
    hours = minutes / 60
    return f"about {hours:.1f} hours" if hours < 10 else f"about {round(hours)} hours"


def advise(data: DataSummary, machine: Machine) -> tuple[list[Advice], list[str]]:
    """Ask every registered learner that has a say.

    Returns
    -------
    tuple
        The suggestions, those that can run here first, the fastest before others; and sentences
        about plugins whose suggestion failed.
    """
    asked: list[tuple[str, Suggestion]] = []
    notes: list[str] = []
    for entry in get_manager().base_learners:
        try:
            asked += [(entry.name, one) for one in _suggestions(entry, data, machine)]
        except EnsembleError as error:
            notes.append(f"{entry.name} suggests nothing: {error.message}")
    asked.sort(key=lambda item: (item[1].unfit is not None, _order(item[1])))
    return _named(asked), notes


def _order(suggestion: Suggestion) -> float:
    return math.inf if suggestion.minutes is None else suggestion.minutes


def _suggestions(entry: Registered, data: DataSummary, machine: Machine) -> tuple[Suggestion, ...]:
    kind: Any = entry.resolve()
    if not hasattr(kind, "suggest"):
        return ()
    where = f'learner "{entry.name}" (plugin "{entry.plugin}")'
    found: tuple[Any, ...] = call_plugin(
        "suggest", where, lambda: tuple(kind.suggest(data, machine))
    )
    if not all(isinstance(one, Suggestion) for one in found):
        raise PluginError("suggest gives something else than Suggestion objects", where=where)
    return found


def _named(asked: list[tuple[str, Suggestion]]) -> list[Advice]:
    taken: set[str] = set()
    named = []
    for plugin, suggestion in asked:
        name = free_name(suggestion.name or plugin, taken)
        taken.add(name)
        named.append(Advice(plugin, name, suggestion))
    return named


def free_name(wanted: str, taken: set[str]) -> str:
    """Give a name that a config may have and that nobody else has, in any case of letters."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in wanted)
    name = kept.lstrip("._-")[:90] or "unnamed"
    lower = {one.lower() for one in taken}
    number, found = 2, name
    while found.lower() in lower:
        number, found = number + 1, f"{name}-{number}"
    return found
