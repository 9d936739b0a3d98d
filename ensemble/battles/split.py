"""The second stage: the fold plan on disk, with what was cut from each fold's training and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.cuts import count_cuts
from ensemble.battles.folds import (
    CUT_ROLES,
    TIME,
    FoldPlan,
    PlanRules,
    overlap_with_test,
    read_plan,
)
from ensemble.battles.given_folds import refuse_other_number, split_clusters
from ensemble.battles.group_columns import describe_groups, group_pairs
from ensemble.battles.plan import NO_METADATA, make_plan
from ensemble.battles.prepare import (
    read_battles,
    read_clusters,
    read_metadata,
    read_pairs,
    read_summary,
)
from ensemble.battles.schema import HOLDOUT_ROLE, LABEL_COLUMNS, TEST_ROLE
from ensemble.battles.shared_text import shared_text
from ensemble.errors import ArtifactError, FoldError
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.folds_record import FoldsRecord
from ensemble.run_dir.layout import FOLDS, FOLDS_RECORD, METADATA
from ensemble.run_dir.tables import write_table
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.battles.plan import Planned
    from ensemble.config.settings import Config, Folds

_SETTINGS = (
    "scheme",
    "time_column",
    "undated",
    "column",
    "allow_split_clusters",
    "group_columns",
    "holdout",
)
"""Settings of ``[folds]`` that decide the plan, beside the number of folds and a file's content."""

VERSION = 3
"""Raise it when the same battles come to give another plan, or it is recorded otherwise."""

LARGE_CLUSTER = 0.05
"""Share of the target in one cluster that earns a warning."""
_HINT = "run `ensemble split CONFIG`"
_SHOWN_CLUSTERS = 10
_SHOWN_TEXT = 200


def split(
    run: Path, settings: Folds, *, seed: int, tell: Callable[[str], None] = lambda _: None
) -> bool:
    """Make the fold plan and write it to the run directory.

    Parameters
    ----------
    run
        Run directory with prepared battles.
    settings
        What the config says of folds.
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
        As ``make_plan``; or the file of folds cannot be read.
    ArtifactError
        The battles are not prepared.
    """
    battles, data_key = read_battles(run)
    digest = _hash_given(settings)
    key = split_key(run, data_key, settings, seed, digest)
    why = _why_again(run, key)
    if why is None:
        if settings.are_given:
            names = [str(one.name) for one in read_split_summary(run).folds]
            refuse_other_number(settings, names, "folds")
        return False
    if why:
        tell(why)
    metadata = read_metadata(run) if _reads_metadata(settings) else NO_METADATA
    clusters = read_clusters(run)
    planned = make_plan(battles, clusters, settings, seed=seed, metadata=metadata)
    if _hash_given(settings) != digest:
        raise FoldError("the file changed while it was read", where=str(settings.file))
    write_table(run / FOLDS, planned.plan.frame)
    prepared = read_summary(run)
    record = FoldsRecord(
        key=key,
        files={FOLDS: hash_file(run / FOLDS)},
        seed=seed,
        near_duplicate_threshold=prepared.settings["near_duplicate_threshold"],
        embedding_threshold=prepared.settings["embedding_threshold"],
        embeddings=prepared.embeddings,
        given_sha256=digest,
        **_describe_settings(planned, settings, clusters, metadata),
        **describe(planned.plan, battles, _links(run, battles["id"], settings, metadata)),
    )
    if planned.names:
        named = zip(record.folds, planned.names, strict=True)
        folds = tuple(one.model_copy(update={"name": name}) for one, name in named)
        record = record.model_copy(update={"folds": folds})
    record.write(run / FOLDS_RECORD)
    return True


def split_key(
    run: Path, data_key: str, settings: Folds, seed: int, given: str | None = None
) -> str:
    """Name the plan that these battles and settings give: 64 hex digits.

    Parameters
    ----------
    run
        The run directory; of it what files say beside the battles, where settings need that.
    data_key
        Of the prepared battles.
    settings
        What the config says of folds.
    seed
        Of the run.
    given
        SHA-256 of the file of the user's folds.
    """
    parts: dict[str, Any] = {"version": VERSION, "data": data_key, "seed": seed}
    # How many the user's folds are, they say themselves.
    parts |= {} if settings.are_given else {"n_splits": settings.n_splits}
    usual = {name: one.default for name, one in type(settings).model_fields.items()}
    own = {name: value for name in _SETTINGS if (value := getattr(settings, name)) != usual[name]}
    parts |= {"folds": own} if own else {}
    parts |= {"file": given} if settings.file is not None else {}
    if _reads_metadata(settings):
        parts["metadata"] = read_summary(run).files[METADATA]
    return fingerprint(parts)


def _reads_metadata(settings: Folds) -> bool:
    """Say whether the plan rests on what files say beside their battles."""
    own_column = settings.file is None and settings.column is not None
    return bool(settings.group_columns) or own_column or settings.scheme == "time"


def _hash_given(settings: Folds) -> str | None:
    """Name the content of the file of the user's folds; None without one."""
    if settings.file is None:
        return None
    try:
        return hash_file(Path(settings.file))
    except OSError as error:
        raise FoldError(
            f"the folds cannot be read: {error.strerror}",
            where=settings.file,
            hint="fix folds.file in the config; it is taken from the config's own directory",
        ) from error


def n_splits_of(config: Config) -> int:
    """Give how many folds a config has: those of the plan that is there where the user gives them.

    Before there is a plan it is what the config says, and that is its default where it does not.
    """
    if not config.folds.are_given:
        return config.folds.n_splits
    try:
        return read_split_summary(Path(config.run_dir)).n_splits
    except ArtifactError:
        return config.folds.n_splits


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
    plan = read_plan(
        run / FOLDS,
        summary.n_splits,
        summary.fingerprint,
        PlanRules(summary.allow_split_clusters, summary.undated),
        is_ordered=summary.scheme == "time",
    )
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
    run = Path(config.run_dir)
    try:
        given = _hash_given(config.folds)
    except FoldError:  # a run goes where the file does not: what was read from it is in the plan
        given = read_split_summary(run).given_sha256
    return read_split(run, split_key(run, data_key, config.folds, config.seed, given))


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
        "cuts": count_cuts(plan, pairs),
        "largest_clusters": largest,
        "test_overlap": _test_overlap(plan),
        "warnings": [
            *_one_class(battles),
            *(_warning(item) for item in largest if _is_large(item)),
            *_about_time(plan),
        ],
    }


def _describe_settings(
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


def _links(run: Path, ids: pl.Series, settings: Folds, metadata: pl.DataFrame) -> pl.DataFrame:
    """Give all pairs that join clusters: ``id_a``, ``id_b``, ``kind``."""
    pairs = read_pairs(run).select("id_a", "id_b", "kind")
    return pl.concat([pairs, group_pairs(ids, metadata, settings.group_columns)])


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
