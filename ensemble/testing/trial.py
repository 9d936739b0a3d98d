"""A learner that is tried out: its fits, its predictions and the directories that it is given.

The directories lie as those of a run do, with the battles of the run and their labels above them:
what reads them there is found out.
"""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof.calls import check_logits
from ensemble.plugin.base import BaseLearner, FitContext
from ensemble.plugin.contract import teachers_of, tolerance_of
from ensemble.plugin.faults import call_plugin, plugin_errors
from ensemble.run_dir.layout import BATTLES, CACHE, CHECKPOINTS
from ensemble.storage.owned import OwnedPlace
from ensemble.testing.checks import NotAskedError
from ensemble.testing.class_state import class_state
from ensemble.testing.fresh import TRIALS, FreshProcess
from ensemble.testing.material import generated, rebuilt, renamed
from ensemble.testing.watch import Watch, restoring, stir_random_state, watching

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from ensemble.plugin.base import FloatArray, LogitArray
    from ensemble.testing.material import Material
    from ensemble.testing.subjects import Subject

DEFAULT_TOLERANCE = BaseLearner.batch_tolerance
SEED = 11
MOST_SECONDS = 15.0
"""A fit that takes longer is not repeated where checks have to be fast."""


class Given(NamedTuple):
    """What a fit was given, and what that was before."""

    battles: pl.DataFrame
    labels: FloatArray
    weight: FloatArray | None
    groups: Any


class LearnerTrial:
    """A learner on some battles, and what it said of them.

    Parameters
    ----------
    subject
        The learner.
    material
        The battles; generated ones by default.
    fast
        Whether as few fits as possible are made.
    device, threads
        As in ``FitContext``.
    """

    def __init__(
        self,
        subject: Subject,
        material: Material | None = None,
        *,
        fast: bool = False,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self.subject, self.name, self.where = subject, subject.name, subject.where
        self.material = material or generated()
        self.fast, self.device, self.threads = fast, device, threads
        self._own = OwnedPlace(TRIALS)
        self.place = self._own.path / "trial"
        self.run = self.place / "run"
        (self.run / CACHE).mkdir(parents=True)
        self.write_battles(self.material.rows)
        self.watch = Watch()
        self.class_state = class_state(subject.kind)
        self._fits = 0
        self._fresh: list[FreshProcess] = []
        self._finalizer = weakref.finalize(self, _clean, self._own, self._fresh)

    def close(self) -> None:
        """Remove what the trial has written, and end its processes."""
        self._finalizer()

    def prepare(self) -> None:
        """Start the process that will be needed, where one can make the learner."""
        with suppress(*plugin_errors()):  # the checks of parameters say what is wrong
            if self.subject.origin() is not None:
                self.start_process()

    def write_battles(self, rows: pl.DataFrame) -> None:
        """Put battles, with labels, where a run has them."""
        rows.write_parquet(self.run / BATTLES)

    def directory(self, name: str) -> Path:
        """Make an empty directory of the trial."""
        self._fits += 1
        place = self.place / f"{name}-{self._fits}"
        place.mkdir(parents=True)
        return place

    def fresh_process(self) -> FreshProcess:
        """Take a process that knows nothing, or start one."""
        idle = [one for one in self._fresh if not one.taken]
        process = idle[0] if idle else self.start_process()
        process.taken = True
        return process

    def start_process(self) -> FreshProcess:
        """Start one that will be needed."""
        self._fresh.append(FreshProcess(self._own.path))
        return self._fresh[-1]

    def context(self, **changes: Any) -> FitContext:
        """Give a context as that of a fold, with an empty directory for checkpoints."""
        self._fits += 1
        checkpoint = self.run / CHECKPOINTS / self.name / f"fold-0-{self._fits}"
        checkpoint.mkdir(parents=True)
        rows = changes.pop("rows", len(self.material.train))
        names = teachers_of(self.subject.make(), self.where)
        logits = np.random.default_rng(SEED).normal(size=(rows, 3)).astype(np.float32)
        options: dict[str, Any] = {
            "seed": SEED,
            "cache_directory": self.run / CACHE,
            "checkpoint_directory": checkpoint,
            "device": self.device,
            "threads": self.threads,
            "teachers": {name: logits.copy() for name in names},
        }
        return FitContext(**options | changes)

    def given(self, **changes: Any) -> Given:
        """Copy what a fit is given: nothing that is done to it reaches the trial."""
        battles = changes.get("battles", self.material.train)
        labels = changes.get("labels", self.material.labels)
        weight = changes.get("weight", np.ones(len(battles)))
        groups = changes.get("groups", self.material.train_groups[: len(battles)])
        return Given(
            rebuilt(battles),
            labels.copy(),
            None if weight is None else weight.copy(),
            None if groups is None else groups.copy(),
        )

    def given_others(self, labels: FloatArray) -> Given:
        """Give the held-out rows to learn from."""
        others = self.material.others
        return self.given(battles=others, labels=labels, groups=np.arange(len(others)))

    def fit(
        self, given: Given | None = None, *, subject: Subject | None = None, **context: Any
    ) -> Any:
        """Fit a new instance."""
        given = given or self.given()
        learner = (subject or self.subject).make()
        return self.learn(learner, "fit", given, **context)

    def learn(self, learner: Any, verb: str, given: Given, **context: Any) -> Any:
        """Call ``fit`` or ``pretrain``."""
        options = {
            "sample_weight": given.weight,
            "groups": given.groups,
            "context": self.context(rows=len(given.battles), **context),
        }
        method = getattr(learner, verb)
        with restoring(), watching(self.watch):
            call_plugin(verb, self.where, lambda: method(given.battles, given.labels, **options))
        return learner

    def raw(self, learner: Any, battles: pl.DataFrame) -> object:
        """Ask for logits, whatever they are."""
        with restoring(), watching(self.watch):
            return call_plugin(
                "predict_logits", self.where, lambda: learner.predict_logits(battles)
            )

    def predict(self, learner: Any, battles: pl.DataFrame) -> LogitArray:
        """Predict battles and check what comes back: ``(n, 3)`` float32, finite."""
        return check_logits(self.raw(learner, battles.clone()), battles["id"], self.where)

    @cached_property
    def _base(self) -> tuple[Any, Given, float] | EnsembleError:
        try:
            given, started, worked = self.given(), time.perf_counter(), time.process_time()
            learner = self.fit(given)
            # On a busy machine the clock says nothing of the fit; with many threads, their sum.
            spent = min(time.perf_counter() - started, time.process_time() - worked)
            return learner, given, spent
        except EnsembleError as error:
            return error

    def base(self) -> tuple[Any, Given, float]:
        """Give the first fit, what it was given, and how many seconds it took; its error too."""
        if isinstance(self._base, EnsembleError):
            raise self._base
        return self._base

    @cached_property
    def _logits(self) -> LogitArray | EnsembleError:
        try:
            return self.predict(self.base()[0], self.material.asked)
        except EnsembleError as error:
            return error

    @property
    def learner(self) -> Any:
        """The learner of the first fit.

        Raises
        ------
        NotAskedError
            It cannot be fitted: another check says so.
        """
        if isinstance(self._base, EnsembleError):
            raise NotAskedError("it cannot be fitted")
        return self._base[0]

    @property
    def logits(self) -> LogitArray:
        """What it said of ``material.asked``.

        Raises
        ------
        NotAskedError
            It gives no logits: another check says so.
        """
        if isinstance(self.learner, EnsembleError) or isinstance(self._logits, EnsembleError):
            raise NotAskedError("it gives no logits")
        return self._logits

    @cached_property
    def all_same(self) -> bool:
        """Whether logits stay as they are where several things change at once.

        Global random generators, ids in training, labels of other rows, and an instance that was
        fitted on these: only where logits differ does each check make a fit of its own. False
        where there is time for that.
        """
        if not self.fast:
            return False
        _, seconds = self.logits, self.base()[2]
        if seconds > MOST_SECONDS:
            raise NotAskedError(f"a fit takes {seconds:.0f} s: `ensemble check` asks this")
        self.write_battles(self.material.relabeled())
        try:
            self.fit(self.given_others(self.material.other_labels[:, [2, 0, 1]]))
            with restoring():
                stir_random_state(3)
                given = self.given(battles=renamed(self.material.train, keep_order=True))
                again = self.predict(self.fit(given), self.material.asked)
        finally:
            self.write_battles(self.material.rows)
        return gap(again, self.logits) <= self.tolerance

    @property
    def tolerance(self) -> float:
        """How far a battle's logits may differ between batches."""
        return tolerance_of(self.learner, self.where)

    def same(
        self, again: LogitArray, what: str, hint: str, tolerance: float = DEFAULT_TOLERANCE
    ) -> dict[str, float]:
        """See that logits of ``material.asked`` are those of the first fit.

        Parameters
        ----------
        again
            ``(n, 3)``.
        what
            Finishes the sentence "predict_logits gives other logits ...".
        hint
            How to mend it.
        tolerance
            Greatest difference allowed.

        Returns
        -------
        dict[str, float]
            The greatest difference.
        """
        difference = gap(self.logits, again)
        if difference > tolerance:
            raise self.fault(
                f"predict_logits gives other logits {what}: they differ by up to "
                f"{difference:.3g}, and at most {tolerance:g} was expected",
                hint,
            )
        return {"difference": difference}

    def fault(self, message: str, hint: str) -> LearnerError:
        """Make an error of this learner."""
        return LearnerError(message, where=self.where, hint=hint)


def gap(first: Any, second: Any) -> float:
    """Give the greatest difference between two arrays."""
    return float(np.abs(np.asarray(first) - np.asarray(second)).max(initial=0.0))


def _clean(place: OwnedPlace, processes: list[FreshProcess]) -> None:
    for process in processes:
        process.close()
    place.remove()
