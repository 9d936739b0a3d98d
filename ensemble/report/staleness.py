"""Whether scores are of what the config says now: new parameters never stand by old scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ensemble.battles.split import read_current_split
from ensemble.battles.staleness import check_settings
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.fold_key import shared_parts
from ensemble.oof.staleness import compare_key, given_differences
from ensemble.stacking.made_from import other_settings
from ensemble.stacking.settings import learner_specs
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.report.configured import Configured
    from ensemble.run_dir.battles_record import BattlesRecord
    from ensemble.run_dir.fit_manifest import FitManifest
    from ensemble.run_dir.folds_record import FoldsRecord
    from ensemble.run_dir.stack_records import StackManifest


@dataclass(frozen=True)
class RunKey:
    """What predictions and stack have to be made from to be those of the run as it is now.

    Parameters
    ----------
    plan
        Fingerprint of the fold plan; None before there is one, which fits anything.
    data
        Key of the battles; None likewise.
    """

    plan: str | None
    data: str | None

    @classmethod
    def of(cls, plan: FoldsRecord | None, sources: BattlesRecord | None) -> RunKey:
        """Take it from the run's records."""
        return cls(plan.fingerprint if plan else None, sources.data if sources else None)

    def difference(self, made_from: FitManifest | StackManifest) -> str | None:
        """Name what something was made from that is not so any more; None where all of it is."""
        if self.plan is not None and made_from.plan != self.plan:
            return "another fold plan"
        if self.data is not None and made_from.data != self.data:
            return "another set of battles"
        return None


@dataclass(frozen=True)
class Asked:
    """What the config asks for, to be held against what was made.

    Parameters
    ----------
    config
        The run's config; None where this version does not understand it.
    written
        Plugin and parameters of each learner as the config writes them out.
    basis
        Of which battles and fold plan the run is.
    """

    config: Config | None
    written: Mapping[str, tuple[str, Mapping[str, Any]]]
    basis: RunKey

    @classmethod
    def of(cls, run: Path, configured: Configured | None, basis: RunKey) -> Asked:
        """Read what a run's config asks for."""
        try:
            config = load_run_config(run, is_judged=True)
        except EnsembleError:
            config = None
        return cls(config, configured.written if configured else {}, basis)

    def of_learner(self, name: str, made_by: Mapping[str, Any]) -> Sequence[str]:
        """Say in what the parts of a stored fold's key differ from what is asked, in words.

        Files are not compared here, but by the audit: base weights are large.
        """
        if self.config is None:
            plugin, parameters = self.written.get(name, ("", {}))
            return list(given_differences(made_by, plugin, parameters)) if plugin else []
        if fault := self.plan_fault():
            return [fault]
        spec = self._specs.get(name)
        if spec is None:
            return []
        # What a fit holds out is compared elsewhere: the folds of a learner differ in nothing else.
        asked = name, fingerprint({key: part for key, part in made_by.items() if key != "fold"})
        if asked not in self._compared:
            found = compare_key(made_by, spec, self._shared(), files=False)
            is_stale = found.code and not found.kept
            told = (*found.different, found.code) if is_stale else found.different
            self._compared[asked] = told
        return self._compared[asked]

    def of_stack(self, made_by: Mapping[str, Any]) -> str | None:
        """Say in what the parts of the stack's key differ from what is asked; None in nothing."""
        if self.config is None:
            return None
        if fault := self.plan_fault():
            return fault
        try:
            other = other_settings(made_by, self.config)
        except EnsembleError:
            return None  # a plugin is not here: the audit says that this is unproven
        return f"other {', '.join(other)} than the config now says" if other else None

    def plan_fault(self) -> str | None:
        """Say where the battles or the fold plan are not those that the config describes."""
        return self._plan_fault

    @cached_property
    def _plan_fault(self) -> str | None:  # once: battles and plan are read for it
        if self.config is None or self.basis.data is None or self.basis.plan is None:
            return None
        try:
            check_settings(self.config)
            read_current_split(self.config, self.basis.data)
        except ArtifactError as error:
            return error.message
        return None

    @cached_property
    def _specs(self) -> dict[str, LearnerSpec]:
        return {} if self.config is None else {s.name: s for s in learner_specs(self.config)}

    @cached_property
    def _compared(self) -> dict[tuple[str, str], Sequence[str]]:
        return {}

    def _shared(self) -> dict[str, Any]:
        assert self.config is not None  # noqa: S101 - both callers have looked
        uses, seed = self.config.source_uses(), self.config.seed
        return shared_parts(self.basis.data, self.basis.plan, uses, seed)
