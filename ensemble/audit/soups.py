"""The checks of an audit on a soup: which models it is the mean of, and what these have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.audit.checks import told_error
from ensemble.battles.held_out import SOUP, model_fits
from ensemble.errors import ArtifactError
from ensemble.oof.origins import model_origin
from ensemble.oof.soup_check import told_check
from ensemble.run_dir.layout import TRAIN_IDS
from ensemble.run_dir.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ensemble.audit.checks import CheckList
    from ensemble.oof.store import FoldStore


def check_averaged(
    store: FoldStore,
    learner: str,
    manifest: Mapping[str, Any],
    trained: pl.Series,
    ledger: CheckList,
) -> None:
    """Check that a soup is the mean of the run's folds, of all of them and of no other model.

    What its models have seen is checked of each fold, and of all their rows together as of any fit.

    Parameters
    ----------
    store, learner
        Where it is stored, and whose it is.
    manifest, trained
        Of the soup, and the ids of the rows that it says its models were trained on.
    ledger
        Takes what holds and what does not.
    """
    name = f"{learner} {SOUP.label}"
    folds = model_fits("folds", store.n_splits)
    title = f"{name}: the mean of the models of all folds of the run, and of no other"
    try:
        there = {fold.name: model_origin(store.read(learner, fold)) for fold in folds}
        tables = [read_table(store.directory(learner, fold) / TRAIN_IDS, ["id"]) for fold in folds]
    except ArtifactError as error:
        ledger.fail(title, f"a fold cannot be read: {told_error(error)}")
        return
    averaged = manifest.get("models", {})
    other = sorted(n for n in {*there, *averaged} if there.get(n) != averaged.get(n))
    ledger.settle(
        title,
        f"others than are there: {', '.join(other)}" if other else None,
        "each is named by the hash of its files",
    )
    seen = set(pl.concat(tables)["id"])
    ledger.record(
        f"{name}: its training rows are those of the folds' models",
        seen ^ set(trained),
        "rows that are missing or foreign",
        f"{len(seen)} rows",
    )
    check = told_check(manifest)
    fault = check.sentence if check.is_too_far else None
    ledger.settle(f"{name}: as near to the folds' mean as one of them", fault, check.sentence)
