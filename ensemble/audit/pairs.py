"""The checks of an audit on fits without a pair of folds, which exact nested scores rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.audit.fits import check_fit, pair_fits_of
from ensemble.audit.stack import left_out_of, plain_of
from ensemble.battles.held_out import fold_pairs
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.store import origin_of
from ensemble.run_dir.layout import STACK
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.stacking.settings import nested_specs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from ensemble.audit.checks import CheckList
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.store import FoldStore


def check_pair_fits(
    store: FoldStore,
    config: Config,
    truth: pl.DataFrame,
    ledger: CheckList,
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
        asked = [spec.name for spec in nested_specs(config.without(left_out_of(store.run)))]
        wanted = [name for name in asked if name not in _plain_of(store)]
        _check_wanted(store, wanted, recorded, ledger)
    except EnsembleError:  # a plugin that is not installed here: the stack's word has to do
        wanted = []
    for learner in _with_asked(store, [*dict.fromkeys([*wanted, *recorded])]):
        for fit in pair_fits_of(learner, store.n_splits):
            check_fit(store, fit, truth, ledger, specs.get(learner))


def _plain_of(store: FoldStore) -> list[str]:
    try:
        return plain_of(peek_manifest(store.run / STACK))
    except (ArtifactError, AttributeError, TypeError):
        return []  # `check_stack` says so


def _with_asked(store: FoldStore, learners: list[str]) -> list[str]:
    """Add the learners whose pair fits these ask, and so on."""
    for learner in learners:  # grows by whom they ask
        for pair in fold_pairs(store.n_splits):
            try:
                parts = store.read(learner, pair)["key_parts"]
            except ArtifactError:
                continue  # said where the fit is checked
            asked = [*parts["teachers"], *(n for keys in parts["labelers"].values() for n in keys)]
            learners += [name for name in dict.fromkeys(asked) if name not in learners]
    return learners


def _recorded(store: FoldStore) -> dict[str, dict[str, Any]]:
    """Give the pairs that the stack was made from; none where it is not there or damaged."""
    try:
        return dict(peek_manifest(store.run / STACK)["key_parts"].get("pairs", {}))
    except (ArtifactError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # `check_stack` says so


def _check_wanted(
    store: FoldStore, wanted: list[str], recorded: Mapping[str, Any], ledger: CheckList
) -> None:
    """Check that the stack is nested exactly for whom the config asks, and for nobody else."""
    if not (store.run / STACK).exists():
        return  # noted as missing
    odd = sorted(set(wanted) ^ set(recorded))
    told = f"not as the config asks for {', '.join(odd)}" if odd else None
    ledger.settle("stack: nested exactly as the config asks", told, ", ".join(wanted) or "nobody")


def _check_recorded(
    store: FoldStore, recorded: dict[str, dict[str, Any]], ledger: CheckList
) -> None:
    """Check that exact nested logits are of the pairs that are there, and of all that it says."""
    if not recorded:
        return
    name, stale = "stack: nested on the pairs of folds that are there", []
    for learner, origins in recorded.items():
        for pair in fold_pairs(store.n_splits):
            place = store.directory(learner, pair)
            if place.exists() and origins.get(pair.name) != origin_of(peek_manifest(place)):
                stale.append(f"{learner} {pair.label}")
    nested = peek_manifest(store.run / STACK)["nested"]
    if any(sorted(each.get("exact", [])) != sorted(recorded) for each in nested):
        stale.append("other learners than the manifest records")
    if stale:
        ledger.fail(name, f"other: {', '.join(stale)}")
    else:
        ledger.record(name, (), "", f"exact for {', '.join(recorded)}")
