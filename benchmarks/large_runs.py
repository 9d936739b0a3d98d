"""What a finished run of 500 fits costs: looking at it, running it again, reporting it.

::

    python benchmarks/large_runs.py                  # 100 learners of five folds
    python benchmarks/large_runs.py --learners 20    # fewer
    python benchmarks/large_runs.py --keep DIRECTORY # leaves the run there, to be looked at

Small generated battles and learners that learn next to nothing, so that all else is what the
toolkit costs. Every command is a process of its own. CPU seconds stand beside wall time, which
other work on the machine prolongs. Python's own start is in all of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from machine import describe_machine

from ensemble.datasets.battles import make_battles, write_battles

TRIVIAL = '''
import json
import numpy as np
from ensemble import BaseLearner

class Trivial(BaseLearner):
    """The label shares, and a little of the lengths of both answers."""
    cheap = True
    def __init__(self, slope: float = 0.0):
        self.slope = slope
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.prior_ = np.log(labels.mean(axis=0)).tolist()
        return self
    def predict_logits(self, battles):
        count = lambda name: battles[name].list.join("").str.len_chars().to_numpy()
        longer = self.slope * np.tanh((count("response_a") - count("response_b")) / 500)
        prior = np.asarray(self.prior_)
        return (prior + np.outer(longer, [1, -1, 0])).astype(np.float32)
    def save(self, directory):
        (directory / "prior.json").write_text(json.dumps(self.prior_))
    def load(self, directory):
        self.prior_ = json.loads((directory / "prior.json").read_text())
        return self
'''
_MAKE = """
from ensemble.stages import contracts
contracts.unchecked = lambda *_: []
from ensemble.pipeline import run
run("config.toml")
"""
COMMANDS: dict[str, list[str]] = {
    "`ensemble status`": ["status", "run"],
    "`ensemble run`, nothing to do": ["run", "config.toml"],
    "`ensemble report`": ["report", "config.toml"],
    "`ensemble audit`": ["audit", "run"],
}


class Cost(NamedTuple):
    """What a process took: seconds of wall time and of CPUs, and its peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


def run_python(place: Path, *arguments: str) -> Cost:
    """Run Python in a directory, and say what it took.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; what it said is printed.
    """
    command = [sys.executable, *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None  # it was asked for
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        print(said, file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def make_run(place: Path, learners: int, rows: int) -> Cost:
    """Write battles, plugin and config, and do all of the run but the checks of contracts."""
    battles = make_battles(target_rows=rows, external_rows=50, test_rows=rows // 4, seed=1)
    write_battles(battles, place)
    (place / "trivial.py").write_text(TRIVIAL)
    lines = ['run_dir = "run"', "[[sources]]", 'name = "target"', 'path = "train.csv"']
    lines += ['role = "target"', "[test]", 'path = "test.csv"', "[folds]", "n_splits = 5"]
    lines += ["[stack]", 'nesting = "plain"']  # five fits of each learner, and no pairs of folds
    for number in range(learners):
        lines += ["[[learners]]", f'name = "trivial{number}"', 'plugin = "trivial.py:Trivial"']
        lines += [f"slope = {number / learners}"]
    (place / "config.toml").write_text("\n".join(lines) + "\n")
    return run_python(place, "-c", _MAKE)


def count_files(run: Path) -> dict[str, int]:
    """Count the files of a run directory, by what they are of."""
    files = [path.relative_to(run).parts for path in run.rglob("*") if path.is_file()]
    counts: dict[str, int] = {}
    for parts in files:
        kind = parts[0] if len(parts) > 1 else "top"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def report_on(place: Path, learners: int, rows: int) -> None:
    """Make the run, and print the table."""
    print(f"{describe_machine()}\n")
    print("| command | wall, s | CPU, s | peak, MiB |\n|---|---|---|---|")
    _print("`ensemble run`, all of it", make_run(place, learners, rows))
    time.sleep(2.5)  # files that changed just now are hashed whenever they are asked for
    for name, arguments in COMMANDS.items():
        _print(name, run_python(place, "-m", "ensemble", *arguments))
    counts = count_files(place / "run")
    told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    print(f"\n{sum(counts.values()):,} files: {told}.")
    size = sum(p.stat().st_size for p in (place / "run").rglob("*") if p.is_file())
    print(f"{size / 2**20:.1f} MiB.")


def _print(name: str, cost: Cost) -> None:
    print(f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} |", flush=True)


def main() -> None:
    """Measure a run of as many learners as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=100)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report_on(Path(directory), options.learners, options.rows)
        if options.keep is not None:
            shutil.copytree(directory, options.keep)


if __name__ == "__main__":
    main()
