"""A fit that is done, kept until all that comes after it is: predictions, checks, a full disk.

It lies among the checkpoints of its fold and goes with them. The next run begins with it, where
nothing has changed that the fit depends on; how the model predicts and is loaded may be changed.
Beside it stands what the learner said of a few rows before it left the memory: what comes back from
the files has to say the same, whenever that is.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import ArtifactError, EnsembleError, LearnerError
from ensemble.oof.models import load_one
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.fit_code import AFTER_FIT, fit_digest
from ensemble.storage.atomic import remove
from ensemble.storage.directories import atomic_directory, read_manifest
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_checksummed, write_checksummed
from ensemble.storage.user_cache import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, LogitArray

KEPT = "kept-fit"
"""Directory, beside a learner's own checkpoints, of a fit that is done."""
_FITTED, _MODEL, _SAID = "fitted", "model", "said.json"
_NOT_PREDICTING = AFTER_FIT - {"predict_logits"}


def fit_key(spec: LearnerSpec, parts: Mapping[str, Any]) -> str:
    """Name a fit by all that decides what it learns: 64 hex digits.

    Parameters
    ----------
    spec
        The learner.
    parts
        What the fold's key was made from; code that is run after a fit does not count, but for
        the secrets that stand beside it.
    """
    kept = {name: part for name, part in parts.items() if name != "code"}
    secrets = (parts.get("code") or {}).get("secrets")
    return fingerprint({**kept, "secrets": secrets, "fit_code": fit_digest(type(spec.prototype))})


def seed_key(key: str, seed: int) -> str:
    """Name the fit under one seed: 64 hex digits."""
    return fingerprint([key, seed])


def forget_spare(key: str, seed: int) -> None:
    """Remove what is kept outside the run: the fold is complete."""
    remove(_spare(seed_key(key, seed)))


def _spare(key: str) -> Path:
    """Give a place on what is often another disk than the run's: the user's cache."""
    return user_cache("fits", key)


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
        found = self._find()
        if found is None:
            return None
        place, manifest = found
        model, seconds = place / _FITTED / _MODEL, float(manifest["seconds"])
        try:
            return load_one(self.spec, model, self.where), seconds
        except LearnerError as error:
            if self._find() is None:  # another run has removed it meanwhile
                return None
            error.hint = self._hint(place)
            raise

    def keep(self, learner: BaseLearner, seconds: float) -> None:
        """Keep a fit that is done; where the run's disk takes nothing, in the user's cache.

        Raises
        ------
        LearnerError
            ``save`` raised.
        EnsembleError
            No disk takes it.
        """
        self._write(lambda place: self._save(place, learner, seconds))

    def say(self, ids: pl.Series, logits: LogitArray) -> None:
        """Remember what the fitted learner, which was never saved, says of a few rows.

        Raises
        ------
        EnsembleError
            No disk takes it.
        """
        found = self._find()
        if found is None:
            return
        logits_of = dict(zip(ids.to_list(), logits.tolist(), strict=True))
        said = {"model": found[1]["model"], "logits": logits_of}
        self._write(lambda place: write_checksummed(place / _SAID, said))

    def is_same(self, ids: pl.Series, logits: LogitArray, tolerance: float) -> bool:
        """See that the model that has come back says what the fitted learner said.

        Parameters
        ----------
        ids, logits
            What it says of the rows that ``say`` was given.
        tolerance
            Greatest difference allowed.

        Returns
        -------
        bool
            False where nobody knows, since the run ended before the learner was asked. Where the
            code that predicts was changed, no fitted learner can have said anything by it: then the
            model that has come back is all there is, and all that is stored is of it.

        Raises
        ------
        LearnerError
            It says something else.
        """
        found = self._find()
        if found is None:
            return False
        place, manifest = found
        if manifest["predicts"] != self._predicts():
            return True
        said = self._said_of(manifest["model"])
        if said.keys() != set(ids):
            return False
        before = np.array([said[i] for i in ids]).reshape(-1, 3)
        gap = float(np.abs(before - logits).max(initial=0.0))
        if gap > tolerance:
            raise LearnerError(
                "predict_logits gives other logits after save and load: they differ by up to "
                f"{gap:.3g}",
                where=self.where,
                hint=self._hint(place, "load, predict_logits or save"),
            )
        return True

    def copy(self, target: Path) -> bool:
        """Fill a directory, which is made, with the model; False where it is not there any more.

        The user's cache is shared: another run of the same fit removes there what it is done with.
        """
        found = self._find()
        if found is None:
            return False
        try:
            shutil.copytree(found[0] / _FITTED / _MODEL, target, copy_function=link)
        except OSError:
            remove(target)
            if self._find() is not None:
                raise
            return False
        return True

    def _places(self) -> tuple[Path, Path]:
        return self.place, _spare(self.key)

    def _find(self) -> tuple[Path, dict[str, Any]] | None:
        """Give where the fit is kept, and its manifest with ``model``: its files and their code."""
        for place in self._places():
            try:
                manifest = read_manifest(place / _FITTED)
            except ArtifactError:
                continue
            if manifest.get("key") == self.key:
                named = [manifest[name] for name in ("files", "predicts")]
                return place, {**manifest, "model": fingerprint(named)}
        return None

    def _predicts(self) -> str:
        """Name the code that decides what a fitted learner says."""
        return fit_digest(type(self.spec.prototype), _NOT_PREDICTING)

    def _said_of(self, model: str) -> dict[str, list[float]]:
        """Read what the fitted learner said; nothing where it was another one, or never asked."""
        for place in self._places():
            with suppress(ArtifactError):
                said = read_checksummed(place / _SAID, hint="delete it: the fit is then made again")
                if said["model"] == model:
                    return dict(said["logits"])
        return {}

    def _write(self, write: Callable[[Path], None]) -> None:
        """Write where there is room."""
        place, spare = self._places()
        try:
            write(place)
        except LearnerError:
            raise
        except EnsembleError as full:
            try:
                write(spare)
            except (EnsembleError, OSError):
                raise full from None

    def _save(self, place: Path, learner: BaseLearner, seconds: float) -> None:
        manifest = {"key": self.key, "seconds": seconds, "predicts": self._predicts()}
        with atomic_directory(place / _FITTED, manifest) as directory:
            model = directory / _MODEL
            model.mkdir()
            call_plugin("save", self.where, lambda: learner.save(model))

    def _hint(self, place: Path, what: str = "load") -> str:
        return f"fix {what}: the fit is kept; or delete {place} to fit again"


def link(source: str, target: str) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
