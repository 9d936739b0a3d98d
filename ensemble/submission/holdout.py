"""The last score: the final models on the hold-out, which nothing but this has seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS, labels_of, probability_frame
from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import row_errors, row_log_loss, softmax
from ensemble.evaluation.scores import scores
from ensemble.plugin.base import CLASSES
from ensemble.run_dir.holdout_record import HoldoutRecord, HoldoutScore, Look, SoupScore
from ensemble.run_dir.layout import CACHE, HOLDOUT, HOLDOUT_RECORD, STACK
from ensemble.run_dir.stack_files import peek_manifest, read_verdict
from ensemble.run_dir.tables import read_table, write_table
from ensemble.stacking.assemble import check_folds, meta_features
from ensemble.stacking.calls import predict_validated
from ensemble.stacking.listed import load_stack
from ensemble.stacking.settings import meta_learner_factory, stacked_specs
from ensemble.storage.atomic import remove_file
from ensemble.storage.hashing import hash_file
from ensemble.submission.record import models_used, origin_of_predictions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray

_HINT = "run `ensemble run CONFIG` again"


def score_holdout(config: Config, workspace: Workspace, battles: pl.DataFrame) -> HoldoutRecord:
    """Predict the hold-out with every candidate's final model, score it, and store both.

    Parameters
    ----------
    config
        Of the run, as it was stacked.
    workspace
        Its battles and plan; labels of the hold-out are not in it.
    battles
        ``BATTLE_SCHEMA`` with these labels.

    Raises
    ------
    ArtifactError
        The stack or predictions are missing, damaged or of other settings.
    """
    run, rows, models = workspace.run, workspace.holdout_rows(), models_used(config)
    check_folds(workspace, stacked_specs(config), models)
    predicted, by_learner = predict_holdout(config, workspace, run / CACHE / STACK)
    frames = [
        probability_frame(rows["id"], each).select(pl.lit(name).alias("candidate"), pl.all())
        for name, each in predicted.items()
    ]
    earlier = _looks(run, config)
    write_table(run / HOLDOUT, pl.concat(frames))
    own = holdout_rows(battles, workspace.plan)
    record = HoldoutRecord(
        made_from=origin_of_predictions(run, config),
        sha256=hash_file(run / HOLDOUT),
        models=models,
        chosen=read_verdict(run / STACK)["chosen"],
        rows=len(own),
        clusters=own["cluster"].n_unique(),
        class_prior=_class_prior(workspace, own),
        candidates=score_each(predicted, own),
        learners=score_each(by_learner, own),
        looks=earlier,
        unproven=tuple(peek_manifest(run / STACK)["unproven"]),
        soups=_score_soups(workspace, models, own),
    )
    record.write(run / HOLDOUT_RECORD)
    return record


def predict_holdout(
    config: Config, workspace: Workspace, cache: Path | None = None
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Predict the hold-out with every candidate's final model, and with every learner.

    Parameters
    ----------
    config, workspace
        As in ``score_holdout``.
    cache
        Where features are kept; None computes them.

    Returns
    -------
    tuple
        Probabilities ``(n, 3)`` in the order of ``workspace.holdout_rows()``, by candidate and by
        learner.
    """
    run, rows = workspace.run, workspace.holdout_rows()
    names = [spec.name for spec in stacked_specs(config)]
    models = models_used(config)
    logits = [workspace.store.test_logits(name, models[name], rows["id"]) for name in names]
    meta = meta_features(rows, names, logits, config.stack.features, cache, ties=workspace.ties)
    made = meta_learner_factory(config)
    candidates = {
        one["name"]: predict_validated(
            load_stack(run / STACK, made, one["name"]), meta, f"{one['name']}, on the hold-out"
        )
        for one in read_verdict(run / STACK)["candidates"]
    }
    return candidates, {name: softmax(each) for name, each in zip(names, logits, strict=True)}


def holdout_rows(battles: pl.DataFrame, plan: FoldPlan) -> pl.DataFrame:
    """Give the hold-out with its labels: ``BATTLE_SCHEMA`` and ``cluster``, in the plan's order."""
    kept = plan.frame.filter(pl.Series(plan.kept_to_the_end())).select("id", "cluster")
    return kept.join(battles, on="id", how="left", maintain_order="left")


def score_each(predicted: Mapping[str, FloatArray], rows: pl.DataFrame) -> tuple[HoldoutScore, ...]:
    """Score probabilities ``(n, 3)`` by name on rows with ``LABEL_COLUMNS`` and ``cluster``."""
    labels, clusters = labels_of(rows), rows["cluster"].to_numpy()
    found = []
    for name, each in predicted.items():
        right = 1.0 - row_errors(labels, each)
        loss, accuracy = scores(np.column_stack([row_log_loss(labels, each), right]), clusters)
        found.append(
            HoldoutScore(
                name=name,
                log_loss=loss.log_loss,
                low=_finite(loss.low),
                high=_finite(loss.high),
                accuracy=accuracy.log_loss,
                accuracy_low=_finite(accuracy.low),
                accuracy_high=_finite(accuracy.high),
            )
        )
    return tuple(found)


def _score_soups(
    workspace: Workspace, models: Mapping[str, str], rows: pl.DataFrame
) -> tuple[SoupScore, ...]:
    """Score each soup beside the mean of its folds' models, which have seen none of the rows."""
    labels, clusters = labels_of(rows), rows["cluster"].to_numpy()
    found = []
    for name in [name for name, used in models.items() if used == "soup"]:
        both = {
            used: softmax(workspace.store.test_logits(name, used, rows["id"]))
            for used in ("soup", "folds")
        }
        losses = [row_log_loss(labels, each) for each in both.values()]
        (gap,) = scores((losses[0] - losses[1])[:, None], clusters)
        soup, folds = score_each(both, rows)
        found.append(
            SoupScore(
                soup=soup.model_copy(update={"name": name}),
                folds=folds.model_copy(update={"name": name}),
                difference=gap.log_loss,
                low=_finite(gap.low),
                high=_finite(gap.high),
            )
        )
    return tuple(found)


def _class_prior(workspace: Workspace, rows: pl.DataFrame) -> float | None:
    shares = workspace.eval_set.shares
    predicted = np.tile(np.asarray(shares), (len(rows), 1))
    return _finite(float(row_log_loss(labels_of(rows), predicted).mean()))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _looks(run: Path, config: Config) -> tuple[Look, ...]:
    """Give what has been seen of this hold-out before, or of a part, the last score among it."""
    try:
        before = HoldoutRecord.read_checksummed(run / HOLDOUT_RECORD)
        seen = read_table(run / HOLDOUT, ["id"])["id"].unique()
    except ArtifactError:
        return ()
    if not set(seen) & _ids_now(run):
        return ()  # another hold-out: nobody has seen a row of it
    if before.made_from == origin_of_predictions(run, config):
        return before.looks
    score = before.score
    return (*before.looks, Look(chosen=score.name, log_loss=score.log_loss))


def _ids_now(run: Path) -> set[str]:
    from ensemble.battles.split import read_split

    plan = read_split(run)
    return set(plan.frame.filter(pl.Series(plan.kept_to_the_end()))["id"])


def holdout_fault(run: Path, config: Config) -> str | None:
    """Say why the last score is not of the run as it is; None where it is.

    Files are compared with what was recorded when it was made; nothing is predicted anew.
    """
    both = (HOLDOUT, HOLDOUT_RECORD)
    there = [(run / name).is_file() for name in both]
    if not all(there):
        gone = [name for name, is_there in zip(both, there, strict=True) if not is_there]
        told = f", or not any more: there is no {gone[0]}" if any(there) else ""
        return f"the hold-out has not been scored{told}"
    try:
        record = HoldoutRecord.read_checksummed(run / HOLDOUT_RECORD)
        made_from = origin_of_predictions(run, config)
    except (ArtifactError, AttributeError, KeyError, TypeError, OSError) as error:
        told = f"what the score of the hold-out is from cannot be read: {error}".splitlines()[0]
        return f"{told} ({error.where})" if isinstance(error, ArtifactError) else told
    if hash_file(run / HOLDOUT) != record.sha256:
        return f"{HOLDOUT} is not what was written"
    if record.made_from != made_from:
        return "the hold-out was scored with another stack, other predictions or other models"
    return None


def read_holdout(run: Path, config: Config) -> HoldoutRecord:
    """Read the last score.

    Raises
    ------
    ArtifactError
        There is none, or it is not of the run as it is.
    """
    if fault := holdout_fault(run, config):
        hint = _HINT if config.folds.holdout else "set folds.holdout in the config, such as 0.1"
        raise ArtifactError(fault, where=str(run), hint=hint)
    return HoldoutRecord.read_checksummed(run / HOLDOUT_RECORD)


def rescored(run: Path, rows: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Compute log loss and accuracy of each candidate anew, from what is stored.

    Raises
    ------
    ArtifactError
        The table is damaged, or has other rows than the hold-out.
    """
    table = read_table(run / HOLDOUT, ["candidate", "id", *CLASSES])
    found: dict[str, tuple[float, float]] = {}
    for (name,), own in table.partition_by("candidate", as_dict=True).items():
        if sorted(own["id"]) != sorted(rows["id"]):
            raise ArtifactError(
                "it has other rows than the hold-out",
                where=str(run / HOLDOUT),
                hint="run `ensemble run CONFIG`",
            )
        ids = rows.select("id", *LABEL_COLUMNS)
        joined = ids.join(own, on="id", how="left", maintain_order="left")
        labels, each = labels_of(joined), joined.select(CLASSES).to_numpy()
        right = 1.0 - row_errors(labels, each)
        found[str(name)] = (float(row_log_loss(labels, each).mean()), float(right.mean()))
    return found


def remove_holdout(run: Path) -> None:
    """Take away a score of the hold-out, and the predictions of it."""
    for name in (HOLDOUT, HOLDOUT_RECORD):
        remove_file(run / name)


def summary_of(run: Path, config: Config) -> dict[str, Any] | None:
    """Give the last score as JSON; None where there is no hold-out, or no score of it."""
    if not config.folds.holdout or holdout_fault(run, config):
        return None
    record = read_holdout(run, config)
    return told_of(record)


def told_of(record: HoldoutRecord) -> dict[str, Any]:
    """Give a last score as JSON, with sentences for a reader."""
    soups = [{**one.model_dump(), "sentence": one.sentence} for one in record.soups]
    return {**record.model_dump(), "soups": soups, "sentence": record.sentence}
