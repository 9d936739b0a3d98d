"""Labels and texts as a person reads them in a list."""

from __future__ import annotations

import json

import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS

SHORT = ("A", "B", "tie")
"""Classes as a list names them."""


def class_name(columns: tuple[str, ...]) -> pl.Expr:
    """Name the class with the largest of three columns; equal ones go to the first."""
    place = pl.concat_list(columns).list.arg_max()
    return place.replace_strict(dict(enumerate(SHORT)), return_dtype=pl.String)


LABEL = class_name(LABEL_COLUMNS)


def plain(column: str) -> pl.Expr:
    """Write turns so that two that read the same are equal: no case, one space for white space."""
    joined = pl.col(column).list.eval(pl.element().fill_null("")).list.join("\n")
    return joined.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def with_texts(rows: pl.DataFrame, battles: pl.DataFrame) -> pl.DataFrame:
    """Put the texts beside rows, as JSON lists of turns: as the competition's file has them."""
    texts = battles.select("id", *TEXT_COLUMNS).filter(pl.col("id").is_in(rows["id"].implode()))
    written = texts.with_columns(
        pl.Series(name, [json.dumps(turns, ensure_ascii=False) for turns in texts[name].to_list()])
        for name in TEXT_COLUMNS
    )
    return rows.join(written, on="id", how="left", maintain_order="left")
