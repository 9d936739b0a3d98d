"""Learners that take time by a clock that tests turn, and none by any other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from ensemble import Resources, hookimpl
from tests.fakes import Prior

if TYPE_CHECKING:
    from typing import Self

    import polars as pl

    from ensemble.plugin.base import FloatArray, Register


class Clock:
    """Stands in the place of ``ensemble.oof.clock.seconds``."""

    now: ClassVar[float] = 0.0

    @classmethod
    def seconds(cls) -> float:
        return cls.now


class Slow(Prior):
    """Predicts label shares; a fit takes some time of the clock, or does not end by itself."""

    def __init__(
        self, shift: float = 0.0, takes: float = 1.0, says: float = 0.0, hangs: bool = False
    ) -> None:
        super().__init__(shift)
        self.takes, self.says, self.hangs = takes, says, hangs

    @property
    def resources(self) -> Resources:  # type: ignore[override]
        return Resources(minutes=self.says / 60 if self.says else None)

    def fit(self, battles: pl.DataFrame, labels: FloatArray, **options: Any) -> Self:
        Clock.now += self.takes
        while self.hangs:
            time.sleep(0.01)
        super().fit(battles, labels, **options)
        return self


class Quick(Slow):
    """The same, and cheap: it is fitted without pairs of folds too."""

    cheap = True


class Taught(Slow):
    """Asks for teachers, and learns nothing of what they say."""

    def __init__(
        self,
        shift: float = 0.0,
        takes: float = 1.0,
        says: float = 0.0,
        hangs: bool = False,
        teachers: tuple[str, ...] = (),
    ) -> None:
        super().__init__(shift, takes, says, hangs)
        self.teachers = teachers


class QuickTaught(Taught):
    """The same, and cheap itself."""

    cheap = True


class SlowPlugin:
    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("slow", Slow)
        register("quick", Quick)
        register("taught", Taught)
        register("quick-taught", QuickTaught)
