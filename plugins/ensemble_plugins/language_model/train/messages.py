"""Messages from the processes of a team to the one that started them, in files.

A queue between spawned processes needs semaphores, which stay in the system for ever where all of
them are killed at once. Files go with their directory, or with the system's temporary ones.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Messages:
    """Messages in one directory, a file for each sender.

    Parameters
    ----------
    place
        The directory.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._read: dict[Path, int] = {}

    def send(self, sender: int, *content: Any) -> None:
        """Send what JSON can hold."""
        with (self._place / f"messages-{sender}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")

    def received(self) -> Iterator[list[Any]]:
        """Give what has come since the last time: whole lines, one sender after the other."""
        for path in sorted(self._place.glob("messages-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            yield from map(json.loads, whole.splitlines())
