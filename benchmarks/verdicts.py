"""Is the stack's verdict right? Known worlds, real candidates, the real decision.

::

    python benchmarks/verdicts.py --seeds 100 --workers 16                 # every scenario
    python benchmarks/verdicts.py --scenarios topic --rows 2000:400 --seeds 20
    python benchmarks/verdicts.py --table tries          # the best of many tries, corrected
    python benchmarks/verdicts.py --table intervals      # do intervals of few clusters cover?

A seed draws a world's rows and labels, deals folds, fits learners over them, scores the candidates
by nested cross-validation and decides. The truth is known: 4,000 fresh rows with their class
probabilities, predicted by the same models. A candidate's true gain is that of its outer folds'
models over those of the best simple candidate.

Modes: ``none`` (OOF logits as they are, nothing subtracted), ``bound`` (the same logits; the bound
of leaked labels is subtracted) and ``full`` (every learner is also fitted without each pair of
folds, so that nothing leaks). Columns:

- ``chosen``: share of seeds in which the stack is used, with its 95% Wilson interval;
- ``wrong``: share in which it is used though its true gain is not above 0;
- ``true gain``: of the stack over the best simple candidate, mean over all seeds;
- ``optimism``: reported gain minus true gain of what is used, mean over all seeds.

``docs/leakage.md`` has the worst world of each setting. With 100 seeds and 2,000 rows those are
"topic shares, topic opinion" for wrong choices (large trees, ``bound``: 4 of 100) and "gain: fitted
signals" for optimism.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import describe_machine
from verdict_checks import best_of_many, covers, show_intervals, show_tries
from verdict_worlds import SCENARIOS, Rows, Scenario, draw_labels, draw_rows

from ensemble.battles.folds import SourceAwareGroupKFold
from ensemble.evaluation.losses import row_log_loss
from ensemble.plugin.base import MetaFeatures, MetaLearner
from ensemble.stacking.candidates import Candidate, simple_candidates
from ensemble.stacking.leakage import find_leakage
from ensemble.stacking.nested import cross_validate
from ensemble.stacking.verdict import decide
from ensemble_plugins.lightgbm_stacker import LightGBMStacker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ensemble.plugin.base import FloatArray, LogitArray

FOLDS = 5
FRESH = 4000
RESAMPLES = 2000
TREES: dict[str, dict[str, Any]] = {
    "default": {},
    "large": {"num_leaves": 31, "min_child_samples": 10, "lambda_l2": 0.1},
}
LEFT = ("scenario", "rows, topics", "trees", "mode", "seeds")
RIGHT = ("chosen", "wrong", "true gain", "optimism")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class World:
    """One seed of a scenario: rows, labels, folds, and the logits of every model.

    Parameters
    ----------
    scenario
        What is drawn, and who learns.
    rows, topics, seed
        How much of it, and which.
    """

    def __init__(self, scenario: Scenario, rows: int, topics: int, seed: int) -> None:
        self.scenario, self.seed = scenario, seed
        self.rows = draw_rows(rows, topics, scenario, [1, seed])
        self.fresh = draw_rows(FRESH, topics, scenario, [3, seed])
        self.labels = draw_labels(self.rows.truth, [2, seed])
        self.clusters = np.arange(rows)
        splitter = SourceAwareGroupKFold(FOLDS, seed=seed)
        self.folds = splitter.assign(self.clusters, self.labels).astype(np.int64)
        self.oof = np.empty((rows, len(scenario.learners), 3), np.float32)
        self.fresh_logits: list[LogitArray] = []
        for fold in range(FOLDS):
            held_out = np.flatnonzero(self.folds == fold)
            own, fresh = self._predict(self.folds != fold, [self.rows.take(held_out), self.fresh])
            self.oof[held_out] = own
            self.fresh_logits.append(fresh)

    def _predict(self, training: np.ndarray, asked: Sequence[Rows]) -> list[LogitArray]:
        """Fit every learner on some rows: logits ``(n, n_learners, 3)`` for each of ``asked``."""
        known = np.flatnonzero(training)
        rows, labels = self.rows.take(known), self.labels[known]
        models = [fit(rows, labels, self.seed) for fit in self.scenario.learners.values()]
        return [np.stack([m(one) for m in models], axis=1).astype(np.float32) for one in asked]

    def meta(self, logits: LogitArray, rows: Rows) -> MetaFeatures:
        """Put logits and stack features of rows together."""
        features = self.scenario.features(rows).astype(np.float32)
        count = features.shape[1]
        names = tuple(f"feature_{i}" for i in range(count))
        return MetaFeatures(
            logits,
            tuple(self.scenario.learners),
            features,
            names,
            np.arange(count),
            np.ones(count, np.float32),
        )

    def nested_logits(self) -> dict[int, LogitArray]:
        """Fit every learner without each pair of folds: outer fold to logits of all rows."""
        nested = {fold: self.oof.copy() for fold in range(FOLDS)}
        for one in range(FOLDS):
            for two in range(one + 1, FOLDS):
                sides = [np.flatnonzero(self.folds == fold) for fold in (one, two)]
                found = self._predict(
                    (self.folds != one) & (self.folds != two),
                    [self.rows.take(side) for side in sides],
                )
                nested[two][sides[0]], nested[one][sides[1]] = found
        return nested


class Recorder:
    """Makes a candidate, and keeps every instance that it made: one an outer fold."""

    def __init__(self, make: Callable[[], MetaLearner]) -> None:
        self.make, self.made = make, list[MetaLearner]()

    def __call__(self) -> MetaLearner:
        """Make one more."""
        self.made.append(self.make())
        return self.made[-1]


def measure(
    name: str, rows: int, topics: int, trees: str, modes: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Decide once in every mode; one record a mode."""
    world = World(SCENARIOS[name], rows, topics, seed)
    about = {"scenario": name, "rows": rows, "topics": topics, "trees": trees, "seed": seed}
    records = []
    if {"none", "bound"} & set(modes):
        losses, truths = _score(world, trees, None)
        meta, began = world.meta(world.oof, world.rows), time.perf_counter()
        leak = find_leakage(meta, world.labels, world.folds, world.clusters, meta.learners)
        spent = time.perf_counter() - began
        for mode, found in (("none", None), ("bound", leak)):
            if mode in modes:
                records.append({**about, "mode": mode, **_decide(world, losses, truths, found)})
        records[-1] |= {"statistic": leak.statistic, "nats": leak.nats, "probe_seconds": spent}
    if "full" in modes:
        losses, truths = _score(world, trees, world.nested_logits())
        records.append({**about, "mode": "full", **_decide(world, losses, truths, None)})
    return records


def _candidates(world: World, trees: str) -> list[Candidate]:
    stack = partial(LightGBMStacker, **TREES[trees])
    simple = simple_candidates(len(world.scenario.learners))
    return [*simple, Candidate("lightgbm", 4, stack, simple=False)]


def _score(
    world: World, trees: str, nested: dict[int, LogitArray] | None
) -> tuple[FloatArray, FloatArray]:
    """Score the candidates: nested losses ``(n, candidates)``, and their true log loss."""
    meta = world.meta(world.oof, world.rows)
    candidates = _candidates(world, trees)
    makers = {one.name: Recorder(one.make) for one in candidates}
    found = cross_validate(
        dict(makers),
        meta,
        world.labels,
        world.folds,
        world.clusters,
        fitting=(lambda fold: world.meta(nested[fold], world.rows)) if nested else None,
        seed=world.seed,
        threads=1,
    )
    fresh = [world.meta(logits, world.fresh) for logits in world.fresh_logits]
    truths = [
        np.mean(
            [
                row_log_loss(world.fresh.truth, model.predict_proba(rows)).mean()
                for model, rows in zip(maker.made, fresh, strict=True)
            ]
        )
        for maker in makers.values()
    ]
    losses = [row_log_loss(world.labels, probabilities) for probabilities in found.values()]
    return np.column_stack(losses), np.array(truths)


def _decide(world: World, losses: FloatArray, truths: FloatArray, leak: Any) -> dict[str, Any]:
    candidates = _candidates(world, "default")
    verdict = decide(
        candidates, losses, world.clusters, leakage=leak, resamples=RESAMPLES, seed=world.seed
    )
    names = [one.name for one in candidates]
    chosen, best = names.index(verdict["chosen"]), names.index(verdict["best_simple"])
    gains = [entry["gain_over_best_simple"] for entry in verdict["candidates"]]
    corrected = verdict["candidates"][chosen]["corrected_gain"]
    return {
        "chosen": verdict["chosen"],
        "stack_is_used": verdict["chosen"] == "lightgbm",
        "true_gain_of_stack": float(truths[best] - truths[-1]),
        "gain_of_stack": gains[-1],
        "reported": gains[chosen]["mean"] if corrected is None else corrected,
        "true": float(truths[best] - truths[chosen]),
    }


def summarize(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give one row for each scenario, size, trees and mode."""
    keys = ("scenario", "rows", "topics", "trees", "mode")
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in records):
        some = [r for r in records if tuple(r[k] for k in keys) == key]
        used = np.array([r["stack_is_used"] for r in some])
        true = np.array([r["true_gain_of_stack"] for r in some])
        optimism = np.array([r["reported"] - r["true"] for r in some])
        yield {
            **dict(zip(keys, key, strict=True)),
            "seeds": len(some),
            "chosen": wilson(int(used.sum()), len(some)),
            "wrong": wilson(int((used & (true <= 0)).sum()), len(some)),
            "true_gain": float(true.mean()),
            "optimism": float(optimism.mean()),
            "optimism_error": float(optimism.std() / np.sqrt(len(some))),
        }


def wilson(hits: int, tries: int, z: float = 1.96) -> dict[str, float]:
    """Give a share with its Wilson interval."""
    share, extra = hits / tries, z**2 / tries
    middle = (share + extra / 2) / (1 + extra)
    margin = z * np.sqrt(share * (1 - share) / tries + extra / (4 * tries)) / (1 + extra)
    return {"share": share, "low": float(middle - margin), "high": float(middle + margin)}


def show(row: dict[str, Any]) -> str:
    """Write one row of the Markdown table."""

    def share(found: dict[str, float]) -> str:
        return f"{found['share']:.0%} ({found['low']:.0%} to {found['high']:.0%})"

    cells = [
        row["scenario"],
        f"{row['rows']:,} in {row['topics']:,}",
        row["trees"],
        row["mode"],
        str(row["seeds"]),
        share(row["chosen"]),
        share(row["wrong"]),
        f"{row['true_gain']:+.4f}",
        f"{row['optimism']:+.4f} ± {row['optimism_error']:.4f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _tasks(asked: argparse.Namespace) -> Iterator[tuple[Any, ...]]:
    wanted = [word.strip() for word in asked.scenarios.split(",") if word.strip()]
    names = [n for n in SCENARIOS if not wanted or any(word in n for word in wanted)]
    sizes = [tuple(map(int, pair.split(":"))) for pair in asked.rows.split(",")]
    modes = asked.modes.split(",")
    for rows, topics in sizes:
        for name in names:
            for trees in asked.trees.split(","):
                for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
                    yield name, rows, topics, trees, modes, seed


def _run(task: tuple[Any, ...]) -> list[dict[str, Any]]:
    return measure(*task)


def _smaller(asked: argparse.Namespace) -> None:
    """Measure one of the two smaller tables."""
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    with ProcessPoolExecutor(asked.workers, get_context("spawn")) as pool:
        if asked.table == "tries":
            show_tries(list(pool.map(best_of_many, seeds)))
        else:
            show_intervals([r for found in pool.map(covers, seeds) for r in found], asked.seeds)


def main() -> None:
    """Measure, and print a table; the records of all seeds go to JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", default="2000:400", help="rows:topics, with commas between")
    parser.add_argument("--scenarios", default="", help="words of their names; all if empty")
    parser.add_argument("--trees", default="default,large")
    parser.add_argument("--modes", default="none,bound,full")
    parser.add_argument("--json", type=Path, help="where the records go")
    parser.add_argument("--table", choices=("verdicts", "tries", "intervals"), default="verdicts")
    asked = parser.parse_args()
    if asked.table != "verdicts":
        _smaller(asked)
        return
    began, records = time.perf_counter(), []
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # read by NumPy in a new process
    with ProcessPoolExecutor(asked.workers, get_context("spawn")) as pool:
        for found in pool.map(_run, _tasks(asked)):
            records += found
            if asked.json:
                asked.json.write_text(json.dumps(records))
    headings = (*LEFT, *RIGHT)
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    for row in summarize(records):
        print(show(row))
    print(f"{time.perf_counter() - began:.0f} s on {describe_machine()}")


if __name__ == "__main__":
    main()
