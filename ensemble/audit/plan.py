"""The checks of an audit on sources, clusters and the fold plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.embeddings import PARAPHRASE
from ensemble.battles.feature_cache import row_keys
from ensemble.battles.given_folds import given_folds
from ensemble.battles.group_columns import join_groups
from ensemble.battles.partition import connect_rows
from ensemble.battles.plan import NO_METADATA
from ensemble.battles.prepare import embeddings_of
from ensemble.battles.schema import HOLDOUT_ROLE
from ensemble.battles.split import read_current_split
from ensemble.battles.staleness import compare_sources
from ensemble.battles.times import times_of
from ensemble.errors import ArtifactError, EnsembleError, FoldError

if TYPE_CHECKING:
    from ensemble.audit.checks import CheckList
    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config, Folds

_SEED = 20_261
"""Of the search for near duplicates: another than that of ``prepare``, so that a pair that one
search misses by chance is not missed by both."""


def recomputed(
    battles: pl.DataFrame,
    plan: FoldPlan,
    folds: Folds,
    paraphrases: pl.DataFrame | None,
    metadata: pl.DataFrame = NO_METADATA,
) -> pl.DataFrame:
    """Give each row's clusters, time, swap key and text key computed anew, beside what it is.

    Columns ``planned``, ``fold`` and the role of the hold-out are those of the plan, and
    ``may_split`` and ``may_lack_time`` say what the config allows in every row.

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
    planned = plan.frame.select("id", "fold", planned="cluster", plan_role="role")
    table = (
        battles.select("id", "source", "role", swap=_swap_key(), text=row_keys(battles))
        .join(clusters, on="id", how="left", maintain_order="left")
        .join(planned, on="id", how="left", maintain_order="left")
    )
    groups = join_groups(table["id"], table["cluster"].to_numpy(), metadata, folds.group_columns)
    is_kept = (pl.col("plan_role") == HOLDOUT_ROLE) & (pl.col("role") == "target")
    return table.with_columns(
        role=pl.when(is_kept).then("plan_role").otherwise("role"),
        cluster=pl.Series(groups),
        time=_times(table, folds, metadata),
        may_split=pl.lit(folds.allow_split_clusters),
        may_lack_time=pl.lit(folds.undated == "train"),
    ).drop("plan_role")


def _times(table: pl.DataFrame, folds: Folds, metadata: pl.DataFrame) -> pl.Series:
    """Read the time of each row; null where folds are no blocks of time."""
    if folds.scheme != "time":
        return pl.Series([None] * len(table), dtype=pl.Float64)
    return times_of(table["id"], table["role"], metadata, str(folds.time_column))


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


def is_ordered(truth: pl.DataFrame) -> bool:
    """Say whether folds are blocks of time."""
    return bool(truth["time"].is_not_null().any())


def _start(truth: pl.DataFrame) -> float:
    """Give the first time that is scored in a fold; nothing is before it without times."""
    start: Any = truth.filter(pl.col("fold").is_not_null())["time"].min()
    return -math.inf if start is None else float(start)


def _check_kept(truth: pl.DataFrame, kept: pl.DataFrame, ledger: CheckList) -> None:
    """Check that the hold-out stands apart: no row of its clusters is in a fold."""
    if not len(kept):
        return
    near = truth.filter(
        pl.col("fold").is_not_null()
        & (
            pl.col("cluster").is_in(kept["cluster"].implode())
            | pl.col("swap").is_in(kept["swap"].implode())
        )
    )
    ledger.record(
        "the hold-out shares no recomputed cluster and no swap with a fold",
        near["id"],
        "rows of folds that say the same as a row of the hold-out",
        f"{len(kept)} rows are held out to the end",
    )
    if is_ordered(truth):
        last: Any = truth.filter(pl.col("fold").is_not_null())["time"].max()
        early = kept.filter(~(pl.col("time") > last))
        ledger.record(
            "the hold-out is later than every fold", early["id"], "rows that are not later", "it is"
        )


def _check_blocks(truth: pl.DataFrame, n_splits: int, ledger: CheckList) -> None:
    """Check that folds follow each other in time, as it is computed anew."""
    blocks = truth.filter(pl.col("fold").is_not_null())
    ends = blocks.select("id", "time", block=pl.col("fold").cast(pl.Int64))
    last = ends.group_by("block").agg(end=pl.max("time")).with_columns(pl.col("block") + 1)
    joined = ends.join(last, on="block", how="inner")
    odd = joined.filter(~(pl.col("time") > pl.col("end")))
    ledger.record(
        "folds are successive blocks of time, each later than the one before",
        odd["id"],
        "rows that are not later than the fold before theirs",
        f"{n_splits} blocks",
    )


def check_given(
    config: Config, metadata: pl.DataFrame, truth: pl.DataFrame, ledger: CheckList
) -> None:
    """Check that folds are those that the user assigned, where the file of them is here."""
    folds = config.folds
    if not folds.are_given:
        return
    if folds.file is not None and not Path(folds.file).exists():
        ledger.absent.append("the file of folds")
        return
    is_target = pl.col("role").is_in(["target", HOLDOUT_ROLE])
    target, others = truth.filter(is_target), truth.filter(~is_target)
    name = "folds are those that the user assigned"
    try:
        given = given_folds(folds, target["id"], others["id"], metadata)
    except FoldError as error:
        ledger.fail(name, f"{error.message} ({error.where})")
        return
    asked = target.select("id", "fold", "role", given=pl.Series(given.folds))
    same = pl.col("fold").eq_missing(pl.col("given"))
    odd = asked.filter((pl.col("role") == "target") & ~same)
    ledger.record(name, odd["id"], "rows in another fold", f"{', '.join(given.names)}")


def check_plan(truth: pl.DataFrame, n_splits: int, threshold: float, ledger: CheckList) -> None:
    """Check the plan: who is validated, and that no cluster is torn."""
    foreign = truth.filter(pl.col("fold").is_not_null() & (pl.col("role") != "target"))
    ledger.record(
        "rule 1: only target rows are validated",
        foreign["id"],
        "rows of other roles have a fold",
        f"{int(truth['fold'].is_not_null().sum())} validated rows, all of the target",
    )
    kept = truth.filter(pl.col("role") == HOLDOUT_ROLE)
    near = pl.col("cluster").is_in(kept["cluster"].implode())
    early = (pl.col("time") < _start(truth)).fill_null(value=False)
    left_out = truth.filter(
        pl.col("fold").is_null() & (pl.col("role") == "target") & ~near & ~early
    )
    ledger.record(
        "every target row has a fold", left_out["id"], "target rows without one", "none is left out"
    )
    _check_kept(truth, kept, ledger)
    if is_ordered(truth):
        _check_blocks(truth, n_splits, ledger)
        return
    torn = (
        truth.filter(pl.col("fold").is_not_null())
        .group_by("cluster")
        .agg(pl.col("fold").n_unique(), pl.col("id"))
        .filter(pl.col("fold") > 1)
    )
    if len(torn) and truth["may_split"].any():
        ledger.note(
            ledger.unproven,
            f"{len(torn):,} clusters are split between folds, as allow_split_clusters asks: models "
            "are trained on near duplicates of rows that they are scored on",
        )
        return
    ledger.record(
        "no recomputed cluster is split between folds",
        torn.explode("id")["id"],
        "rows of clusters that stand in several folds (if the search of `prepare` missed a pair, a "
        "slightly lower near_duplicate_threshold gives another plan)",
        f"{truth['cluster'].n_unique()} clusters computed anew at a Jaccard similarity of "
        f"{threshold}, {n_splits} folds",
    )
