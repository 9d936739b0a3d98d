"""The second stage: the fold plan on disk, with what was cut from each fold's training and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.folds import FoldPlan, make_plan, overlap_with_test, read_plan
from ensemble.battles.partition import connect_rows
from ensemble.battles.prepare import read_battles, read_clusters, read_pairs, read_summary
from ensemble.battles.schema import LABEL_COLUMNS, TEST_ROLE
from ensemble.battles.shared_text import shared_text
from ensemble.errors import ArtifactError
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.folds_record import FoldsRecord
from ensemble.run_dir.layout import FOLDS, FOLDS_RECORD
from ensemble.run_dir.tables import write_table
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Config
    from ensemble.plugin.base import IntArray

VERSION = 3
"""Raise it when the same battles come to give another plan, or it is recorded otherwise."""

LARGE_CLUSTER = 0.05
"""Share of the target in one cluster that earns a warning."""
_HINT = "run `ensemble split CONFIG`"
_SHOWN_CLUSTERS = 10
_SHOWN_TEXT = 200


def split(
    run: Path, *, n_splits: int, seed: int, tell: Callable[[str], None] = lambda _: None
) -> bool:
    """Make the fold plan and write it to the run directory.

    Parameters
    ----------
    run
        Run directory with prepared battles.
    n_splits
        Number of folds.
    seed
        Of the splitter.
    tell
        Told why what is there is made anew.

    Returns
    -------
    bool
        False where the plan was there already.

    Raises
    ------
    FoldError
        There are fewer clusters of target rows than folds.
    ArtifactError
        The battles are not prepared.
    """
    battles, data_key = read_battles(run)
    key = split_key(data_key, n_splits, seed)
    why = _why_again(run, key)
    if why is None:
        return False
    if why:
        tell(why)
    plan = make_plan(battles, read_clusters(run), n_splits=n_splits, seed=seed)
    write_table(run / FOLDS, plan.frame)
    prepared = read_summary(run)
    record = FoldsRecord(
        key=key,
        files={FOLDS: hash_file(run / FOLDS)},
        seed=seed,
        near_duplicate_threshold=prepared.settings["near_duplicate_threshold"],
        embedding_threshold=prepared.settings["embedding_threshold"],
        embeddings=prepared.embeddings,
        **describe(plan, battles, read_pairs(run)),
    )
    record.write(run / FOLDS_RECORD)
    return True


def split_key(data_key: str, n_splits: int, seed: int) -> str:
    """Name the plan that these battles and settings give: 64 hex digits."""
    return fingerprint({"version": VERSION, "data": data_key, "n_splits": n_splits, "seed": seed})


def read_split(run: Path, key: str | None = None) -> FoldPlan:
    """Read the fold plan.

    Parameters
    ----------
    run
        The run directory.
    key
        The key it must have been made under; None takes any.

    Raises
    ------
    ArtifactError
        ``split`` has not been run or ran with other settings, or its files are damaged.
    """
    summary = read_split_summary(run)
    if key is not None and summary.key != key:
        raise ArtifactError(
            "the fold plan was made from other battles or with other settings",
            where=str(run / FOLDS_RECORD),
            hint=_HINT,
        )
    plan = read_plan(run / FOLDS, summary.n_splits, summary.fingerprint)
    if hash_file(run / FOLDS) != summary.files[FOLDS]:
        # The rows are the plan's, and what else is in the file is not what `split` wrote.
        raise ArtifactError(
            "the fold plan is damaged: the file is not what was written",
            where=str(run / FOLDS),
            hint=f"{_HINT} again",
        )
    return plan


def read_current_split(config: Config, data_key: str) -> FoldPlan:
    """Read the fold plan that a config describes; errors as ``read_split``.

    Parameters
    ----------
    config
        Of the run.
    data_key
        Of the prepared battles.
    """
    key = split_key(data_key, config.folds.n_splits, config.seed)
    return read_split(Path(config.run_dir), key)


def read_split_summary(run: Path) -> FoldsRecord:
    """Read ``folds.json`` as ``split`` wrote it.

    Raises
    ------
    ArtifactError
        ``split`` has not been run, or the file is not what it wrote.
    """
    if not os.path.lexists(run / FOLDS_RECORD):
        raise ArtifactError("there is no fold plan", where=str(run), hint=_HINT)
    return FoldsRecord.read_checksummed(run / FOLDS_RECORD, f"{_HINT} again")


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
        "cuts": _cuts(plan, pairs),
        "largest_clusters": largest,
        "test_overlap": _test_overlap(plan),
        "warnings": [
            *_one_class(battles),
            *(_warning(item) for item in largest if _is_large(item)),
        ],
    }


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


def _why_again(run: Path, key: str) -> str | None:
    """Say why the plan is made anew: None where it is there, empty where none was."""
    if not os.path.lexists(run / FOLDS_RECORD):
        return ""
    try:
        read_split(run, key)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    return None


def _describe_fold(plan: FoldPlan, battles: pl.DataFrame, fold: int) -> dict[str, Any]:
    mask = plan.held_out(fold)
    held_out = plan.frame.filter(mask)
    return {
        "fold": fold,
        "rows": len(held_out),
        "clusters": held_out["cluster"].n_unique(),
        "label_shares": list(battles.filter(mask).select(pl.col(LABEL_COLUMNS).mean()).row(0)),
        "training_rows": int(plan.training(fold).sum()),
        "pretraining_rows": int(plan.training(fold, ("pretrain",)).sum()),
    }


def _cuts(plan: FoldPlan, pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Count the rows that each fold leaves out, by source and reason."""
    linked = _linked_by(plan, pairs)
    counts: list[dict[str, Any]] = []
    for fold in range(plan.n_splits):
        held_out = plan.held_out(fold).to_numpy()
        cut = plan.cut_rows(fold).with_columns(reason=pl.lit("linked through other rows"))
        # From the loosest link to the closest, so that the closest is what remains.
        for kind, component in reversed(linked):
            close = np.isin(component, component[held_out])
            ids = plan.frame.filter(pl.Series(close))["id"].implode()
            cut = cut.with_columns(
                reason=pl.when(pl.col("id").is_in(ids)).then(pl.lit(kind)).otherwise("reason")
            )
        table = cut.group_by("source", "role", "reason").len("rows").sort("source", "reason")
        counts += [{"fold": fold, **row} for row in table.to_dicts()]
    return counts


def _linked_by(plan: FoldPlan, pairs: pl.DataFrame) -> list[tuple[str, IntArray]]:
    """Components of rows that hang together by a kind of link and all closer ones.

    Returns
    -------
    list[tuple[str, IntArray]]
        Kinds from the closest (same text) to the loosest, with the component of each row.
    """
    kinds = sorted(pairs["kind"].unique(), key=lambda kind: (not kind.startswith("same"), kind))
    return [
        (kind, connect_rows(plan.frame["id"], pairs, kinds[: place + 1]))
        for place, kind in enumerate(kinds)
    ]


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
