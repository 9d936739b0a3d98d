"""What classes hold themselves, put back to what it was before anything was fitted."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ensemble.plugin.members import is_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTAINERS = (list, dict, set)
State = dict[type, dict[str, Any]]


def class_state(kind: type) -> State:
    """Copy the attributes of a class and of those that it inherits from, but for the core's."""
    return {one: _attributes(one) for one in kind.__mro__ if not is_foreign(one)}


def _attributes(kind: type) -> dict[str, Any]:
    names = {name: value for name, value in vars(kind).items() if not name.startswith("__")}
    return {n: v.copy() if isinstance(v, _CONTAINERS) else v for n, v in names.items()}


@contextmanager
def as_before(state: State) -> Iterator[None]:
    """Have classes as they were, for a while."""
    now = {kind: _attributes(kind) for kind in state}
    _put(state)
    try:
        yield
    finally:
        _put(now)


def _put(state: State) -> None:
    for kind, attributes in state.items():
        for name in _attributes(kind).keys() - attributes.keys():
            delattr(kind, name)
        for name, value in attributes.items():
            if vars(kind).get(name) is not value:
                setattr(kind, name, value.copy() if isinstance(value, _CONTAINERS) else value)
