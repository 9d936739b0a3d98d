"""How long threads should wait for one another: fits of two threads, alone and side by side.

::

    python benchmarks/waiting_threads.py

Seconds of each of one, two and three LightGBM fits at a time on however many cores there are, with
OpenMP's own choice, with waiting that never spins, and with some numbers of spins. The command line
and the tests use what is best over all of them: ``ensemble.processes.yield_cores``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

SETTINGS: dict[str, dict[str, str]] = {
    "its own choice": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"GOMP_SPINCOUNT={n}": {"GOMP_SPINCOUNT": str(n)} for n in (300, 1000, 3000)},
}


def fit() -> float:
    """Fit 200 rounds on 1,600 rows; gives the seconds."""
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(1600, 120)), rng.integers(0, 3, 1600)
    settings = {"objective": "multiclass", "num_class": 3, "num_threads": 2, "verbose": -1}
    settings |= {"num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 20}

    def rounds(count: int) -> None:
        lightgbm.train(settings, lightgbm.Dataset(values, labels), count)

    rounds(5)
    started = time.perf_counter()
    rounds(200)
    return time.perf_counter() - started


def side_by_side(count: int, setting: dict[str, str]) -> list[float]:
    """Give the seconds of several fits at a time."""
    unset = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {n: v for n, v in os.environ.items() if n not in unset} | setting
    command = [sys.executable, __file__, "--one"]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return [float(process.communicate()[0]) for process in running]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", action="store_true", help="fit once and print the seconds")
    parser.add_argument("--most", type=int, default=3, help="fits at a time")
    asked = parser.parse_args()
    if asked.one:
        print(fit())
        return
    print("| waiting | fits at a time | seconds of each |")
    print("|---|---|---|")
    for count in range(1, asked.most + 1):
        for name, setting in SETTINGS.items():
            seconds = ", ".join(f"{each:.1f}" for each in side_by_side(count, setting))
            print(f"| {name} | {count} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
