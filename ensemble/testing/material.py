"""Battles that plugins are tried on: generated ones, texts at the edge, and rows of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.schema import BATTLE_SCHEMA, LABEL_COLUMNS, labels_of, learner_view
from ensemble.datasets.battles import make_battles
from ensemble.plugin.base import CLASSES, LEARNER_COLUMNS

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray, IntArray

ROWS = 60
"""Generated battles that a plugin is tried on; two thirds of them are learned from."""
_MEMORIZED = 4
"""Rows that are learned from and asked for too: what is remembered of them by id shows."""
LONG = 100_000
"""Characters of the longest text."""
_SEED = 71


@dataclass(frozen=True)
class Material:
    """Rows to learn from, and rows to predict.

    Parameters
    ----------
    rows
        ``BATTLE_SCHEMA``, labels included.
    held_out
        ``(n,)`` mask of the rows that are not learned from.
    groups
        ``(n,)`` cluster of each row.
    """

    rows: pl.DataFrame
    held_out: pl.Series
    groups: IntArray

    @classmethod
    def of(cls, rows: pl.DataFrame, groups: IntArray) -> Material:
        """Hold every third group out."""
        held_out = pl.Series(np.unique(groups, return_inverse=True)[1] % 3 == 2)
        return cls(rows, held_out, groups)

    @property
    def train(self) -> pl.DataFrame:
        """What is learned from, as a learner sees it."""
        return learner_view(self.rows.filter(~self.held_out))

    @property
    def labels(self) -> FloatArray:
        """Labels of ``train``."""
        return labels_of(self.rows.filter(~self.held_out))

    @property
    def train_groups(self) -> IntArray:
        """Groups of ``train``."""
        groups: IntArray = self.groups[~self.held_out.to_numpy()]
        return groups

    @property
    def others(self) -> pl.DataFrame:
        """The held-out rows, as a learner sees them."""
        return learner_view(self.rows.filter(self.held_out))

    @property
    def other_labels(self) -> FloatArray:
        """Labels of ``others``."""
        return labels_of(self.rows.filter(self.held_out))

    @property
    def asked(self) -> pl.DataFrame:
        """What is predicted: the held-out rows, and a few that are learned from."""
        return pl.concat([self.others, self.train.head(_MEMORIZED)])

    def relabeled(self) -> pl.DataFrame:
        """Give the rows with other labels where they are held out: each class becomes the next."""
        turned = dict(zip(LABEL_COLUMNS, (*LABEL_COLUMNS[1:], LABEL_COLUMNS[0]), strict=True))
        return self.rows.with_columns(
            pl.when(self.held_out).then(pl.col(other)).otherwise(pl.col(name)).alias(name)
            for name, other in turned.items()
        )


@lru_cache(maxsize=8)
def generated(rows: int = ROWS, seed: int = _SEED) -> Material:
    """Make battles with learnable signal."""
    target = make_battles(target_rows=rows, external_rows=0, test_rows=0, seed=seed).target
    battles = target.select(
        "id",
        pl.lit("generated").alias("source"),
        pl.lit("target").alias("role"),
        *LEARNER_COLUMNS[1:],
        *(pl.col(c).cast(pl.Float64).alias(n) for c, n in zip(CLASSES, LABEL_COLUMNS, strict=True)),
        pl.lit(value=False).alias("is_test"),
        "model_a",
        "model_b",
    ).select(pl.col(name).cast(kind) for name, kind in BATTLE_SCHEMA.items())
    prompts = battles["prompt"].list.first().str.slice(0, 24)
    return Material.of(battles, prompts.rank("dense").to_numpy().astype(np.int64))


def odd_texts() -> dict[str, pl.DataFrame]:
    """Give single battles that people have: by what is odd about them."""
    texts: dict[str, tuple[list[str | None], list[str | None], list[str | None]]] = {
        "null turns": (["Hello?", None], ["Hi.", None], [None, "Good day."]),
        "responses that are null": (["Say something."], [None], [None]),
        "empty strings": ([""], [""], [""]),
        "white space alone": ([" \n"], ["\t"], ["\u3000\u00a0"]),
        "emoji": (["😀 👩‍👩‍👧‍👦?"], ["🇩🇪🎉"], ["❤️‍🔥 ok 👍🏽"]),
        "other scripts": (
            ["\u05e9\u05dc\u05d5\u05dd \u4f60\u597d"],
            ["\u0645\u0631\u062d\u0628\u0627\u202e"],
            ["\ufb00 e\u0301 \ufeff \u0000 \U0010ffff"],
        ),
        "the same response twice": (["Which one?"], ["This one."], ["This one."]),
        "many turns": (["and?"] * 40, ["so"] * 40, ["then"] * 40),
        f"{LONG // 1000} kB of text": (
            ["why? " * (LONG // 5)],
            ["word " * (LONG // 5)],
            ["x" * LONG],
        ),
    }
    return {
        name: pl.DataFrame(
            {
                "id": [f"odd-{number}"],
                "prompt": [prompt],
                "response_a": [a],
                "response_b": [b],
            },
            schema={name: BATTLE_SCHEMA[name] for name in LEARNER_COLUMNS},
        )
        for number, (name, (prompt, a, b)) in enumerate(texts.items())
    }


def renamed(battles: pl.DataFrame, *, keep_order: bool = False) -> pl.DataFrame:
    """Give the same texts under ids that nobody has seen.

    Parameters
    ----------
    battles
        With an ``id``.
    keep_order
        Whether the new ids sort as the old ones do: a learner may sort its rows.
    """
    ranks = battles["id"].rank("ordinal").to_numpy().astype(int)
    if not keep_order:
        ranks = np.random.default_rng(_SEED).permutation(ranks)
    fresh = [f"{7919 * int(rank) + 1_000_000_007}" for rank in ranks]
    return battles.with_columns(pl.Series("id", fresh))


def exchanged_ids(battles: pl.DataFrame) -> pl.DataFrame:
    """Give each text the id of the next one."""
    ids = battles["id"].to_list()
    return battles.with_columns(pl.Series("id", [*ids[1:], *ids[:1]]))


def rebuilt(battles: pl.DataFrame) -> pl.DataFrame:
    """Copy a frame with all of its texts: nothing done to one reaches the other."""
    return pl.DataFrame(battles.to_dict(as_series=False), schema=battles.schema)
