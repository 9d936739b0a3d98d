"""Names to out-of-fold probabilities: learners, candidates of the stack, learners of another run.

Nothing is taken that its manifest does not vouch for, and nothing is joined by position.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.compare import folds, stacked
from ensemble.compare.runs import check_same_rows
from ensemble.config.load import load_other_config
from ensemble.errors import ConfigError, DataError, unknown_name
from ensemble.stacking.doubt import doubted_candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ensemble.compare.runs import ComparedRun
    from ensemble.config.settings import Config
    from ensemble.plugin.base import FloatArray

OTHER = ":"
"""Stands between another run's directory and the name of a learner there."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One side of a comparison.

    Parameters
    ----------
    name
        Unique in the comparison.
    probabilities
        ``(n, 3)``; NaN where a row has not been predicted.
    made_from
        JSON that names the predictions: the hashes that a later reader holds against the run.
    settings
        JSON: plugin, version and parameters; empty for a candidate.
    training_rows
        ``"recorded"`` or ``"unknown"``: whether anybody knows what it was trained on.
    planned_folds
        The folds that the config has for it; None where that is all, and of a candidate.
    """

    name: str
    probabilities: FloatArray
    made_from: dict[str, Any]
    settings: dict[str, Any]
    training_rows: str
    planned_folds: list[int] | None = None


def read_candidates(compared: ComparedRun, config: Config, names: Sequence[str]) -> list[Candidate]:
    """Read the predictions that some names stand for, in the order of the names.

    Errors as ``compare``.
    """
    if len(names) < 2:
        raise DataError(
            f"a comparison takes two learners or more, and {len(names)} is given",
            hint="ensemble compare RUN A B",
        )
    places = [_place(compared, config, name) for name in names]
    labels = _labels(places, compared.run)
    for label in labels:
        if labels.count(label) > 1:
            raise DataError(f'"{label}" is named twice', hint="name each learner once")
    return [
        _read(compared, run, settings, name, label)
        for (run, settings, name), label in zip(places, labels, strict=True)
    ]


def read_one(compared: ComparedRun, config: Config, name: str) -> Candidate:
    """Read the predictions of one learner or candidate of the run; errors as ``compare``."""
    return _read(compared, compared.run, config, name, name)


def _place(compared: ComparedRun, config: Config, text: str) -> tuple[Path, Config, str]:
    """Say in which run a name is to be looked up."""
    directory, separator, name = text.rpartition(OTHER)
    if not separator:
        return compared.run, config, text
    other = Path(directory)
    settings = load_other_config(other)
    if other.resolve() == compared.run.resolve():
        return compared.run, config, name
    check_same_rows(compared, other)
    return other, settings, name


def _labels(places: Iterable[tuple[Path, Config, str]], own: Path) -> list[str]:
    """Call learners of other runs by as much of the run's path as tells them apart."""
    found = [(run, name) for run, _, name in places]
    if len({(run.resolve(), name) for run, name in found}) < len(found):
        return [_label(run, name, own, 1) for run, name in found]
    depth = 1
    while len({_label(run, name, own, depth) for run, name in found}) < len(found):
        depth += 1
    return [_label(run, name, own, depth) for run, name in found]


def _label(run: Path, name: str, own: Path, depth: int) -> str:
    return name if run == own else f"{'/'.join(run.resolve().parts[-depth:])}{OTHER}{name}"


def _read(compared: ComparedRun, run: Path, config: Config, name: str, label: str) -> Candidate:
    """Read a learner, or else a candidate of the stack."""
    learners = [learner.name for learner in config.learners]
    other = None if run == compared.run else label.rpartition(OTHER)[0]
    store = compared.store_of(run, config)
    if name in learners:
        _refuse_privileged(config, name)
        found = folds.read_learner(store, config.learner(name), compared.eval_set)
        made_from = {"kind": "learner", "name": name, "run": other, "folds": found.origins}
        planned = sorted(store.only[name]) if name in store.only else None
        return Candidate(
            label, found.probabilities, made_from, found.settings, found.training_rows, planned
        )
    candidates = stacked.candidate_names(run)
    if name not in candidates:
        kind = "learner" if other is None else f"learner of {run}"
        raise unknown_name(kind, name, [*learners, *candidates])
    probabilities, named_by = stacked.read_candidate(store, name, compared.eval_set.rows)
    unknown = [one for one in named_by["learners"] if folds.has_unknown_training(store, one)]
    description = stacked.description(run, named_by["candidate"])
    doubted = doubted_candidates({named_by["candidate"]: description}, unknown)
    made_from = {"kind": "candidate", "name": name, "run": other, **named_by}
    return Candidate(label, probabilities, made_from, {}, "unknown" if doubted else "recorded")


def _refuse_privileged(config: Config, name: str) -> None:
    """Refuse a teacher whose predictions nobody could make at test time."""
    if columns := config.learner(name).privileged:
        raise ConfigError(
            f'learner "{name}" sees {", ".join(columns)}, which do not exist at test time: it '
            "teaches, and is no candidate",
            hint="compare a learner that it teaches",
        )
