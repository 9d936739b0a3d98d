"""What a job costs with each executor, and how much sooner cheap folds are done on several cores.

::

    python benchmarks/executors.py                 # 15 real folds, and 500 jobs of 10 ms
    python benchmarks/executors.py --jobs 0        # the folds alone

Three learners of five folds on generated battles: 15 jobs, whose stored files are compared. Then
jobs that only wait 10 ms, so that all else is what the executor costs. Ray's own start is told
apart. Without Ray it is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from machine import describe_machine

from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.config.load import parse_config
from ensemble.datasets.battles import make_battles, write_battles
from ensemble.oof.executors import execute
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs

WAYS: dict[str, dict[str, object]] = {
    "`in-process`, one thread": {"executor": "in-process", "threads": 1},
    "`in-process`, a thread for each core": {"executor": "in-process"},
    "`auto`": {"executor": "auto"},
    "`ray`, on this machine": {"executor": "ray", "threads": 1},
}
JOB_WAYS: dict[str, dict[str, object]] = {
    "`in-process`": {"executor": "in-process", "threads": 1},
    "`auto`": {"executor": "auto"},
    "`processes`, 2 at a time": {"executor": "processes", "workers": 2, "threads": 1},
    "`ray`, on this machine": {"executor": "ray", "threads": 1},
}
_FOLDS = 5
_WAITER = '''
import time
import numpy as np
from ensemble import BaseLearner, Resources

class Waiter(BaseLearner):
    """Waits 10 ms."""
    cheap = True
    resources = Resources(memory_gib=0.1)
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        time.sleep(0.01)
        return self
    def predict_logits(self, battles):
        return np.zeros((len(battles), 3), dtype=np.float32)
    def save(self, directory):
        (directory / "empty.json").write_text("{}")
    def load(self, directory):
        return self
'''


def fit(
    place: Path, name: str, execution: dict[str, object], learners: list[dict[str, Any]]
) -> tuple[float, float, str]:
    """Fit all folds in a run of their own.

    Returns
    -------
    tuple
        Seconds, those of them before the cluster was joined, and a hash of what is stored.
    """
    sources = [{"name": "target", "path": "train.csv", "role": "target"}]
    settings = {
        "run_dir": name,
        "sources": sources,
        "learners": learners,
        "folds": {"n_splits": _FOLDS},
        "execution": execution,
    }
    config = parse_config(settings, place / "config.toml")
    run = Path(config.run_dir)
    run.mkdir()
    prepare(config)
    split(run, config.folds, seed=config.seed)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(_FOLDS)]
    reporter, joined = Reporter(run), 0.0
    tell = reporter.event
    began = time.perf_counter()

    def event(what: str, /, **details: Any) -> None:
        nonlocal joined
        if what == "cluster joined":
            joined = time.perf_counter() - began
        tell(what, **details)

    reporter.event = event  # type: ignore[method-assign]
    execute(config, tasks, reporter)
    seconds = time.perf_counter() - began
    files = sorted(p for p in (run / "learners").rglob("*") if p.name != "manifest.json")
    digest = hashlib.sha256()
    for file in filter(Path.is_file, files):
        digest.update(str(file.relative_to(run)).encode() + file.read_bytes())
    return seconds, joined, digest.hexdigest()


def _ways(ways: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    has_ray = find_spec("ray") is not None
    return {name: way for name, way in ways.items() if has_ray or way["executor"] != "ray"}


def compare_folds(rows: int) -> None:
    """Time 15 real folds each way, and print a table."""
    learners: list[dict[str, Any]] = [
        {"name": "words", "plugin": "tfidf"},
        {"name": "all", "plugin": "handcrafted"},
        {"name": "small", "plugin": "handcrafted", "n_models": 2},
    ]
    print("| 15 folds | seconds | without the start of Ray | times as fast |")
    print("|---|---|---|---|")
    hashes, slowest = set(), 0.0
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_battles(make_battles(target_rows=rows, seed=1), place)
        for number, (name, way) in enumerate(_ways(WAYS).items()):
            seconds, joined, digest = fit(place, f"run-{number}", way, learners)
            slowest = slowest or seconds
            hashes.add(digest)
            own = seconds - joined
            print(f"| {name} | {seconds:.1f} | {own:.1f} | {slowest / own:.2f} |", flush=True)
    print(f"\nThe same bytes: {'yes' if len(hashes) == 1 else 'no'}\n")


def compare_jobs(jobs: int) -> None:
    """Time jobs of 10 ms each way, and print a table."""
    print(f"| {jobs} jobs of 10 ms | seconds | without the start of Ray | ms a job beside its 10 |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_battles(make_battles(target_rows=200, seed=1), place)
        (place / "waiter.py").write_text(_WAITER)
        for number, (name, way) in enumerate(_ways(JOB_WAYS).items()):
            # A fresh process for each job takes so long that a tenth of them says the same.
            count = jobs // 10 if way["executor"] == "processes" else jobs
            learners: list[dict[str, Any]] = [
                {"name": f"w{i}", "plugin": "waiter.py:Waiter"} for i in range(count // _FOLDS)
            ]
            seconds, joined, _ = fit(place, f"run-{number}", way, learners)
            own = seconds - joined
            cost = 1000 * own / count - 10
            told = name if count == jobs else f"{name} ({count} jobs)"
            print(f"| {told} | {seconds:.1f} | {own:.1f} | {cost:.0f} |", flush=True)


def main() -> None:
    """Time each way, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000, help="battles of the 15 folds; 0: none")
    parser.add_argument("--jobs", type=int, default=500, help="jobs of 10 ms; 0: none")
    asked = parser.parse_args()
    print(describe_machine())
    if asked.rows:
        compare_folds(asked.rows)
    if asked.jobs:
        compare_jobs(asked.jobs)


if __name__ == "__main__":
    main()
