"""What a test that fails would leave running ends with it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.ensemble.kills.killed_run import MARKS, marked

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """End all that the test has started."""
    yield
    for pid in marked(MARKS):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    MARKS.clear()
