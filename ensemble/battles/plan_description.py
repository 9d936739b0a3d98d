"""What ``folds.json`` says of a plan: folds, cuts, large clusters, and all that is not usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.cuts import count_cuts
from ensemble.battles.fold_plan import CUT_ROLES, TIME, FoldPlan, overlap_with_test
from ensemble.battles.given_folds import split_clusters
from ensemble.battles.group_columns import describe_groups
from ensemble.battles.schema import HOLDOUT_ROLE, LABEL_COLUMNS, TEST_ROLE
from ensemble.battles.shared_text import shared_text
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from ensemble.battles.plan import Planned
    from ensemble.config.settings import Folds

LARGE_CLUSTER = 0.05
"""Share of the target in one cluster that earns a warning."""
_SHOWN_CLUSTERS = 10
_SHOWN_TEXT = 200


def describe(plan: FoldPlan, battles: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    """Say what a reader of ``folds.json`` wants to know of a plan.

    Parameters
    ----------
    plan
        The fold plan.
    battles
        ``BATTLE_SCHEMA``, in the order of the plan.
    pairs
        Verified duplicate pairs: ``id_a``, ``id_b``, ``kind``.
    """
    largest = _largest_clusters(plan, battles)
    return {
        "fingerprint": plan.fingerprint,
        "n_splits": plan.n_splits,
        "clusters": plan.frame["cluster"].n_unique(),
        "folds": [_describe_fold(plan, battles, fold) for fold in range(plan.n_splits)],
        "cuts": count_cuts(plan, pairs),
        "largest_clusters": largest,
        "test_overlap": _test_overlap(plan),
        "warnings": [
            *_one_class(battles),
            *(_warning(item) for item in largest if _is_large(item)),
            *_about_time(plan),
        ],
    }


def describe_settings(
    planned: Planned, settings: Folds, clusters: pl.DataFrame, metadata: pl.DataFrame
) -> dict[str, Any]:
    """Say what became of all that is not usual: own folds, groups, time and the hold-out."""
    plan, frame = planned.plan, planned.plan.frame
    assigned = frame.drop_nulls("fold")
    torn = split_clusters(assigned["cluster"].to_numpy(), assigned["fold"].to_numpy())
    kept = plan.kept_to_the_end()
    related = plan.linked(kept) & ~kept & (frame["role"] != TEST_ROLE).to_numpy()
    scheme = "given" if settings.are_given else settings.scheme
    texts = frame.select("id").join(clusters, on="id", how="left", maintain_order="left")
    is_target = frame["role"].is_in(["target", HOLDOUT_ROLE])
    return {
        "scheme": scheme,
        "allow_split_clusters": settings.allow_split_clusters,
        "split_clusters": 0 if scheme == "time" else assigned.filter(torn)["cluster"].n_unique(),
        "split_rows": 0 if scheme == "time" else int(torn.sum()),
        "time_column": settings.time_column,
        "undated": settings.undated,
        "undated_rows": int(_undated(plan).sum()),
        "groups": tuple(
            describe_groups(
                frame["id"],
                texts["cluster"].to_numpy(),
                is_target,
                metadata,
                settings.group_columns,
            )
        ),
        "unscored_rows": int(plan.unscored().sum()),
        "holdout_rows": int(kept.sum()),
        "holdout_clusters": frame.filter(pl.Series(kept))["cluster"].n_unique(),
        "holdout_cut": int(related.sum()),
    }


def _undated(plan: FoldPlan) -> pl.Series:
    """Mask of the rows that could be learned from and have no time; none where nobody asks."""
    learned = plan.frame["role"].is_in([*CUT_ROLES])
    return learned & plan.frame[TIME].is_null() if plan.is_ordered else learned & False


def _about_time(plan: FoldPlan) -> list[str]:
    """Say what becomes of rows without a time."""
    undated = plan.frame.filter(_undated(plan))
    what = "cut from the training of every fold" if plan.rules.undated == "cut" else "trained on"
    other = (
        'undated = "train" in [folds] trains on them'
        if plan.rules.undated == "cut"
        else "nothing shows that they are earlier, and no score is proven"
    )
    return [
        f"{rows:,} rows of source {source} have no time: they are {what} ({other})"
        for source, rows in undated["source"].value_counts().sort("source").iter_rows()
    ]


def _test_overlap(plan: FoldPlan) -> dict[str, int]:
    """Count the labeled rows that share a cluster with a test row, and the test rows that do."""
    overlap = overlap_with_test(plan)
    test = plan.frame.filter(pl.col("role") == TEST_ROLE)
    related = test["cluster"].is_in(overlap["cluster"].unique().implode())
    return {
        "rows": len(overlap),
        "clusters": overlap["cluster"].n_unique(),
        "test_rows": int(related.sum()),
        "of": len(test),
    }


def _describe_fold(plan: FoldPlan, battles: pl.DataFrame, fold: int) -> dict[str, Any]:
    mask = plan.held_out(fold)
    held_out = plan.frame.filter(mask)
    starts = {"starts": held_out[TIME].min()} if plan.is_ordered else {}
    return {
        "fold": fold,
        **starts,
        "rows": len(held_out),
        "clusters": held_out["cluster"].n_unique(),
        "label_shares": list(battles.filter(mask).select(pl.col(LABEL_COLUMNS).mean()).row(0)),
        "training_rows": int(plan.training(fold).sum()),
        "pretraining_rows": int(plan.training(fold, ("pretrain",)).sum()),
    }


def _largest_clusters(plan: FoldPlan, battles: pl.DataFrame) -> list[dict[str, Any]]:
    is_target = pl.col("role") == "target"
    targets = int((plan.frame["role"] == "target").sum())
    largest = (
        plan.frame.group_by("cluster")
        .agg(rows=pl.len(), target_rows=is_target.sum())
        .sort(["target_rows", "rows", "cluster"], descending=[True, True, False])
        .head(_SHOWN_CLUSTERS)
    )
    return [_describe_cluster(row, targets, plan, battles) for row in largest.to_dicts()]


def _describe_cluster(
    row: dict[str, Any], targets: int, plan: FoldPlan, battles: pl.DataFrame
) -> dict[str, Any]:
    members = plan.frame["cluster"] == row["cluster"]
    sources = plan.frame.filter(members)["source"].value_counts().sort("source")
    conversations = battles.filter(members)["prompt"].to_list()
    prompts = [" | ".join(turn for turn in turns if turn) for turns in conversations]
    return {
        **row,
        "share_of_target": row["target_rows"] / targets,
        "sources": dict(sources.iter_rows()),
        "text": prompts[0][:_SHOWN_TEXT],
        "shared_text": shared_text(prompts),
    }


def _one_class(battles: pl.DataFrame) -> list[str]:
    """Warn where the target knows a single class, of which there is nothing to learn."""
    shares = battles.filter(pl.col("role") == "target").select(pl.col(LABEL_COLUMNS).mean()).row(0)
    return [
        f"every target row has the label {name}: no learner can tell classes apart, "
        "and every score is of that class alone"
        for name, share in zip(CLASSES, shares, strict=True)
        if share == 1
    ]


def _is_large(cluster: dict[str, Any]) -> bool:
    return bool(cluster["share_of_target"] > LARGE_CLUSTER)


def _warning(cluster: dict[str, Any]) -> str:
    return (
        f"one cluster holds {cluster['share_of_target']:.1%} of the target "
        f"({cluster['target_rows']} rows): {cluster['text']!r}{_shared(cluster)}"
    )


def _shared(cluster: dict[str, Any]) -> str:
    """Name what the prompts of a cluster share, which may be a template that made it large."""
    text = cluster["shared_text"]
    if text is None:
        return ""
    return f"; its prompts share {len(text):,} characters, a template perhaps: {_shortened(text)!r}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…"
