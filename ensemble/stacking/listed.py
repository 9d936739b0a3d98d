"""The candidates of a stack: which there are, and how one comes back from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.errors import ArtifactError, ConfigError, unknown_name
from ensemble.run_dir.layout import MODEL
from ensemble.run_dir.stack_files import read_verdict
from ensemble.stacking.calls import load_validated
from ensemble.stacking.candidates import META_COMPLEXITY, Candidate, simple_candidates
from ensemble.stacking.verdict import AUTO
from ensemble.storage.directories import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.config.settings import Metric
    from ensemble.plugin.base import MetaLearner


def list_candidates(
    n_learners: int,
    meta_learner: Callable[[], MetaLearner] | None,
    meta_learner_name: str,
    metric: Metric = "log_loss",
) -> list[Candidate]:
    """List the candidates, simplest first, the meta-learner last.

    Raises
    ------
    ConfigError
        The meta-learner's name is that of another candidate, or cannot name a directory.
    """
    candidates = simple_candidates(n_learners, metric)
    if meta_learner is None:
        return candidates
    taken = [AUTO, *(candidate.name for candidate in simple_candidates(2))]
    if meta_learner_name in taken or not _is_plain(meta_learner_name):
        raise ConfigError(
            f'"{meta_learner_name}" cannot name a meta-learner',
            where="stack.meta_learner",
            hint=f"register it under another name: no path, and none of {', '.join(taken)}",
        )
    return [*candidates, Candidate(meta_learner_name, META_COMPLEXITY, meta_learner, simple=False)]


def load_stack(
    directory: Path,
    meta_learner: Callable[[], MetaLearner] | None,
    name: str | None = None,
) -> MetaLearner:
    """Load the chosen candidate, fitted on all rows, after checking every file's hash.

    Parameters
    ----------
    directory
        The ``stack/`` of a run.
    meta_learner
        Makes a meta-learner with the parameters that the stack was fitted with.
    name
        Another candidate than the chosen one.

    Raises
    ------
    ArtifactError
        A file is missing or damaged, or the meta-learner's plugin is not given.
    LearnerError
        The candidate cannot be loaded.
    UnknownNameError
        ``name`` is no candidate of this stack.
    """
    read_manifest(directory)
    verdict = read_verdict(directory)
    known = [entry["name"] for entry in verdict["candidates"]]
    wanted = verdict["chosen"] if name is None else name
    if wanted not in known or not _is_plain(wanted):
        raise unknown_name("candidate", wanted, known)
    makers: dict[str, Callable[[], MetaLearner] | None] = {
        candidate.name: candidate.make for candidate in simple_candidates(2)
    }
    make = makers.get(wanted, meta_learner)
    if make is None:
        raise ArtifactError(
            f'the stack uses the meta-learner "{wanted}", but none is given',
            where=str(directory),
            hint="install its plugin, or choose another candidate in the config",
        )
    return load_validated(f'candidate "{wanted}"', make, directory / MODEL / wanted)


def _is_plain(name: str) -> bool:
    """Say whether a name stays inside the directory that it is joined to."""
    return bool(name) and not name.startswith(".") and Path(name).name == name and "\\" not in name
