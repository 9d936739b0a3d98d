"""OOF logits to candidates and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import STACK, VERDICT
from ensemble.stacking.assemble import check_folds, check_pairs
from ensemble.stacking.build import make_stack
from ensemble.stacking.doubt import outside_learners
from ensemble.stacking.remember import open_tries
from ensemble.stacking.settings import (
    nested_specs,
    stack_key_parts,
    stacked_specs,
)
from ensemble.stages.shared import check_and_record, say_again
from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.run_dir.reporter import Reporter


def stack_stage(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Turn OOF logits into candidates and a verdict."""
    specs = stacked_specs(config)
    check_and_record(config)
    workspace = open_workspace(config)
    manifest = _stack_manifest(config, workspace, specs)
    directory = workspace.run / STACK
    why = _why_stacked_again(directory, manifest)
    if why is not None:
        if why:
            say_again(reporter, "stack", why)
        with reporter.stage("stack"), reporter.progress("stack") as progress:
            tries = open_tries(workspace)
            make_stack(config, workspace, directory, manifest, tries=tries, progress=progress)
    verdict = dict(read_json(directory / VERDICT))
    reporter.event("verdict", chosen=verdict["chosen"], rule=verdict["rule"])
    reporter.log(verdict["sentence"])
    return verdict


def _stack_manifest(
    config: Config, workspace: Workspace, specs: Sequence[LearnerSpec]
) -> dict[str, Any]:
    """Say what the stack is made from: keys and logits of all folds and pairs, its settings."""
    parts = {
        "folds": check_folds(workspace, specs),
        "pairs": check_pairs(workspace, nested_specs(config)),
        **stack_key_parts(config),
    }
    return {
        "key": fingerprint(parts),
        "key_parts": parts,
        "plan": workspace.plan.fingerprint,
        "data": workspace.data_key,
        "learners": [spec.name for spec in specs],
        "unproven": outside_learners(specs),
    }


def check_stack(config: Config, workspace: Workspace) -> None:
    """Refuse a stack that is missing, or that was made with other settings.

    Raises
    ------
    ArtifactError
        It is.
    """
    manifest = _stack_manifest(config, workspace, stacked_specs(config))
    if _stored_key(workspace.run / STACK) != manifest["key"]:
        raise ArtifactError(
            "the stack is missing or was made with other settings",
            where=str(workspace.run / STACK),
            mend="run `ensemble stack CONFIG`",
        )


def _why_stacked_again(directory: Path, manifest: dict[str, Any]) -> str | None:
    """Say why the stack is made anew: None where it is there, empty where there was none."""
    if not directory.exists():
        return ""
    try:
        stored = read_manifest(directory)
    except ArtifactError as error:
        return f"{error.message} ({error.where})"
    if stored.get("key") == manifest["key"]:
        return None
    before, now = stored["key_parts"], manifest["key_parts"]
    return f"other {', '.join(name for name in now if before.get(name) != now[name])}"


def _stored_key(directory: Path) -> str | None:
    try:
        return str(read_manifest(directory).get("key"))
    except ArtifactError:
        return None
