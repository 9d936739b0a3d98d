"""The checks of an audit on fits without a pair of folds, which exact nested scores rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.audit.fits import Fit, check_fit, fits_of, pair_fits_of
from ensemble.audit.stack import left_out_of, plain_of
from ensemble.battles.held_out import HeldOut, fold_pairs
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.origins import origin_of
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
    singles = [fit for name in specs for fit in fits_of(name, config, store.n_splits)]
    pairs = [
        fit
        for name in dict.fromkeys([*wanted, *recorded])
        for fit in pair_fits_of(name, store.n_splits)
    ]
    for fit in _with_asked(store, [*singles, *pairs]):
        if fit.held_out.is_joint:
            check_fit(store, fit, truth, ledger, specs.get(fit.learner))


def _plain_of(store: FoldStore) -> list[str]:
    try:
        return plain_of(peek_manifest(store.run / STACK))
    except (ArtifactError, AttributeError, TypeError):
        return []  # `check_stack` says so


def _with_asked(store: FoldStore, fits: list[Fit]) -> list[Fit]:
    """Add the fits that these ask, and so on; each once."""
    found: dict[Fit, None] = {}
    waiting = list(fits)
    while waiting:
        fit = waiting.pop(0)
        if fit in found:
            continue
        found[fit] = None
        try:
            parts = store.read(fit.learner, fit.held_out)["key_parts"]
        except ArtifactError:
            continue  # said where the fit is checked
        taught = ((name, one) for name, keys in parts["teachers"].items() for one in keys)
        waiting += [Fit(name, HeldOut.named(one)) for name, one in taught]
        waiting += [Fit(name, fit.held_out) for keys in parts["labelers"].values() for name in keys]
    return [*found]


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
