"""A fit that is done, kept until all that comes after it is: predictions, checks, a full disk.

It lies among the checkpoints of its fold and goes with them. The next run begins with it, where
nothing has changed that the fit depends on; how the model predicts and is loaded may be mended.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.artifacts import atomic_directory, atomic_path, fingerprint, read_manifest
from ensemble.atomic import remove
from ensemble.errors import ArtifactError, EnsembleError, LearnerError
from ensemble.oof.models import load_one
from ensemble.oof.store import prediction_frame, read_logits
from ensemble.plugin.faults import guarded
from ensemble.plugin.fit_code import fit_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, LogitArray

_MODEL = "model"


def fit_key(spec: LearnerSpec, parts: Mapping[str, Any]) -> str:
    """Name a fit by all that decides what it learns: 64 hex digits.

    Parameters
    ----------
    spec
        The learner.
    parts
        What the fold's key was made from; code that is run after a fit does not count.
    """
    without_code = {name: part for name, part in parts.items() if name != "code"}
    return fingerprint({**without_code, "fit_code": fit_digest(type(spec.make()))})


def seed_key(key: str, seed: int) -> str:
    """Name the fit under one seed: 64 hex digits."""
    return fingerprint([key, seed])


def forget_spare(key: str, seed: int) -> None:
    """Remove what is kept outside the run: the fold is complete."""
    remove(_spare(seed_key(key, seed)))


def _spare(key: str) -> Path:
    """Give a place on what is often another disk than the run's: the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "preference-ensemble" / "fits" / key


@dataclass(frozen=True)
class KeptFit:
    """Where a fit is kept, and how it comes back.

    Parameters
    ----------
    spec
        The learner.
    where
        For errors.
    place
        A directory of the run.
    key
        Names the fit and its seed.
    """

    spec: LearnerSpec
    where: str
    place: Path
    key: str

    def load(self) -> tuple[BaseLearner, float] | None:
        """Give the fitted learner and how many seconds its fit took; None where none is kept.

        Raises
        ------
        LearnerError
            ``load`` raised, or returned no learner.
        """
        for place in self._places():
            seconds = self._seconds(place)
            if seconds is None:
                continue
            try:
                return load_one(self.spec, place / _MODEL, self.where), seconds
            except LearnerError as error:
                error.mend = self._mend("load", place)
                raise
        return None

    def keep(self, learner: BaseLearner, seconds: float) -> None:
        """Keep a fit that is done; where the run's disk takes nothing, in the user's cache.

        Raises
        ------
        LearnerError
            ``save`` raised.
        EnsembleError
            No disk takes it.
        """
        place, spare = self._places()
        try:
            self._write(place, learner, seconds)
        except LearnerError:
            raise
        except EnsembleError as full:
            try:
                self._write(spare, learner, seconds)
            except (EnsembleError, OSError):
                raise full from None

    def copy(self, target: Path) -> None:
        """Fill a directory, which is made, with the model."""
        found = next(place for place in self._places() if self._seconds(place) is not None)
        shutil.copytree(found / _MODEL, target, copy_function=link)

    def doubt(self, ids: pl.Series, logits: LogitArray) -> None:
        """Remember what the model said before it was saved: it has come back as another one."""
        with atomic_path(self._said) as path:
            prediction_frame(ids, logits).write_parquet(path)

    def check(self, ids: pl.Series, logits: LogitArray, tolerance: float) -> None:
        """See that a model that had come back as another one is mended.

        Raises
        ------
        LearnerError
            It still says something else than before it was saved.
        """
        if not self._said.exists():
            return
        said = read_logits(self._said, ids)
        known = ~np.isnan(said).any(axis=1)
        gap = float(np.abs(said[known] - logits[known]).max(initial=0.0))
        if gap > tolerance:
            raise LearnerError(
                "predict_logits gives other logits after save and load: they differ by up to "
                f"{gap:.3g}",
                where=self.where,
                mend=self._mend("load", self.place),
            )

    @property
    def _said(self) -> Path:
        return self.place.with_name(f"{self.place.name}-said.parquet")

    def _places(self) -> tuple[Path, Path]:
        return self.place, _spare(self.key)

    def _seconds(self, place: Path) -> float | None:
        try:
            manifest = read_manifest(place)
        except ArtifactError:
            return None
        return float(manifest["seconds"]) if manifest.get("key") == self.key else None

    def _write(self, place: Path, learner: BaseLearner, seconds: float) -> None:
        with atomic_directory(place, {"key": self.key, "seconds": seconds}) as directory:
            model = directory / _MODEL
            model.mkdir()
            guarded("save", self.where, lambda: learner.save(model))

    def _mend(self, verb: str, place: Path) -> str:
        return f"mend {verb}: the fit is kept; or delete {place} to fit again"


def link(source: str, target: str) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
