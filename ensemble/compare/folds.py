"""A learner's folds, put together as the out-of-fold predictions of one and the same learner."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name, short_names
from ensemble.errors import ArtifactError
from ensemble.evaluation.losses import softmax
from ensemble.oof.fold_key import fold_name
from ensemble.oof.origins import origin_of
from ensemble.redact import without_secrets
from ensemble.run_dir.layout import LEARNERS
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.config.settings import Learner
    from ensemble.oof.eval_set import EvalSet
    from ensemble.oof.store import FoldStore
    from ensemble.plugin.base import FloatArray

_SETTINGS = ("plugin", "version")


@dataclass(frozen=True, eq=False)
class Found:
    """A learner's predictions and what stands behind them.

    Parameters
    ----------
    probabilities
        ``(n, 3)``; NaN where the row's fold has not been fitted.
    origins
        Key and hash of the logits of each fold, by the name of its directory.
    settings
        Plugin, version and parameters.
    training_rows
        As in ``Candidate``.
    """

    probabilities: FloatArray
    origins: dict[str, dict[str, str]]
    settings: dict[str, Any]
    training_rows: str


def read_learner(store: FoldStore, learner: Learner, eval_set: EvalSet) -> Found:
    """Read the folds that there are; each has to be whole, of this plan, and like the others.

    Parameters
    ----------
    store
        The folds of the run.
    learner
        As the run's config has it.
    eval_set
        ``n`` rows.

    Raises
    ------
    ArtifactError
        A fold is damaged, of another plan or of other battles, was made with other settings than
        the rest or than the config has, or predicts what it does not hold out; or there is none.
    """
    manifests = read_manifests(store, learner)
    logits = store.oof(learner.name, eval_set)
    first = next(iter(manifests.values()))
    states = {manifest.get("training_rows") or "unknown" for manifest in manifests.values()}
    return Found(
        softmax(logits),
        {name: origin_of(manifest) for name, manifest in manifests.items()},
        {key: first["key_parts"].get(key) for key in _SETTINGS}
        | {"parameters": first.get("parameters", {})},
        max(states),
    )


def read_manifests(store: FoldStore, learner: Learner) -> dict[str, dict[str, Any]]:
    """Read the manifests of a learner's folds, by fold name; errors as ``read_learner``."""
    with _with_hint(learner.name):
        manifests = {
            fold_name(fold): store.read(learner.name, fold)
            for fold in store.fitted_folds(learner.name)
        }
    _check_alike(manifests, learner, str(store.run / LEARNERS / learner.name))
    return manifests


def has_unknown_training(store: FoldStore, learner: str) -> bool:
    """Say whether nobody knows what a learner of the stack was trained on."""
    return bool(peek_manifest(store.directory(learner, 0)).get("training_rows") != "recorded")


@contextmanager
def _with_hint(learner: str) -> Iterator[None]:
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(error.message, where=error.where, hint=_hint(learner)) from error


def _hint(learner: str) -> str:
    return f"run `ensemble fit CONFIG --learner {learner}`: what is damaged or lacks is made anew"


def _check_alike(manifests: Mapping[str, Mapping[str, Any]], learner: Learner, where: str) -> None:
    """See that all folds are of one learner, and that it is the config's."""
    if not manifests:
        raise ArtifactError(
            f'learner "{learner.name}" has not been fitted',
            where=where,
            hint=_hint(learner.name),
        )
    shared = {name: _of_all_folds(manifest["key_parts"]) for name, manifest in manifests.items()}
    if len({fingerprint(parts) for parts in shared.values()}) > 1:
        raise ArtifactError(
            f"its folds were made with different settings: {', '.join(_odd(shared))}",
            where=where,
            hint=_hint(learner.name),
        )
    made_by = next(iter(shared.values()))
    parameters = made_by.get("parameters", {})
    by_content = {*made_by.get("dependencies", {}), *made_by.get("files", {})} - {*parameters}
    asked = short_names(without_secrets(dict(learner.parameters)))
    given = {k: v for k, v in asked.items() if k not in by_content}
    changed = [k for k, v in given.items() if parameters.get(k) != v]
    if made_by.get("plugin") != short_name(learner.plugin) or changed:
        raise ArtifactError(
            "its predictions were made with other settings than the config has now: "
            + (", ".join(changed) or f"plugin {made_by.get('plugin')}"),
            where=where,
            hint=_hint(learner.name),
        )


def _of_all_folds(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parts of a fold's key that all folds of a learner share.

    Each fold has its own teachers and labelers, which have the same names in all of them.
    """
    named = {name: sorted(keys) for name, keys in parts.get("labelers", {}).items()}
    taught = {"teachers": sorted(parts.get("teachers", ())), "labelers": named}
    return {name: value for name, value in parts.items() if name != "fold"} | taught


def _odd(shared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the parts of the key in which folds differ."""
    names = {name for parts in shared.values() for name in parts}
    values = {name: {fingerprint(parts.get(name)) for parts in shared.values()} for name in names}
    return sorted(name for name, found in values.items() if len(found) > 1)
