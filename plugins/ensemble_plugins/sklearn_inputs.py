"""What an estimator of scikit-learn gets of each battle, in either order of its responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.battles.swap import swap_battles
from ensemble_plugins.privileged_levels import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import FloatArray, IntArray

Inputs = Literal["features", "text", "columns"]

_MARKED = ("prompt", "a", "b")
"""What marks the words of each of ``TEXT_COLUMNS``; those of the prompt stay as they are."""
_WORD = r"(\w+)"


def feature_rows(matrix: FeatureMatrix, *, swapped: bool) -> FloatArray:
    """Give feature values ``(n, k)`` of battles as they are, or with A and B exchanged."""
    values = (matrix.swapped() if swapped else matrix).values
    return values.astype(np.float64)


def text_columns(
    battles: pl.DataFrame, privileged: Sequence[str] = (), *, swapped: bool
) -> pl.DataFrame:
    """Give prompt and responses as one string each, and privileged columns.

    Turns stand one below the other; a null turn is empty, and so is a value that is missing.
    """
    rows = swap_battles(battles) if swapped else battles
    said = [column(rows, name).fill_null("") for name in privileged]
    turns = pl.col(TEXT_COLUMNS).cast(pl.List(pl.String)).list.eval(pl.element().fill_null(""))
    return rows.select(turns.list.join("\n").fill_null("")).with_columns(said)


def marked_texts(battles: pl.DataFrame, privileged: Sequence[str] = (), *, swapped: bool) -> Any:
    r"""Give one text a battle, ``(n,)`` objects, whose words tell where they stand.

    Prompt, response A and response B stand one below the other. Each word (``\w+``) of response A
    begins with ``a_``, each of B with ``b_``: what counts words sees who said them. A privileged
    value is one word more, such as ``model_a_is_gpt_4``.
    """
    texts = text_columns(battles, privileged, swapped=swapped)
    marked = [
        pl.col(column) if mark == "prompt" else pl.col(column).str.replace_all(_WORD, f"{mark}_$1")
        for column, mark in zip(TEXT_COLUMNS, _MARKED, strict=True)
    ]
    marked += [
        pl.concat_str(pl.lit(f"{name}_is_"), pl.col(name).str.replace_all(r"\W+", "_"))
        for name in privileged
    ]
    joined = texts.select(pl.concat_str(marked, separator="\n")).to_series()
    return np.array([*joined, None], dtype=object)[:-1]  # an array of texts alone has other widths


def stack_inputs(parts: list[Any]) -> Any:
    """Lay the inputs of each order one below the other."""
    return pl.concat(parts) if isinstance(parts[0], pl.DataFrame) else np.concatenate(parts)


def take_inputs(inputs: Any, rows: IntArray) -> Any:
    """Give some rows, each as often as it is named."""
    return inputs[rows]
