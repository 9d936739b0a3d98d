"""What one verb reads or makes once, however many of its stages ask for it.

A verb of the command line, or a call of ``ensemble.run``, opens battles, plan and learners for each
of its stages. Between two verbs files, secrets and code may change, so nothing is kept longer.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")

_MADE: ContextVar[dict[Hashable, Any] | None] = ContextVar("_MADE", default=None)


@contextmanager
def one_verb() -> Iterator[None]:
    """Keep what is made by ``once`` while this lasts; verbs within a verb share it."""
    if _MADE.get() is not None:
        yield
        return
    token = _MADE.set({})
    try:
        yield
    finally:
        _MADE.reset(token)


def once(key: Hashable, make: Callable[[], T]) -> T:
    """Make a value, or give the one that this verb has made under the same key.

    Parameters
    ----------
    key
        All that decides the value, the versions of files that it is read from included; None for
        what may change without a trace.
    make
        Makes it; what it raises is not kept.
    """
    made = _MADE.get()
    if made is None or key is None:
        return make()
    if key not in made:
        made[key] = make()
    value: T = made[key]
    return value
