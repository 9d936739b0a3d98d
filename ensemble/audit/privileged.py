"""The check of an audit that what only teachers may see has reached nobody else.

From what is recorded of the very tables that each fit was handed, for learning and for predicting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from ensemble.audit.stack import stacked_learners
from ensemble.battles.held_out import SOUP
from ensemble.battles.label_leaks import label_leaks
from ensemble.errors import ArtifactError
from ensemble.plugin.base import LEARNER_COLUMNS
from ensemble.run_dir.layout import LEARNERS, TEST
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.directories import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.audit.checks import CheckList
    from ensemble.battles.privileged import PrivilegedColumns
    from ensemble.config.settings import Config

ONLY_TEACHERS = "privileged columns reached only teachers"


def check_privileged(run: Path, config: Config, ledger: CheckList) -> None:
    """Check which columns each fit saw, and that no fit that saw more is stacked or asked for test.

    Parameters
    ----------
    run, config
        The run, and its own config.
    ledger
        Takes the check.
    """
    stacked, faults, teachers = set(stacked_learners(run)), list[str](), set[str]()
    allowed = {one.name: tuple(one.privileged) for one in config.learners}
    for path in sorted((run / LEARNERS).glob(f"*/*/{MANIFEST}")):
        learner = path.parent.parent.name
        try:
            manifest = peek_manifest(path.parent)
        except ArtifactError:
            continue  # the checks of the fit say so
        if not isinstance(manifest.get("key_parts"), dict):
            continue  # so they do of what is no manifest
        found = _faults(manifest, allowed.get(learner), is_stacked=learner in stacked)
        faults += [f"{learner} {path.parent.name} {fault}" for fault in found]
        teachers |= {learner} if _extra(manifest) else set()
    told = f"seen by {', '.join(sorted(teachers))} alone" if teachers else "no fit saw any"
    ledger.settle(ONLY_TEACHERS, "; ".join(faults), told)


def _faults(
    manifest: Mapping[str, Any], allowed: tuple[str, ...] | None, *, is_stacked: bool
) -> Iterator[str]:
    """Say what is wrong with the columns that a fit saw."""
    if manifest.get("fold") == SOUP.to_json():  # what its models saw is looked at of each
        if manifest["key_parts"].get("privileged"):
            yield "predicts test rows"
        return
    seen, named = manifest.get("columns"), manifest["key_parts"].get("privileged") or {}
    learned = ["fit", *(["pretrain"] if manifest.get("pretrain") == "used" else [])]
    told = _are_names(seen) and all(seen.get(stage) for stage in learned)
    if not told or not isinstance(named, dict):
        yield "does not say which columns it saw"
        return
    extra = _extra(manifest)
    # A learner that is in no config any more says itself what it was made with.
    known = {*named} if allowed is None else {*named} & {*allowed}
    if foreign := sorted(extra - known):
        yield f"saw {', '.join(foreign)}"
    if extra and is_stacked:
        yield f"saw {', '.join(sorted(extra))}, and is stacked"
    files = manifest.get("files")
    if (extra or named) and isinstance(files, dict) and TEST in files:
        yield "predicts test rows"


def _extra(manifest: Mapping[str, Any]) -> set[str]:
    seen = manifest.get("columns")
    if not _are_names(seen):
        return set()  # a fault of its own
    return {name for names in seen.values() for name in names} - {*LEARNER_COLUMNS}


def _are_names(seen: Any) -> TypeGuard[dict[str, list[str]]]:
    """Say whether a manifest has names of columns, as ours do."""
    lists = seen.values() if isinstance(seen, dict) else [None]
    return all(isinstance(one, list) and all(isinstance(n, str) for n in one) for one in lists)


def check_leaks(
    config: Config,
    battles: pl.DataFrame,
    columns: PrivilegedColumns,
    ledger: CheckList,
) -> None:
    """Check that no privileged column is the label in other words."""
    for learner in config.learners:
        if learner.privileged:
            leaks = label_leaks(battles, columns.table, learner.privileged)
            told = [leak.sentence for leak in leaks if leak.is_certain]
            title = f"{learner.name}: its privileged columns do not tell the label"
            ledger.settle(title, "; ".join(told), ", ".join(learner.privileged))
