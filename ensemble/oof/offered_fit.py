"""A fit that another run offers: copied, and proven to be what this run would fit itself."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.files.parquet_columns import check_parquet
from ensemble.errors import ArtifactError, DataError
from ensemble.oof.adopt import refuse_other_fit
from ensemble.oof.predictions import read_logits
from ensemble.oof.rows import FoldRows
from ensemble.oof.staleness import compare_key
from ensemble.run_dir.layout import LABELS, MODEL, OOF, OOF_SEEDS, TEST, TRAIN_IDS
from ensemble.run_dir.tables import read_table
from ensemble.storage.atomic import temp_path, wrap_os_errors
from ensemble.storage.directories import MANIFEST
from ensemble.storage.foreign import copy_plain, plain_files, read_plain
from ensemble.storage.pickles import pickle_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.battles.held_out import HeldOut
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

_MOST_MANIFEST = 64 << 20
_MOST_TABLE, _MOST_OF_ROW = 16 << 20, 4 << 10
"""Bytes of a table that says nothing, and of a row of it."""
_ODD = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What comes of a manifest that holds something else than ours do."""


@dataclass(frozen=True)
class OfferedFit:
    """A fit that is offered, and what it has to be.

    Parameters
    ----------
    workspace
        Of this run, with the learner's own uses of its sources.
    spec, held_out, key
        What it has to be of, and the key that it has to have.
    """

    workspace: Workspace
    spec: LearnerSpec
    held_out: HeldOut
    key: str

    @contextmanager
    def copied(self, place: Path, target: Path, *, dry_run: bool) -> Iterator[Path]:
        """Give a copy beside its place, which nobody else can change; in a dry run, itself."""
        files = plain_files(place)
        self._refuse_by_word(place, files)
        if dry_run:
            yield place
            return
        if sum(files.values()) > shutil.disk_usage(self.workspace.run).free:
            raise ArtifactError("the disk has no room for it")
        with temp_path(target) as copy:
            with wrap_os_errors(target):
                copy.mkdir()
                copy_plain(place, files, copy)
            yield copy

    def prove(self, directory: Path) -> None:
        """See that it is what this run would fit itself.

        Raises
        ------
        ArtifactError
            It is not, or went away meanwhile; says why.
        """
        rows = FoldRows.of(self._with_labels(), self.held_out, self.spec.privileged)
        try:
            self._prove(directory, rows)
        except OSError as error:  # in a dry run it is read where its owner may replace it
            name = Path(error.filename or directory).name
            raise ArtifactError(f"{name} cannot be read: {error.strerror or error}") from error

    def _prove(self, directory: Path, rows: FoldRows) -> None:
        store, spec = self.workspace.store, self.spec
        manifest = refuse_other_fit(directory, store, spec.name, self.held_out, self.key)
        self._check_files(directory, manifest)
        self._check_predicted(directory / OOF, rows.held_out["id"])
        if self._predicts_test_rows():
            self._check_predicted(directory / TEST, rows.asked["id"])
        self._check_seeds(directory, rows.held_out["id"])
        self._check_trained(directory / TRAIN_IDS, rows, manifest)

    def _predicts_test_rows(self) -> bool:
        return not (self.held_out.is_joint or self.spec.privileged)

    def _with_labels(self) -> Workspace:
        """Give pseudo rows some label, since which rows are learned from is all that is asked."""
        rows = self.workspace.battles.filter(pl.col("role") == "pseudo").select("id")
        if not len(rows):
            return self.workspace
        names = [name for name in self.workspace.battles.columns if name.startswith("label_")]
        return self.workspace.with_pseudo_labels(
            rows.with_columns(pl.lit(1 / 3).alias(name) for name in names)
        )

    def _refuse_by_word(self, place: Path, files: dict[str, int]) -> None:
        """Refuse, before anything is copied, what says itself that it is something else."""
        if MANIFEST not in files:
            raise ArtifactError("it is not complete: it has no manifest")
        try:
            manifest = json.loads(read_plain(place / MANIFEST, _MOST_MANIFEST))
            if manifest["key"] != self.key:
                raise ArtifactError(self._difference(manifest))
        except _ODD as error:
            raise ArtifactError(f"its manifest cannot be read: {type(error).__name__}") from error

    def _difference(self, manifest: dict[str, Any]) -> str:
        store, parts = self.workspace.store, manifest["key_parts"]
        if parts["data"] != store.data:
            return "it is of other battles than this run's"
        if parts["plan"] != store.plan:
            return "it is of another fold plan than this run's"
        found = compare_key(parts, self.spec, self.workspace.shared_key())
        absent = [f"{name} is not here" for name in found.absent]
        told = [*found.different, found.code, *absent, found.unproven]
        return "; ".join(filter(None, told)) or "it, or what it learns from, was made otherwise"

    def _check_files(self, directory: Path, manifest: dict[str, Any]) -> None:
        """Refuse files that no fit writes, and pickles, which run code when they are read."""
        kind = type(self.spec.prototype)
        if self.spec.reads_files:
            raise ArtifactError("it brings predictions from outside: give this run their files")
        tables = {OOF, TRAIN_IDS, LABELS, *([TEST] if self._predicts_test_rows() else [])}
        tables |= {OOF_SEEDS} if self.spec.seeds > 1 else set()
        names = set(manifest["files"])
        models = {name for name in names if name.startswith(f"{MODEL}/")}
        odd = sorted((names - models) ^ tables)
        if odd:
            raise ArtifactError(f"files are missing, or such as no fit writes: {', '.join(odd)}")
        for name in sorted(models):
            if what := pickle_of_file(directory / name):
                raise ArtifactError(f"{name} is {what}: pickles run code when they are read")
        doubted = not kind.trains or bool(manifest["doubts"])
        recorded = "unknown" if doubted else "recorded"
        if manifest.get("training_rows") != recorded:
            raise ArtifactError("it says something else of its training rows than the plugin does")

    def _check_predicted(self, path: Path, ids: pl.Series) -> None:
        stored = _ids(path, len(ids))["id"]
        if stored.is_duplicated().any() or set(stored) != set(ids):
            raise ArtifactError(f"{path.name} does not predict just the rows that it should")
        logits = read_logits(path, ids)
        bad = np.isinf(logits) if not type(self.spec.prototype).trains else ~np.isfinite(logits)
        if bad.any():
            raise ArtifactError(f"{path.name} has logits that are no numbers")

    def _check_seeds(self, directory: Path, ids: pl.Series) -> None:
        if self.spec.seeds == 1:
            return
        rows = _ids(directory / OOF_SEEDS, len(ids) * self.spec.seeds, "seed")
        asked = {(one, seed) for one in ids for seed in range(self.spec.seeds)}
        if len(rows) != len(asked) or set(rows.iter_rows()) != asked:
            raise ArtifactError(f"{OOF_SEEDS} does not predict just the rows that it should")

    def _check_trained(self, path: Path, rows: FoldRows, manifest: dict[str, Any]) -> None:
        """Hold the ids that it says to have learned from against this run's plan."""
        stages = {"train": rows.train.battles["id"]}
        if hasattr(self.spec.prototype, "pretrain") and len(rows.pretrain.battles):
            stages["pretrain"] = rows.pretrain.battles["id"]
        asked = {(one, stage) for stage, ids in stages.items() for one in ids}
        stored = _ids(path, len(asked), "stage")
        found = set(stored.iter_rows())
        if len(stored) != len(found) or found != asked:
            foreign, missing = len(found - asked), len(asked - found)
            raise ArtifactError(
                f"it was not trained on the rows that this run's plan says: {foreign:,} that it "
                f"may not see, {missing:,} are missing"
            )
        said = manifest.get("rows", {})
        counts = {name: said.get(name, 0) for name in ("train", "pretrain")}
        if counts != {"train": 0, "pretrain": 0} | {n: len(ids) for n, ids in stages.items()}:
            raise ArtifactError("its manifest counts other training rows than it lists")


def _ids(path: Path, rows: int, *more: str) -> pl.DataFrame:
    """Read the ids of a table that may have so many rows, and is seen to before it is read."""
    if path.stat().st_size > _MOST_TABLE + rows * _MOST_OF_ROW:
        raise ArtifactError(f"{path.name} is larger than {rows:,} rows can be")
    try:
        check_parquet(path, ["id", *more])
        stored = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except DataError as error:
        raise ArtifactError(f"{path.name} cannot be read: {error.message}") from error
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtifactError(f"{path.name} cannot be read: {error}") from error
    if stored != rows:
        raise ArtifactError(f"{path.name} has {stored:,} rows, and should have {rows:,}")
    table = read_table(path, ["id", *more])
    if any(kind != pl.String and not kind.is_integer() for kind in table.dtypes):
        raise ArtifactError(f"{path.name} has ids that are no text")
    return table
