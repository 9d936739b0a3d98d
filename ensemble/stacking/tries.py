"""What was scored on a fold plan: every learner, candidate and earlier stack, with its losses.

``tries/<scored>/`` of a run holds ``index.json`` and one Parquet file for each time that something
new was scored: ``id``, and two float32 columns a try, log losses and errors (1 minus the accuracy).
A try is known by what was scored (keys of the learner's folds, parameters of the meta-learner), not
by its name or by what the config holds now. So a rerun counts once, and a learner that was taken
out of the config still counts, and so do learners of other sources. Other rows to score, other
folds of them, other labels or another task start anew. Nothing but ids and scores is kept.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.schema import LABEL_COLUMNS
from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import TRIES, TRIES_INDEX
from ensemble.run_dir.record import HINT
from ensemble.run_dir.tables import read_table, write_table
from ensemble.storage.atomic import remove_file
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ensemble.battles.fold_plan import FoldPlan
    from ensemble.plugin.base import FloatArray

_FOLD = re.compile(r"fold-\d+")
BEST_SINGLE = "best_single"
LEARNER, SIMPLE, META_LEARNER = "learner", "candidate", "meta-learner"
INCOMPLETE = "incomplete meta-learner"
"""A meta-learner on a stack that lacks learners or folds, which failed or for which time was short:
the next one takes its place whatever their scores, so that nobody has chosen between them."""


@dataclass(frozen=True)
class Try:
    """Something that was scored.

    Parameters
    ----------
    key
        Names what was scored.
    kind
        ``"learner"``, ``"candidate"`` (a simple one), ``"meta-learner"`` or ``"incomplete
        meta-learner"``.
    name
        What it was called in the config.
    """

    key: str
    kind: str
    name: str


class TryStore:
    """The tries on the same rows in the same folds.

    Parameters
    ----------
    run
        The run directory.
    scored
        Names rows and folds, as ``scored_rows`` does.
    """

    def __init__(self, run: Path, scored: str) -> None:
        self.directory = run / TRIES / scored[:16]

    def record(
        self,
        ids: Sequence[str],
        tries: Mapping[Try, FloatArray],
        doubts: Mapping[Try, Sequence[str]] = MappingProxyType({}),
        *,
        errors: Mapping[Try, FloatArray] = MappingProxyType({}),
    ) -> None:
        """Add what is new; the file of losses is written first, the index last.

        Parameters
        ----------
        ids
            Ids of ``n`` battles.
        tries
            Log losses ``(n,)`` of each; NaN where a battle has not been predicted.
        doubts
            What is odd about some of them, in sentences.
        errors
            1 minus the accuracy ``(n,)`` of each, where it is known.
        """
        entries, files = self._entries(), self._files()
        known = {entry["key"] for entry in entries}
        new = {one: losses for one, losses in tries.items() if one.key not in known}
        if not new:
            return
        name = f"{1 + max((int(each[:4]) for each in files), default=-1):04d}.parquet"
        columns = {
            _column(one.key, metric): np.asarray(values[one], np.float32)
            for metric, values in (("log_loss", new), ("accuracy", errors))
            for one in new
            if one in values
        }
        frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String), **columns})
        write_table(self.directory / name, frame)
        added = [
            {**asdict(one), "file": name, "doubts": [*doubts[one]] if one in doubts else None}
            for one in new
        ]
        files[name] = hash_file(self.directory / name)
        write_checksummed(
            self.directory / TRIES_INDEX, {"tries": [*entries, *added], "files": files}
        )

    def read(self, ids: Sequence[str], metric: str = "log_loss") -> dict[Try, FloatArray]:
        """Give all tries with their losses of ``n`` battles ``(n,)`` float64, NaN where unknown.

        With the metric ``"accuracy"`` these are errors, 1 minus the accuracy.
        """
        entries = self._entries()
        rows = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)})
        found: dict[Try, FloatArray] = {}
        for name in dict.fromkeys(entry["file"] for entry in entries):
            stored = self._losses(name)
            joined = rows.join(stored, on="id", how="left", maintain_order="left")
            for entry in entries:
                if entry["file"] == name:
                    one = Try(entry["key"], entry["kind"], entry["name"])
                    found[one] = _values(joined, _column(one.key, metric))
        return found

    def mend(self) -> str | None:
        """Forget what is damaged, so that what of it is still here is scored anew.

        Returns
        -------
        str or None
            What is forgotten, in words; None where all is as it was written.
        """
        index = self.directory / TRIES_INDEX
        if not index.exists():
            return self._mend_without_index()
        try:
            entries, files = self._entries(), self._files()
        except ArtifactError:
            remove_file(index)
            return f"{self._name(TRIES_INDEX)} is damaged: what was tried before is forgotten"
        lost = self._lost()
        if not lost:
            return None
        for name in lost:
            remove_file(self.directory / name)
        kept = [entry for entry in entries if entry["file"] not in lost]
        told = f"{', '.join(map(self._name, lost))}: damaged"
        write_checksummed(
            index,
            {"tries": kept, "files": {n: known for n, known in files.items() if n not in lost}},
        )
        return f"{told}, and {len(entries) - len(kept)} tries that were scored before are forgotten"

    def _mend_without_index(self) -> str | None:
        losses = list(self.directory.glob("*.parquet"))
        for path in losses:
            remove_file(path)
        told = f"{self._name(TRIES_INDEX)} is not there: what may have been tried is forgotten"
        return told if losses else None

    def _name(self, name: str) -> str:
        return f"{TRIES}/{self.directory.name}/{name}"

    def _losses(self, name: str) -> pl.DataFrame:
        path = self.directory / name
        if not self._holds(name, self._files().get(name, "")):
            raise ArtifactError(
                "losses of what was tried are not what was written", where=str(path), hint=HINT
            )
        return read_table(path)

    def doubts(self, one: Try) -> list[str] | None:
        """Say what is odd about a try; None where nobody has looked."""
        found = (entry.get("doubts") for entry in self._entries() if entry["key"] == one.key)
        return next(found, None)

    def count(self) -> int:
        """Count the tries whose losses are there as they were written.

        Raises
        ------
        ArtifactError
            The index is damaged.
        """
        there = {name for name, known in self._files().items() if self._holds(name, known)}
        return sum(entry["file"] in there for entry in self._entries())

    def lost(self) -> list[str]:
        """Name the files that are gone or not what was written, relative to the run.

        Raises
        ------
        ArtifactError
            The index is damaged.
        """
        is_there = (self.directory / TRIES_INDEX).exists()
        return [self._name(name) for name in (self._lost() if is_there else [TRIES_INDEX])]

    def _lost(self) -> list[str]:
        files = self._files().items()
        return sorted(name for name, known in files if not self._holds(name, known))

    def _holds(self, name: str, known: str) -> bool:
        try:
            return hash_file(self.directory / name) == known
        except OSError:
            return False

    def _entries(self) -> list[dict[str, Any]]:
        return list(self._index().get("tries", []))

    def _files(self) -> dict[str, str]:
        return dict(self._index().get("files", {}))

    def _index(self) -> dict[str, Any]:
        path = self.directory / TRIES_INDEX
        if not path.exists():
            return {}
        return read_checksummed(path, hint=HINT)


def _column(key: str, metric: str) -> str:
    """Name the column of a try's losses or errors."""
    return key if metric == "log_loss" else f"{key} {metric}"


def _values(frame: pl.DataFrame, column: str) -> FloatArray:
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy()


def scored_rows(plan: FoldPlan, battles: pl.DataFrame, *, ties: bool) -> str:
    """Name what every score is of, whatever else learners are trained on: 64 hex digits.

    Parameters
    ----------
    plan
        The fold plan; of it the fold of each target row.
    battles
        ``BATTLE_SCHEMA``; of it the labels of these rows.
    ties
        Whether the task has ties: log losses over two and three classes are no like measures.
    """
    folds = plan.frame.filter(pl.col("fold").is_not_null()).select("id", "fold")
    rows = folds.join(battles.select("id", *LABEL_COLUMNS), on="id", how="left").sort("id")
    told = rows.write_ndjson() + ("" if ties else "without ties")
    return sha256(told.encode()).hexdigest()


def learner_try(name: str, origins: Mapping[str, Any]) -> Try:
    """Name a learner by its folds' keys and predictions; pair fits change no OOF logit."""
    folds = {fold: origin for fold, origin in origins.items() if _FOLD.fullmatch(fold)}
    return Try(fingerprint([LEARNER, folds or dict(origins)]), LEARNER, name)


def candidate_try(name: str, parts: Mapping[str, Any], *, simple: bool) -> Try:
    """Name a candidate by what it was fitted on and with.

    Parameters
    ----------
    name
        Its name.
    parts
        ``key_parts`` of the stack's manifest. A simple candidate depends on the learners alone (the
        best single one on the metric too); a meta-learner on all that changes its predictions, not
        on what the config chooses, or by what.
    simple
        Whether it is one of the simple candidates.
    """
    origins = parts.get("folds", {})
    if simple:
        best_by = parts.get("task", {}).get("metric") if name == BEST_SINGLE else None
        return Try(fingerprint([SIMPLE, name, origins, best_by]), SIMPLE, name)
    ignored = ("choose", "resamples")
    settings = {k: v for k, v in parts.get("settings", {}).items() if k not in ignored}
    made = {k: v for k, v in parts.items() if k not in ("settings", "folds", "task")}
    lacks = any(parts.get(name) for name in ("left_out", "unfinished", "plain"))
    kind = INCOMPLETE if lacks else META_LEARNER
    return Try(fingerprint([META_LEARNER, origins, settings, made]), kind, name)
