"""Clusters of battles that say the same: equal, edited or wrapped prompts, and equal answers.

What counts as a duplicate, and the measured figures, are in ``docs/duplicates.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.battles.compared import read_compared
from ensemble.battles.containment import find_contained
from ensemble.battles.looked import Looked
from ensemble.battles.minhash import SEED
from ensemble.battles.near_pairs import near_pairs
from ensemble.battles.partition import Partition
from ensemble.battles.passages import PROMPT
from ensemble.battles.templates import find_templates
from ensemble.errors import ConfigError
from ensemble.memory import release_memory

if TYPE_CHECKING:
    from ensemble.battles.embeddings import Embeddings
    from ensemble.battles.passages import Passages
    from ensemble.battles.shingles import Integers, Shingles
    from ensemble.battles.templates import Templates

LOWEST_THRESHOLD = 0.1
"""Below this, nearly every pair of texts would have to be compared."""
STOCK_PHRASE = 10
"""A turn of a longer conversation, or an answer, that stands in more groups of otherwise unrelated
battles than this is a stock phrase, and connects none of them."""


@dataclass(frozen=True)
class Duplicates:
    """Which battles belong together, and why.

    Parameters
    ----------
    clusters
        ``id`` (String) and ``cluster`` (Int64), one row a battle in the order of the table.
        Clusters are numbered from 0 by their first battle.
    pairs
        The evidence: ``id_a``, ``id_b`` (the earlier battle first), ``kind`` and ``similarity``
        (Float64, 1.0 where the texts are equal). Kinds are "same prompt", "same opening", "same
        turn", "same response" and "same responses"; "near prompt" and "near opening", where
        ``similarity`` is the Jaccard similarity; "contained prompt", "contained response" and
        "response in prompt" and "prompt in response", where it is the share of the shorter text
        that stands in the longer;
        "paraphrase", where it is the cosine of the vectors.
        Connecting these pairs gives the clusters. ``n`` equal texts have ``n - 1`` pairs, all with
        the first of them.
    """

    clusters: pl.DataFrame
    pairs: pl.DataFrame


def find_duplicates(
    battles: pl.DataFrame,
    *,
    threshold: float = 0.8,
    seed: int = SEED,
    embeddings: Embeddings | None = None,
) -> Duplicates:
    """Cluster battles that say the same, in whatever wrapping.

    Two battles are linked in any of these ways, and clusters are the connected components.

    - Their whole prompts, or the opening turns of longer conversations, are equal, or nearly so
      once the templates of their sources are left out. An empty prompt says nothing that two
      battles could share, nor does an opening of many unrelated conversations.
    - A prompt's turn or an answer of some length stands in both, or most of one stands in a longer
      text of the other, where what many battles share counts for little.
    - They have the same two responses, on whichever sides, of ``MIN_RESPONSE_CHARACTERS`` or
      more; among battles without a prompt, of any length.
    - The vectors that the user brings for them point the same way.

    Parameters
    ----------
    battles
        All sources and the test rows, with the columns ``id``, ``prompt``, ``response_a`` and
        ``response_b`` of ``BATTLE_SCHEMA``; ``source`` where there are several, each of which may
        have templates of its own.
    threshold
        Least Jaccard similarity of the shingle sets of two near duplicates, from
        :data:`LOWEST_THRESHOLD` to 1.
    seed
        Of the search for near duplicates. Two searches with different seeds miss independently.
    embeddings
        Vectors of some of the battles, or None.

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
    prompts, keys_of_answers, passages, keys = read_compared(battles)
    answers = _same_responses(keys_of_answers)
    documents = _documents(battles, _telling(prompts, answers, len(battles)))
    del prompts, keys_of_answers
    looked = Looked.at(documents["text"])
    templates = find_templates(looked, documents["source"])
    documents = documents.with_columns(own=templates.left_by(looked)).drop("text")
    del looked  # as large as all prompts
    whole = pl.concat(
        [
            _same_text(documents),
            _near_text(documents, threshold, seed),
            answers,
        ]
    )
    del documents
    release_memory()
    rows = Partition(len(battles))
    rows.merge(whole["a"].to_numpy(), whole["b"].to_numpy())
    told = _same_passage(passages, rows)
    rows.merge(told["a"].to_numpy(), told["b"].to_numpy())
    wrapped = _contained(battles, passages, keys, templates, rows)
    rows.merge(wrapped["a"].to_numpy(), wrapped["b"].to_numpy())
    meant = [] if embeddings is None else [embeddings.pairs(battles["id"], rows)]
    edges = _unique(pl.concat([whole, told, wrapped, *meant]))
    clusters = battles.select("id", cluster=pl.Series(rows.numbers()))
    return Duplicates(clusters=clusters, pairs=_by_id(battles, edges))


def _check(threshold: float) -> None:
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise ConfigError(
            f"a near-duplicate threshold of {threshold} is out of range",
            where="folds.near_duplicate_threshold",
            hint=f"give a Jaccard similarity from {LOWEST_THRESHOLD} to 1; 0.8 is usual",
        )


def _telling(prompts: pl.DataFrame, answers: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Leave out the openings that many otherwise unrelated conversations have.

    A system prompt or a greeting says nothing of what is asked behind it.
    """
    openings = prompts.filter("opening")
    if not len(openings):
        return prompts
    related = Partition(rows)
    same = prompts.filter(~pl.col("opening")).with_columns(first=pl.col("row").first().over("text"))
    related.merge(same["row"].to_numpy(), same["first"].to_numpy())
    related.merge(answers["a"].to_numpy(), answers["b"].to_numpy())
    parts = openings.with_columns(part=pl.Series(related.labels[openings["row"].to_numpy()]))
    groups = parts.group_by("text").agg(pl.col("part").n_unique())
    stock = groups.filter(pl.col("part") > STOCK_PHRASE)["text"]
    return prompts.filter(~(pl.col("opening") & pl.col("text").is_in(stock.implode())))


def _documents(battles: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Gather every different text once, with its rows and whether each only opens with it.

    Texts come in the order of their first rows; a row's whole prompt before its opening.
    """
    sources = (
        battles["source"]
        if "source" in battles.columns
        else pl.repeat("", len(battles), eager=True)
    )
    owned = prompts.with_columns(source=sources.gather(prompts["row"]))
    grouped = owned.group_by("text", maintain_order=True)
    return grouped.agg("row", "opening", pl.col("source").unique())


def _same_text(documents: pl.DataFrame) -> pl.DataFrame:
    pairs = _stars(documents.select("row", "opening"))
    kind = pl.when("opening").then(pl.lit("same opening")).otherwise(pl.lit("same prompt"))
    return _between_rows(pairs.with_columns(kind=kind, similarity=pl.lit(1.0)))


def _near_text(documents: pl.DataFrame, threshold: float, seed: int) -> pl.DataFrame:
    """Compare what texts have of their own; one that is left equal is as near as can be."""
    # One row stands for all that have the text: they are linked to it as exact duplicates.
    firsts = documents.select(
        "own", row=pl.col("row").list.first(), opening=pl.col("opening").list.first()
    )
    grouped = (
        firsts.filter(pl.col("own") != "")
        .group_by("own", maintain_order=True)
        .agg("row", "opening")
    )
    equal = _stars(grouped.select("row", "opening")).with_columns(similarity=pl.lit(1.0))
    pairs = near_pairs(grouped["own"], threshold, seed=seed)
    rows, opens = grouped["row"].list.first(), grouped["opening"].list.first()
    near = pairs.select(
        a=rows.gather(pairs["left"]),
        b=rows.gather(pairs["right"]),
        opening=opens.gather(pairs["left"]) | opens.gather(pairs["right"]),
        similarity="jaccard",
    )
    kind = pl.when("opening").then(pl.lit("near opening")).otherwise(pl.lit("near prompt"))
    return _between_rows(pl.concat([equal, near]).with_columns(kind=kind))


def _stars(groups: pl.DataFrame) -> pl.DataFrame:
    """Link the first row of each group with the others: ``a``, ``b``, ``opening`` of either."""
    first = groups.select(
        a=pl.col("row").list.first(),
        opens=pl.col("opening").list.first(),
        b=pl.col("row").list.slice(1),
        opening=pl.col("opening").list.slice(1),
    )
    pairs = first.filter(pl.col("b").list.len() > 0).explode("b", "opening")
    return pairs.select("a", "b", opening=pl.col("opens") | pl.col("opening"))


def _same_responses(keys: pl.Series) -> pl.DataFrame:
    rows = pl.DataFrame({"key": keys}).with_row_index("row").cast({"row": pl.Int64}).drop_nulls()
    groups = rows.group_by("key", maintain_order=True).agg("row")
    stars = groups.select(a=pl.col("row").list.first(), b=pl.col("row").list.slice(1))
    edges = stars.filter(pl.col("b").list.len() > 0).explode("b")
    return _between_rows(edges.with_columns(kind=pl.lit("same responses"), similarity=pl.lit(1.0)))


def _same_passage(passages: Passages, rows: Partition) -> pl.DataFrame:
    """Link battles in which the same passage stands, unless it is a stock phrase."""
    owners = passages.owners.with_columns(part=pl.Series(rows.labels[passages.owners["row"]]))
    groups = owners.group_by("passage", maintain_order=True).agg(
        "row", groups=pl.col("part").n_unique()
    )
    shared = groups.filter(pl.col("groups").is_between(2, STOCK_PHRASE))
    stars = shared.select("passage", a=pl.col("row").list.first(), b=pl.col("row").list.slice(1))
    in_prompt = pl.Series(passages.columns[stars["passage"]] == PROMPT, dtype=pl.Boolean)
    kind = pl.when(in_prompt).then(pl.lit("same turn")).otherwise(pl.lit("same response"))
    edges = stars.with_columns(kind=kind).explode("b")
    return _between_rows(edges.with_columns(similarity=pl.lit(1.0)))


def _contained(
    battles: pl.DataFrame,
    passages: Passages,
    keys: Shingles,
    templates: Templates,
    rows: Partition,
) -> pl.DataFrame:
    """Link battles where most of a passage of one stands in a passage of the other."""
    found = find_contained(battles, passages, keys, templates, _components(passages, rows))
    one, other = passages.columns[found.left] == PROMPT, passages.columns[found.right] == PROMPT
    kinds = np.where(
        one,
        np.where(other, "contained prompt", "prompt in response"),
        np.where(other, "response in prompt", "contained response"),
    )
    edges = pl.DataFrame(
        {
            "a": passages.rows[found.left],
            "b": passages.rows[found.right],
            "kind": pl.Series(kinds, dtype=pl.String),
            "similarity": found.coverage,
        }
    )
    return _between_rows(edges)


def _components(passages: Passages, rows: Partition) -> Integers:
    """Give each passage the component of its rows; -1 for one that stands in several."""
    owners = passages.owners
    number, label = owners["passage"].to_numpy(), rows.labels[owners["row"].to_numpy()]
    lowest = np.full(len(passages), len(rows.labels), dtype=np.int64)
    highest = np.full(len(passages), -1, dtype=np.int64)
    np.minimum.at(lowest, number, label)
    np.maximum.at(highest, number, label)
    return np.where(lowest == highest, lowest, -1)


def _between_rows(edges: pl.DataFrame) -> pl.DataFrame:
    """Leave out a row's link with itself, and name the earlier row first."""
    ordered = edges.with_columns(a=pl.min_horizontal("a", "b"), b=pl.max_horizontal("a", "b"))
    return ordered.filter(pl.col("a") != pl.col("b")).select("a", "b", "kind", "similarity")


def _unique(edges: pl.DataFrame) -> pl.DataFrame:
    ordered = edges.sort("a", "b", "kind", "similarity")
    return ordered.unique(["a", "b", "kind"], keep="last", maintain_order=True)


def _by_id(battles: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    ids = battles["id"]
    return edges.select(
        id_a=ids.gather(edges["a"]),
        id_b=ids.gather(edges["b"]),
        kind="kind",
        similarity="similarity",
    )
