"""Progress in a cell of a notebook: one output that is written over, however long a run takes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from ensemble import html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LINES = 8
"""Lines that are seen; those before them are folded away."""
_SECONDS_BETWEEN_UPDATES = 0.2


class Cell:
    """The output of one cell: the last lines, and a bar for each thing that is going on.

    Nothing of IPython is imported before the first line.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._bars: dict[int, tuple[str, float, float]] = {}
        self._handle: Any = None
        self._shown = 0.0
        self._lock = Lock()

    def log(self, text: str) -> None:
        """Show one line."""
        self._lines.append(text)
        self._show()

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[..., None]]:
        """Show a bar, which goes when done; gives ``progress(done, message)``."""
        begun, number = time.monotonic(), object()
        self._bars[id(number)] = (label, 0.0, begun)
        self._show()

        def update(done: float, message: str = "") -> None:
            self._bars[id(number)] = (f"{label}  {message}".rstrip(), done, begun)
            if time.monotonic() - self._shown >= _SECONDS_BETWEEN_UPDATES:
                self._show()

        try:
            yield update
        finally:
            del self._bars[id(number)]
            self._show()

    def _show(self) -> None:
        """Write the output over with what there is to show now."""
        from IPython.display import HTML, display

        with self._lock:
            shown = HTML(self._html())
            self._shown = time.monotonic()
            if self._handle is None:
                self._handle = display(shown, display_id=True)
            else:
                self._handle.update(shown)

    def _html(self) -> str:
        before, last = self._lines[:-_LINES], self._lines[-_LINES:]
        parts = [_folded(before)] if before else []
        parts += [_line(text) for text in last]
        parts += [_bar(*bar) for bar in list(self._bars.values())]
        return html.box(*parts)


def _line(text: str) -> html.Html:
    return html.Html(f'<div style="white-space: pre-wrap">{html.escaped(text)}</div>')


def _folded(lines: list[str]) -> html.Html:
    inside = "".join(_line(text) for text in lines)
    title = html.muted(f"{len(lines)} lines before")
    return html.Html(f"<details><summary>{title}</summary>{inside}</details>")


def _bar(label: str, done: float, begun: float) -> html.Html:
    share = min(max(done, 0.0), 1.0)
    seconds = int(time.monotonic() - begun)
    bar = f'<progress value="{share:.3f}" max="1" style="vertical-align: middle"></progress>'
    clock = html.muted(f"{seconds // 60}:{seconds % 60:02d}")
    return html.Html(f"<div>{bar} {share:.0%} {clock} {html.escaped(label)}</div>")
