"""The checks of an audit on sources, clusters and the fold plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.embeddings import PARAPHRASE
from ensemble.battles.feature_cache import row_keys
from ensemble.battles.partition import connect_rows
from ensemble.battles.prepare import embeddings_of
from ensemble.battles.split import read_current_split
from ensemble.battles.staleness import compare_sources
from ensemble.errors import ArtifactError, EnsembleError

if TYPE_CHECKING:
    from ensemble.audit.checks import CheckList
    from ensemble.battles.folds import FoldPlan
    from ensemble.config.settings import Config, Folds

_SEED = 20_261
"""Of the search for near duplicates: another than that of ``prepare``, so that a pair that one
search misses by chance is not missed by both."""


def recomputed(
    battles: pl.DataFrame, plan: FoldPlan, folds: Folds, paraphrases: pl.DataFrame | None
) -> pl.DataFrame:
    """Give each row's clusters, swap key and text key computed anew, beside what it is.

    From the texts, and from the vectors that the config names where their file is here: whether it
    is, and is the one that was prepared, is checked with the sources. Where it is not, the pairs
    that it told of when it was, ``paraphrases``, have to do.
    """
    try:
        embeddings = embeddings_of(folds)
    except EnsembleError:
        embeddings = None
    threshold = folds.near_duplicate_threshold
    clusters = find_duplicates(
        battles, threshold=threshold, seed=_SEED, embeddings=embeddings
    ).clusters
    if folds.embeddings is not None and embeddings is None and paraphrases is not None:
        clusters = _joined(clusters, paraphrases)
    return (
        battles.select("id", "source", "role", swap=_swap_key(), text=row_keys(battles))
        .join(clusters, on="id", how="left", maintain_order="left")
        .join(plan.frame.select("id", "fold"), on="id", how="left", maintain_order="left")
    )


def _joined(clusters: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Join clusters by pairs of their rows."""
    ids, numbers = clusters["id"], clusters["cluster"]
    own = pl.DataFrame({"id_a": ids, "id_b": ids.gather(_first_of(numbers)), "kind": PARAPHRASE})
    connected = connect_rows(ids, pl.concat([own, pairs.select(own.columns)]), [PARAPHRASE])
    return clusters.with_columns(cluster=pl.Series(connected))


def _first_of(clusters: pl.Series) -> pl.Series:
    """Give the first row of each row's cluster."""
    frame = pl.DataFrame({"cluster": clusters}).with_row_index("row")
    return frame.select(pl.col("row").first().over("cluster")).to_series()


def _swap_key() -> pl.Expr:
    """Name a battle so that it and its A/B swap share the name: prompt and unordered responses."""
    sides = [pl.col(side).hash(seed=1) for side in ("response_a", "response_b")]
    unordered = (pl.min_horizontal(sides).alias("low"), pl.max_horizontal(sides).alias("high"))
    return pl.struct(pl.col("prompt").hash(seed=1), *unordered).hash(seed=2)


def check_described(config: Config, data: str, ledger: CheckList) -> None:
    """Check that the run's own config, which the reader believes, is what its rows come from."""
    name = "battles and fold plan are those that the config describes"
    content = "sources have the content that was prepared"
    try:
        changed, absent = compare_sources(config)
        read_current_split(config, data)
    except ArtifactError as error:
        ledger.fail(name, f"{error.message}; {error.hint}")
        return
    ledger.hold(name, "the same sources, settings and seed")
    files = len(config.readings()) + (config.folds.embeddings is not None)
    here = files - len(absent)
    ledger.absent += [f"source {source}" for source in absent]
    if changed or here:
        told = f"other content than was prepared: {', '.join(changed)}" if changed else None
        ledger.settle(content, told, f"{here} files compared")


def check_plan(truth: pl.DataFrame, n_splits: int, threshold: float, ledger: CheckList) -> None:
    """Check the plan: who is validated, and that no cluster is torn."""
    foreign = truth.filter(pl.col("fold").is_not_null() & (pl.col("role") != "target"))
    ledger.record(
        "rule 1: only target rows are validated",
        foreign["id"],
        "rows of other roles have a fold",
        f"{int(truth['fold'].is_not_null().sum())} validated rows, all of the target",
    )
    left_out = truth.filter(pl.col("fold").is_null() & (pl.col("role") == "target"))
    ledger.record(
        "every target row has a fold", left_out["id"], "target rows without one", "none is left out"
    )
    torn = (
        truth.filter(pl.col("fold").is_not_null())
        .group_by("cluster")
        .agg(pl.col("fold").n_unique(), pl.col("id"))
        .filter(pl.col("fold") > 1)
    )
    ledger.record(
        "no recomputed cluster is split between folds",
        torn.explode("id")["id"],
        "rows of clusters that stand in several folds (if the search of `prepare` missed a pair, a "
        "slightly lower near_duplicate_threshold gives another plan)",
        f"{truth['cluster'].n_unique()} clusters computed anew at a Jaccard similarity of "
        f"{threshold}, {n_splits} folds",
    )
