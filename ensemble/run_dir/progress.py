"""Progress for a person who watches: on a terminal, in a notebook, or in a log."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ensemble.errors import printable
from ensemble.run_dir.cell import Cell
from ensemble.run_dir.console import SafeConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

_SECONDS_BETWEEN_LINES = 60.0


class Terminal:
    """Shows a run on standard error, so that standard output stays free for results.

    Parameters
    ----------
    quiet
        Show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console: Console = SafeConsole(
            stderr=True, quiet=quiet, highlight=False, soft_wrap=True
        )
        self._cell = Cell() if self.console.is_jupyter and not quiet else None

    @property
    def is_watched(self) -> bool:
        """Whether a person looks: at a terminal or a notebook, and not at a log."""
        return self.console.is_terminal or self.console.is_jupyter

    def log(self, text: str) -> None:
        """Show one line."""
        if self._cell is not None:
            self._cell.log(printable(text))
            return
        self.console.print(printable(text), markup=False)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[..., None]]:
        """Show a progress bar, which goes when done; where there is no terminal a line a minute."""
        if self._cell is not None:
            with self._cell.progress(label) as update:
                yield update
            return
        if not self.is_watched:
            yield self._by_lines(label)
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(label, total=1.0)

            def update(done: float, message: str = "") -> None:
                progress.update(task, completed=done, description=f"{label}  {message}".rstrip())

            yield update

    def _by_lines(self, label: str) -> Callable[..., None]:
        """Make what says now and then how far something is: logs of hours must not be mute."""
        said = time.monotonic()

        def update(done: float, message: str = "") -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= _SECONDS_BETWEEN_LINES:
                said = now
                self.log(f"{label}  {done:.0%}  {message}".rstrip())

        return update
