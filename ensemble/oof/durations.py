"""How long one fit of a learner takes: as measured in this run, or as the learner says."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ensemble.battles.held_out import REFIT, HeldOut, fold_pairs
from ensemble.errors import ArtifactError
from ensemble.plugin.contract import resources_of
from ensemble.run_dir.layout import LEARNERS
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec

    Suggested = Callable[[LearnerSpec], tuple[float, str] | None]

Kind = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True)
class Duration:
    """Seconds that one fold of a learner takes.

    Parameters
    ----------
    seconds
        None where nobody knows.
    kind
        Whether it was measured on this machine, is estimated, or is unknown.
    basis
        What it rests on.
    """

    seconds: float | None = None
    kind: Kind = "unknown"
    basis: str = "no fold has been fitted yet"

    def of(self, held_out: HeldOut, n_splits: int) -> float | None:
        """Give the seconds of any fit: they go with the rows that are learned from."""
        if self.seconds is None:
            return None
        return self.seconds * _share_of_rows(held_out, n_splits)


class Durations:
    """What is known of the fits of a run's learners.

    Parameters
    ----------
    config
        Of the run.
    n_splits
        Number of folds.
    suggested
        Gives seconds of one fold, and what they rest on, where a plugin estimates them by data and
        machine; None asks nobody.
    """

    def __init__(self, config: Config, n_splits: int, suggested: Suggested | None = None) -> None:
        self._learners, self._execution = Path(config.run_dir) / LEARNERS, config.execution
        self._splits, self._suggested = n_splits, suggested

    def of(self, spec: LearnerSpec) -> Duration:
        """Say how long one fold of a learner takes; the longest counts of those that were fitted.

        Measured are fits with the learner's parameters and seeds, whatever its code and the rows.
        """
        fits = list(self._fits(spec))
        here = [(s, host) for s, host, device in fits if self._is_here(host, device)]
        if here:
            return Duration(max(here)[0], "measured", f"{len(here)} fits on this machine")
        minutes = resources_of(spec.prototype, spec.where).minutes
        if minutes is not None:
            return Duration(60 * minutes * spec.seeds, "estimated", "the learner says so")
        if fits:
            seconds, host, _ = max(fits)
            return Duration(seconds, "estimated", f"measured on another machine, {host or '?'}")
        told = self._suggested(spec) if self._suggested else None
        if told is not None:
            return Duration(told[0] * spec.seeds, "estimated", told[1])
        return Duration()

    def _is_here(self, host: str, device: str) -> bool:
        execution = self._execution
        kinds = {one.partition(":")[0] for one in (execution.device, *execution.devices)}
        return host == platform.node() and device.partition(":")[0] in kinds

    def _fits(self, spec: LearnerSpec) -> Iterator[tuple[float, str, str]]:
        """Give seconds of a fold, host and device of the fits that are there; folds before others.

        A manifest that is damaged, or says something else, measures nothing.
        """
        n_splits = self._splits
        asked = canonical_json([spec.all_parameters(), spec.seeds])
        folds = [HeldOut.of(fold) for fold in range(n_splits)]
        for group in (folds, [REFIT, *fold_pairs(n_splits)]):
            found = []
            for held_out in group:
                with suppress(ArtifactError, LookupError, TypeError, ValueError, AttributeError):
                    manifest = peek_manifest(self._learners / spec.name / held_out.name)
                    if canonical_json([manifest["parameters"], manifest["seeds"]]) != asked:
                        continue
                    found.append(_measured(manifest, held_out, n_splits))
            if found:
                yield from found
                return


def _measured(manifest: dict[str, Any], held_out: HeldOut, n_splits: int) -> tuple[float, str, str]:
    seconds = float(manifest["seconds"]["job"]) / _share_of_rows(held_out, n_splits)
    machine = manifest["machine"]
    return seconds, str(machine["host"]), str(machine["device"])


def _share_of_rows(held_out: HeldOut, n_splits: int) -> float:
    """Give the rows that a fit learns from, as a share of those of a fold."""
    return max(1, n_splits - len(held_out.folds)) / max(1, n_splits - 1)
