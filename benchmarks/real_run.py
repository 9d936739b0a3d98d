"""A real run: human votes from MT-bench, Tulu and PandaLM, from files to submission and report.

    python benchmarks/real_run.py --data ../shared/data --directory runs/real

Prints the table of the README: log loss of every learner and candidate with its interval.
``--picture FILE`` writes the report's first figure as an SVG file that stands alone.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import describe_machine

from ensemble.battles.schema import labels_of
from ensemble.evaluation.losses import row_log_loss
from ensemble.pipeline import run
from ensemble.storage.json_files import write_text

CONFIG = """\
run_dir = "run"
seed = 42

[[sources]]
name = "arena"
path = "{data}/arena/train.csv"
role = "target"

[test]
path = "{data}/arena/test.csv"

[[learners]]
name = "length"
plugin = "handcrafted"
features = ["length"]

[[learners]]
name = "handcrafted"
plugin = "handcrafted"

[[learners]]
name = "tfidf"
plugin = "tfidf"

[stack]
meta_learner = "lightgbm"
features = ["length", "conversation"]
"""


def class_prior(run_directory: Path) -> float:
    """Log loss of the label shares of the other folds, on each fold: what knowing nothing costs."""
    battles = pl.read_parquet(run_directory / "battles.parquet").filter(pl.col("role") == "target")
    plan = pl.read_parquet(run_directory / "folds.parquet")
    folds = battles.join(plan.select("id", "fold"), on="id", how="left", maintain_order="left")
    labels, fold = labels_of(battles), folds["fold"].to_numpy()
    priors = np.array([labels[fold != k].mean(axis=0) for k in range(fold.max() + 1)])
    return float(row_log_loss(labels, priors[fold]).mean())


def table(run_directory: Path) -> str:
    """Write the table of the README in Markdown."""
    scores = json.loads((run_directory / "stack" / "candidates.json").read_text())
    chosen = json.loads((run_directory / "stack" / "verdict.json").read_text())["chosen"]
    lines = ["| | log loss | 95% interval |", "|---|---|---|"]
    lines.append(f"| class prior | {class_prior(run_directory):.4f} | |")
    lines += [_line(f"learner `{item['name']}`", item) for item in scores["learners"]]
    lines += [
        _line(f"candidate `{item['name']}`" + (" (used)" if item["name"] == chosen else ""), item)
        for item in scores["candidates"]
    ]
    return "\n".join(lines)


def _line(name: str, item: dict[str, Any]) -> str:
    interval = "none" if item["low"] is None else f"{item['low']:.4f} to {item['high']:.4f}"
    return f"| {name} | {item['log_loss']:.4f} | {interval} |"


def picture(run_directory: Path) -> str:
    """Take the report's headline figure out, with the colors of its light page."""
    report = (run_directory / "report.html").read_text(encoding="utf-8")
    colors = dict(reversed(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", report)))
    svg = next(re.finditer(r"<svg .*?</svg>", report, flags=re.DOTALL)).group()
    svg = re.sub(r"var\(--([a-z-]+)\)", lambda match: colors[match.group(1)], svg)
    style = f"background: {colors['card']}; font-family: system-ui, sans-serif"
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        'style="', f'style="{style}; ', 1
    )


def main() -> None:
    """Make the run and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--directory", type=Path, default=Path("runs/real"))
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    config = options.directory / "config.toml"
    write_text(config, CONFIG.format(data=options.data.resolve()))
    started = time.perf_counter()
    place = run(config)
    print(f"{describe_machine()}; {time.perf_counter() - started:.0f} s\n")
    print(table(place))
    if options.picture:
        write_text(options.picture, picture(place))
    print("\n" + json.loads((place / "stack" / "verdict.json").read_text())["sentence"])


if __name__ == "__main__":
    main()
