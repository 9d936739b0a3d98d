"""The JSON files of ``stack/`` and the manifests of a run, as their readers take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.run_dir.layout import CANDIDATES, VERDICT
from ensemble.run_dir.stack_records import Candidates, Verdict
from ensemble.storage.directories import MANIFEST
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_verdict(stack: Path) -> dict[str, Any]:
    """Read ``verdict.json`` of a stack's directory.

    Raises
    ------
    ArtifactError
        It is missing, damaged, or says something else than ``Verdict`` declares.
    """
    content = read_json(stack / VERDICT)
    Verdict.validated(content, stack / VERDICT)
    return dict(content)


def read_candidates(stack: Path) -> dict[str, Any]:
    """Read ``candidates.json`` of a stack's directory; errors as ``read_verdict``."""
    content = read_json(stack / CANDIDATES)
    Candidates.validated(content, stack / CANDIDATES)
    return dict(content)


def write_stack_tables(
    stack: Path, verdict: Mapping[str, Any], candidates: Mapping[str, Any]
) -> None:
    """Write both."""
    write_json(stack / VERDICT, verdict)
    write_json(stack / CANDIDATES, candidates)


def peek_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of a fit or a stack without looking at the files that it names.

    Raises
    ------
    ArtifactError
        It is missing or damaged.
    """
    content = read_json(directory / MANIFEST)
    return content if isinstance(content, dict) else {}
