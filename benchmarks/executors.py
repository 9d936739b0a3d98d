"""How much sooner cheap folds are done beside each other than one after the other.

::

    python benchmarks/executors.py

Three learners of five folds on generated battles: 15 jobs, by ``in-process`` with one thread, by
``in-process`` with a thread for each core, and by ``auto``. What they store is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

from machine import describe_machine

from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.config.load import parse_config
from ensemble.config.settings import Folds
from ensemble.datasets.battles import make_battles, write_battles
from ensemble.oof.executors import execute
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs

WAYS: dict[str, dict[str, object]] = {
    "one after the other, one thread": {"executor": "in-process", "threads": 1},
    "one after the other, a thread for each core": {"executor": "in-process"},
    "beside each other": {"executor": "auto"},
}


def fit(place: Path, name: str, execution: dict[str, object]) -> tuple[float, str]:
    """Fit 15 folds in a run of their own; gives the seconds, and a hash of what is stored."""
    learners = [
        {"name": "words", "plugin": "tfidf"},
        {"name": "all", "plugin": "handcrafted"},
        {"name": "small", "plugin": "handcrafted", "n_models": 2},
    ]
    sources = [{"name": "target", "path": "train.csv", "role": "target"}]
    settings = {
        "run_dir": name,
        "sources": sources,
        "learners": learners,
        "execution": execution,
    }
    config = parse_config(settings, place / "config.toml")
    run = Path(config.run_dir)
    run.mkdir()
    prepare(config)
    split(run, Folds(n_splits=5), seed=config.seed)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(5)]
    began = time.perf_counter()
    execute(config, tasks, Reporter(run))
    seconds = time.perf_counter() - began
    files = sorted(p for p in (run / "learners").rglob("*") if p.name != "manifest.json")
    digest = hashlib.sha256()
    for file in filter(Path.is_file, files):
        digest.update(str(file.relative_to(run)).encode() + file.read_bytes())
    return seconds, digest.hexdigest()


def main() -> None:
    """Time each way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000)
    asked = parser.parse_args()
    print(describe_machine())
    print("| 15 folds | seconds | times as fast |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_battles(make_battles(target_rows=asked.rows, seed=1), place)
        found = {
            name: fit(place, f"run-{number}", execution)
            for number, (name, execution) in enumerate(WAYS.items())
        }
    slowest = next(iter(found.values()))[0]
    for name, (seconds, _) in found.items():
        print(f"| {name} | {seconds:.1f} | {slowest / seconds:.2f} |")
    same = len({digest for _, digest in found.values()}) == 1
    print(f"\nThe same bytes: {'yes' if same else 'no'}")


if __name__ == "__main__":
    main()
