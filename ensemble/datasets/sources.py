"""Generated sources whose worth for the generated target is known, one cause at a time.

Each kind differs from the target in one thing, so that what a measurement says of it can be held
against what is true:

- ``same_rule``: people's prompts, people's labels. More of the target: it helps.
- ``other_prompts``: a benchmark's prompts, people's labels. Easily told from the target, which says
  nothing against it: shift is not harm.
- ``no_ties``: people's prompts, labels of people who may not call a tie. It hurts mixed in as it
  is. An offset for its label shares is exactly what it lacks, and then it helps.
- ``other_rule``: people's prompts; the judge likes length and formatting, and calls ties as often
  as people. It hurts, and no matching of prompts or label shares helps.
- ``duplicates``: rows of the target once more, labels included: copies, swaps and copies under an
  edited prompt. A fold that lets them in beside their originals shows a great gain; there is none.
- ``harmless``: people's prompts, labels drawn at the target's shares whatever the text. Where they
  are a share ``e`` of all rows, the best that can be learned goes from ``p`` to
  ``(1 - e) p + e shares``, which costs nats of second order in ``e``: 0.0003 at 2%.
  In great numbers they are no longer harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.datasets.rows import (
    MOST_ROWS,
    SOURCES,
    copy_row,
    draw_source,
    make_id,
)
from ensemble.datasets.rules import (
    judge_as_people,
    judge_by_polish,
    judge_without_ties,
)
from ensemble.datasets.tables import (
    distributions,
    draw_labels,
    labeled_table,
    planted_table,
    truth_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ensemble.datasets.rows import Row
    from ensemble.datasets.rules import Distribution
    from ensemble.plugin.base import FloatArray, IntArray

SOURCE_KINDS = (
    "same_rule",
    "other_prompts",
    "no_ties",
    "other_rule",
    "duplicates",
    "harmless",
)
TARGET_SHARES: Distribution = (0.372, 0.341, 0.287)
"""Label shares of the target in the long run, in ``CLASSES`` order."""

_COPIES = ("same_battle", "same_battle", "swap", "near_prompt")


@dataclass(frozen=True)
class GeneratedSource:
    """A source with a known truth.

    Parameters
    ----------
    battles
        The columns of ``GeneratedBattles.target``.
    truth
        ``id``, ``source`` (the kind), ``p_a``, ``p_b``, ``p_tie`` and ``label``, an index into
        ``CLASSES``: the distribution that the label is drawn from. A duplicate has its original's
        label, and the distribution that people would judge it by.
    planted
        ``id_a``, ``id_b``, ``kind``, as in ``GeneratedBattles``. Of ``duplicates`` every row has
        one, with a target row; a ``near_prompt`` among them has its original's responses too.
    """

    battles: pl.DataFrame
    truth: pl.DataFrame
    planted: pl.DataFrame


def make_source(kind: str, *, rows: int, seed: int = 0, target_rows: int = 2000) -> GeneratedSource:
    """Draw a source for the target of ``make_battles`` with the same seed.

    Parameters
    ----------
    kind
        One of ``SOURCE_KINDS``.
    rows
        Number of rows, below ``MOST_ROWS``. Of kinds but ``duplicates``, the first rows of a longer
        source are those of a shorter one.
    seed
        At least 0. Ids of different seeds and kinds never meet.
    target_rows
        Rows of the target that ``duplicates`` are made from: each is copied once before one is
        copied twice. Other kinds have no row in common with the target.

    Raises
    ------
    ValueError
        There is no such kind, or a number is out of its range.
    """
    if kind not in SOURCE_KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(SOURCE_KINDS)}")
    least = 1 if kind == "duplicates" and rows else 0
    if seed < 0 or not (0 <= rows < MOST_ROWS and least <= target_rows < MOST_ROWS):
        raise ValueError(
            f"seed ({seed}) and rows ({rows}) must be >= 0, rows and target_rows ({target_rows}) "
            f"below {MOST_ROWS}, target_rows >= {least}"
        )
    planted: list[tuple[str, str, str]] = []
    if kind == "duplicates":
        drawn, label = _draw_duplicates(rows, seed, target_rows, planted)
        p = _judge_all_as_people(drawn)
    else:
        drawn = draw_source(kind, rows, seed, (), planted)
        p = distributions([_judge(kind, row) for row in drawn])
        label = draw_labels(p, [seed, len(SOURCES) + SOURCE_KINDS.index(kind)])
    truth = truth_table(drawn, kind, p, label)
    return GeneratedSource(labeled_table(drawn, truth), truth, planted_table(planted))


def _judge(kind: str, row: Row) -> Distribution:
    a, b = row.responses
    if kind == "harmless":
        return TARGET_SHARES
    if kind == "other_rule":
        return judge_by_polish(a, b)
    judge = judge_without_ties if kind == "no_ties" else judge_as_people
    return judge(row.prompt, a, b)


def _judge_all_as_people(rows: Sequence[Row]) -> FloatArray:
    """Give the true distributions with people as judges, ``(n, 3)``."""
    return distributions([judge_as_people(row.prompt, *row.responses) for row in rows])


def _draw_duplicates(
    count: int, seed: int, target_rows: int, planted: list[tuple[str, str, str]]
) -> tuple[list[Row], IntArray]:
    """Copy target rows in a random order, with their labels."""
    target = draw_source("target", target_rows, seed, (), [])
    labels = draw_labels(_judge_all_as_people(target), [seed, SOURCES.index("target")])
    rng = Random(f"{seed}/duplicates")  # noqa: S311 - no secret is made
    order = np.array(rng.sample(range(target_rows), target_rows), dtype=np.int64)
    originals = np.resize(order, count)
    rows: list[Row] = []
    kinds: list[str] = []
    for index, original in enumerate(originals):
        kinds.append(_COPIES[int(rng.random() * len(_COPIES))])
        battle_id = make_id("duplicates", index, seed)
        rows.append(copy_row(rng, battle_id, kinds[-1], target[original]))
        planted.append((battle_id, target[original].id, kinds[-1]))
    copied = np.eye(3)[labels[originals]]
    swapped = np.array([kind == "swap" for kind in kinds], dtype=bool)
    copied[swapped] = swap_classes(copied[swapped])
    return rows, copied.argmax(axis=1)
