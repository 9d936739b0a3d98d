"""Whether predictions from outside are honest here: judged by this run's clusters, row by row.

Each target row was predicted by a model that was fitted elsewhere, under folds of its own. It is
honest where no training row of that model lies in the row's cluster, whatever the folds are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.feature_cache import row_keys
from ensemble.errors import DataError, LearnerError
from ensemble.once import once
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BaseLearner

PROVENANCE_SCHEMA = {
    "use": pl.String,
    "model": pl.String,
    "id": pl.String,
    "text": pl.String,
}
"""``use`` is ``predicted`` or ``trained``; ``text`` is null for rows that are predicted."""

_SHOWN = 5


@dataclass(frozen=True)
class Judged:
    """What the recorded training rows say of predictions from outside.

    Parameters
    ----------
    leaks
        Target rows whose model has seen their cluster, or that no model is recorded for.
    unproven
        Why the rest cannot be told; empty where it can.
    """

    leaks: tuple[str, ...] = ()
    unproven: str = ""


def judge_provenance(
    told: pl.DataFrame, wanted: pl.Series, rows: pl.DataFrame, keys: Sequence[str]
) -> Judged:
    """Find target rows that were predicted by a model which has seen their like.

    Parameters
    ----------
    told
        ``PROVENANCE_SCHEMA``.
    wanted
        Ids of the target rows in question.
    rows
        ``id``, ``text`` and the keys, of all rows of this run.
    keys
        Columns that rows which say the same have in common: clusters, swaps.
    """
    predicted = told.filter(pl.col("use") == "predicted").select("model", "id")
    trained = told.filter(pl.col("use") == "trained").join(
        rows.select("id", pl.col("text").alias("text_here"), *keys), on="id", how="left"
    )
    is_known = (pl.col("text") == pl.col("text_here")).fill_null(value=False)
    here = predicted.join(rows.select("id", *keys), on="id", how="left")
    here = here.filter(pl.col("id").is_in(wanted.implode()))  # others are not scored here
    leaks = set(wanted) - set(predicted["id"]) | set(_seen(here, trained.filter(is_known), keys))
    foreign = trained.filter(~is_known)["id"].n_unique()
    return Judged(tuple(sorted(leaks)), _foreign_sentence(foreign) if foreign else "")


def _seen(here: pl.DataFrame, trained: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Give the predicted rows that share a key with a training row of their own model."""
    parts = [
        here.join(trained.select("model", key).unique(), on=["model", key], how="semi")["id"]
        for key in keys
    ]
    return pl.concat(parts)


def _foreign_sentence(rows: int) -> str:
    return (
        f"{rows:,} rows that its models were trained on are no rows of this run, so that nobody "
        "knows whether they say what a target row says (give this run their source too, with "
        'role = "ignore" where it is not used)'
    )


def provenance_of(learner: BaseLearner, where: str) -> Provenance | None:
    """Ask a fitted learner that brings its predictions where they are from; None if it is mute.

    Raises
    ------
    LearnerError
        It raised, or gave no ``Provenance`` with the columns that one has.
    """
    if type(learner).trains or not hasattr(learner, "provenance"):
        return None
    found = call_plugin("provenance", where, lambda: learner.provenance())
    if found is None:
        return None
    if not isinstance(found, Provenance):
        kind = type(found).__name__
        raise LearnerError(f"provenance() gives a {kind}, no Provenance", where=where)
    for name, columns in (("predicted", ("model", "id")), ("trained", ("model", "id", "text"))):
        table = getattr(found, name)
        if {*columns} - {*table.columns}:
            raise LearnerError(f"provenance().{name} lacks {', '.join(columns)}", where=where)
    return found


def provenance_table(found: Provenance) -> pl.DataFrame:
    """Put both tables of a provenance into one: ``PROVENANCE_SCHEMA``, sorted."""
    predicted = found.predicted.select(
        pl.lit("predicted").alias("use"), "model", "id", pl.lit(None, pl.String).alias("text")
    )
    trained = found.trained.select(pl.lit("trained").alias("use"), "model", "id", "text").unique()
    table = pl.concat([part.cast(pl.Schema(PROVENANCE_SCHEMA)) for part in (predicted, trained)])
    return table.sort("use", "model", "id")


def texts_of(battles: pl.DataFrame) -> pl.DataFrame:
    """Name the texts of rows: ``id``, ``text``."""
    return battles.select("id", text=row_keys(battles))


def judged_here(
    workspace: Workspace, learner: BaseLearner, where: str
) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """Judge what a learner brings by the run's own clusters, all target rows at once.

    Returns
    -------
    tuple or None
        ``PROVENANCE_SCHEMA``, and what the manifests say: ``training_rows``, ``provenance``. None
        where the learner trains, or does not say where its predictions are from.

    Raises
    ------
    DataError
        A model has seen rows of the cluster of a row that it predicted.
    """
    found = provenance_of(learner, where)
    if found is None:
        return None
    table, battles = provenance_table(found), workspace.battles
    clusters = workspace.plan.frame.select("id", "cluster")
    rows = once((texts_of, workspace.data_key), lambda: texts_of(battles)).join(clusters, on="id")
    target = workspace.eval_set.ids
    judged = judge_provenance(table, target, rows, ["cluster"])
    if judged.leaks:
        _refuse(judged.leaks, where)
    unproven = found.unknown or judged.unproven or _other_folds(table, workspace)
    unproven = unproven or _kept_from(table, workspace)
    told = {**found.origin, "unproven": unproven}
    return table, {"training_rows": "unknown" if unproven else "recorded", "provenance": told}


def describe_brought(
    workspace: Workspace, learner: BaseLearner, where: str
) -> dict[str, Any] | None:
    """Say what predictions from outside are made of, and whether their folds are the run's.

    Returns
    -------
    dict or None
        What the learner's ``describe`` says, and ``folds`` of its ``check_folds``; None where it
        trains.

    Raises
    ------
    DataError
        Its folds part rows of a cluster that the run holds out together.
    """
    if type(learner).trains:
        return None
    told: dict[str, Any] = {}
    if hasattr(learner, "describe"):
        told |= call_plugin("describe", where, lambda: dict(learner.describe()))
    folds = check_brought_folds(workspace, learner, where)
    return told | ({} if folds is None else {"folds": folds})


def check_brought_folds(workspace: Workspace, learner: BaseLearner, where: str) -> str | None:
    """Have a learner that brings predictions hold its folds against the run's, where it can."""
    if not hasattr(learner, "check_folds"):
        return None
    plan = workspace.plan.frame.drop_nulls("fold").select("id", "cluster", "fold")
    found: str | None = call_plugin("check_folds", where, lambda: learner.check_folds(plan))
    return found


def _other_folds(table: pl.DataFrame, workspace: Workspace) -> str:
    """Say why a stack's gain from logits of other folds cannot be bounded; empty for these folds.

    The test for labels that leak through logits compares rows of one fold: it takes for granted
    that none of them was learned from by the model that predicted the others.
    """
    pairs = _models(table, workspace)
    if pairs["model"].is_unique().all() and pairs["fold"].is_unique().all():
        return ""
    return (
        "its models held out other folds than this run does, so that what a stack gains by labels "
        "in its logits cannot be bounded (give both runs the same [[sources]], [folds] and seed)"
    )


def _models(table: pl.DataFrame, workspace: Workspace) -> pl.DataFrame:
    """Give each ``model`` with each ``fold`` of this run that it predicted rows of."""
    folds = workspace.plan.frame.drop_nulls("fold").select("id", "fold")
    predicted = table.filter(pl.col("use") == "predicted").select("model", "id")
    return folds.join(predicted, on="id").select("model", "fold").unique().sort("fold")


def _kept_from(table: pl.DataFrame, workspace: Workspace) -> str:
    """Say that models have seen rows which this run keeps from its own; empty if none has.

    Models of folds that are blocks of time elsewhere may have learned from later rows, and models
    of a run without a hold-out from that of this one.
    """
    trained = table.filter(pl.col("use") == "trained")
    for model, fold in _models(table, workspace).rows():
        cut = workspace.plan.frame["id"].filter(workspace.plan.cut(fold))
        seen = trained.filter((pl.col("model") == model) & pl.col("id").is_in(cut.implode()))
        if len(seen):
            return (
                f"{len(seen):,} rows that its model {model} was trained on are kept from the same "
                "fold here: they are not earlier, or are the hold-out or near it (give both runs "
                "the same [folds])"
            )
    return ""


def of_rows(table: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Keep of a provenance what concerns some rows: their models, and what these have seen."""
    predicted = table.filter((pl.col("use") == "predicted") & pl.col("id").is_in(ids.implode()))
    models = predicted["model"].unique()
    trained = table.filter((pl.col("use") == "trained") & pl.col("model").is_in(models.implode()))
    return pl.concat([predicted, trained])


def _refuse(leaks: Sequence[str], where: str) -> None:
    shown = ", ".join(leaks[:_SHOWN]) + (", \N{HORIZONTAL ELLIPSIS}" if len(leaks) > _SHOWN else "")
    raise DataError(
        f"{len(leaks):,} target rows were predicted by a model that has seen rows of their "
        f"cluster, as this run has clusters: {shown}",
        where=where,
        hint="give both runs the same [[sources]] and near_duplicate_threshold, and fit the other "
        "one again",
    )
