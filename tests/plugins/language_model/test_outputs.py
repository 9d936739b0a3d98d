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
from tests.mostly_slow import mostly_slow
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

PACKAGE = "ensemble_plugins.language_model"
heads = importlib.import_module(f"{PACKAGE}.model.heads")
labels_read = importlib.import_module(f"{PACKAGE}.model.labels")
loading = importlib.import_module(f"{PACKAGE}.model.loading")
outputs = importlib.import_module(f"{PACKAGE}.model.outputs")
settings = importlib.import_module(f"{PACKAGE}.settings")
weights = importlib.import_module(f"{PACKAGE}.model.weights")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

NAMES = labels_read.LABELS
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


def _slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            ("entailment", "neutral", "contradiction"),
            "3 classes: entailment, neutral, contradiction",
        ),
        _slow(("LABEL_0", "LABEL_1", "LABEL_2"), "3 classes: LABEL_0, LABEL_1, LABEL_2"),
        (("A", "B", "C"), "3 classes: A, B, C"),
        _slow(("A", "A", "tie"), "3 classes: A, A, tie"),
        _slow(("bad", "good"), "2 classes: bad, good"),
        (("A", "B"), "2 classes: A, B"),
        (("reward",), "one number, as reward models do"),
        _slow(
            ("model_a", "model_b", "tie", "both bad"), "4 classes: model_a, model_b, tie, both bad"
        ),
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
    hint = r"\. Its labels are those of battles: if any" if labels == ("A", "B") else hint
    told = f"trained to give {said}; that layer of its head is new{hint}"
    assert re.search(told, caution.text)
    with pytest.warns(UserWarning, match=told):
        made.check(TRAIN, context=CONTEXT)
    with pytest.warns(UserWarning, match=told):
        made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    stored.mkdir()
    made.save(stored)
    facts = json.loads((stored / "facts.json").read_text())
    learned = labels == ("A", "B")
    head = {"text": caution.text, "learned_battles": learned, "is_kept": False}
    assert facts["head"] == head
    assert facts["classes"] == [*NAMES]
    again = make_learner("causal-lora", tmp_path)
    assert [*again.cautions, *again.doubts] == [], "nothing of what is not fitted"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a trained model nothing is new
        again.load(stored)
    for one in (made, again, make_learner("causal-lora", tmp_path).average_models([stored] * 2)):
        assert (one.doubts if learned else one.cautions) == [caution.text]
        assert len([*one.cautions, *one.doubts]) == 1


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (NAMES, (1, 2, 3)),
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
    assert "its head is kept" in caution.text
    assert found.classifier.bias.tolist() == [*order]
    assert found.classifier.weight[:, 0].tolist() == [*order]
    made = make_learner("causal-lora", tmp_path)
    with pytest.warns(UserWarning, match="knows what the folds hold out"):
        made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    assert made.doubts == [caution.text]
    assert list(made.cautions) == []


def test_a_kept_head_that_is_dropped_leaves_no_bias(tmp_path: Path) -> None:
    """What the checkpoint thinks of A, B and ties goes with its last layer."""
    save(tmp_path, NAMES)
    chosen = settings.ModelSettings(str(tmp_path), tuning="full")
    made = loading.load_classifier(chosen, device=torch.device("cpu"))
    pooled = made.base.bert.pooler.dense.bias.detach().clone()
    assert made.base.classifier.bias.tolist() == [1, 2, 3]
    made.new_head(seed=7)
    assert made.base.classifier.bias.tolist() == [0, 0, 0]
    assert made.base.classifier.weight.abs().max() < 0.2
    assert torch.equal(made.base.bert.pooler.dense.bias, pooled)


@pytest.mark.parametrize(("choice", "told"), [("keep", "is kept"), ("drop", "is dropped after")])
def test_what_is_told_of_a_head_is_what_became_of_it(
    choice: str, told: str, tmp_path: Path
) -> None:
    """The model has learned battles either way, so that its scores stay unproven."""
    made = make_learner("causal-lora", save(tmp_path, NAMES), pretrain_head=choice)
    with pytest.warns(UserWarning, match="its head is kept"):
        made.pretrain(TRAIN, make_labels(TRAIN), context=CONTEXT)
    made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    assert len(made.doubts) == 1
    assert f"its head {told}" in made.doubts[0]
    assert "knows what the folds hold out" in made.doubts[0]


def test_labels_count_by_their_numbers_wherever_they_stand(tmp_path: Path) -> None:
    path = save(tmp_path, NAMES) / "config.json"
    changed = {
        "id2label": {"1": "model_a", "0": "model_b", "2": "tie"},
        "label2id": {"tie": 2, "model_a": 1, "model_b": 0},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert load(tmp_path).model.classifier.bias.tolist() == [2, 1, 3]


def test_a_model_without_a_head_has_left_nothing_out(tmp_path: Path) -> None:
    families.save("bert", tmp_path)
    assert load(tmp_path).caution == outputs.Caution()


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
    assert "trained to give 3 classes" in load(save(tmp_path, labels)).caution.text


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
    path = save(tmp_path, NAMES) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert "trained to give 3 classes" in load(tmp_path).caution.text


@pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 7, -3), (0, 1, "two")])
def test_labels_without_the_numbers_of_outputs_are_none(numbers: tuple[Any, ...]) -> None:
    config = {
        "id2label": {str(n): label for n, label in zip(numbers, NAMES, strict=True)},
        "label2id": dict(zip(NAMES, numbers, strict=True)),
    }
    assert labels_read.read_labels(config)[:2] == ((), None)


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


def change(directory: Path, **changed: Any) -> Path:
    """Change a checkpoint's config; None takes a key away."""
    path = directory / "config.json"
    found = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))
    return directory


def numbered(*names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def test_labels_that_are_numbered_in_one_direction_alone_are_read(tmp_path: Path) -> None:
    save(tmp_path, NAMES)
    change(tmp_path, id2label=None, label2id=numbered("tie", "B", "A"))
    made = load(tmp_path)
    assert made.model.classifier.bias.tolist() == [3, 2, 1]
    assert "its outputs (tie, B, A) in the order of the classes" in made.caution.text
    nothing = {str(number): f"LABEL_{number}" for number in range(3)}
    change(tmp_path, id2label=nothing)
    assert load(tmp_path).model.classifier.bias.tolist() == [3, 2, 1]
    change(tmp_path, id2label=dict(enumerate(("tie", "B", "A"))), label2id=None)
    assert load(tmp_path).model.classifier.bias.tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "back",
    [
        numbered("B", "A", "tie"),
        numbered("winner_model_b", "winner_model_a", "draw"),  # other words, another order
        {"model_a": 1, "model_b": 2, "tie": 3},
        numbered("model_a", "model_b", "tie", "both bad"),
        {"model_a": 0, "A": 0, "model_b": 1, "tie": 2},
        numbered("entailment", "neutral", "contradiction"),
    ],
)
def test_labels_that_contradict_each_other_keep_no_head_and_say_so(
    back: dict[str, Any], tmp_path: Path
) -> None:
    made = load(change(save(tmp_path, NAMES), label2id=back))
    assert (made.model.classifier.bias == 0).all()
    assert "new, since its config.json has {'0': 'model_a'" in made.caution.text
    assert f"as id2label and {back} as label2id" in made.caution.text
    assert "Its labels are those of battles" in made.caution.text
    assert made.caution.learned_battles


def test_other_words_for_the_same_order_are_no_contradiction(tmp_path: Path) -> None:
    save(tmp_path, ("B", "A", "tie"))
    change(tmp_path, label2id=numbered("response_b", "response_a", "draw"))
    assert load(tmp_path).model.classifier.bias.tolist() == [2, 1, 3]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_layers_as_wide_as_there_are_classes_are_no_outputs(kind: str, tmp_path: Path) -> None:
    sizes = {**families.SIZES, "hidden_size": 3, "num_attention_heads": 1, "vocab_size": 300}
    config = transformers.AutoConfig.for_model(kind, **sizes, num_labels=3)
    config.id2label = dict(enumerate(("tie", "B", "A")))
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    made.save_pretrained(tmp_path)
    stored = dict(made.named_parameters())
    found, head, caution = load(tmp_path)
    last = {"bert": "classifier", "roberta": "classifier.out_proj"}[kind]
    outputs_of = {f"{last}.weight", f"{last}.bias"}
    assert heads.find_outputs(found.config) == outputs_of
    for name, parameter in found.named_parameters():
        order = [2, 1, 0] if name in outputs_of else [0, 1, 2]
        if heads.is_head(name, head):
            assert torch.equal(parameter, stored[name][order]), name
    assert caution.learned_battles
    change(tmp_path, id2label=dict(enumerate("xyz")))
    found = load(tmp_path).model
    assert all(
        torch.equal(parameter, stored[name]) is (name not in outputs_of)
        for name, parameter in found.named_parameters()
        if name.endswith("weight")
    )


@pytest.mark.parametrize("lost", ["classifier.dense.weight", "classifier.out_proj.bias"])
def test_a_head_that_is_not_all_there_is_not_kept(lost: str, tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("roberta", **families.SIZES, num_labels=3)
    config.id2label = dict(enumerate(NAMES))
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    state = {name: tensor for name, tensor in made.state_dict().items() if name != lost}
    made.save_pretrained(tmp_path, state_dict=state)
    found, _, caution = load(tmp_path)
    assert not torch.equal(found.classifier.out_proj.weight, made.classifier.out_proj.weight)
    assert f"new, since of its head the checkpoint has no {lost} of this shape" in caution.text
    assert caution.learned_battles


def test_an_inner_layer_of_another_width_is_new_and_told(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("roberta", **families.SIZES, num_labels=3)
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    other = {"classifier.dense.weight": torch.ones(16, 32), "classifier.out_proj.weight": None}
    state = {n: t for n, t in {**made.state_dict(), **other}.items() if t is not None}
    del state["classifier.out_proj.bias"]
    made.save_pretrained(tmp_path, state_dict=state)
    assert load(tmp_path).caution.text == (
        "of its head the checkpoint has no classifier.dense.weight of this shape, which is new"
    )


def test_the_model_calls_its_outputs_by_their_classes(tmp_path: Path) -> None:
    config = load(save(tmp_path, ("tie", "B", "A"))).model.config
    assert config.id2label == dict(enumerate(NAMES))
    assert config.label2id == numbered(*NAMES)


@pytest.mark.parametrize("family", mostly_slow(["bert", "llama"], "bert"))
def test_stored_adapters_on_a_head_in_another_order_are_read_in_that_of_their_facts(
    family: str, tmp_path: Path
) -> None:
    base, stored = tmp_path / "base", tmp_path / "stored"
    families.save(family, base)
    own = {"num_labels": 3, "id2label": dict(enumerate(("tie", "B", "A")))}
    config = transformers.AutoConfig.from_pretrained(base, **own)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(base)
    made = make_learner("causal-lora", base, swap_tta=False)
    with pytest.warns(UserWarning, match="in the order of the classes"):
        made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    stored.mkdir()
    made.save(stored)
    logits = made.predict_logits(TRAIN)
    classes = json.loads((stored / "facts.json").read_text())["classes"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3, id2label=dict(enumerate(classes))
    )
    assert model.config.id2label == dict(enumerate(NAMES))
    model = peft.PeftModel.from_pretrained(model, stored).eval()
    tokens = made._tokens(TRAIN, made.predict_length)
    for row in range(len(TRAIN)):
        ids = torch.tensor(tokens.row(row)[None].astype("int64"))
        with torch.no_grad():
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()
        np.testing.assert_allclose(found, logits[row], atol=1e-4)
    (tmp_path / "exported").mkdir()
    made.export(tmp_path / "exported", TRAIN, logits, about={"ties": True})
    config = json.loads((tmp_path / "exported/config.json").read_text())
    assert config["id2label"] == {str(number): name for number, name in enumerate(NAMES)}
    assert config["label2id"] == numbered(*NAMES)
    facts = json.loads((tmp_path / "exported/ensemble.json").read_text())
    assert facts["classes"] == [*NAMES]


def test_a_head_without_outputs_that_can_be_told_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "find_outputs", lambda _config: frozenset())
    with pytest.raises(errors.LearnerError, match="nobody can tell which outputs"):
        load(save(tmp_path, NAMES))
