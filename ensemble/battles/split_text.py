"""What is said of a fold plan beyond its folds: own folds, groups, time, the hold-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.run_dir.folds_record import FoldsRecord, GroupRecord


def told_of(plan: FoldsRecord) -> list[str]:
    """Say it in sentences, for the terminal and the report; nothing of what is usual."""
    return [*map(_of_group, plan.groups), *_of_scheme(plan), *_of_holdout(plan)]


def _of_group(group: GroupRecord) -> str:
    largest = (
        f"; the largest value has {group.largest_rows:,} rows, {group.largest_share:.1%} of the "
        f"target: {group.largest!r}"
        if group.largest is not None
        else ""
    )
    return (
        f"{group.column} joins {group.rows_joined:,} rows of {group.rows:,} with a value, and "
        f"makes clusters {group.clusters_joined:,} fewer ({group.values:,} values){largest}"
    )


def _of_scheme(plan: FoldsRecord) -> Iterator[str]:
    if plan.scheme == "given":
        names = ", ".join(f"{one.name} ({one.rows:,} rows)" for one in plan.folds)
        yield f"folds are the user's own: {names}"
        yield plan.split_doubt or "the folds split no cluster"
    if plan.scheme == "time":
        yield (
            f"folds are {plan.n_splits} successive blocks of {plan.time_column}, each trained on "
            "earlier rows alone"
        )
    if plan.unscored_rows:
        yield (
            f"{plan.unscored_rows:,} target rows are never scored: they are before the first block "
            "of time, or their cluster has rows of the hold-out"
        )


def _of_holdout(plan: FoldsRecord) -> Iterator[str]:
    if plan.holdout_rows:
        yield (
            f"hold-out: {plan.holdout_rows:,} target rows in {plan.holdout_clusters:,} clusters "
            f"are kept for the last score; {plan.holdout_cut:,} other rows of these clusters are "
            "cut from all training"
        )
