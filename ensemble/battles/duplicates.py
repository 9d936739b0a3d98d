"""Clusters of battles that say the same: exact and near duplicates by prompt, and equal answers.

What counts as a duplicate, and the measured figures, are in ``docs/duplicates.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.minhash import SEED
from ensemble.battles.near_pairs import near_pairs
from ensemble.battles.normalization import joined, normalized
from ensemble.battles.partition import Partition
from ensemble.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST_THRESHOLD = 0.1
"""Below this, nearly every pair of texts would have to be compared."""
MIN_RESPONSE_CHARACTERS = 200
"""Characters that the two responses of a battle need together, after normalization, before another
battle with the same two counts as its duplicate. Two short answers ("Yes" and "No", two refusals
in stock phrases) are the same for unrelated prompts."""

_ROWS_AT_A_TIME = 8_192


@dataclass(frozen=True)
class Duplicates:
    """Which battles belong together, and why.

    Parameters
    ----------
    clusters
        ``id`` (String) and ``cluster`` (Int64), one row a battle in the order of the table.
        Clusters are numbered from 0 by their first battle.
    pairs
        The evidence: ``id_a``, ``id_b`` (the earlier battle first), ``kind`` and ``jaccard``
        (Float64, 1.0 where the texts are equal). Kinds are "same prompt", "same opening",
        "near prompt", "near opening" and "same responses". Connecting these pairs gives the
        clusters. ``n`` equal texts have ``n - 1`` pairs, all with the first of them.
    """

    clusters: pl.DataFrame
    pairs: pl.DataFrame


def find_duplicates(
    battles: pl.DataFrame, *, threshold: float = 0.8, seed: int = SEED
) -> Duplicates:
    """Cluster battles that are exact or near duplicates by prompt, or have the same responses.

    Two battles are linked where a *document* of one equals or nearly equals a document of the
    other. A battle's documents are its whole prompt and, if it has several turns, also its opening
    turn, so that a longer conversation joins the battles about its first question; later turns are
    no documents, since "thank you for your help" ends conversations about anything. An empty prompt
    is no document: it says nothing that two battles could share, so that among battles without a
    prompt equal responses link at any length. Battles are also linked where
    they have the same two responses, on whichever sides, of :data:`MIN_RESPONSE_CHARACTERS` or
    more. Clusters are the connected components of these links.

    Parameters
    ----------
    battles
        All sources and the test rows, with the columns ``id``, ``prompt``, ``response_a`` and
        ``response_b`` of ``BATTLE_SCHEMA``.
    threshold
        Least Jaccard similarity of the shingle sets of two near duplicates, from
        :data:`LOWEST_THRESHOLD` to 1.
    seed
        Of the search for near duplicates. Two searches with different seeds miss independently.

    Returns
    -------
    Duplicates
        The same for the same table in every process. A near link at the threshold is found with
        a probability of at least 0.999999 (more above it), an exact one always, and every link is
        verified.

    Raises
    ------
    ConfigError
        The threshold is out of range.
    """
    _check(threshold)
    documents = _documents(battles)
    edges = pl.concat(
        [
            _same_text(documents),
            _near_text(documents, threshold, seed),
            _same_responses(battles),
        ]
    )
    edges = edges.sort("a", "b", "kind", "jaccard").unique(
        ["a", "b", "kind"], keep="last", maintain_order=True
    )
    return Duplicates(clusters=_clusters(battles, edges), pairs=_by_id(battles, edges))


def _check(threshold: float) -> None:
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise ConfigError(
            f"a near-duplicate threshold of {threshold} is out of range",
            where="folds.near_duplicate_threshold",
            mend=f"give a Jaccard similarity from {LOWEST_THRESHOLD} to 1; 0.8 is usual",
        )


def _documents(battles: pl.DataFrame) -> pl.DataFrame:
    """Gather every different text once, with its rows and whether each only opens with it.

    Texts come in the order of their first rows; a row's whole prompt before its opening.
    """
    prompt = pl.col("prompt")
    whole = battles.select(
        row=pl.int_range(pl.len(), dtype=pl.Int64),
        opening=pl.lit(False),
        text=normalized(joined(prompt)),
    )
    opening = battles.select(
        row=pl.int_range(pl.len(), dtype=pl.Int64),
        opening=pl.lit(True),
        text=pl.when(prompt.list.len() > 1).then(normalized(prompt.list.first())),
    )
    both = pl.concat([whole, opening]).filter(pl.col("text") != "")
    return both.sort("row", "opening").group_by("text", maintain_order=True).agg("row", "opening")


def _same_text(documents: pl.DataFrame) -> pl.DataFrame:
    first = documents.select(
        a=pl.col("row").list.first(),
        opens=pl.col("opening").list.first(),
        b=pl.col("row").list.slice(1),
        opening=pl.col("opening").list.slice(1),
    )
    pairs = first.filter(pl.col("b").list.len() > 0).explode("b", "opening")
    kind = pl.when(pl.col("opens") | pl.col("opening")).then(pl.lit("same opening"))
    edges = pairs.with_columns(kind=kind.otherwise(pl.lit("same prompt")), jaccard=pl.lit(1.0))
    return _between_rows(edges)


def _near_text(documents: pl.DataFrame, threshold: float, seed: int) -> pl.DataFrame:
    pairs = near_pairs(documents["text"], threshold, seed=seed)
    # One row stands for all that have the text: they are linked to it as exact duplicates.
    rows = documents["row"].list.first()
    opens = documents["opening"].list.first()
    edges = pairs.select(
        "jaccard",
        a=rows.gather(pairs["left"]),
        b=rows.gather(pairs["right"]),
        opening=opens.gather(pairs["left"]) | opens.gather(pairs["right"]),
    )
    kind = pl.when("opening").then(pl.lit("near opening")).otherwise(pl.lit("near prompt"))
    return _between_rows(edges.with_columns(kind=kind))


def _same_responses(battles: pl.DataFrame) -> pl.DataFrame:
    keys = pl.concat([pl.Series("key", dtype=pl.Binary), *_response_keys(battles)])
    rows = pl.DataFrame({"key": keys}).with_row_index("row").cast({"row": pl.Int64}).drop_nulls()
    groups = rows.group_by("key", maintain_order=True).agg("row")
    stars = groups.select(a=pl.col("row").list.first(), b=pl.col("row").list.slice(1))
    edges = stars.filter(pl.col("b").list.len() > 0).explode("b")
    return _between_rows(edges.with_columns(kind=pl.lit("same responses"), jaccard=pl.lit(1.0)))


def _response_keys(battles: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield a digest of each row's two responses in either order, null where they are too short.

    Under an empty prompt short ones count too, among themselves: there the responses are all that a
    battle is, and it must not be parted from its own A/B swap. Responses are most of the text, so
    only digests of it are kept, and few rows are open at once.
    """
    names = {"prompt": "prompt", "a": "response_a", "b": "response_b"}
    columns = {name: normalized(joined(pl.col(column))) for name, column in names.items()}
    for rows in battles.select(names.values()).iter_slices(_ROWS_AT_A_TIME):
        texts = rows.select(**columns)
        length = pl.col("a").str.len_chars() + pl.col("b").str.len_chars()
        ordered = pl.when(pl.col("a") <= pl.col("b")).then(pl.concat_str("a", "b", separator="\0"))
        pairs = ordered.otherwise(pl.concat_str("b", "a", separator="\0"))
        only_responses = pl.when(pl.col("prompt") == "").then(pl.lit("\0\0") + pairs)
        enough = length >= MIN_RESPONSE_CHARACTERS
        content = texts.select(pl.when(enough).then(pairs).otherwise(only_responses)).to_series()
        digests = [None if pair is None else _digest(pair) for pair in content]
        yield pl.Series("key", digests, dtype=pl.Binary)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _between_rows(edges: pl.DataFrame) -> pl.DataFrame:
    """Leave out a row's link with itself: a prompt can be near its own opening."""
    return edges.filter(pl.col("a") != pl.col("b")).select("a", "b", "kind", "jaccard")


def _clusters(battles: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    rows = Partition(len(battles))
    rows.merge(edges["a"].to_numpy(), edges["b"].to_numpy())
    return battles.select("id", cluster=pl.Series(rows.numbers()))


def _by_id(battles: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    ids = battles["id"]
    return edges.select(
        id_a=ids.gather(edges["a"]), id_b=ids.gather(edges["b"]), kind="kind", jaccard="jaccard"
    )
