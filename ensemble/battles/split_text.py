"""What is said of a fold plan beyond its folds: own folds, groups, time, the hold-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.run_dir.folds_record import FoldsRecord, GroupRecord


def told_of(plan: FoldsRecord) -> list[str]:
    """Say it in sentences, for the terminal and the report; nothing of what is usual."""
    return [*map(_of_group, plan.groups), *_of_scheme(plan), *_of_holdout(plan)]


def plan_doubt(plan: FoldsRecord) -> str:
    """Say what of a plan leaves every score unproven; empty where nothing does.

    The user's folds may split clusters, and rows without a time may be later than those scored.
    """
    return " ".join(filter(None, (_split_sentence(plan), _undated_sentence(plan))))


def _undated_sentence(plan: FoldsRecord) -> str:
    if plan.undated == "cut" or not plan.undated_rows:
        return ""
    return (
        f"Unproven: {plan.undated_rows:,} rows without a time are trained on in every fold, as "
        'undated = "train" asks, and nothing shows that they are earlier than the rows scored.'
    )


def _split_sentence(plan: FoldsRecord) -> str:
    if not plan.split_clusters:
        return ""
    return (
        f"Unproven: the folds split {plan.split_clusters:,} clusters ({plan.split_rows:,} rows), "
        "as allow_split_clusters asks, so that models are trained on near duplicates of rows that "
        "they are scored on."
    )


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
        yield _split_sentence(plan) or "the folds split no cluster"
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
