"""Fixtures that several rooms share: small battles, learners that do little, a run to look at."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from ensemble.battles.schema import BATTLE_SCHEMA
from ensemble.config.load import load_config
from ensemble.config.settings import Config
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.hookspecs import hookimpl
from ensemble.plugin.manager import Manager, use_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray


def pytest_configure() -> None:
    """Give each process of pytest-xdist a core of its own: threads that wait for one another spin.

    Two processes whose fits have two threads each take several times as long on two cores.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that have slow tests: at the end the other process would wait for them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def empty_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures unpainted where no test looks at them: painting is most of a small run."""
    if request.node.get_closest_marker("figures") is None:
        empty = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
        monkeypatch.setattr("ensemble.report.svg._painted", lambda *_: empty)


@pytest.fixture(autouse=True)
def unchecked_learners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit learners without the kit where no test looks at it: it would fit each several times."""
    if request.node.get_closest_marker("kit") is None:
        monkeypatch.setattr("ensemble.stages.fit.learner_faults", lambda *_: {})


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

    def pretrain(self, battles: pl.DataFrame, labels: FloatArray, **_: Any) -> None:
        Pretrained.pretrained.append(battles["id"].to_list())


class Raises(Prior):
    """Fails while it fits."""

    def fit(self, *_: Any, **__: Any) -> Self:
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
    """Registers the learners of this file."""

    @hookimpl
    def register_base_learners(self, register: Any) -> None:
        for kind in (Prior, Pretrained, Raises, Returns):
            register(kind.__name__.lower(), kind)


@pytest.fixture
def use_plugins() -> Iterator[Callable[..., None]]:
    """Give a function that adds plugins, by name, to those that are installed and the fakes."""

    def use(**plugins: object) -> None:
        use_manager(Manager({"fakes": FakePlugin(), **plugins}))

    yield use
    use_manager(None)


@pytest.fixture
def fake_learners(use_plugins: Callable[..., None]) -> type[Prior]:
    """Register the learners of this file beside the built-in ones."""
    Prior.seen.clear()
    Pretrained.pretrained.clear()
    use_plugins()
    return Prior


@pytest.fixture
def make_battles() -> Callable[..., pl.DataFrame]:
    """Give a function that makes battles of one source: four prompts' worth by default."""

    def make(
        rows: int = 12,
        *,
        source: str = "arena",
        role: str = "target",
        prompts: int = 6,
        seed: int = 0,
    ) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        labels = np.eye(3)[rng.integers(3, size=rows)]
        test = role == "test"
        return pl.DataFrame(
            {
                "id": [f"{source}-{i}" for i in range(rows)],
                "source": [source] * rows,
                "role": [role] * rows,
                "prompt": [
                    [f"{source} question {i % prompts} {'qwertyuiop'[i % prompts] * 9}"]
                    for i in range(rows)
                ],
                "response_a": [[f"answer {i} of side a, {seed}, {source}"] for i in range(rows)],
                "response_b": [[f"reply {i} of side b, {seed}, {source}"] for i in range(rows)],
                "label_a": [None if test else float(x) for x in labels[:, 0]],
                "label_b": [None if test else float(x) for x in labels[:, 1]],
                "label_tie": [None if test else float(x) for x in labels[:, 2]],
                "is_test": [test] * rows,
                "model_a": [None] * rows,
                "model_b": [None] * rows,
            },
            schema=BATTLE_SCHEMA,
        )

    return make


@pytest.fixture
def write_csv() -> Callable[..., None]:
    """Give a function that writes battles in the competition's form."""

    def write(battles: pl.DataFrame, path: Path) -> None:
        text = {
            name: pl.Series([json.dumps(turns) for turns in battles[name].to_list()])
            for name in ("prompt", "response_a", "response_b")
        }
        columns: dict[str, Any] = {"id": battles["id"], **text}
        if not battles["is_test"].all():
            columns |= {
                "winner_model_a": battles["label_a"],
                "winner_model_b": battles["label_b"],
                "winner_tie": battles["label_tie"],
            }
        pl.DataFrame(columns).write_csv(path)

    return write


@pytest.fixture
def project(
    tmp_path: Path,
    fake_learners: type[Prior],
    make_battles: Callable[..., pl.DataFrame],
    write_csv: Callable[..., None],
) -> SimpleNamespace:
    """A directory with data files and a config; ``config(**changes)`` writes and loads it."""
    write_csv(make_battles(60, prompts=10), tmp_path / "train.csv")
    external = make_battles(20, source="extra", role="train", prompts=10, seed=1)
    # The first rows of the external source share their prompts with target rows.
    shared = external.with_columns(
        prompt=pl.when(pl.int_range(pl.len()) < 8)
        .then(pl.concat_list(pl.col("prompt").list.first().str.replace("extra", "arena")))
        .otherwise("prompt")
    )
    write_csv(shared, tmp_path / "extra.csv")
    write_csv(make_battles(9, source="t", role="test", prompts=9, seed=2), tmp_path / "test.csv")
    return SimpleNamespace(path=tmp_path, config=_config_writer(tmp_path))


def _config_writer(directory: Path) -> Callable[..., Config]:
    import tomli_w

    def write(learners: list[Mapping[str, Any]] | None = None, **changes: Any) -> Config:
        raw: dict[str, Any] = {
            "run_dir": "run",
            "seed": 7,
            "sources": [
                {"name": "arena", "path": "train.csv", "role": "target"},
                {"name": "extra", "path": "extra.csv", "role": "train", "weight": 0.5},
            ],
            "test": {"path": "test.csv"},
            "folds": {"n_splits": 3},
            "learners": learners or [{"name": "p", "plugin": "prior"}],
            "stack": {"meta_learner": "none", "resamples": 200},
            "execution": {"threads": 1},
        }
        raw.update(changes)
        path = directory / "config.toml"
        path.write_text(tomli_w.dumps(raw))
        return load_config(path)

    return write
