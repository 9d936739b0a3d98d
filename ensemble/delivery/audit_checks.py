"""The checks of an audit on plan and learners, and the ledger that they write to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.split import read_split, split_key
from ensemble.battles.up_to_date import check_settings
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.store import OOF, TRAIN_IDS
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ensemble.battles.folds import FoldPlan
    from ensemble.config import Config
    from ensemble.oof.store import FoldStore

_SEED = 20_261
"""Of the search for near duplicates: another than that of ``prepare``, so that a pair that one
search misses by chance is not missed by both."""
_SHOWN_IDS = 20


@dataclass(frozen=True)
class Check:
    """One rule on one object, whether it holds, and the ids that break it."""

    name: str
    ok: bool
    detail: str
    ids: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; at most 20 ids, with their number in ``detail``."""
        ids = list(self.ids[:_SHOWN_IDS])
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "ids": ids}


@dataclass
class Ledger:
    """Collects what holds, what does not, and what could not be told."""

    checks: list[Check] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def record(self, name: str, offending: Iterable[str], what: str, holds: str) -> None:
        """Note a rule: it holds where no id offends."""
        ids = tuple(sorted(offending))
        detail = f"{what}: {len(ids)} ids, {', '.join(ids[:5])}" if ids else holds
        self.checks.append(Check(name, not ids, detail, ids))

    def fail(self, name: str, detail: str) -> None:
        """Note a rule that could not be checked because what is stored is damaged."""
        self.checks.append(Check(name, ok=False, detail=detail))


def recomputed(battles: pl.DataFrame, plan: FoldPlan, threshold: float) -> pl.DataFrame:
    """Give each row's clusters and swap key computed from the texts alone, beside what it is."""
    clusters = find_duplicates(battles, threshold=threshold, seed=_SEED).clusters
    return (
        battles.select("id", "source", "role", swap=_swap_key())
        .join(clusters, on="id", how="left", maintain_order="left")
        .join(plan.frame.select("id", "fold"), on="id", how="left", maintain_order="left")
    )


def _swap_key() -> pl.Expr:
    """Name a battle so that it and its A/B swap share the name: prompt and unordered responses."""
    sides = [pl.col(side).hash(seed=1) for side in ("response_a", "response_b")]
    unordered = (pl.min_horizontal(sides).alias("low"), pl.max_horizontal(sides).alias("high"))
    return pl.struct(pl.col("prompt").hash(seed=1), *unordered).hash(seed=2)


def check_described(config: Config, data: str, ledger: Ledger) -> None:
    """Check that the run's own config, which the reader believes, is what its rows come from."""
    name = "battles and fold plan are those that the config describes"
    try:
        check_settings(config)
        key = split_key(data, config.folds.n_splits, config.seed)
        read_split(Path(config.run_dir), key)
    except ArtifactError as error:
        ledger.fail(name, f"{error.message}; {error.mend}")
    else:
        ledger.record(name, (), "", "the same sources, settings and seed")


def check_plan(truth: pl.DataFrame, n_splits: int, threshold: float, ledger: Ledger) -> None:
    """Check the plan: who is validated, and that no cluster is torn."""
    foreign = truth.filter(pl.col("fold").is_not_null() & (pl.col("role") != "target"))
    ledger.record(
        "rule 1: only target rows are validated",
        foreign["id"],
        "rows of other roles have a fold",
        f"{int(truth['fold'].is_not_null().sum())} validated rows, all of the target",
    )
    left_out = truth.filter(pl.col("fold").is_null() & (pl.col("role") == "target"))
    ledger.record(
        "every target row has a fold", left_out["id"], "target rows without one", "none is left out"
    )
    torn = (
        truth.filter(pl.col("fold").is_not_null())
        .group_by("cluster")
        .agg(pl.col("fold").n_unique(), pl.col("id"))
        .filter(pl.col("fold") > 1)
    )
    ledger.record(
        "no recomputed cluster is split between folds",
        torn.explode("id")["id"],
        "rows of clusters that stand in several folds (if the search of `prepare` missed a pair, a "
        "slightly lower near_duplicate_threshold gives another plan)",
        f"{truth['cluster'].n_unique()} clusters computed anew at a Jaccard similarity of "
        f"{threshold}, {n_splits} folds",
    )


def check_fold(
    store: FoldStore, learner: str, fold: int | None, truth: pl.DataFrame, ledger: Ledger
) -> None:
    """Check what one fold of a learner (or its refit) predicted and was trained on."""
    name = f"{learner} {'refit' if fold is None else f'fold {fold}'}"
    directory = store.directory(learner, fold)
    if not directory.exists():
        ledger.missing.append(name)
        return
    try:
        manifest = store.read(learner, fold)
        predicted, trained = _ids(directory / OOF), _ids(directory / TRAIN_IDS)
    except ArtifactError as error:
        ledger.fail(f"{name}: stored predictions can be trusted", error.message)
        return
    _check_predicted(name, predicted, fold, truth, ledger)
    if _is_unknown(manifest):
        if learner not in ledger.unknown:
            ledger.unknown.append(learner)
        return
    _check_trained(name, trained, fold, truth, ledger)
    _check_labelled(name, manifest, trained, truth, ledger)
    _check_taught(store, name, manifest, truth, ledger)
    recorded = manifest["rows"]["train"] + manifest["rows"]["pretrain"]
    if len(trained) != recorded or not recorded:
        detail = f"{len(trained)} ids are stored, and the manifest says {recorded}"
        ledger.fail(f"{name}: all training rows are recorded", detail)


def _is_unknown(manifest: dict[str, Any]) -> bool:
    """Say whether the learner is of a kind that brings predictions from outside."""
    if manifest["training_rows"] == "recorded":
        return False
    try:
        return not get_manager().base_learners.get(manifest["plugin"]).trains
    except EnsembleError:
        return True  # not installed here: nothing can be said for it


def _check_predicted(
    name: str, predicted: pl.Series, fold: int | None, truth: pl.DataFrame, ledger: Ledger
) -> None:
    held_out = set(_held_out(truth, fold)["id"])
    ledger.record(
        f"{name}: predicts its held-out rows, each once",
        set(predicted) ^ held_out | set(predicted.filter(predicted.is_duplicated())),
        "foreign, missing or repeated rows",
        f"{len(predicted)} rows",
    )


def _check_trained(
    name: str, trained: pl.Series, fold: int | None, truth: pl.DataFrame, ledger: Ledger
) -> None:
    held_out = _held_out(truth, fold)
    seen = truth.filter(pl.col("id").is_in(trained.implode()))
    leaks = seen.filter(
        pl.col("id").is_in(held_out["id"].implode())
        | pl.col("cluster").is_in(held_out["cluster"].implode())
        | pl.col("swap").is_in(held_out["swap"].implode())
    )
    ledger.record(
        f"{name}: rule 2, saw neither a held-out row, nor its cluster, nor its swap",
        leaks["id"],
        "training rows that leak",
        f"{len(trained)} training rows",
    )
    odd = set(trained) - set(seen["id"]) | set(
        seen.filter(~pl.col("role").is_in(["target", "train", "pseudo", "pretrain"]))["id"]
    )
    ledger.record(
        f"{name}: trains on rows of the run, none of the test set",
        odd,
        "training rows that are unknown, ignored or test rows",
        "all are rows of training roles",
    )


def _check_taught(
    store: FoldStore,
    name: str,
    manifest: dict[str, Any],
    truth: pl.DataFrame,
    ledger: Ledger,
    *,
    labels: bool = False,
) -> None:
    """Check that who taught a fold, or labelled rows for it, is that fold's own model.

    And what these have seen: nothing held out, and no pseudo-label where they are behind some. So
    on with those that taught them: what a manifest names may no longer be in the config.
    """
    parts = manifest["key_parts"]
    asked = [
        (t, key, f"{name}: taught by {t} of the same fold", f"{name}, teacher {t}", labels)
        for t, key in parts["teachers"].items()
    ]
    for source, keys in parts["labellers"].items():
        for labeller, key in keys.items():
            title = f"{name}: {source} labelled by {labeller} of the same fold"
            asked.append((labeller, key, title, f"{name}, labeller {labeller} of {source}", True))
    for learner, key, title, what, behind in asked:
        found = _check_same_fold(store, title, (learner, manifest["fold"], key), ledger)
        if found is not None:
            trained, own = found
            _check_trained(what, trained, manifest["fold"], truth, ledger)
            if behind:
                _check_no_pseudo(what, trained, truth, ledger)
            _check_taught(store, what, own, truth, ledger, labels=behind)


def _check_same_fold(
    store: FoldStore, title: str, asked: tuple[str, int | None, str], ledger: Ledger
) -> tuple[pl.Series, dict[str, Any]] | None:
    """Check that the fold that was asked is the one that is there; gives what it was trained on."""
    learner, fold, key = asked
    try:
        manifest = store.read(learner, fold)
        trained = _ids(store.directory(learner, fold) / TRAIN_IDS)
    except ArtifactError as error:
        ledger.fail(title, error.message)
        return None
    if manifest["key"] != key or _is_unknown(manifest):
        ledger.fail(title, "the fold of it that is there is another, or of unknown rows")
        return None
    ledger.record(title, (), "", "the same key")
    return trained, manifest


def _check_labelled(
    name: str, manifest: dict[str, Any], trained: pl.Series, truth: pl.DataFrame, ledger: Ledger
) -> None:
    """Check that of all pseudo-labels that were learned it is recorded who gave them."""
    known = [source for source, keys in manifest["key_parts"]["labellers"].items() if keys]
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    if len(pseudo):
        ledger.record(
            f"{name}: who labelled its pseudo rows is recorded",
            pseudo.filter(~pl.col("source").is_in(known))["id"],
            "rows that were learned with labels of unknown origin",
            f"{len(pseudo)} rows with pseudo-labels",
        )


def _check_no_pseudo(name: str, trained: pl.Series, truth: pl.DataFrame, ledger: Ledger) -> None:
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    ledger.record(
        f"{name}: learned from no pseudo-labels",
        pseudo["id"],
        "rows whose labels are predictions",
        f"{len(trained)} training rows with labels of their own",
    )


def _held_out(truth: pl.DataFrame, fold: int | None) -> pl.DataFrame:
    return truth.clear() if fold is None else truth.filter(pl.col("fold") == fold)


def _ids(path: Path) -> pl.Series:
    return read_columns(path, "id")["id"]


def read_columns(path: Path, *columns: str) -> pl.DataFrame:
    """Read columns of a stored table.

    Raises
    ------
    ArtifactError
        They cannot be read.
    """
    try:
        return pl.read_parquet(path, columns=list(columns))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(path)) from error
