"""How prepare, clusters, split and features grow with the number of battles.

    python benchmarks/scale.py                      # 27k, 55k, 110k and 220k battles
    python benchmarks/scale.py --rows 20000 --data ../shared/data

A quarter of the battles is the target (competition CSV), the rest external (Parquet), about 3 kB of
text a row, pieced together from the texts of real battles with edits; one row in twenty repeats the
prompt of another, exactly or nearly. Each size runs in a process of its own, whose peak memory is
reported.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import describe_machine

SIZES = (27_000, 55_000, 110_000, 220_000)
TEXT_COLUMNS = ("prompt", "response_a", "response_b")
LENGTHS = {"prompt": 700, "response_a": 1_150, "response_b": 1_150}
REPEATED = 0.05
STAGES = ("prepare and clusters", "split", "features")


def real_texts(data: Path) -> list[str]:
    """All turns of the real battles: the pool that rows are pieced together from."""
    frame = pl.read_csv(data / "arena" / "train.csv", schema_overrides={"id": pl.String})
    turns = [turn for name in TEXT_COLUMNS for cell in frame[name] for turn in json.loads(cell)]
    for path in sorted((data / "sources").glob("*.parquet")):
        external = pl.read_parquet(path, columns=list(TEXT_COLUMNS))
        turns += [t for name in TEXT_COLUMNS for t in external[name].explode().to_list()]
    return [turn.encode("utf-8", "replace").decode() for turn in turns if turn]


class Writer:
    """Makes texts of about a given length out of pieces of real ones."""

    def __init__(self, pool: list[str], seed: int) -> None:
        self.text = "\n".join(pool)
        self.rng = np.random.default_rng(seed)

    def texts(self, rows: int, length: int) -> list[str]:
        """Piece together ``rows`` texts: three pieces each, with a word of its own between them."""
        sizes = np.clip(self.rng.lognormal(np.log(length / 3), 0.5, (rows, 3)), 20, 5_000)
        starts = self.rng.integers(0, len(self.text) - 5_001, (rows, 3))
        words = self.rng.integers(0, 2**32, rows)
        return [
            f" {word:x} ".join(self.text[s : s + int(n)] for s, n in zip(*row, strict=True))
            for word, *row in zip(words, starts, sizes, strict=True)
        ]

    def battles(self, rows: int, prefix: str) -> pl.DataFrame:
        """Make battles in the competition's columns, text as lists of one turn."""
        columns = {name: self.texts(rows, length) for name, length in LENGTHS.items()}
        prompts = columns["prompt"]
        for row in self.rng.choice(rows, int(rows * REPEATED), replace=False):
            other = prompts[self.rng.integers(rows)]
            prompts[row] = other if self.rng.random() < 0.5 else other + " please"
        labels = np.eye(3, dtype=int)[self.rng.integers(3, size=rows)]
        return pl.DataFrame(
            {
                "id": [f"{prefix}{i}" for i in range(rows)],
                **{name: [[text] for text in texts] for name, texts in columns.items()},
                "winner_model_a": labels[:, 0],
                "winner_model_b": labels[:, 1],
                "winner_tie": labels[:, 2],
            }
        )


def write_sources(directory: Path, rows: int, data: Path) -> int:
    """Write target and external files; gives the bytes of text."""
    writer = Writer(real_texts(data), seed=rows)
    target = writer.battles(rows // 4, "t")
    size = _text_bytes(target)
    cells = [pl.Series(n, [json.dumps(t) for t in target[n].to_list()]) for n in TEXT_COLUMNS]
    target.with_columns(cells).write_csv(directory / "train.csv")
    external = writer.battles(rows - rows // 4, "e")
    external.write_parquet(directory / "external.parquet")
    return size + _text_bytes(external)


def _text_bytes(frame: pl.DataFrame) -> int:
    lengths = frame.select(pl.col(TEXT_COLUMNS).list.first().str.len_bytes().sum())
    return sum(lengths.row(0))


def measure(directory: str, answers: Any) -> None:
    """Run the three stages in this process; answers their seconds and the peak memory, GiB."""
    from ensemble.battles.features import compute_features
    from ensemble.battles.prepare import prepare
    from ensemble.battles.prepared import read_battles
    from ensemble.battles.split import split
    from ensemble.config.load import parse_config
    from ensemble.config.settings import Folds
    from ensemble.plugin.manager import get_manager

    place = Path(directory)
    sources = [
        {"name": "target", "path": "train.csv", "role": "target"},
        {"name": "external", "path": "external.parquet", "role": "train"},
    ]
    config = parse_config({"run_dir": "run", "sources": sources}, place / "config.toml")
    run = place / "run"
    run.mkdir()
    seconds, clock = [], time.perf_counter()

    def lap() -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds.append(now - clock)
        clock = now

    prepare(config)
    lap()
    split(run, Folds(n_splits=5), seed=0)
    lap()
    registry = get_manager().feature_sets
    sets = [registry.get(entry.name) for entry in registry]
    compute_features(read_battles(run)[0], sets, cache_directory=run / "cache")
    lap()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    clusters = json.loads((run / "folds.json").read_text())["clusters"]
    answers.put((seconds, peak, clusters))


def run_size(rows: int, data: Path) -> None:
    """Measure one size and print its row of the table."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        size = write_sources(Path(directory), rows, data)
        answers = context.Queue()
        worker = context.Process(target=measure, args=(directory, answers))
        worker.start()
        seconds, peak, clusters = answers.get()
        worker.join()
    cells = " | ".join(f"{value:.1f}" for value in seconds)
    total = sum(seconds)
    print(
        f"| {rows:,} | {size / rows / 1000:.1f} | {clusters:,} | {cells} | {total:.1f} "
        f"| {total / rows * 1e3:.2f} | {peak:.2f} |",
        flush=True,
    )


def main() -> None:
    """Measure all sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print(describe_machine())
    stages = " | ".join(f"{stage}, s" for stage in STAGES)
    print(f"| battles | kB a row | clusters | {stages} | total, s | ms a battle | peak GiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rows in options.rows:
        run_size(rows, options.data)


if __name__ == "__main__":
    main()
