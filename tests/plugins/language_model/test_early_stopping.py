from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from ensemble_plugins.language_model.train import stopping
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.text.tokens import Tokens

    Judge = Callable[[Training, list[float]], list[Any]]
    """Sets the losses of the evaluations to come; the weights at each are in what it gives."""

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tiny.tiny_models.save_checkpoint("llama3", tmp_path_factory.mktemp("llama3"))
    return made


GROUPS = np.repeat(np.arange(12), 3)


def _training(checkpoint: Path, **changes: Any) -> Training:
    rows = tiny.labeled_rows(36, groups=GROUPS)
    chosen = {"early_stopping": True, "patience": 2, "epochs": 6, "validation_fraction": 0.25}
    return Training(tiny.load(checkpoint), rows, tiny.settings(**chosen | changes), seed=1)


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Give a function that sets the losses of the evaluations to come, and keeps the weights."""

    def use(training: Training, losses: list[float]) -> list[Any]:
        kept: list[Any] = []
        wrong = np.log(1 - np.exp(-np.array(losses)))

        def compute(classifier: Classifier, tokens: Tokens, _budget: int) -> Any:
            assert training.stop_rows is not None
            assert np.array_equal(tokens.ids, training.stop_rows.orders[0].ids)
            right = training.stop_rows.labels.round()
            logits = np.where(right, -losses[len(kept)], wrong[len(kept)] - np.log(2))
            kept.append(tiny.weights(classifier))
            return logits.astype(np.float32)

        monkeypatch.setattr(stopping, "compute_logits", compute)
        training.stop_rows.labels[:] = training.stop_rows.labels.round()  # type: ignore[union-attr]
        return kept

    return use


def test_carved_rows_are_never_trained_on(checkpoint: Path) -> None:
    training = _training(checkpoint, early_stopping=True, patience=9)
    seen: set[tuple[int, ...]] = set()
    assert training.stop_rows is not None

    def look(items: Any) -> None:
        if training.classifier.model.training:
            seen.update(tuple(training.items.tokens.row(i).tolist()) for i in items)

    tiny.before_each_batch(training.classifier, look)
    training.run()
    carved = {tuple(training.stop_rows.orders[0].row(i)) for i in range(len(training.stop_rows))}
    whole = tiny.labeled_rows(36, groups=GROUPS).orders[0]
    assert len(carved) == 9
    assert seen == {tuple(whole.row(i).tolist()) for i in range(36)} - carved
    assert len(training.progress.history) == 6


def test_it_stops_after_waiting_and_takes_the_best_weights(checkpoint: Path, judge: Judge) -> None:
    training = _training(checkpoint)
    kept = judge(training, [1.0, 0.7, 0.9, 0.71, 0.1])
    progress = training.run()
    steps = [step for step, _ in progress.history]
    assert [loss for _, loss in progress.history] == pytest.approx([1.0, 0.7, 0.9, 0.71], abs=1e-5)
    assert steps == [round(len(training.steps) * (i + 1) / 6) for i in range(4)]
    assert progress.step == steps[-1]
    assert progress.best == pytest.approx(0.7, abs=1e-5)
    assert tiny.same(tiny.weights(training.classifier), kept[1])
    assert not tiny.same(kept[1], kept[3])


def test_a_gain_ends_the_wait(checkpoint: Path, judge: Judge) -> None:
    training = _training(checkpoint)
    kept = judge(training, [1.0, 1.1, 0.9, 1.2, 0.8, 0.9])
    progress = training.run()
    assert len(progress.history) == 6
    assert progress.step == len(training.steps)
    assert tiny.same(tiny.weights(training.classifier), kept[4])


def test_an_epoch_is_evaluated_as_often_as_asked_for(checkpoint: Path) -> None:
    training = _training(checkpoint, evaluations=2, epochs=2, early_stopping=True, patience=9)
    progress = training.run()
    total = len(training.steps)
    assert [step for step, _ in progress.history] == [round(total * q / 4) for q in (1, 2, 3, 4)]


def test_without_early_stopping_the_last_weights_are_kept(checkpoint: Path) -> None:
    training = _training(checkpoint, early_stopping=False, epochs=1)
    progress = training.run()
    assert progress.history == []
    assert training.best_weights == {}
    assert progress.step == len(training.steps)


def test_the_loss_that_stops_is_weighted(checkpoint: Path) -> None:
    rows = tiny.labeled_rows(36, groups=GROUPS)
    training = Training(
        tiny.load(checkpoint),
        rows,
        tiny.settings(early_stopping=True, patience=1, epochs=1, validation_fraction=0.25),
        seed=1,
    )
    stops = training.stop_rows
    assert stops is not None
    loss = training.run().history[0][1]
    one = [
        tiny.mean_loss(training.classifier, stops.take(np.array([i]))) for i in range(len(stops))
    ]
    assert loss == pytest.approx(np.average(one, weights=stops.weight), rel=1e-4)
