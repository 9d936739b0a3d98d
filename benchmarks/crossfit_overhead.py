"""What cross-fitting adds to the bare learners' own time: joins, checks, hashes, atomic writes.

    python benchmarks/crossfit_overhead.py --rows 3000 --repeats 5

The bare way fits and predicts the same learners on the same rows of the same fold, in a loop with
nothing around it; that both give the same logits is checked. They run in turn, on one thread, and
their medians are compared. Where
learners take seconds, that difference drowns in the machine's own noise; so the addition is also
measured directly, as the time to cross-fit a learner that does nothing. Not in there: the files of
a real model, and the few battles that it predicts again once saved.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from machine import describe_machine

from ensemble import hookimpl
from ensemble.battles.prepare import prepare
from ensemble.battles.schema import learner_view
from ensemble.battles.split import split
from ensemble.config.load import parse_config
from ensemble.config.settings import Folds
from ensemble.datasets.battles import make_battles, write_battles
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.predictions import read_logits
from ensemble.oof.rows import TrainingRows
from ensemble.oof.workspace import Workspace, open_workspace
from ensemble.plugin.base import BaseLearner, FitContext
from ensemble.plugin.manager import Manager, use_manager
from ensemble.run_dir.layout import OOF
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import LogitArray, Register

FOLD = 0
IDLE = "nothing"
LEARNERS = ("handcrafted", "tfidf")


class Nothing(BaseLearner):
    """Learns nothing and gives every battle the same logits."""

    def fit(self, *_: Any, **__: Any) -> Self:
        """Learn nothing."""
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give zeros."""
        return np.zeros((len(battles), 3), dtype=np.float32)

    def save(self, directory: Path) -> None:
        """Write nothing."""

    def load(self, directory: Path) -> Self:  # noqa: ARG002 - there is nothing to read
        """Read nothing."""
        return self


class IdlePlugin:
    """Registers the learner that does nothing."""

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        """Register it."""
        register(IDLE, Nothing)


def make_workspace(directory: Path, rows: int) -> tuple[Workspace, dict[str, LearnerSpec]]:
    """Generate battles, bring them as far as the fold plan, and give the learners by name."""
    battles = make_battles(target_rows=rows, external_rows=rows // 2, test_rows=rows // 10)
    write_battles(battles, directory)
    raw = {
        "run_dir": "run",
        "sources": [
            {"name": "target", "path": "train.csv", "role": "target"},
            {"name": "external", "path": "external.parquet", "role": "train"},
        ],
        "test": {"path": "test.csv"},
        "learners": [{"name": name, "plugin": name} for name in (*LEARNERS, IDLE)],
        "execution": {"threads": 1},
    }
    config = parse_config(raw, directory / "config.toml")
    (directory / "run").mkdir()
    prepare(config)
    split(directory / "run", Folds(n_splits=5), seed=config.seed)
    return open_workspace(config), {spec.name: spec for spec in learner_specs(config)}


def bare(space: Workspace, specs: Sequence[LearnerSpec]) -> float:
    """Seconds of the learners alone; their logits must be those that were stored."""
    rows = TrainingRows.of(space, space.training(FOLD), space.training(FOLD, ("target",)))
    held_out = learner_view(space.battles.filter(space.plan.held_out(FOLD)))
    test = learner_view(space.test_rows())
    seconds = 0.0
    with tempfile.TemporaryDirectory() as cache:
        for spec in specs:
            # The seed decides when a learner stops: with another one the work would not be equal.
            seed = int(fingerprint([space.seed, spec.name, FOLD])[:8], 16) % 2**31
            context = FitContext(
                seed=seed,
                threads=space.threads,
                cache_directory=Path(cache),
                offset=rows.offset,
                eval_mask=rows.eval_mask,
            )
            options: dict[str, Any] = {
                "sample_weight": rows.weight,
                "groups": rows.groups,
                "context": context,
            }
            started = time.perf_counter()
            learner = spec.make()
            learner.fit(rows.battles, rows.labels, **options)
            logits = learner.predict_logits(held_out)
            learner.predict_logits(test)
            seconds += time.perf_counter() - started
            stored = read_logits(space.store.directory(spec.name, FOLD) / OOF, held_out["id"])
            assert np.array_equal(logits, stored), f"{spec.name} did other work in the two ways"
    return seconds


def cross_fitted(space: Workspace, specs: Sequence[LearnerSpec]) -> float:
    """Seconds of the same learners, cross-fitted."""
    for spec in specs:
        shutil.rmtree(space.store.directory(spec.name, FOLD), ignore_errors=True)
    shutil.rmtree(space.run / "cache", ignore_errors=True)
    started = time.perf_counter()
    for spec in specs:
        assert fit_fold(space, spec, FOLD)
    return time.perf_counter() - started


def measure(rows: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, repeat by repeat; every second repeat goes the other way round."""
    times: dict[str, list[float]] = {"bare": [], "cross-fitted": [], "idle": []}
    with tempfile.TemporaryDirectory() as directory:
        space, specs = make_workspace(Path(directory), rows)
        working = [specs[name] for name in LEARNERS]
        cross_fitted(space, working)  # the first call imports libraries, and is not counted
        for repeat in range(repeats):
            for way, run in [("bare", bare), ("cross-fitted", cross_fitted)][:: (-1) ** repeat]:
                times[way].append(run(space, working))
            times["idle"].append(cross_fitted(space, [specs[IDLE]]))
    return times


def show(times: dict[str, list[float]]) -> None:
    """Print medians, ranges, and what the core adds."""
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    for way in ("bare", "cross-fitted"):
        low, high = min(times[way]), max(times[way])
        print(f"{way:<13} median {medians[way]:.2f} s ({low:.2f} to {high:.2f})")
    print(f"ratio of medians {medians['cross-fitted'] / medians['bare']:.3f}")
    share = len(LEARNERS) * medians["idle"] / medians["bare"]
    low, high = (1000 * edge(times["idle"]) for edge in (min, max))
    print(
        f"the core's own parts: median {1000 * medians['idle']:.0f} ms a learner and fold "
        f"({low:.0f} to {high:.0f}); for {len(LEARNERS)} learners {share:.1%} of their bare time"
    )


def main() -> None:
    """Measure both ways on one fold, and the core alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    use_manager(Manager({"idle": IdlePlugin()}))
    print(describe_machine())
    print(f"{options.rows:,} target rows, one fold of 5, {options.repeats} repeats, 1 thread")
    show(measure(options.rows, options.repeats))


if __name__ == "__main__":
    main()
