"""How long the stack stage takes: all candidates, nested, with bootstrap, written to disk.

    python benchmarks/stacking.py --rows 55000 --threads 2

Logits are simulated: correlated learners of different quality, clusters of one to a few battles.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import describe_machine

from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.losses import softmax
from ensemble.plugin.base import MetaFeatures
from ensemble.stacking.data import StackData
from ensemble.stacking.stack import run_stack
from ensemble.storage.json_files import read_json
from ensemble_plugins.lightgbm_stacker import LightGBMStacker

FOLDS = 5
CLUSTERS_PER_ROW = 40_000 / 55_000


def simulate(rows: int, learners: int, features: int, seed: int = 0) -> StackData:
    """Draw true logits, learners that see them through shared and own noise, and labels."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 0.75, rows)
    truth = np.column_stack([margin, -margin, rng.normal(-0.1, 0.4, rows)])
    shared = truth + rng.normal(0, 0.4, (rows, 3))
    noise = np.linspace(0.6, 1.5, learners)[:, None]
    logits = 0.6 * (shared[:, None] + noise * rng.normal(size=(rows, learners, 3)))
    values = rng.normal(size=(rows, features))
    drawn = rng.random(rows)[:, None] > softmax(truth).cumsum(axis=1)[:, :2]
    clusters = first_of_each_then_any(rng, rows, int(rows * CLUSTERS_PER_ROW))
    return StackData(
        ids=[str(i) for i in range(rows)],
        sources=["arena"] * rows,
        meta=MetaFeatures(
            logits.astype(np.float32),
            tuple(f"learner_{i}" for i in range(learners)),
            values.astype(np.float32),
            tuple(f"feature_{i}" for i in range(features)),
            np.arange(features),
            np.where(np.arange(features) % 2, 1, -1).astype(np.float32),
        ),
        labels=np.eye(3)[drawn.sum(axis=1)],
        clusters=clusters,
        folds=(clusters % FOLDS).astype(np.int64),
    )


def nest(data: StackData, seed: int = 1) -> StackData:
    """Give every outer fold logits of its own, as if all learners had been fitted without pairs."""
    rng = np.random.default_rng(seed)
    nested = {
        fold: data.meta.logits + rng.normal(0, 0.1, data.meta.logits.shape).astype(np.float32)
        for fold in range(FOLDS)
    }
    return replace(data, nested_logits=nested, nested_learners=data.meta.learners)


def first_of_each_then_any(rng: np.random.Generator, rows: int, clusters: int) -> np.ndarray:
    """Give every cluster one row, and the other rows to any."""
    rest = rng.integers(0, clusters, rows - clusters)
    return np.concatenate([np.arange(clusters), rest])


def main() -> None:
    """Run the stage once and print seconds as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=55_000)
    parser.add_argument("--learners", type=int, default=6)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nested", action="store_true", help="with logits of pair fits")
    arguments = parser.parse_args()
    data = simulate(arguments.rows, arguments.learners, arguments.features)
    if arguments.nested:
        data = nest(data)
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "stack"
        began = time.perf_counter()
        verdict = run_stack(
            target,
            data,
            meta_learner=LightGBMStacker,
            meta_learner_name="lightgbm",
            choose="auto",
            seed=0,
            threads=arguments.threads,
            manifest={},
            resamples=arguments.resamples,
        )
        total = time.perf_counter() - began
        entries = read_json(target / "candidates.json")["candidates"]
    began = time.perf_counter()
    losses = np.random.default_rng(0).exponential(size=(arguments.rows, 10))
    bootstrap_means(losses, data.clusters, resamples=arguments.resamples)
    bootstrap = time.perf_counter() - began
    seconds = {entry["name"]: entry["seconds"] for entry in entries}
    report = {
        **vars(arguments),
        "machine": describe_machine(),
        "clusters": verdict["clusters"],
        "seconds": {**seconds, "one_bootstrap_of_10_columns": round(bootstrap, 3)},
        "total_seconds": round(total, 3),
        "log_loss": {entry["name"]: round(entry["log_loss"], 5) for entry in entries},
        "verdict": verdict["sentence"],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
