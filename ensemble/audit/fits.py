"""The checks of an audit on one fit of a learner, whatever it holds out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.audit.checks import told_error
from ensemble.audit.origins import check_origins
from ensemble.audit.soups import check_averaged
from ensemble.battles.held_out import REFIT, SOUP, HeldOut, fold_pairs
from ensemble.battles.schema import HOLDOUT_ROLE
from ensemble.config.plugin_files import split_reference
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.provenance import PROVENANCE_SCHEMA, judge_provenance
from ensemble.oof.staleness import compare_key
from ensemble.plugin.kept_sources import kept_plugin
from ensemble.plugin.manager import get_manager
from ensemble.run_dir.layout import LEARNERS, OOF, PROVENANCE, TRAIN_IDS
from ensemble.run_dir.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ensemble.audit.checks import CheckList
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore


@dataclass(frozen=True)
class Fit:
    """One fit of a learner, and what it holds out.

    Parameters
    ----------
    learner
        Its name.
    held_out
        The fold, or the pair of folds, whose rows it predicts and may not have seen; none for the
        refit and for the soup.
    """

    learner: str
    held_out: HeldOut

    @property
    def name(self) -> str:
        """Names it in checks."""
        return f"{self.learner} {self.held_out.label}"


def fits_of(learner: str, config: Config, n_splits: int) -> Iterator[Fit]:
    """Give the fits of a learner that a run has to have, beside those without a pair of folds."""
    some = config.some_folds(n_splits)
    folds = sorted(some.get(learner, range(n_splits)))
    yield from (Fit(learner, HeldOut((fold,))) for fold in folds)
    if config.wants_refit(learner):
        yield Fit(learner, REFIT)
    if config.models_of(learner) == SOUP.name:
        yield Fit(learner, SOUP)


def joint_fits_of(store: FoldStore, learner: str) -> Iterator[Fit]:
    """Give the fits of a learner without several folds that are there."""
    for path in sorted((store.run / LEARNERS / learner).glob("*-*-*")):
        if re.fullmatch(r"(pair|triple|folds)(-\d+)+", path.name):
            yield Fit(learner, HeldOut.named(path.name))


def pair_fits_of(learner: str, n_splits: int) -> Iterator[Fit]:
    """Give the fits of a learner that exact nested scores rest on."""
    yield from (Fit(learner, pair) for pair in fold_pairs(n_splits))


def check_fit(
    store: FoldStore,
    fit: Fit,
    truth: pl.DataFrame,
    ledger: CheckList,
    asked: tuple[LearnerSpec, Mapping[str, Any]] | None = None,
) -> None:
    """Check what one fit of a learner predicted, was made with and was trained on.

    Parameters
    ----------
    store, fit
        Where it is stored, and what it holds out.
    truth
        Of ``recomputed``.
    ledger
        Takes what holds and what does not.
    asked
        The learner as the config has it, and what all learners share; None where it has none.
    """
    name, directory = fit.name, store.directory(fit.learner, fit.held_out)
    if not directory.exists():
        ledger.missing.append(name)
        return
    try:
        manifest = store.read(fit.learner, fit.held_out)
        predicted, trained = _ids(directory / OOF), _ids(directory / TRAIN_IDS)
    except ArtifactError as error:
        ledger.fail(f"{name}: stored predictions can be trusted", told_error(error))
        return
    _check_predicted(name, predicted, fit.held_out, truth, ledger)
    if asked is not None:
        _check_made_with(name, manifest, asked, ledger)
    for doubt in manifest["doubts"]:
        ledger.note(ledger.unknown, fit.learner)
        ledger.note(ledger.unproven, f"{fit.learner}: {doubt}")
    if is_told := PROVENANCE in manifest["files"]:
        _check_provenance(directory, fit, manifest["provenance"], truth, ledger)
    if _is_unknown(store, manifest):
        if not is_told:
            ledger.note(ledger.unknown, fit.learner)
        return
    _check_trained(name, trained, fit.held_out, truth, ledger)
    _check_labeled(name, manifest, trained, truth, ledger)
    if fit.held_out.is_soup:  # who taught its models, and labels, are checked of each
        check_averaged(store, fit.learner, manifest, trained, ledger)
    else:
        check_origins(directory, name, manifest, truth, ledger)
        _check_taught(store, fit, name, manifest, truth, ledger)
    recorded = manifest["rows"]["train"] + manifest["rows"]["pretrain"]
    if len(trained) != recorded or not recorded:
        detail = f"{len(trained)} ids are stored, and the manifest says {recorded}"
        ledger.fail(f"{name}: all training rows are recorded", detail)


def _check_made_with(
    name: str,
    manifest: Mapping[str, Any],
    asked: tuple[LearnerSpec, Mapping[str, Any]],
    ledger: CheckList,
) -> None:
    """Check that what the config says of the learner is what the fit was made with."""
    spec, shared = asked
    found = compare_key(manifest["key_parts"], spec, shared)
    title = f"{name}: made with what the config and the plugin say"
    if found.different or not found.unproven:
        ledger.settle(title, "; ".join(found.different), "plugin, parameters, sources and seed")
    if found.unproven:
        ledger.note(ledger.unproven, f"settings of {spec.name}: {found.unproven}")
    if found.code:
        ledger.note(ledger.unproven, f"code of {spec.name}: {found.code}")
    for file in found.absent:
        ledger.note(ledger.absent, f"{file} of learner {spec.name}")


def _is_unknown(store: FoldStore, manifest: Mapping[str, Any]) -> bool:
    """Say whether the learner is of a kind that brings predictions from outside."""
    said, plugin = manifest["training_rows"] != "recorded", manifest["plugin"]
    if split_reference(plugin) is not None:
        plugin = kept_plugin(store.run, manifest.get("plugin_source"))
    try:
        return bool(said) if plugin is None else not get_manager().base_learners.get(plugin).trains
    except EnsembleError:  # not installed here: what was recorded then has to do
        return bool(said)


def _check_predicted(
    name: str, predicted: pl.Series, folds: HeldOut, truth: pl.DataFrame, ledger: CheckList
) -> None:
    held_out = set(_held_out(truth, folds)["id"])
    ledger.record(
        f"{name}: predicts its held-out rows, each once",
        set(predicted) ^ held_out | set(predicted.filter(predicted.is_duplicated())),
        "foreign, missing or repeated rows",
        f"{len(predicted)} rows",
    )


def _check_trained(
    name: str, trained: pl.Series, folds: HeldOut, truth: pl.DataFrame, ledger: CheckList
) -> None:
    held_out = _held_out(truth, folds)
    seen = truth.filter(pl.col("id").is_in(trained.implode()))
    # What the user's own folds may split is said of the plan, and leaves the run unproven.
    allowed = pl.col("may_split") & (pl.col("role") == "target")
    leaks = seen.filter(pl.col("id").is_in(held_out["id"].implode()) | (_like(held_out) & ~allowed))
    ledger.record(
        f"{name}: rule 2, saw neither a held-out row, nor its cluster, nor its swap",
        leaks["id"],
        "training rows that leak",
        f"{len(trained)} training rows",
    )
    _check_kept(name, seen, folds, truth, ledger)
    odd = set(trained) - set(seen["id"]) | set(
        seen.filter(~pl.col("role").is_in(["target", "train", "pseudo", "pretrain"]))["id"]
    )
    ledger.record(
        f"{name}: trains on rows of the run, none of the test set",
        odd,
        "training rows that are unknown, ignored or test rows",
        "all are rows of training roles",
    )


def _like(rows: pl.DataFrame) -> pl.Expr:
    """Say the same as any of these, or the swap of it."""
    return pl.any_horizontal(
        pl.col(name).is_in(rows[name].implode()) for name in ("cluster", "swap")
    )


def _check_kept(
    name: str, seen: pl.DataFrame, folds: HeldOut, truth: pl.DataFrame, ledger: CheckList
) -> None:
    """Check that a model saw nothing of what folds keep from it beside their own clusters."""
    kept = truth.filter(pl.col("role") == HOLDOUT_ROLE)
    _check_kept_apart(name, seen, kept, ledger)
    _check_earlier(name, seen, pl.concat([_held_out(truth, folds), kept]), ledger)


def _check_kept_apart(name: str, seen: pl.DataFrame, kept: pl.DataFrame, ledger: CheckList) -> None:
    if not len(kept):
        return
    leaks = seen.filter(pl.col("id").is_in(kept["id"].implode()) | _like(kept))
    ledger.record(
        f"{name}: saw nothing of the hold-out, nor of its clusters",
        leaks["id"],
        "training rows that leak",
        f"{len(seen)} training rows, {len(kept)} rows of the hold-out",
    )


def _check_earlier(name: str, seen: pl.DataFrame, scored: pl.DataFrame, ledger: CheckList) -> None:
    """Check that what is learned from is earlier than all that is scored, where folds ask that."""
    start: Any = scored["time"].min()
    if start is None:
        return
    undated = pl.col("time").is_null()
    is_late = pl.when(undated).then(~pl.col("may_lack_time")).otherwise(pl.col("time") >= start)
    late = seen.filter(is_late)
    ledger.record(
        f"{name}: trained on rows before the first that is scored",
        late["id"],
        "training rows that are not earlier",
        f"{len(seen)} training rows",
    )
    if without := len(seen.filter(undated)) - len(late.filter(undated)):
        ledger.note(
            ledger.unproven,
            f"{name}: {without:,} training rows have no time, and may be later than those scored",
        )


def _check_taught(
    store: FoldStore,
    fit: Fit,
    name: str,
    manifest: dict[str, Any],
    truth: pl.DataFrame,
    ledger: CheckList,
    *,
    labels: bool = False,
) -> None:
    """Check that who taught a fit, or labeled rows for it, held out the same, or more.

    And what these have seen: nothing held out, and no pseudo-label where they are behind some. So
    on with those that taught them: what a manifest names may no longer be in the config.
    """
    for other, key, title, what, behind in _asked(fit, name, manifest["key_parts"], labels):
        if not {*fit.held_out.folds} <= {*other.held_out.folds}:
            ledger.fail(title, f"it has seen what {name} holds out")
        found = _check_same_fit(store, title, (other.learner, other.held_out, key), ledger)
        if found is not None:
            trained, own = found
            _check_trained(what, trained, other.held_out, truth, ledger)
            if behind:
                _check_no_pseudo(what, trained, truth, ledger)
            _check_taught(store, other, what, own, truth, ledger, labels=behind)


def _asked(
    fit: Fit, name: str, parts: Mapping[str, Any], labels: bool
) -> Iterator[tuple[Fit, str, str, str, bool]]:
    """Give each fit that one asked, its key, titles, and whether it is behind pseudo-labels."""
    for teacher, keys in parts["teachers"].items():
        for one, key in keys.items():
            other = Fit(teacher, HeldOut.named(one))
            title, what = f"{name}: taught by {other.name}", f"{name}, teacher {other.name}"
            yield other, key, title, what, labels
    for source, keys in parts["labelers"].items():
        for labeler, key in keys.items():
            title = f"{name}: {source} labeled by {labeler} of the same {fit.held_out.kind}"
            what = f"{name}, labeler {labeler} of {source}"
            yield Fit(labeler, fit.held_out), key, title, what, True


def _check_same_fit(
    store: FoldStore, title: str, asked: tuple[str, HeldOut, str], ledger: CheckList
) -> tuple[pl.Series, dict[str, Any]] | None:
    """Check that the fit that was asked is the one that is there; gives what it was trained on."""
    learner, held_out, key = asked
    try:
        manifest = store.read(learner, held_out)
        trained = _ids(store.directory(learner, held_out) / TRAIN_IDS)
    except ArtifactError as error:
        ledger.fail(title, told_error(error))
        return None
    if manifest["key"] != key or _is_unknown(store, manifest):
        ledger.fail(title, "the fit of it that is there is another, or of unknown rows")
        return None
    ledger.record(title, (), "", "the same key")
    return trained, manifest


def _check_provenance(
    directory: Path, fit: Fit, told: Mapping[str, Any], truth: pl.DataFrame, ledger: CheckList
) -> None:
    """Check predictions of another run by what is kept of the models that made them."""
    title = f"{fit.name}: rule 2, no model of the other run saw the cluster or swap of its rows"
    try:
        stored = read_table(directory / PROVENANCE, list(PROVENANCE_SCHEMA))
    except ArtifactError as error:
        ledger.fail(title, told_error(error))
        return
    held_out = _held_out(truth, fit.held_out)["id"]
    judged = judge_provenance(stored, held_out, truth, ["cluster", "swap"])
    seen = int((stored["use"] == "trained").sum())
    ledger.record(
        title,
        judged.leaks,
        "rows whose model has seen their like, or is not recorded",
        f"{seen} training rows of {told.get('learner')} in {told.get('run')}",
    )
    if unproven := told.get("unproven") or judged.unproven:
        ledger.note(ledger.unknown, fit.learner)
        ledger.note(ledger.unproven, f"training rows of {fit.learner}: {unproven}")
        return
    trained = stored.filter(pl.col("use") == "trained")["id"]
    learned = truth.filter(pl.col("id").is_in(trained.implode()))
    _check_kept(f"{fit.name}, in the other run", learned, fit.held_out, truth, ledger)


def _check_labeled(
    name: str, manifest: dict[str, Any], trained: pl.Series, truth: pl.DataFrame, ledger: CheckList
) -> None:
    """Check that of all pseudo-labels that were learned it is recorded who gave them."""
    known = [source for source, keys in manifest["key_parts"]["labelers"].items() if keys]
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    if len(pseudo):
        ledger.record(
            f"{name}: who labeled its pseudo rows is recorded",
            pseudo.filter(~pl.col("source").is_in(known))["id"],
            "rows that were learned with labels of unknown origin",
            f"{len(pseudo)} rows with pseudo-labels",
        )


def _check_no_pseudo(name: str, trained: pl.Series, truth: pl.DataFrame, ledger: CheckList) -> None:
    pseudo = truth.filter((pl.col("role") == "pseudo") & pl.col("id").is_in(trained.implode()))
    ledger.record(
        f"{name}: learned from no pseudo-labels",
        pseudo["id"],
        "rows whose labels are predictions",
        f"{len(trained)} training rows with labels of their own",
    )


def _held_out(truth: pl.DataFrame, folds: HeldOut) -> pl.DataFrame:
    return truth.filter(pl.col("fold").is_in(list(folds.folds)))


def _ids(path: Path) -> pl.Series:
    return read_table(path, ["id"])["id"]
