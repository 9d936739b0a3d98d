"""How long ``ensemble sources`` takes, such as on 55,000 target rows and 165,000 of a source.

::

    python benchmarks/sources_scale.py
    python benchmarks/sources_scale.py --target 7806 --source 8000

Generated battles: a target of people's prompts, and the external source of ``make_battles``,
benchmark prompts that a judge of length and formatting has labeled without ties. Everything is
measured that the command measures by default. It is run a second time, which has to find all of it
done; time and peak memory are those of the command's own process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe_machine

from ensemble.datasets.battles import make_battles

CONFIG = """\
run_dir = "run"

[[sources]]
name = "people"
path = "target.parquet"
role = "target"

[[sources]]
name = "benchmark"
path = "external.parquet"
role = "ignore"
"""


def write_data(directory: Path, target: int, source: int) -> None:
    """Write config and sources."""
    battles = make_battles(target_rows=target, external_rows=source, test_rows=0)
    battles.target.write_parquet(directory / "target.parquet")
    battles.external.write_parquet(directory / "external.parquet")
    (directory / "config.toml").write_text(CONFIG)


def run(directory: Path) -> tuple[float, float]:
    """Run the command; gives its seconds and its peak memory, GiB."""
    command = [sys.executable, "-m", "ensemble.cli", "sources", str(directory / "config.toml")]
    clock = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - clock
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"ensemble sources ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 2**20


def main() -> None:
    """Measure once, and once more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=int, default=55_000, help="rows")
    parser.add_argument("--source", type=int, default=165_000, help="rows")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        write_data(directory, asked.target, asked.source)
        seconds, peak = run(directory)
        again, _ = run(directory)
    print(describe_machine())
    print("| target rows | source rows | minutes | peak GiB | once more, s |")
    print("|---|---|---|---|---|")
    rows = f"{asked.target:,} | {asked.source:,}"
    print(f"| {rows} | {seconds / 60:.1f} | {peak:.1f} | {again:.0f} |")


if __name__ == "__main__":
    main()
