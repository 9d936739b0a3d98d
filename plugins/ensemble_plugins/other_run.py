"""A learner of another run: its predictions, and the rows that each of its models has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.feature_cache import row_keys
from ensemble.battles.held_out import HeldOut
from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import PREDICTION_SCHEMA
from ensemble.battles.split import read_current_split
from ensemble.compare.folds import read_manifests
from ensemble.config.load import load_other_config
from ensemble.errors import ArtifactError, DataError, EnsembleError, LearnerError
from ensemble.once import once
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.predictions import prediction_frame
from ensemble.oof.store import FoldStore
from ensemble.plugin.provenance import Provenance
from ensemble.run_dir.layout import LEARNERS, PROVENANCE, TRAIN_IDS
from ensemble.run_dir.tables import read_table
from ensemble.storage.directories import hash_dependency
from ensemble_plugins.prediction_checks import some_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ensemble.battles.held_out import FoldLike
    from ensemble.config.settings import Config

STORED_SCHEMA: dict[str, Any] = {**PREDICTION_SCHEMA, "text": pl.String()}
"""Predictions, and the name of the texts that they are of."""

_TRAINED = {"model": pl.String, "id": pl.String, "text": pl.String}


@dataclass(frozen=True, eq=False)
class OtherLearner:
    """What another run has of a learner.

    Parameters
    ----------
    place
        Names run and learner in errors.
    oof, test
        ``STORED_SCHEMA``: predictions of its target rows, its hold-out among them, and of its
        test rows.
    provenance
        Which of its models made them, and the rows that these have seen.
    """

    place: str
    oof: pl.DataFrame
    test: pl.DataFrame
    provenance: Provenance

    def check_test_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse a run that lacks test rows of this one; it may have others.

        Raises
        ------
        DataError
            Ids are missing; some are named, all are counted.
        """
        expected = pl.Series("id", expected_ids, dtype=pl.String)
        missing = expected.filter(~expected.is_in(self.test["id"].implode())).to_list()
        if missing:
            raise DataError(
                f"the other run has no predictions for test rows {some_ids(missing)}",
                where=self.place,
                hint="give both runs the same test rows, spelled the same, and run the other one "
                "again",
            )


def learner_directory(run: Path, learner: str) -> Path:
    """Say where another run keeps a learner; the learner counts by what lies there.

    Raises
    ------
    ConfigError
        The run is there, and has no learner of that name. A run that is gone is no fault here: a
        fitted learner no longer needs it.
    """
    directory = run / LEARNERS / learner
    if run.is_dir() and not directory.is_dir():
        load_other_config(run).learner(learner)
    return directory


def check_same_texts(found: pl.DataFrame, battles: pl.DataFrame, place: str) -> None:
    """Refuse predictions that were made for other texts than the battles of the same ids have.

    Parameters
    ----------
    found
        ``id`` and ``text`` of the predictions, in the order of the battles.
    battles
        ``LEARNER_COLUMNS``.
    place
        Names the other run.

    Raises
    ------
    LearnerError
        There are some.
    """
    other = battles["id"].filter(found["text"] != row_keys(battles)).to_list()
    if other:
        raise LearnerError(
            f"the other run has other texts under these ids: {some_ids(other)}",
            where=place,
            hint="give both runs the same files, read the same way: ids alone do not make rows "
            "the same",
        )


def models_of(run: Path, learner: str) -> str:
    """Say which models a learner's test logits are of; ``"folds"`` where the run is gone."""
    try:
        return load_other_config(run).models_of(learner)
    except EnsembleError:
        return "folds"


def read_other(run: Path, learner: str) -> OtherLearner:
    """Read and verify what another run has of a learner; one verb reads it once.

    Raises
    ------
    ConfigError
        There is no such run, or it has no such learner.
    ArtifactError
        Something of it is missing, damaged, or was made with other settings than its config has.
    """
    try:
        key = (read_other, run, learner, hash_dependency(learner_directory(run, learner)))
    except OSError:
        return _read(run, learner)  # says what is missing
    return once(key, lambda: _read(run, learner))


def _read(run: Path, learner: str) -> OtherLearner:
    config, place = load_other_config(run), f'learner "{learner}" of {run}'
    asked = config.learner(learner)
    if asked.privileged:
        raise DataError(
            "it saw privileged columns, which do not exist at test time: it can teach in its own "
            "run, and be stacked in none",
            where=place,
            hint="name a learner that it has taught",
        )
    battles, data = read_battles(run)
    plan = read_current_split(config, data)
    store = FoldStore(run, plan.fingerprint, data, plan.n_splits)
    manifests = read_manifests(store, asked)
    if lacking := sorted(set(range(plan.n_splits)) - set(store.fitted_folds(learner))):
        raise ArtifactError(
            f"folds are not fitted yet: {', '.join(map(str, lacking))}",
            where=place,
            hint=f"run `ensemble run {run / 'config.toml'}` to its end",
        )
    eval_set = EvalSet.of(battles, plan)
    texts = battles.select("id", text=row_keys(battles))
    oof = prediction_frame(eval_set.ids, store.oof(learner, eval_set))
    kept = plan.frame["id"].filter(pl.Series(plan.kept_to_the_end()))
    test = battles["id"].filter(battles["is_test"])
    of_models = [_of_all_models(store, config, learner, ids) for ids in (kept, test)]
    return OtherLearner(
        place,
        pl.concat([oof, of_models[0]]).join(texts, on="id", how="left", maintain_order="left"),
        of_models[1].join(texts, on="id", maintain_order="left"),
        _provenance(store, learner, manifests, eval_set.rows, texts),
    )


def _of_all_models(store: FoldStore, config: Config, learner: str, ids: pl.Series) -> pl.DataFrame:
    """Give predictions of rows that no fold holds out: the test set, and the hold-out."""
    if not len(ids):
        return pl.DataFrame(schema=PREDICTION_SCHEMA)
    models = config.models_of(learner)
    if models != "folds":
        _check_like_folds(store, learner, models)
    return prediction_frame(ids, store.test_logits(learner, models, ids))


def _check_like_folds(store: FoldStore, learner: str, models: str) -> None:
    """Refuse a refit, or a soup, that was made with other settings than the folds."""
    (asked,) = store.folds(models, learner)
    fold, whole = (store.read(learner, one)["key_parts"] for one in (0, asked))
    own = ("fold", "teachers", "labelers", "keeps_model")
    other = [name for name in fold if name not in own and whole.get(name) != fold[name]]
    if other:
        raise ArtifactError(
            f"its {models} was made with other {', '.join(other)} than its folds",
            where=f'learner "{learner}" of {store.run}',
            hint=f"run `ensemble run {store.run / 'config.toml'}` to its end",
        )


def _provenance(
    store: FoldStore,
    learner: str,
    manifests: Mapping[str, Mapping[str, Any]],
    rows: pl.DataFrame,
    texts: pl.DataFrame,
) -> Provenance:
    """Say which fold's model predicted each row, and what these models have seen."""
    origin = {
        "run": str(store.run.resolve()),
        "learner": learner,
        "plan": store.plan,
        "data": store.data,
        "folds": {name: manifest["key"] for name, manifest in manifests.items()},
    }
    fold_names = pl.concat_str(pl.lit("fold-"), pl.col("fold").cast(pl.String))
    predicted = rows.select("id", model=fold_names).select("model", "id")
    brought = [name for name, one in manifests.items() if one["training_rows"] != "recorded"]
    if brought:
        unknown = f'the other run does not know what its learner "{learner}" was trained on'
        return Provenance(predicted, pl.DataFrame(schema=_TRAINED), origin, unknown)
    if all(PROVENANCE in one["files"] for one in manifests.values()):
        return _handed_on(store, learner, origin)
    parts = [
        ids.to_frame().select(pl.lit(f"fold-{fold}").alias("model"), "id")
        for fold in range(store.n_splits)
        for ids in _seen(store, learner, fold)
    ]
    trained = pl.concat(parts).unique().join(texts, on="id", how="left")
    return Provenance(predicted, trained, origin)


def _handed_on(store: FoldStore, learner: str, origin: Mapping[str, Any]) -> Provenance:
    """Hand on what that run itself has from a third one."""
    tables = [
        read_table(store.directory(learner, fold) / PROVENANCE) for fold in range(store.n_splits)
    ]
    table = pl.concat(tables).unique()
    predicted = table.filter(pl.col("use") == "predicted").select("model", "id")
    trained = table.filter(pl.col("use") == "trained").select("model", "id", "text")
    return Provenance(predicted, trained, origin)


def _seen(store: FoldStore, learner: str, fold: FoldLike) -> Iterator[pl.Series]:
    """Give the training rows of a fold's model, and of those that taught it or labeled for it."""
    manifest = store.read(learner, fold)
    yield read_table(store.directory(learner, fold) / TRAIN_IDS, ["id"])["id"]
    parts = manifest["key_parts"]
    own = HeldOut.of(fold)
    asked = [
        (n, HeldOut.named(f), k) for n, keys in parts["teachers"].items() for f, k in keys.items()
    ]
    asked += [(n, own, k) for keys in parts["labelers"].values() for n, k in keys.items()]
    for name, fit, key in asked:
        if store.read(name, fit)["key"] != key:
            raise ArtifactError(
                f'"{name}", which taught it or labeled rows for it, was fitted anew since',
                where=str(store.directory(learner, fold)),
                hint="run the other run's config again",
            )
        yield from _seen(store, name, fit)
