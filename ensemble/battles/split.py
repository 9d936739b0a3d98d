"""The second stage: the fold plan on disk, with what was cut from each fold's training and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.fold_plan import FoldPlan, PlanRules, read_plan
from ensemble.battles.given_folds import refuse_other_number
from ensemble.battles.group_columns import group_pairs
from ensemble.battles.plan import NO_METADATA, make_plan
from ensemble.battles.plan_description import describe, describe_settings
from ensemble.battles.prepared import (
    read_battles,
    read_clusters,
    read_metadata,
    read_pairs,
    read_summary,
)
from ensemble.errors import ArtifactError, FoldError
from ensemble.run_dir.folds_record import FoldsRecord
from ensemble.run_dir.layout import FOLDS, FOLDS_RECORD, METADATA
from ensemble.run_dir.record import missing_record
from ensemble.run_dir.tables import write_table
from ensemble.storage.hashing import fingerprint, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable

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

VERSION = 4
"""Raise it when the same battles come to give another plan, or it is recorded otherwise."""

_HINT = "run `ensemble split CONFIG`"


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
        **describe_settings(planned, settings, clusters, metadata),
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
        never = "there is no fold plan"
        raise missing_record(
            run / FOLDS_RECORD, run / FOLDS, of="the fold plan", never=never, hint=_HINT
        )
    return FoldsRecord.read_checksummed(run / FOLDS_RECORD, f"{_HINT} again")


def _why_again(run: Path, key: str) -> str | None:
    """Say why the plan is made anew: None where it is there, empty where none was."""
    if not any(os.path.lexists(run / name) for name in (FOLDS_RECORD, FOLDS)):
        return ""
    try:
        read_split(run, key)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    return None


def _links(run: Path, ids: pl.Series, settings: Folds, metadata: pl.DataFrame) -> pl.DataFrame:
    """Give all pairs that join clusters: ``id_a``, ``id_b``, ``kind``."""
    pairs = read_pairs(run).select("id_a", "id_b", "kind")
    return pl.concat([pairs, group_pairs(ids, metadata, settings.group_columns)])
