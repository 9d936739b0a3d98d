"""Broken learners: seeds and state, rows, batches and ids."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from tests.ensemble.testing.sound_learner import Noisy, Shifted, Sound, broken, characters

# Seeds and state.


@broken("same seed", "after another fit with the same seed")
class Unseeded(Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng().normal())


@broken("same seed", "after another fit with the same seed")
class GlobalGenerator(Noisy):
    def noise(self, context: Any) -> float:
        return random.random()


@broken("same seed", "after another fit with the same seed")
class SeededByClock(Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(time.time_ns()).normal())


@broken("fit in another process", "neither a clock, nor the number of the process")
class SeededByProcess(Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(os.getpid()).normal())


@broken("fit in another process", "after a fit with the same seed in another process")
class SeededByHash(Noisy):
    def noise(self, context: Any) -> float:
        return float(np.random.default_rng(abs(hash("my learner"))).normal())


@broken("threads", "with two threads")
class CountsThreads(Noisy):
    def noise(self, context: Any) -> float:
        return float(context.threads)


@broken("no directories", "a context without directories must be taken: fit raised")
class NeedsDirectory(Noisy):
    def noise(self, context: Any) -> float:
        (context.checkpoint_directory / "state.json").write_text("{}")
        return 0.0


@broken("labels of other rows", "keep nothing of another fit")
class CountsFits(Noisy):
    fits: ClassVar[list[int]] = []

    def noise(self, context: Any) -> float:
        self.fits.append(1)
        return float(len(self.fits))


@broken("other instances", "after another instance was fitted")
class FitsItsClass(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        FitsItsClass.state_ = vars(self).pop("state_")
        return self

    def load(self, directory: Path) -> Self:
        super().load(directory)
        FitsItsClass.state_ = vars(self).pop("state_")
        return self


@broken("global state", "fit changes the working directory")
class ChangesDirectory(Noisy):
    def noise(self, context: Any) -> float:
        os.chdir(tempfile.gettempdir())
        return 0.0


@broken("same rows again", "the second time it is asked")
class PredictsOnce(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        logits = super().predict_logits(battles)
        self.state_["prior"][0] += 0.01
        return logits


@broken("before a fit", "gives logits though nothing was fitted")
class UnfittedPredicts(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        if not hasattr(self, "state_"):
            return np.zeros((len(battles), 3), dtype=np.float32)
        return super().predict_logits(battles)


# Rows, batches, ids.


@broken("order of rows", "in another order")
class NumbersRows(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.arange(len(battles)) / 10


@broken("order of rows", "in another order")
class SortsRows(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        return super().predict_logits(battles.sort(pl.col("prompt").list.first(), "id"))


@broken("one row alone", "to a battle alone")
class Standardizes(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        size = characters(battles, "prompt")
        return (size - size.mean()) / (size.std() + 1)


@broken("one row alone", "to a battle alone")
class DividesByLength(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.ones(len(battles)) / len(battles)


@broken("other batches", "in another batch")
class CountsTwins(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        twins = battles.select(pl.len().over("prompt", "response_a")).to_series()
        return (twins.to_numpy() > 1) * 1.0


@broken("batch tolerance", "batch_tolerance is 50")
class AllowsAnything(Sound):
    batch_tolerance = 50.0


SEEN: dict[str, list[float]] = {}


@broken("other ids", "under other ids")
class RemembersById(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.state_["seen"] = dict(zip(battles["id"].to_list(), labels.tolist(), strict=True))
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        seen = self.state_["seen"]
        known = np.array([seen.get(one, [0.0, 0.0, 0.0]) for one in battles["id"]])
        return super().predict_logits(battles) + 2 * known.reshape(-1, 3)


@broken("labels of other rows", "where only labels of rows that fit is not given have changed")
class RemembersForAll(RemembersById):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        SEEN.update(self.state_["seen"])
        self.state_["seen"] = dict(SEEN)
        return self


@broken("other ids", "under other ids")
class HashesIds(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([hash(one) % 100 / 100 for one in battles["id"]])


@broken("other ids", "under other ids")
class NumbersIds(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([zlib.crc32(one.encode()) % 7 for one in battles["id"]]) / 7


@broken("other ids", "under other ids")
class ReadsTheRun(Sound):
    """Looks labels up in the battles of the run, which lie above its checkpoints."""

    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        self.state_["labels"] = {}
        if cache is not None:
            frame = pl.read_parquet(cache.parent / "battles.parquet")
            rows = frame.select("id", "label_a", "label_b", "label_tie").iter_rows()
            self.state_["labels"] = {one: [a, b, tie] for one, a, b, tie in rows}
        return self

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        known = self.state_["labels"]
        told = np.array([known.get(one, [0.0] * 3) for one in battles["id"]])
        return super().predict_logits(battles) + 2 * told.reshape(-1, 3)


TEXTS: dict[str, Any] = {}


@broken("other ids", "under the ids of other battles")
class CachesByIdForAll(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        rows = super().predict_logits(battles)
        for one, row in zip(battles["id"], rows, strict=True):
            TEXTS.setdefault(f"{self.state_}{one}", row)
        return np.array([TEXTS[f"{self.state_}{one}"] for one in battles["id"]]).reshape(-1, 3)


@broken("other ids in training", "after a fit on the same texts under other ids")
class SplitsByHashOfId(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        kept = np.array([zlib.crc32(one.encode()) % 2 == 0 for one in battles["id"]])
        options["sample_weight"] = np.where(kept, 1.0, 0.01)
        return super().fit(battles, labels, **options)


@broken("labels of other rows", "read no file of the run")
class LearnsFromTheRun(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        if cache is not None:
            frame = pl.read_parquet(cache.parent / "battles.parquet")
            self.state_["prior"][0] += frame["label_a"].mean()
        return self


@broken("labels of other rows", "context.cache_directory")
class CachesWhatIsFitted(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        cache = options["context"].cache_directory
        if cache is not None:
            place = cache / "shares.json"
            known = json.loads(place.read_text()) if place.exists() else []
            place.write_text(json.dumps([*known, self.state_["prior"]]))
            self.state_["prior"] = np.mean([*known, self.state_["prior"]], axis=0).tolist()
        return self


@broken("exchange of A and B", "says symmetric = True")
class FavorsA(Sound):
    symmetric = True
