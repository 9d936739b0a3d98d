"""Parameters of tests of which a few stand for all others, which are slow together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def mostly_slow(names: Iterable[str], *quick: str) -> list[Any]:
    """Mark all but a few names as slow.

    Raises
    ------
    KeyError
        One of the few is none of them.
    """
    every = list(names)
    if missing := {*quick} - {*every}:
        raise KeyError(*missing)
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in every]
