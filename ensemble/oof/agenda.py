"""Fits that are given out one by one, each once what it needs has ended."""

from __future__ import annotations

import heapq
from collections import defaultdict
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workers import FitName, Task


class Agenda:
    """Fits in the order wanted; one that waits for another lets those after it go first.

    Any thread may ask.

    Parameters
    ----------
    tasks
        In the order wanted, without circles among those that need each other.
    needed
        Which fits one needs; those that are not among these count as done. None: nobody needs any.
    """

    def __init__(
        self, tasks: Sequence[Task], needed: Mapping[FitName, Collection[FitName]] | None = None
    ) -> None:
        self._waiting = dict(enumerate(tasks))
        self._needed: dict[int, set[FitName]] = {}
        self._needing: dict[FitName, list[int]] = defaultdict(list)
        names = [task.name for task in tasks]
        known = set(names)
        for number, name in enumerate(names):
            self._needed[number] = known.intersection((needed or {}).get(name, ()))
            for one in self._needed[number]:
                self._needing[one].append(number)
        self._ready = [number for number in self._waiting if not self._needed[number]]
        self._changed = Condition()
        self._is_closed = False

    def __len__(self) -> int:
        """Say how many have not been given out."""
        return len(self._waiting)

    @property
    def waiting(self) -> list[Task]:
        """Those that have not been given out, in order."""
        with self._changed:
            return list(self._waiting.values())

    def take(self, *, patient: bool = False) -> Task | None:
        """Give the next one that needs nothing more.

        Parameters
        ----------
        patient
            Whether to wait where all that is left needs something that is going on.

        Returns
        -------
        Task or None
            None where nothing is left, or, without patience, nothing that could begin now.
        """
        with self._changed:
            while patient and self._waiting and not self._ready:
                self._changed.wait()
            return self._waiting.pop(heapq.heappop(self._ready)) if self._ready else None

    def ended(self, spec: LearnerSpec, held_out: HeldOut) -> None:
        """Note that a fit has ended, however it did: what needs it may begin."""
        name = spec.name, held_out
        with self._changed:
            for number in self._needing.pop(name, ()):
                self._needed[number].discard(name)
                if not self._needed[number] and number in self._waiting:
                    heapq.heappush(self._ready, number)
            self._changed.notify_all()

    def drop(self, rule: Callable[[Task], bool] = lambda _: True) -> None:
        """Give no more of them out: of those for which it holds, or of all."""
        with self._changed:
            kept = {n: task for n, task in self._waiting.items() if not rule(task)}
            self._waiting = kept
            self._ready = sorted(number for number in self._ready if number in kept)
            self._changed.notify_all()
