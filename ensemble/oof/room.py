"""Memory and GPUs of one machine, which fits in processes of their own share."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from ensemble.processes import free_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ensemble.plugin.base import Resources

_GLANCE = 1.0
"""Seconds between two looks at the memory that others may have given back."""


class Room:
    """Lets a fit begin once what it declares is free; one that needs more begins alone.

    Parameters
    ----------
    gpus
        Names of the GPUs, as ``CUDA_VISIBLE_DEVICES`` has them; each is given to one fit.
    warn
        Told of a fit that declares more memory, or more GPUs, than there are.
    """

    def __init__(
        self, gpus: Sequence[str] = (), warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._gpus, self._warn = list(gpus), warn
        self._most, self._most_gpus = free_memory(), len(gpus)
        self._taken, self._running = 0.0, 0
        self._changed = Condition()

    @contextmanager
    def taken(
        self, need: Resources, label: str, is_over: Callable[[], bool]
    ) -> Iterator[tuple[str, ...]]:
        """Wait until there is room, and hold it while this lasts.

        Parameters
        ----------
        need
            What the fit declares.
        label
            Names it in a warning.
        is_over
            Whether nobody waits for the fit any more; then there is no waiting.

        Yields
        ------
        tuple of str
            The GPUs that it has to itself; none where it asks for none, or none is known.
        """
        memory, count = need.memory_gib * 2**30, min(need.gpus, self._most_gpus)
        with self._changed:
            while not self._fits(memory, count) and not is_over():
                self._changed.wait(_GLANCE)
            self._tell_too_large(memory, label)
            self._tell_too_many(need.gpus, label)
            gpus = tuple(self._gpus[:count])
            del self._gpus[:count]
            self._taken += memory
            self._running += 1
        try:
            yield gpus
        finally:
            with self._changed:
                self._gpus += gpus
                self._taken -= memory
                self._running -= 1
                self._changed.notify_all()

    def _fits(self, memory: float, gpus: int) -> bool:
        if not self._running:
            return True
        if gpus > len(self._gpus):
            return False
        free = free_memory()
        if self._most is None or free is None:
            return True
        # What runs may not have taken yet what it declares, nor need others have left the rest.
        return self._taken + memory <= self._most and memory <= free

    def _tell_too_large(self, memory: float, label: str) -> None:
        if self._most is not None and memory > self._most:
            self._warn(
                f"{label} declares {memory / 2**30:.3g} GiB of memory, and "
                f"{self._most / 2**30:.3g} GiB are free: nothing is fitted beside it"
            )

    def _tell_too_many(self, gpus: int, label: str) -> None:
        if gpus > self._most_gpus > 0:
            self._warn(f"{label} declares {gpus} GPUs, and has the {self._most_gpus} there are")
