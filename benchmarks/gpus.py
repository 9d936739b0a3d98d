"""How much sooner the folds of a small language model are fitted on several GPUs than on one.

::

    python benchmarks/gpus.py /models/smollm2-135m --battles train.csv
    python benchmarks/gpus.py /models/smollm2-135m --battles train.csv --rows 2000 --folds 10

``ensemble fit`` of ten folds, each in a fresh process: once with the first GPU alone, once with all
that there are. One fold is fitted before, so that both find what is compiled. Needs polars, torch
and a GPU; of ``ensemble prepare`` and ``ensemble split`` nothing is counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import torch

_CONFIG = """
run_dir = "{run}"
[[sources]]
name = "target"
path = "battles.csv"
role = "target"
[folds]
n_splits = {folds}
[execution]
executor = "processes"
devices = [{devices}]
[[learners]]
name = "small"
plugin = "causal-lora"
model = "{model}"
train_length = 1536
predict_length = 1536
"""


def main() -> None:
    """Fit on one GPU and on all, and print both times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--battles", type=Path, required=True, help="a CSV file of battles")
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()
    count = torch.cuda.device_count()
    _say(f"{count} x {torch.cuda.get_device_name()}")
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        pl.read_csv(options.battles).head(options.rows).write_csv(base / "battles.csv")
        runs = {name: _start(base, name, options, devices) for name, devices in _runs(count)}
        seconds = {}
        began = time.perf_counter()
        _ensemble("fit", runs["warm"], "--folds", "0")
        _say(f"1 fold, nothing compiled before: {time.perf_counter() - began:.1f} s")
        for name in ("one", "all"):
            began = time.perf_counter()
            _ensemble("fit", runs[name])
            seconds[name] = time.perf_counter() - began
            _say(f"{options.folds} folds, {name}: {seconds[name]:.1f} s")
    _say(f"{count} GPUs: {seconds['one'] / seconds['all']:.2f} times as fast as one")


def _runs(count: int) -> list[tuple[str, list[int]]]:
    return [("warm", [0]), ("one", [0]), ("all", list(range(count)))]


def _start(base: Path, name: str, options: argparse.Namespace, devices: list[int]) -> Path:
    """Write a config and have its folds made."""
    path = base / f"{name}.toml"
    told = ", ".join(f'"cuda:{device}"' for device in devices)
    model = options.model.absolute()
    path.write_text(_CONFIG.format(run=name, folds=options.folds, devices=told, model=model))
    _ensemble("prepare", path)
    _ensemble("split", path)
    return path


def _ensemble(verb: str, config: Path, *more: str) -> None:
    command = [sys.executable, "-m", "ensemble", verb, str(config), "--quiet", *more]
    subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
