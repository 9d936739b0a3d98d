"""Broken learners: files, and what was learned."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tests.ensemble.testing.sound_learner import (
    Averages,
    Noisy,
    Shifted,
    Sound,
    broken,
    characters,
)

# Files.


@broken("save and load", "after save and load")
class SavesHalf(Sound):
    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.state_ | {"slope": 0.0}))


@broken("save and load", "load returned NoneType")
class LoadsNothing(Sound):
    def load(self, directory: Path) -> Self:
        super().load(directory)
        return None  # type: ignore[return-value]


@broken("save and load", "once it has been saved")
class SaveEmpties(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        self.state_ = self.state_ | {"slope": 5.0}


@broken("save and load again", "save of a loaded learner raised AttributeError")
class LoadsForPredictionAlone(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        self.full_ = self.state_
        return self

    def save(self, directory: Path) -> None:
        (directory / "state.json").write_text(json.dumps(self.full_))


@broken("average", "as the mean of twice one model")
class AddsUp(Averages):
    def average_models(self, directories: Sequence[Path]) -> Self:
        super().average_models(directories)
        self.state_["slope"] *= len(directories)
        return self


MODELS: dict[str, Any] = {}


@broken("another process", "cannot load and predict in another process")
class KeepsModelInMemory(Sound):
    def save(self, directory: Path) -> None:
        MODELS["last"] = self.state_
        (directory / "name.txt").write_text("last")

    def load(self, directory: Path) -> Self:
        self.state_ = MODELS[(directory / "name.txt").read_text()]
        return self


@broken("another process", "cannot load and predict in another process")
class SavesPlaceOfFit(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "place.txt").write_text(str(directory / "state.json"))

    def load(self, directory: Path) -> Self:
        place = Path((directory / "place.txt").read_text())
        self.state_ = json.loads(place.read_text())
        return self


@broken("another process", "cannot load and predict in another process")
class SavesElsewhere(Sound):
    def save(self, directory: Path) -> None:
        place = Path(tempfile.gettempdir()) / "my-learner.json"
        place.write_text(json.dumps(self.state_))
        (directory / "place.txt").write_text(str(place))

    def load(self, directory: Path) -> Self:
        place = Path((directory / "place.txt").read_text())
        self.state_ = json.loads(place.read_text())
        return self


@broken("another process", "cannot load and predict in another process")
class NeedsTrainingFile(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        super().fit(battles, labels, **options)
        place = options["context"].cache_directory
        if place is not None:
            self.state_["data"] = str(place / "train.parquet")
            battles.write_parquet(place / "train.parquet")
        return self

    def load(self, directory: Path) -> Self:
        super().load(directory)
        pl.read_parquet(self.state_["data"])
        return self


@broken("another process", "when it is loaded in another process")
class HashesWords(Shifted):
    def shift(self, battles: pl.DataFrame) -> Any:
        return np.array([hash(str(turns)) % 1000 for turns in battles["prompt"].to_list()]) / 1000


@broken("another process", "there is no network here")
class AsksTheNetwork(Sound):
    def load(self, directory: Path) -> Self:
        import socket

        with suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.01).close()
        return super().load(directory)


class _Pickles(Sound):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "model.bin").write_bytes(self.packed())

    def packed(self) -> bytes:
        return pickle.dumps(self.state_)


@broken("nothing pickled", r"model.bin \(a pickle\)")
class PicklesPlainly(_Pickles):
    pass


@broken("nothing pickled", r"model.bin \(a pickle\)")
class PicklesInText(_Pickles):
    def packed(self) -> bytes:
        return pickle.dumps(self.state_, protocol=0)


@broken("nothing pickled", r"model.bin \(compressed: a pickle\)")
class PicklesCompressed(_Pickles):
    def packed(self) -> bytes:
        return zlib.compress(pickle.dumps(self.state_))


@broken("nothing pickled", "a pickle written in base 64")
class PicklesInJson(_Pickles):
    def packed(self) -> bytes:
        import base64

        text = base64.b64encode(pickle.dumps(self.state_)).decode()
        return json.dumps({"model": text}).encode()


@broken("nothing pickled", "member state.npy: a NumPy array of objects")
class SavesObjects(_Pickles):
    def save(self, directory: Path) -> None:
        super(_Pickles, self).save(directory)
        np.savez(directory / "model.npz", state=np.array([self.state_, None], dtype=object))


@broken("nothing pickled", "member archive/data.pkl: a pickle")
class SavesLikeTorch(_Pickles):
    def save(self, directory: Path) -> None:
        import zipfile

        super(_Pickles, self).save(directory)
        with zipfile.ZipFile(directory / "model.pt", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(self.state_, protocol=2))


@broken("nothing pickled", "a file that it has written is pickled")
class PicklesItsCache(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        cache = options["context"].cache_directory
        if cache is not None:
            (cache / "tokens.pkl").write_bytes(pickle.dumps(battles["id"].to_list()))
        return super().fit(battles, labels, **options)


@broken("files elsewhere", "writes outside its directories")
class WritesElsewhere(Sound):
    def fit(self, battles: Any, labels: Any, **options: Any) -> Self:
        (Path(tempfile.gettempdir()) / "my-learner.log").write_text("fitting")
        return super().fit(battles, labels, **options)


# What it has learned.


@broken("held-out battles", "worse than the class prior")
class TooSure(Sound):
    def predict_logits(self, battles: pl.DataFrame) -> Any:
        noise = characters(battles, "prompt") % 3
        return super().predict_logits(battles) + np.eye(3)[noise.astype(int)] * 6


@broken(
    "global state", "it changes what the whole process shares: the global state of numpy.random"
)
class SeedsEverybody(Noisy):
    def noise(self, context: Any) -> float:
        np.random.seed(context.seed)  # noqa: NPY002
        return 0.0


@broken("global state", r"os.environ \(fit\)")
class SetsEnvironment(Noisy):
    def noise(self, context: Any) -> float:
        os.environ["MY_LEARNER"] = str(context.seed)
        return 0.0


@broken("cache", "what another fit has left in the cache directory reaches a fit")
class KeepsItsFitInTheCache(Sound):
    """The first fold's model is that of every fold."""

    def fit(self, battles: pl.DataFrame, labels: Any, *, context: Any, **options: Any) -> Self:
        place = context.cache_directory / "fitted.json"
        super().fit(battles, labels, context=context, **options)
        if place.exists():
            self.__dict__.update(json.loads(place.read_text()))
        else:
            kept = {k: np.asarray(v).tolist() for k, v in vars(self).items() if k.endswith("_")}
            place.write_text(json.dumps(kept))
        return self


@broken("odd texts", "100 kB of text must be predicted")
class TakesNoLongPrompt(Sound):
    """A limit that is told as an error."""

    def predict_logits(self, battles: pl.DataFrame) -> Any:
        if (characters(battles, "prompt") > 50_000).any():
            raise RuntimeError("the prompt is too long")
        return super().predict_logits(battles)
