"""Generated battles: text with learnable signal, whose true label distribution is known.

Three tables, as a user of the toolkit has them: a target of people's prompts, an external source of
benchmark prompts judged by another rule, and a test set drawn like the target. Near duplicates,
copies and swaps are planted among them, and every planted pair is listed. The world (models,
topics, taste) is the same for every seed; a seed only draws battles from it, so another seed gives
fresh labeled rows of the same distribution.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.datasets.rows import MOST_ROWS, PLANTED_KINDS, SOURCES, draw_source
from ensemble.datasets.rules import judge_as_benchmark, judge_as_people
from ensemble.datasets.tables import (
    TRUTH_COLUMNS,
    battle_table,
    distributions,
    draw_labels,
    labeled_table,
    planted_table,
    truth_table,
)
from ensemble.evaluation.ties import renormalized
from ensemble.plugin.base import LEARNER_COLUMNS
from ensemble.storage.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.datasets.rows import Row
    from ensemble.datasets.rules import Distribution

__all__ = [
    "MOST_ROWS",
    "PLANTED_KINDS",
    "TRUTH_COLUMNS",
    "GeneratedBattles",
    "best_log_loss",
    "make_battles",
    "write_battles",
]


@dataclass(frozen=True)
class GeneratedBattles:
    """Battles with a known truth.

    Parameters
    ----------
    target
        Competition columns: ``id`` (String), ``model_a``, ``model_b``, the text columns
        (List(String), one item a turn) and a 0/1 column for each of ``CLASSES``.
    external
        The same columns: benchmark prompts, judged by length and formatting, without ties.
    test
        ``id`` and the text columns.
    truth
        A row for each of the above: ``id``, ``source`` ("target", "external", "test"), ``p_a``,
        ``p_b``, ``p_tie``, and ``label``, the drawn class as an index into ``CLASSES``.
    planted
        ``id_a``, ``id_b``, ``kind`` (one of ``PLANTED_KINDS``): the later row and the one it was
        made from. Near prompts keep a Jaccard similarity of 0.85 of character 5-grams.
    """

    target: pl.DataFrame
    external: pl.DataFrame
    test: pl.DataFrame
    truth: pl.DataFrame
    planted: pl.DataFrame


def make_battles(
    *,
    target_rows: int = 2000,
    external_rows: int = 1500,
    test_rows: int = 500,
    seed: int = 0,
    ties: bool = True,
) -> GeneratedBattles:
    """Draw battles from the one generated world.

    Parameters
    ----------
    target_rows, external_rows, test_rows
        Rows of each table, below ``MOST_ROWS``. The first rows of a longer target are those of a
        shorter one.
    seed
        At least 0. Ids of different seeds never meet, so their tables can be joined together.
    ties
        Whether people may find two answers equal. If not, what they would give to a tie goes to the
        sides in proportion: the same battles for a task without ties.

    Raises
    ------
    ValueError
        A number of rows or the seed is out of its range.
    """
    counts = (target_rows, external_rows, test_rows)
    if seed < 0 or not all(0 <= count < MOST_ROWS for count in counts):
        raise ValueError(f"seed ({seed}) and rows {counts} must be >= 0, rows below {MOST_ROWS}")
    planted: list[tuple[str, str, str]] = []
    target = draw_source("target", target_rows, seed, (), planted)
    test = draw_source("test", test_rows, seed, (target,), planted)
    external = draw_source("external", external_rows, seed, (target, test), planted)
    rows = {"target": target, "external": external, "test": test}
    truth = pl.concat([_truth(rows[source], source, seed, ties=ties) for source in SOURCES])
    return GeneratedBattles(
        target=labeled_table(target, truth),
        external=labeled_table(external, truth),
        test=battle_table(test).select(LEARNER_COLUMNS),
        truth=truth,
        planted=planted_table(planted),
    )


def write_battles(battles: GeneratedBattles, directory: Path) -> None:
    """Write ``train.csv`` and ``test.csv`` as the competition has them, the rest as Parquet.

    Text cells of the CSV files are JSON lists of turns. Each file is written atomically:
    ``train.csv``, ``external.parquet``, ``test.csv``, ``truth.parquet``, ``planted.parquet``.
    """
    for name in ("target", "test"):
        with atomic_path(directory / f"{'train' if name == 'target' else name}.csv") as path:
            _with_json_cells(getattr(battles, name)).write_csv(path)
    for name in ("external", "truth", "planted"):
        with atomic_path(directory / f"{name}.parquet") as path:
            getattr(battles, name).write_parquet(path)


def best_log_loss(truth: pl.DataFrame) -> float:
    """Give the expected log loss of the true distribution, in nats: its mean entropy.

    No predictor can expect less on these rows. Pass the rows of one source for its own bound; NaN
    for no rows.
    """
    p = truth.select(TRUTH_COLUMNS).to_numpy()
    if not len(p):
        return float("nan")
    return float(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1).mean())


def _truth(rows: Sequence[Row], source: str, seed: int, *, ties: bool) -> pl.DataFrame:
    """Give the true distribution of each row and a label drawn from it."""
    p = distributions([_judge(source, row) for row in rows])
    if not ties:
        p = renormalized(p)
    return truth_table(rows, source, p, draw_labels(p, [seed, SOURCES.index(source)]))


def _judge(source: str, row: Row) -> Distribution:
    a, b = row.responses
    return judge_as_benchmark(a, b) if source == "external" else judge_as_people(row.prompt, a, b)


def _with_json_cells(table: pl.DataFrame) -> pl.DataFrame:
    cells = [
        pl.Series(name, [json.dumps(t, ensure_ascii=False) for t in table[name].to_list()])
        for name in TEXT_COLUMNS
    ]
    return table.with_columns(cells)
