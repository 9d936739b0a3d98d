"""Changes to stored files that make their hashes hold, as a dishonest writer would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.audit.audit import audit_run
from ensemble.audit.checks import Check
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable


def rewrite_table(
    directory: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """Change a stored table and make the manifest's hash hold, as a dishonest writer would."""
    frame = pl.read_parquet(directory / name)
    change(frame).write_parquet(directory / name)
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = hash_file(directory / name)
    seal_manifest(path, manifest)


def seal_manifest(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with a seal that holds, as a dishonest writer would."""
    write_checksummed(path, value)


def failed_checks(place: Path) -> dict[str, tuple[str, ...]]:
    return {check.name: check.ids for check in failing_checks(place)}


def failing_checks(place: Path) -> list[Check]:
    """Give the checks that fail, but that of a submission, which any other stack fails too."""
    checks = audit_run(place).checks
    return [check for check in checks if not check.ok and not check.name.startswith("submission")]


def add_training_row(fold: Path, name: str) -> None:
    row = {"id": [name], "stage": ["train"]}
    rewrite_table(
        fold, "train_ids.parquet", lambda f: pl.concat([f, pl.DataFrame(row, schema=f.schema)])
    )
    label = {**row, "kind": ["hard"], "by": [[]], "fit": [None]}
    rewrite_table(
        fold, "labels.parquet", lambda f: pl.concat([f, pl.DataFrame(label, schema=f.schema)])
    )
    manifest = json.loads((fold / "manifest.json").read_text())
    manifest["rows"]["train"] += 1
    manifest["labels"]["hard"] += 1
    seal_manifest(fold / "manifest.json", manifest)
