"""Learners that do little, or what they must not, and functions that raise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import polars as pl

from ensemble import BaseLearner, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble import FitContext
    from ensemble.plugin.base import FloatArray, IntArray, LogitArray, Register


class Prior(BaseLearner):
    """Predicts the label shares of its training rows, and remembers what it has seen."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012 - shared on purpose: tests read it

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        Prior.seen.append(
            {
                "ids": battles["id"].to_list(),
                "columns": battles.columns,
                "weights": sample_weight,
                "groups": groups,
                "context": context,
                "labels": labels,
            }
        )
        self.shares = np.average(labels, axis=0, weights=sample_weight)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        logits = np.tile(np.log(self.shares + 1e-3), (len(battles), 1))
        logits[:, 0] += self.shift
        return logits.astype(np.float32)

    def save(self, directory: Path) -> None:
        (directory / "prior.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory: Path) -> Self:
        self.shares = np.asarray(json.loads((directory / "prior.json").read_text()))
        return self


class Pretrained(Prior):
    """A prior that is pre-trained as well."""

    pretrained: list[list[str]] = []  # noqa: RUF012

    def pretrain(self, battles: pl.DataFrame, labels: FloatArray, **_: object) -> None:
        Pretrained.pretrained.append(battles["id"].to_list())


class Raises(Prior):
    """Fails while it fits."""

    def fit(self, *_: object, **__: object) -> Self:
        raise RuntimeError("no luck today")


class Returns(Prior):
    """Returns what the contract forbids."""

    def __init__(self, what: str = "nan") -> None:
        super().__init__()
        self.what = what

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        good = super().predict_logits(battles)
        bad: dict[str, Any] = {
            "ragged": [[0.0, 0.0, 0.0], [0.0]],
            "huge": good.astype(np.float64) + 1e39,
            "nan": np.where(np.arange(len(good))[:, None] == 0, np.nan, good),
            "shape": good[:, :2],
            "rows": good[:-1],
            "ints": np.zeros(good.shape, dtype=int),
            "text": "logits",
            "order": good + np.arange(len(good), dtype=np.float32)[:, None] * [1, 0, 0],
        }
        return bad.get(self.what, good)  # type: ignore[no-any-return]

    def load(self, directory: Path) -> Self:
        if self.what == "load none":
            return None  # type: ignore[return-value]
        super().load(directory)
        if self.what == "load":
            self.shares = self.shares[::-1]
        return self


class FakePlugin:
    """Registers the learners of this module."""

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        for kind in (Prior, Pretrained, Raises, Returns):
            register(kind.__name__.lower(), kind)


def raising(error: BaseException) -> Callable[..., NoReturn]:
    """Give a function that takes anything and raises this."""

    def get(*_: object, **__: object) -> NoReturn:
        raise error

    return get
