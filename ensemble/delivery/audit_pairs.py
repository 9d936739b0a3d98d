"""The checks of an audit on fits without a pair of folds, which exact nested scores rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.artifacts import MANIFEST, read_json
from ensemble.battles.held_out import HeldOut, fold_pairs
from ensemble.delivery.audit_checks import check_made_with
from ensemble.delivery.audit_tables import read_columns
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.store import OOF, TRAIN_IDS, origin_of
from ensemble.stacking.settings import nested_specs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.config import Config
    from ensemble.delivery.audit_ledger import Ledger
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore

_ROLES = ("target", "train", "pseudo", "pretrain")


def check_pair_fits(
    store: FoldStore,
    config: Config,
    truth: pl.DataFrame,
    ledger: Ledger,
    specs: Mapping[str, tuple[LearnerSpec, Mapping[str, Any]]],
) -> None:
    """Check all pair fits of the learners that are nested exactly, and of those that they ask.

    Parameters
    ----------
    store
        The folds.
    config
        The run's own; it says who is nested exactly, and so does the stack's manifest.
    truth
        Of ``recomputed``.
    ledger
        Takes what holds, what does not, and pairs that are not there.
    specs
        Each learner of the config, with what all of them share: what a pair must be made with.
    """
    recorded = _recorded(store)
    _check_recorded(store, recorded, ledger)
    try:
        wanted = [spec.name for spec in nested_specs(config)]
        _check_wanted(store, wanted, recorded, ledger)
    except EnsembleError:  # a plugin that is not installed here: the stack's word has to do
        wanted = []
    learners = [*dict.fromkeys([*wanted, *recorded])]
    asked: dict[tuple[str, HeldOut], bool] = {}
    for learner in learners:  # grows by whom they ask
        for pair in fold_pairs(store.n_splits):
            made_with = specs.get(learner)
            for other, behind in _check_pair(store, (learner, pair), truth, ledger, made_with):
                asked[other, pair] = asked.get((other, pair), False) or behind
                if other not in learners:
                    learners.append(other)
    for (learner, pair), behind in asked.items():
        if behind:
            _check_no_pseudo(store, learner, pair, truth, ledger)


def _recorded(store: FoldStore) -> dict[str, dict[str, Any]]:
    """Give the pairs that the stack was made from; none where it is not there or damaged."""
    try:
        return dict(read_json(store.run / "stack" / MANIFEST)["key_parts"].get("pairs", {}))
    except (ArtifactError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # `check_stack` says so


def _check_wanted(
    store: FoldStore, wanted: list[str], recorded: Mapping[str, Any], ledger: Ledger
) -> None:
    """Check that the stack is nested exactly for whom the config asks, and for nobody else."""
    if not (store.run / "stack").exists():
        return  # noted as missing
    odd = sorted(set(wanted) ^ set(recorded))
    told = f"not as the config asks for {', '.join(odd)}" if odd else None
    ledger.settle("stack: nested exactly as the config asks", told, ", ".join(wanted) or "nobody")


def _check_recorded(store: FoldStore, recorded: dict[str, dict[str, Any]], ledger: Ledger) -> None:
    """Check that exact nested logits are of the pairs that are there, and of all that it says."""
    if not recorded:
        return
    name, stale = "stack: nested on the pairs of folds that are there", []
    for learner, origins in recorded.items():
        for pair in fold_pairs(store.n_splits):
            path = store.directory(learner, pair) / MANIFEST
            if path.exists() and origins.get(pair.name) != origin_of(read_json(path)):
                stale.append(f"{learner} {pair.label}")
    nested = read_json(store.run / "stack" / MANIFEST)["nested"]
    if any(sorted(each.get("exact", [])) != sorted(recorded) for each in nested):
        stale.append("other learners than the manifest records")
    if stale:
        ledger.fail(name, f"other: {', '.join(stale)}")
    else:
        ledger.record(name, (), "", f"exact for {', '.join(recorded)}")


def _check_pair(
    store: FoldStore,
    fit: tuple[str, HeldOut],
    truth: pl.DataFrame,
    ledger: Ledger,
    made_with: tuple[LearnerSpec, Mapping[str, Any]] | None,
) -> Iterator[tuple[str, bool]]:
    """Check one pair fit; gives the learners that it asked, and whether for labels."""
    learner, pair = fit
    name, directory = f"{learner} {pair.label}", store.directory(learner, pair)
    if not directory.exists():
        ledger.missing.append(name)
        return
    try:
        manifest = store.read(learner, pair)
        predicted = read_columns(directory / OOF, "id")["id"]
        trained = read_columns(directory / TRAIN_IDS, "id")["id"]
    except ArtifactError as error:
        ledger.fail(f"{name}: stored predictions can be trusted", error.message)
        return
    if made_with is not None:
        check_made_with(name, manifest, made_with, ledger)
    held_out = truth.filter(pl.col("fold").is_in(list(pair.folds)))
    repeated = predicted.filter(predicted.is_duplicated())
    ledger.record(
        f"{name}: predicts the rows of both folds, each once",
        set(predicted) ^ set(held_out["id"]) | set(repeated),
        "foreign, missing or repeated rows",
        f"{len(predicted)} rows",
    )
    _check_trained(name, trained, held_out, truth, ledger)
    counted = manifest["rows"]["train"] + manifest["rows"]["pretrain"]
    if manifest["training_rows"] != "recorded" or len(trained) != counted or not counted:
        detail = f"{len(trained)} ids are stored, and the manifest says {counted}"
        ledger.fail(f"{name}: all training rows are recorded", detail)
    parts = manifest["key_parts"]
    named = [(teacher, key, False) for teacher, key in parts["teachers"].items()]
    named += [(n, key, True) for keys in parts["labellers"].values() for n, key in keys.items()]
    for other, key, labels in named:
        _check_same_pair(store, (name, other, key), pair, ledger)
        yield other, labels
    _check_labelled(name, parts, trained, truth, ledger)


def _check_trained(
    name: str, trained: pl.Series, held_out: pl.DataFrame, truth: pl.DataFrame, ledger: Ledger
) -> None:
    seen = truth.filter(pl.col("id").is_in(trained.implode()))
    leaks = [pl.col(c).is_in(held_out[c].implode()) for c in ("id", "cluster", "swap")]
    ledger.record(
        f"{name}: saw no row of either fold, nor its cluster, nor its swap",
        seen.filter(pl.any_horizontal(leaks))["id"],
        "training rows that leak",
        f"{len(trained)} training rows",
    )
    ledger.record(
        f"{name}: trains on rows of the run, none of the test set",
        set(trained) - set(seen.filter(pl.col("role").is_in(_ROLES))["id"]),
        "training rows that are unknown, ignored or test rows",
        "all are rows of training roles",
    )


def _check_same_pair(
    store: FoldStore, asked: tuple[str, str, str], pair: HeldOut, ledger: Ledger
) -> None:
    name, other, key = asked
    title = f"{name}: asked {other} of the same pair"
    try:
        found = store.read(other, pair)["key"]
    except ArtifactError as error:
        ledger.fail(title, error.message)
        return
    if found == key:
        ledger.record(title, (), "", "the same key")
    else:
        ledger.fail(title, "the pair fit of it that is there is another")


def _check_labelled(
    name: str, parts: dict[str, Any], trained: pl.Series, truth: pl.DataFrame, ledger: Ledger
) -> None:
    known = [source for source, keys in parts["labellers"].items() if keys]
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    if len(pseudo):
        ledger.record(
            f"{name}: who labeled its pseudo rows is recorded",
            pseudo.filter(~pl.col("source").is_in(known))["id"],
            "rows that were learned with labels of unknown origin",
            f"{len(pseudo)} rows with pseudo-labels",
        )


def _check_no_pseudo(
    store: FoldStore, learner: str, pair: HeldOut, truth: pl.DataFrame, ledger: Ledger
) -> None:
    """Check that who labels rows has learned from no such labels, nor who taught it."""
    try:
        trained = read_columns(store.directory(learner, pair) / TRAIN_IDS, "id")["id"]
    except ArtifactError:
        return  # said already
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    ledger.record(
        f"{learner} {pair.label}: labels rows, and learned from no pseudo-labels",
        pseudo["id"],
        "rows whose labels are predictions",
        f"{len(trained)} training rows with labels of their own",
    )
