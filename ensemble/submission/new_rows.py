"""New rows scored by a saved run: no network, no training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import HOLDOUT_ROLE, learner_view
from ensemble.battles.split import read_split
from ensemble.config.secrets import resolved_secrets
from ensemble.errors import ArtifactError, DataError
from ensemble.oof.calls import predict_validated
from ensemble.oof.fold_key import fold_name
from ensemble.oof.store import FoldStore
from ensemble.plugin.code import as_known, told_difference
from ensemble.plugin.parameters import path_parameters
from ensemble.run_dir.layout import STACK
from ensemble.stacking.assemble import meta_features
from ensemble.stacking.calls import predict_validated as predict_stack
from ensemble.stacking.left_out import as_stacked
from ensemble.stacking.listed import load_stack
from ensemble.stacking.made_from import other_settings, read_stack_manifest, stacked_folds
from ensemble.stacking.settings import (
    learner_specs,
    meta_learner_factory,
    meta_learner_name,
    stack_key_parts,
    stacked_specs,
)
from ensemble.submission.forms import form_for, submission_frame
from ensemble.submission.model_origins import check_model_origin
from ensemble.submission.output import check_output, write_output
from ensemble.submission.reading import read_test, reading_options
from ensemble.submission.write import submission_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.config.settings import Config, Reading
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import FloatArray, LogitArray


def predict_file(
    config: Config,
    test: Path,
    output: Path,
    reading: Reading | None = None,
    keep: Sequence[str] = (),
) -> int:
    """Score the rows of a file by the models of a saved run, and write a submission.

    Parameters
    ----------
    config
        The run's own config, ``RUN/config.toml``.
    test
        A file of battles; labels in it are ignored.
    output
        Where the submission goes, as ``write_output`` does it.
    reading
        How the file is read, of ``reading_options``; None reads it as the run's test file.
    keep
        As ``predict_battles`` has it.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    InputError
        The output would replace an input or a file of a run.
    DataError
        The file cannot be read.
    ArtifactError
        A model of the run is missing or damaged.
    """
    text, rows = score_file(config, test, output, reading, keep)
    write_output(output, text)
    return rows


def score_file(
    config: Config,
    test: Path,
    output: Path,
    reading: Reading | None = None,
    keep: Sequence[str] = (),
) -> tuple[str, int]:
    """Give the content of a submission and its rows; parameters and errors as ``predict_file``."""
    check_output(output, [test], "the test file")
    check_output(output, _inputs(config))
    battles = read_test(test, reading or reading_options(config))
    form = form_for(config.task)
    frame = submission_frame(form, battles["id"], predict_battles(config, battles, keep))
    return submission_text(frame, battles["id"].to_list(), form), len(battles)


def _inputs(config: Config) -> Iterator[Path]:
    """Give what the run was made from, and its learners still read."""
    yield from (Path(path) for reading in config.readings() for path in reading.paths())
    beside = (config.folds.embeddings, config.folds.file)
    yield from (Path(path) for path in beside if path is not None)
    for spec in learner_specs(config):
        for places in path_parameters(spec.prototype).values():
            yield from places


def predict_battles(config: Config, battles: pl.DataFrame, keep: Sequence[str] = ()) -> FloatArray:
    """Score battles by the models of a saved run: ``(n, 3)`` probabilities in ``CLASSES`` order.

    Parameters
    ----------
    config
        The run's own config, ``RUN/config.toml``.
    battles
        ``BATTLE_SCHEMA``.
    keep
        Names of learners, and of the meta-learner, whose models may be asked though their code is
        another now than that which made them.

    Raises
    ------
    ConfigError
        A name in ``keep`` is of neither.
    ArtifactError
        A model is missing, damaged, made by other code, or not one that the stack was made from.
    DataError
        A learner looks predictions up by id, and rows have ids of battles that it knows.
    """
    run = Path(config.run_dir)
    _check_names(config, keep)
    resolved_secrets(config.stack.parameters, "stack.parameters")
    stack = _read_stack(run, config, keep)
    plan = read_split(run)
    ties = config.task.ties
    only = stacked_folds(stack)
    store = FoldStore(run, plan.fingerprint, stack["data"], plan.n_splits, ties, only)
    view, specs = learner_view(battles), stacked_specs(as_stacked(config, stack))
    _refuse_target_ids(battles["id"], plan, specs)
    made_from = stack["key_parts"]["folds"]
    logits = [
        _mean_logits(store, spec, config.models_of(spec.name), made_from[spec.name], view, keep)
        for spec in specs
    ]
    meta = meta_features(view, stack["learners"], logits, config.stack.features, None, ties=ties)
    model = load_stack(run / STACK, meta_learner_factory(config))
    return predict_stack(model, meta, f"the stack of {run}")


def _refuse_target_ids(ids: pl.Series, plan: FoldPlan, specs: Sequence[LearnerSpec]) -> None:
    """Keep a learner that knows battles by id alone from answering for others of the same ids."""
    target = plan.frame.filter(pl.col("role").is_in(["target", HOLDOUT_ROLE]))["id"]
    shared = ids.filter(ids.is_in(target.implode()))
    looking_up = [spec.name for spec in specs if not type(spec.prototype).trains]
    if len(shared) and looking_up:
        raise DataError(
            f"{len(shared):,} rows have ids of target battles of the run: {', '.join(shared[:5])}",
            where=f'learner "{looking_up[0]}", which looks predictions up by id',
            hint="give new rows ids of their own, and the learner predictions of them",
        )


def _check_names(config: Config, keep: Sequence[str]) -> None:
    for name in keep:
        if name != meta_learner_name(config):
            config.learner(name)


def _read_stack(run: Path, config: Config, keep: Sequence[str]) -> dict[str, Any]:
    """Read the stack's manifest, and check that it was made with the config at hand."""
    manifest = read_stack_manifest(run)
    made_by = manifest["key_parts"]
    if meta_learner_name(config) not in keep:
        _check_code(run, made_by.get("code"), stack_key_parts(config)["code"], config)
    names = [spec.name for spec in stacked_specs(as_stacked(config, manifest))]
    if {*other_settings(made_by, config)} - {"code"} or manifest["learners"] != names:
        raise ArtifactError(
            "the stack was made with other settings than the run's config now says",
            where=str(run / STACK),
            hint="run `ensemble run CONFIG` to its end",
        )
    return manifest


def _check_code(
    run: Path, made_by: Mapping[str, Any] | None, now: Mapping[str, Any] | None, config: Config
) -> None:
    """Refuse a stack that other code of the meta-learner has made."""
    if now is not None and made_by != as_known(now, made_by):
        raise ArtifactError(
            "other code of the meta-learner than that of now has made the stack: "
            + told_difference(made_by, now),
            where=str(run / STACK),
            hint=f"put that code back, add `--keep {meta_learner_name(config)}` where the change "
            "does not matter, or stack anew: `ensemble run CONFIG`",
        )


def _mean_logits(
    store: FoldStore,
    spec: LearnerSpec,
    models: str,
    made_from: Mapping[str, Mapping[str, str]],
    battles: pl.DataFrame,
    keep: Sequence[str],
) -> LogitArray:
    """Average a learner's logits over its models, one model in memory at a time."""
    total = np.zeros((len(battles), 3))
    folds = store.folds(models, spec.name)
    for fold in folds:
        where = f'learner "{spec.name}", {fold_name(fold)}'
        check_model_origin(store, store.read(spec.name, fold), made_from, where)
        model = store.load(spec, fold, any_code=spec.name in keep)
        total += predict_validated(model, battles, where)
        del model  # before the next one comes into memory
    return (total / len(folds)).astype(np.float32)
