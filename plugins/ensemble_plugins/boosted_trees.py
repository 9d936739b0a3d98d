"""Boosted trees on features: scores that exchange with the sides, and their files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ensemble.battles.swap import swap_classes
from ensemble.errors import ArtifactError
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import lightgbm

    from ensemble.battles.features import FeatureMatrix
    from ensemble.plugin.base import FloatArray

_THREADS = re.compile(r"^\[num_threads: \d+\]$", re.MULTILINE)


@dataclass(frozen=True)
class BoostedTrees:
    """Models that were learned from the same rows, and the constants that they start from.

    Parameters
    ----------
    start
        ``(3,)`` log-odds.
    boosters
        Their scores are averaged.
    """

    start: FloatArray
    boosters: tuple[lightgbm.Booster, ...]

    def scores(self, matrix: FeatureMatrix) -> FloatArray:
        """Give log-odds ``(n, 3)``; exchanging A and B exchanges the first two exactly."""
        one, other = self._scores(matrix), self._scores(matrix.swapped())
        both: FloatArray = (one + swap_classes(other)) / 2
        return both

    def _scores(self, matrix: FeatureMatrix) -> FloatArray:
        if not len(matrix):  # LightGBM gives no row another shape
            return np.zeros((0, len(self.start)))
        # One thread: several would spin while another process fits.
        scores = [
            booster.predict(matrix.values, raw_score=True, num_threads=1)
            for booster in self.boosters
        ]
        mean: FloatArray = self.start + np.mean(scores, axis=0)
        return mean

    def save(self, directory: Path, name: str) -> dict[str, Any]:
        """Write LightGBM's text format, and give what ``load`` needs to know, as JSON."""
        texts = [text_of(booster) for booster in self.boosters]
        for index, text in enumerate(texts):
            write_text(directory / f"{name}-{index}.txt", text)
        return {"start": self.start.tolist(), "models": [_digest(text) for text in texts]}

    @classmethod
    def load(cls, directory: Path, name: str, facts: Mapping[str, Any]) -> Self:
        """Restore what ``save`` wrote.

        Raises
        ------
        ArtifactError
            A model is missing or altered: LightGBM reads malformed text out of bounds.
        """
        from lightgbm import Booster

        texts = [
            _read_model(directory / f"{name}-{index}.txt", digest)
            for index, digest in enumerate(facts["models"])
        ]
        boosters = tuple(Booster(model_str=text) for text in texts)
        return cls(np.array(facts["start"], dtype=np.float64), boosters)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_model(path: Path, digest: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"a stored model cannot be read: {error}", where=str(path)) from error
    if _digest(text) != digest:
        raise ArtifactError("a stored model is not what was saved", where=str(path))
    return text


def text_of(booster: lightgbm.Booster) -> str:
    """Give LightGBM's text of a model, the same whatever number of threads it was fitted with."""
    return _THREADS.sub("[num_threads: 0]", booster.model_to_string())
