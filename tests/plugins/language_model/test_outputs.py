"""Checkpoints that classify already: what of their heads is kept, and what a user is told."""

from __future__ import annotations

import importlib
import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import CLASSES, FitContext, errors
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

PACKAGE = "ensemble_plugins.language_model"
outputs = importlib.import_module(f"{PACKAGE}.model.outputs")
settings = importlib.import_module(f"{PACKAGE}.settings")
weights = importlib.import_module(f"{PACKAGE}.model.weights")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

TRAIN = make_battles(6)
CONTEXT = FitContext(seed=2, device="cpu")


def save(directory: Path, labels: Sequence[str]) -> Path:
    """Save a classifier whose output ``i`` has weights of ``i + 1`` and a bias of ``i + 1``."""
    families.save("bert", directory)
    config = transformers.AutoConfig.from_pretrained(directory, num_labels=len(labels))
    config.id2label = dict(enumerate(labels))
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        made.bert.pooler.dense.weight.fill_(0.5)
        for i in range(len(labels)):
            made.classifier.weight[i] = made.classifier.bias[i] = i + 1
    made.save_pretrained(directory)
    return directory


def load(directory: Path) -> Any:
    chosen = settings.ModelSettings(str(directory))
    return weights.load_model(chosen, weights.load_config(chosen), dtype=torch.float32)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            ("entailment", "neutral", "contradiction"),
            "3 classes: entailment, neutral, contradiction",
        ),
        (("LABEL_0", "LABEL_1", "LABEL_2"), "3 classes: LABEL_0, LABEL_1, LABEL_2"),
        (("A", "B", "C"), "3 classes: A, B, C"),
        (("A", "A", "tie"), "3 classes: A, A, tie"),
        (("bad", "good"), "2 classes: bad, good"),
        (("A", "B"), "2 classes: A, B"),
        (("reward",), "one number, as reward models do"),
        (("model_a", "model_b", "tie", "both bad"), "4 classes: model_a, model_b, tie, both bad"),
    ],
)
def test_what_a_classifier_of_something_else_says_is_left_out_and_told(
    labels: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    found, _, caution = load(save(tmp_path, labels))
    assert found.classifier.weight.shape[0] == 3
    assert found.classifier.weight.std() > 0
    assert (found.classifier.bias == 0).all()
    assert (found.bert.pooler.dense.weight == 0.5).all(), "what leads there is kept"
    made, stored = make_learner("causal-lora", tmp_path), tmp_path / "stored"
    hint = r"(.|\n)*in id2label" if said.startswith("3") else "[^(]*$"
    told = f"trained to give {said}; that layer of its head is new{hint}"
    assert re.search(told, caution)
    with pytest.warns(UserWarning, match=told):
        made.check(TRAIN, context=CONTEXT)
    with pytest.warns(UserWarning, match=told):
        made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    stored.mkdir()
    made.save(stored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a trained model nothing is new
        made.load(stored)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (outputs.LABELS, (1, 2, 3)),
        (CLASSES, (1, 2, 3)),
        (("tie", "model_b", "model_a"), (3, 2, 1)),
        (("B", "A", "Tie"), (2, 1, 3)),
        (("Draw", "Response A", "Response B"), (2, 3, 1)),
        (("A is better", "Tie", "B is better"), (1, 3, 2)),
        (("modelB wins", "modelA wins", "draw"), (2, 1, 3)),
    ],
)
def test_classes_of_battles_are_kept_in_whatever_order_and_spelling(
    labels: tuple[str, ...], order: tuple[int, ...], tmp_path: Path
) -> None:
    found, _, caution = load(save(tmp_path, labels))
    assert "its head is kept" in caution
    assert found.classifier.bias.tolist() == [*order]
    assert found.classifier.weight[:, 0].tolist() == [*order]
    with pytest.warns(UserWarning, match="knows what the folds hold out"):
        make_learner("causal-lora", tmp_path).fit(TRAIN, make_labels(TRAIN), context=CONTEXT)


def test_labels_count_by_their_numbers_wherever_they_stand(tmp_path: Path) -> None:
    path = save(tmp_path, outputs.LABELS) / "config.json"
    changed = {
        "id2label": {"1": "model_a", "0": "model_b", "2": "tie"},
        "label2id": {"tie": 2, "model_a": 1, "model_b": 0},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert load(tmp_path).model.classifier.bias.tolist() == [2, 1, 3]


def test_a_model_without_a_head_has_left_nothing_out(tmp_path: Path) -> None:
    families.save("bert", tmp_path)
    assert load(tmp_path).caution == ""


@pytest.mark.parametrize(
    "labels",
    [
        ("not A", "not B", "tie"),
        ("\u043d\u0435 A", "\u043d\u0435 B", "tie"),
        ("A\u66f4\u5dee", "B\u66f4\u5dee", "tie"),
        ("!A", "!B", "tie"),
        ("A -", "B -", "tie"),
        ("A+", "B+", "Draw"),
        ("A1", "B2", "tie0"),
        ("A", "A", "tie"),
        ("A wins", "B wins", "both bad"),
    ],
)
def test_labels_that_may_mean_something_else_are_left_out(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    assert "trained to give 3 classes" in load(save(tmp_path, labels)).caution


@pytest.mark.parametrize(
    "changed",
    [
        {"label2id": {"model_b": 0, "model_a": 1, "tie": 2}},
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
    ],
)
def test_a_config_that_says_otherwise_elsewhere_keeps_no_head(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    path = save(tmp_path, outputs.LABELS) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert "trained to give 3 classes" in load(tmp_path).caution


@pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 7, -3), (0, 1, "two")])
def test_labels_without_the_numbers_of_outputs_are_none(numbers: tuple[Any, ...]) -> None:
    config = {
        "id2label": {str(n): label for n, label in zip(numbers, outputs.LABELS, strict=True)},
        "label2id": dict(zip(outputs.LABELS, numbers, strict=True)),
    }
    assert outputs._labels(config) == []


def exported(tmp_path: Path) -> tuple[Path, Any]:
    families.save("llama", tmp_path / "base")
    made = make_learner("causal-lora", tmp_path / "base")
    made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    logits = made.predict_logits(TRAIN)
    (tmp_path / "exported").mkdir()
    made.export(tmp_path / "exported", TRAIN, logits, about={"ties": True})
    return tmp_path / "exported", logits


def test_an_exported_model_is_refused_where_it_may_have_learned_what_is_held_out(
    tmp_path: Path,
) -> None:
    place, _ = exported(tmp_path)
    learner = make_learner("causal-lora", place)
    with pytest.raises(errors.LearnerError, match=r"exported from a run(.|\n)*about.base"):
        learner.preflight(TRAIN, context=CONTEXT)
    with pytest.raises(errors.LearnerError, match="not out of fold"):
        learner.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)


def test_an_exported_model_goes_on_with_its_own_head_where_a_user_lets_it(tmp_path: Path) -> None:
    place, logits = exported(tmp_path)
    (place / "ensemble.json").unlink()
    still: dict[str, Any] = {"learning_rate": 1e-12, "head_learning_rate": 1e-12}
    again = make_learner("causal-lora", place, **still)
    with pytest.warns(UserWarning, match="its head is kept"):
        again.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    np.testing.assert_allclose(again.predict_logits(TRAIN), logits, atol=1e-4)
