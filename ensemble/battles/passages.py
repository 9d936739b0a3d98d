"""Passages of battles: turns, whole prompts and answers that are long enough to be told again.

A *passage* is a prompt's turn, a whole prompt of several turns, or an answer. An answer that holds
a conversation, as some sources have it, is one like a prompt too. Of passages only digests and
fingerprints are kept; the text of one is read again where two have to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.fingerprints import fingerprints, letters
from ensemble.battles.normalization import normalized
from ensemble.battles.passage_keys import with_numbers
from ensemble.battles.schema import TEXT_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ensemble.battles.shingles import Integers, Shingles

PROMPT = 0
"""The number of the prompt among ``TEXT_COLUMNS``."""
PROMPT_ONE_IN, ANSWER_ONE_IN = 3, 16
"""About one gram in so many is a fingerprint."""
WHOLE = -1
"""The number of a turn that is all turns in one."""


@dataclass(frozen=True)
class Passages:
    """``n`` different passages.

    Parameters
    ----------
    rows, columns, turns
        ``(n,)`` where each stands first: the row, the number of the column, and the turn (-1 for
        all turns in one).
    is_prompt
        ``(n,)`` whether it is a prompt, or an answer that holds one.
    owners
        ``passage`` and ``row`` of every place where one stands, each once.
    counts
        ``(n,)`` how many different fingerprints each has.
    """

    rows: Integers
    columns: Integers
    turns: Integers
    is_prompt: NDArray[np.bool_]
    owners: pl.DataFrame
    counts: Integers

    def __len__(self) -> int:
        """Say how many there are."""
        return len(self.rows)

    @property
    def letters(self) -> Integers:
        """About how many letters and digits each has, from how many fingerprints: ``(n,)``."""
        return np.where(self.is_prompt, PROMPT_ONE_IN, ANSWER_ONE_IN) * self.counts

    def texts(self, battles: pl.DataFrame, wanted: Integers) -> pl.Series:
        """Read the normalized texts of some passages again.

        Parameters
        ----------
        battles
            The table that they were found in.
        wanted
            Numbers of passages, ``(k,)``.
        """
        texts = pl.Series("text", [""] * len(wanted), dtype=pl.String)
        for number, column in enumerate(TEXT_COLUMNS):
            place = np.flatnonzero(self.columns[wanted] == number)
            if len(place):
                cells = battles.select(turns=pl.col(column).gather(self.rows[wanted[place]]))
                turns = turns_of_cells(cells.with_row_index("row"))
                whole = joined_turns(turns, len(place))
                one = pl.DataFrame(
                    {"row": np.arange(len(place)), "turn": self.turns[wanted[place]]}
                )
                found = one.join(turns, on=["row", "turn"], how="left", maintain_order="left")
                texts = texts.scatter(
                    place, found.select(pl.col("text").fill_null(whole)).to_series()
                )
        return texts


_TURNS = {"row": pl.Int64(), "turn": pl.Int64(), "text": pl.String()}


def turns_of_cells(cells: pl.DataFrame) -> pl.DataFrame:
    """Normalize every turn that is not null: ``row``, ``turn``, ``text``."""
    numbered = cells.select(
        pl.col("row").cast(pl.Int64), "turns", turn=pl.int_ranges(pl.col("turns").list.len())
    )
    each = numbered.explode("turns", "turn", empty_as_null=False, keep_nulls=False)
    found = each.drop_nulls("turns").select("row", "turn", text=normalized(pl.col("turns")))
    return found.cast(_TURNS)  # type: ignore[arg-type]  # of no rows the types are not known


def joined_turns(turns: pl.DataFrame, rows: int) -> pl.Series:
    """Join the turns of each row; one without any is empty."""
    texts = turns.filter(pl.col("text") != "").group_by("row").agg(pl.col("text").str.join(" "))
    every = pl.DataFrame({"row": np.arange(rows, dtype=np.int64)})
    found = every.join(texts, on="row", how="left", maintain_order="left")
    return found["text"].fill_null("")


def keys_of(texts: pl.Series, is_prompt: bool) -> Shingles:
    """Give the fingerprints of passages, each with the number of its text.

    Parameters
    ----------
    texts
        ``n`` normalized texts.
    is_prompt
        Whether they are prompts, or answers that hold one.
    """
    found = fingerprints(letters(texts), PROMPT_ONE_IN if is_prompt else ANSWER_ONE_IN)
    return with_numbers(found.hashes, found.text)
