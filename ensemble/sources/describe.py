"""What a source holds: rows, labels, turns, lengths, languages."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ensemble.battles.language import languages
from ensemble.battles.prepare_record import SEVERAL
from ensemble.battles.schema import LABEL_COLUMNS, TEXT_COLUMNS, labels_of

_SHOWN_LANGUAGES = 8
_QUANTILES = (0.1, 0.5, 0.9)


def describe(battles: pl.DataFrame) -> dict[str, Any]:
    """Describe rows of battles.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``, at least one row.

    Returns
    -------
    dict[str, Any]
        ``rows``, ``labeled``; ``label_shares`` in ``CLASSES`` order and ``a_over_b``, the share of
        A among decided votes (None where nothing is labeled or decided); ``prompts`` (distinct);
        ``turns`` (mean, share of several); ``characters`` of each text (10%, 50% and 90%
        quantiles); ``languages`` (shares, the most frequent first, "other" for the rest).
    """
    return {
        "rows": len(battles),
        **_labels(battles),
        "prompts": battles.select("prompt").n_unique(),
        "turns": _turns(battles),
        "characters": {name: _quantiles(characters(battles[name])) for name in TEXT_COLUMNS},
        "languages": _shares(languages(battles)),
    }


def characters(turns: pl.Series) -> pl.Series:
    """Count the characters of each row's turns together."""
    return turns.list.join("", ignore_nulls=True).str.len_chars()


def label_shares(battles: pl.DataFrame) -> tuple[float, float, float] | None:
    """Give the shares of the classes among labeled rows; None where none is labeled."""
    labels = labels_of(battles.filter(pl.col(LABEL_COLUMNS[0]).is_not_null()))
    if not len(labels):
        return None
    a, b, tie = labels.mean(axis=0).tolist()
    return a, b, tie


def is_one_sided(described: dict[str, Any]) -> bool:
    """Say whether one side of many battles never wins, as ``describe`` gives them."""
    return described["labeled"] >= SEVERAL and described["a_over_b"] in (0.0, 1.0)


def _labels(battles: pl.DataFrame) -> dict[str, Any]:
    shares = label_shares(battles)
    decided = shares[0] + shares[1] if shares else 0.0
    return {
        "labeled": int(battles[LABEL_COLUMNS[0]].is_not_null().sum()),
        "label_shares": None if shares is None else list(shares),
        "a_over_b": shares[0] / decided if shares and decided else None,
    }


def _turns(battles: pl.DataFrame) -> dict[str, float]:
    counts = battles["prompt"].list.len().to_numpy()
    return {"mean": float(counts.mean()), "several": float((counts > 1).mean())}


def _quantiles(values: pl.Series) -> list[float]:
    numbers = values.fill_null(0).to_numpy()
    return [float(value) for value in np.quantile(numbers, _QUANTILES)]


def _shares(names: pl.Series) -> dict[str, float]:
    counts = names.rename("name").value_counts().sort(["count", "name"], descending=[True, False])
    shown = counts.head(_SHOWN_LANGUAGES)
    shares = {name: count / len(names) for name, count in shown.iter_rows()}
    rest = len(names) - int(shown["count"].sum())
    return {**shares, "other": rest / len(names)} if rest else shares
