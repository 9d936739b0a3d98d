"""Which installed plugins are wanted: ``ENSEMBLE_PLUGINS`` and ``--no-plugin``.

Both stand in the environment, so that worker processes know of them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ALLOWED = "ENSEMBLE_PLUGINS"
"""Names of the plugins that are loaded beside the built-ins; empty: none; not set: all."""
LEFT_OUT = "ENSEMBLE_NO_PLUGIN"
"""Names of plugins that are not loaded."""


def leave_out(names: Iterable[str]) -> None:
    """Have this process, and those that it starts, load no plugin of these names."""
    os.environ[LEFT_OUT] = ",".join(sorted({*_names(LEFT_OUT), *names}))


def why_left_out(name: str, distribution: str) -> str | None:
    """Say why a plugin is not wanted; None where it is.

    Parameters
    ----------
    name
        Of its entry point.
    distribution
        Name of its distribution, which stands for all plugins in it.
    """
    if any(same_name(one, (name, distribution)) for one in _names(LEFT_OUT)):
        return "left out by --no-plugin"
    allowed = allowed_names()
    if allowed is None or any(same_name(one, (name, distribution)) for one in allowed):
        return None
    return f"left out: {ALLOWED} does not name it"


def same_name(name: str, others: Iterable[str]) -> bool:
    """Say whether a name is among others; case, and ``-`` or ``_``, make no difference."""
    return _plain(name) in set(map(_plain, others))


def allowed_names() -> frozenset[str] | None:
    """Give the names of ``ENSEMBLE_PLUGINS``; None where it is not set."""
    return None if os.environ.get(ALLOWED) is None else _names(ALLOWED)


def _names(variable: str) -> frozenset[str]:
    return frozenset(filter(None, re.split(r"[\s,;:]+", os.environ.get(variable, ""))))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
