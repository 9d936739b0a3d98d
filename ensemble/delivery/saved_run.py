"""New rows scored by a saved run: no network, no training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.artifacts import fingerprint, read_manifest
from ensemble.battles.loading import load_battles
from ensemble.battles.schema import TEST_ROLE, TEST_SOURCE, learner_view, probability_frame
from ensemble.battles.split import read_split
from ensemble.delivery.submission import write_submission
from ensemble.errors import ArtifactError, DataError
from ensemble.oof.guarded import predict_checked
from ensemble.oof.spec import fold_name
from ensemble.oof.store import FoldStore, origin_of
from ensemble.plugin.code import told_difference
from ensemble.plugin.manager import get_manager
from ensemble.stacking.assemble import meta_features
from ensemble.stacking.checked import predict_checked as predict_stack
from ensemble.stacking.settings import meta_learner_factory, stack_key_parts, stacked_specs
from ensemble.stacking.stack import load_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.folds import FoldPlan
    from ensemble.config import Config, Reading
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import FloatArray, LogitArray


def predict_file(config: Config, test: Path, output: Path, keep: Sequence[str] = ()) -> int:
    """Score the rows of a file by the models of a saved run, and write a submission.

    Parameters
    ----------
    config
        The run's own config, ``RUN/config.toml``.
    test
        A file of battles; labels in it are ignored.
    output
        Where the submission goes.
    keep
        As ``predict_battles`` has it.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    DataError
        The file cannot be read.
    ArtifactError
        A model of the run is missing or damaged.
    """
    if output.resolve() == test.resolve():
        raise DataError("the output would replace the test file", where=str(output))
    battles = _read_test(test, config.test)
    probabilities = predict_battles(config, battles, keep)
    frame = probability_frame(battles["id"], probabilities)
    write_submission(output, frame, battles["id"].to_list())
    return len(battles)


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
    stack = _read_stack(run, config, keep)
    plan = read_split(run)
    store = FoldStore(run, plan.fingerprint, stack["data"], plan.n_splits)
    view, specs = learner_view(battles), stacked_specs(config)
    _refuse_target_ids(battles["id"], plan, specs)
    made_from = stack["key_parts"]["folds"]
    logits = [
        _mean_logits(store, spec, config.predict.models, made_from[spec.name], view, keep)
        for spec in specs
    ]
    meta = meta_features(view, stack["learners"], logits, config.stack.features, None)
    model = load_stack(run / "stack", meta_learner_factory(config))
    return predict_stack(model, meta, f"the stack of {run}")


def _refuse_target_ids(ids: pl.Series, plan: FoldPlan, specs: Sequence[LearnerSpec]) -> None:
    """Keep a learner that knows battles by id alone from answering for others of the same ids."""
    target = plan.frame.filter(pl.col("role") == "target")["id"]
    shared = ids.filter(ids.is_in(target.implode()))
    looking_up = [spec.name for spec in specs if not type(spec.make()).trains]
    if len(shared) and looking_up:
        raise DataError(
            f"{len(shared):,} rows have ids of target battles of the run: {', '.join(shared[:5])}",
            where=f'learner "{looking_up[0]}", which looks predictions up by id',
            mend="give new rows ids of their own, and the learner predictions of them",
        )


def _check_names(config: Config, keep: Sequence[str]) -> None:
    for name in keep:
        if name != config.stack.meta_learner:
            config.learner(name)


def _read_stack(run: Path, config: Config, keep: Sequence[str]) -> dict[str, Any]:
    """Read the stack's manifest, and check that it was made with the config at hand."""
    if not (run / "stack").exists():
        raise ArtifactError(
            "there is no stack yet", where=str(run), mend="run `ensemble stack CONFIG`"
        )
    manifest = read_manifest(run / "stack")
    at_hand = stack_key_parts(config)
    code = at_hand.pop("code")
    if config.stack.meta_learner not in keep:
        _check_code(run, manifest["key_parts"].get("code"), code, config)
    names = [spec.name for spec in stacked_specs(config)]
    same = all(manifest["key_parts"].get(name) == value for name, value in at_hand.items())
    if not same or manifest["learners"] != names:
        raise ArtifactError(
            "the stack was made with other settings than the run's config now says",
            where=str(run / "stack"),
            mend="run `ensemble run CONFIG` to its end",
        )
    return manifest


def _check_code(
    run: Path, made_by: Mapping[str, str] | None, now: Mapping[str, str] | None, config: Config
) -> None:
    """Refuse a stack that other code of the meta-learner has made."""
    if now is not None and made_by != now:
        raise ArtifactError(
            "other code of the meta-learner than that of now has made the stack: "
            + told_difference(made_by, now),
            where=str(run / "stack"),
            mend=f"put that code back, add `--keep {config.stack.meta_learner}` where the change "
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
    folds = store.folds(models)
    for fold in folds:
        where = f'learner "{spec.name}", {fold_name(fold)}'
        _check_origin(store, store.read(spec.name, fold), made_from, where)
        model = store.load(spec, fold, any_code=spec.name in keep)
        total += predict_checked(model, battles, where)
        del model  # before the next one comes into memory
    return (total / len(folds)).astype(np.float32)


def _check_origin(
    store: FoldStore,
    manifest: Mapping[str, Any],
    made_from: Mapping[str, Mapping[str, str]],
    where: str,
) -> None:
    """Check that a fold is one that the stack was made from; a refit, that it is their like."""
    origin = origin_of(manifest)
    like = {_key_on(store, manifest, fold) for fold in range(len(made_from))}
    is_its_like = like == {known["key"] for known in made_from.values()}
    if made_from.get(fold_name(manifest["fold"]), origin) != origin or not is_its_like:
        raise ArtifactError(
            "a model is not one that the stack was made from",
            where=where,
            mend="run `ensemble run CONFIG` to its end",
        )


def _key_on(store: FoldStore, manifest: Mapping[str, Any], fold: int) -> str:
    """Give the key that a model would have, made on another fold with what others say there."""
    parts, at = manifest["key_parts"], manifest["fold"]
    asked = {
        "teachers": _keys_on(store, parts["teachers"], at, fold),
        "labellers": {
            source: _keys_on(store, keys, at, fold) for source, keys in parts["labellers"].items()
        },
    }
    return fingerprint(parts | {"fold": fold} | asked)


def _keys_on(
    store: FoldStore, keys: Mapping[str, str], at: int | None, fold: int
) -> dict[str, str]:
    """Give the keys on another fold of those that were asked on this one, by name."""
    there = {name: store.read(name, at) for name in keys}
    # One that is no longer the one that was asked keeps the key that it had: like no other.
    return {
        name: _key_on(store, there[name], fold) if there[name]["key"] == key else key
        for name, key in keys.items()
    }


def _read_test(path: Path, reading: Reading | None) -> pl.DataFrame:
    loader = reading.loader if reading else None
    return load_battles(
        path,
        source=TEST_SOURCE,
        role=TEST_ROLE,
        is_test=True,
        text_format=reading.text_format if reading else "json",
        loader=get_manager().loaders.get(loader) if loader else None,
        loader_options=reading.options if reading else None,
    ).battles
