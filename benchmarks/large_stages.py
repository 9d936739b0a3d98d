"""What every stage of a run takes as battles grow: time, memory beside its text, disk, open files.

::

    python benchmarks/large_stages.py                     # 55,000 and 220,000 battles
    python benchmarks/large_stages.py --rows 20000 --stages prepare split

The battles of ``scale.py`` (a quarter of them the target), ten learners of five folds that learn
next to nothing but read all text, so that all else is what the toolkit takes. Every stage is a
process of its own. Memory is the peak of its resident set less that of a process which has imported
the same and read nothing, in times of the bytes of text; disk is what the run directory has grown
by.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from large_runs import TRIVIAL
from machine import describe_machine
from scale import write_sources

SIZES = (55_000, 220_000)
STAGES = ("prepare", "split", "fit", "stack", "predict", "audit", "report")
LEARNERS = 10
_CONFIG = """
run_dir = "run"
[[sources]]
name = "target"
path = "train.csv"
role = "target"
[[sources]]
name = "external"
path = "external.parquet"
role = "train"
[test]
path = "test.csv"
[folds]
n_splits = 5
[execution]
executor = "in-process"
[stack]
nesting = "plain"
features = ["length"]
"""
_STAGE = """
import sys
from ensemble.stages import contracts
contracts.unchecked = lambda *_: []
from ensemble.cli import main
sys.argv = ["ensemble", *sys.argv[1:]]
main()
"""


class Cost(NamedTuple):
    """What a stage took: seconds of wall time and of CPUs, GiB at most, and open files at most."""

    wall: float
    cpu: float
    peak: float
    files: int


def run_stage(place: Path, stage: str, *, complete: bool) -> Cost:
    """Run a stage in a process of its own.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; what it said is printed. That a run is not complete is no failure of ``audit``
        where it is not meant to be.
    """
    target = "run" if stage == "audit" else "config.toml"
    quiet = [] if stage in ("audit", "report") else ["--quiet"]
    command = [sys.executable, "-c", _STAGE, stage, target, *quiet]
    began, most = time.perf_counter(), [0]
    with (place / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, cwd=place, stdout=said, stderr=said)
        watch = Thread(target=_watch_files, args=(process.pid, most), daemon=True)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.join()
        said.seek(0)
        text = said.read()
        is_partial = not complete and "incomplete: " in text
        if process.returncode and not is_partial:
            print(text, file=sys.stderr)
            raise subprocess.CalledProcessError(process.returncode, command)
    cpu = used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - began, cpu, used.ru_maxrss / 2**20, most[0])


def _watch_files(process: int, most: list[int]) -> None:
    """Count a process's open files ten times a second until it ends."""
    place = Path(f"/proc/{process}/fd")
    try:
        while found := len(list(place.iterdir())):
            most[0] = max(most[0], found)
            time.sleep(0.1)
    except OSError:  # it has ended
        return


def empty_peak() -> float:
    """Give the peak of a process that has imported all that stages import, GiB."""
    program = "import ensemble.pipeline, lightgbm, matplotlib.figure"
    process = subprocess.Popen([sys.executable, "-c", program])
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return used.ru_maxrss / 2**20


def write_project(place: Path, rows: int, data: Path) -> int:
    """Write sources, plugin and config; gives the bytes of text, without those of the test set."""
    size = write_sources(place, rows, data)
    test = (place / "train.csv").read_bytes().splitlines(keepends=True)[:1001]
    head, *lines = test
    columns = head.decode().strip().split(",")
    assert columns[0] == "id"
    (place / "test.csv").write_bytes(b"".join([head, *(b"x" + line for line in lines)]))
    (place / "trivial.py").write_text(TRIVIAL)
    learners = [
        f'[[learners]]\nname = "trivial{number}"\nplugin = "trivial.py:Trivial"\n'
        f"slope = {number / LEARNERS}\n"
        for number in range(LEARNERS)
    ]
    (place / "config.toml").write_text(_CONFIG + "".join(learners))
    return size


def _disk(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def measure(rows: int, data: Path, stages: list[str], base: float) -> None:
    """Measure the stages of one size, and print their rows of the table."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with ProcessPoolExecutor(1, get_context("spawn")) as writer:  # this one has to stay small:
            size = writer.submit(write_project, place, rows, data).result() / 2**30
        before = 0  # what a process has at most counts from when it was forked
        for stage in stages:
            cost = run_stage(place, stage, complete="stack" in stages)
            now = _disk(place / "run")
            print(
                f"| {rows:,} | {size:.2f} | {stage} | {cost.wall:.0f} | {cost.cpu:.0f} "
                f"| {cost.peak:.2f} | {(cost.peak - base) / size:.1f} "
                f"| {(now - before) / 2**20:.0f} | {cost.files} |",
                flush=True,
            )
            before = now


def main() -> None:
    """Measure all sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    base = empty_peak()
    print(f"{describe_machine()}; {base:.2f} GiB with nothing read\n")
    print(
        "| battles | text, GiB | stage | wall, s | CPU, s | peak, GiB | times the text "
        "| disk, MiB | open files |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for rows in options.rows:
        measure(rows, options.data, options.stages, base)


if __name__ == "__main__":
    main()
