from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from ensemble_plugins.language_model.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
adapters = importlib.import_module("ensemble_plugins.language_model.model.adapters")
inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
safetensors = importlib.import_module("safetensors.torch")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)
torch.set_num_threads(1)  # threads that share cores with other tests wait for each other

FAMILIES = ["gemma2", "llama3", "qwen2", "deberta", "bert"]
HEADS = {
    "gemma2": {"score.weight"},
    "llama3": {"score.weight"},
    "qwen2": {"score.weight"},
    "deberta": {"classifier.weight", "classifier.bias", "pooler.dense.weight", "pooler.dense.bias"},
    "bert": {"classifier.weight", "classifier.bias"},
}
A = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
HEAD = "base_model.model.score.weight"
LENGTHS = [5, 40, 1, 33]

Tensors = dict[str, Any]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    directory = tmp_path / "stored"
    directory.mkdir()
    return directory


def logits(classifier: Classifier) -> Any:
    return inference.compute_logits(classifier, tiny.random_tokens(LENGTHS), 64)


def written(family: str, checkpoint: Path, stored: Path, **options: Any) -> Any:
    """Make a classifier that has moved everywhere, and write its state."""
    classifier = tiny.classifier(family, checkpoint, **options)
    classifier.new_head(seed=7)
    adapters.write_state(classifier, adapters.trained_state(classifier), stored)
    return classifier


def fresh(classifier: Classifier) -> Any:
    """Load the same base weights with another head and other adapters."""
    made = loading.load_classifier(classifier.settings, device=classifier.device, seed=99)
    assert not np.allclose(logits(made), logits(classifier), atol=1e-4)
    return made


def change(stored: Path, edit: Callable[[Tensors], Any]) -> None:
    tensors = safetensors.load_file(stored / adapters.WEIGHTS)
    edit(tensors)
    safetensors.save_file(tensors, stored / adapters.WEIGHTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_loads_what_is_written(family: str, tmp_path: Path, stored: Path) -> None:
    classifier = written(family, tmp_path, stored)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path, num_labels=3, pad_token_id=0, attn_implementation="eager"
    )
    loaded = peft.PeftModel.from_pretrained(base, stored).eval()
    tokens = tiny.random_tokens(LENGTHS)
    rows = [torch.from_numpy(tokens.row(i)).long()[None] for i in range(len(tokens))]
    with torch.no_grad():
        found = torch.cat([loaded(input_ids=ids).logits for ids in rows]).numpy()
    np.testing.assert_allclose(found, logits(classifier), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_and_head_are_all_that_is_stored(
    family: str, tmp_path: Path, stored: Path
) -> None:
    classifier = written(family, tmp_path, stored)
    names = set(safetensors.load_file(stored / adapters.WEIGHTS))
    trained = [name for name, p in classifier.model.named_parameters() if p.requires_grad]
    assert len(names) == len(trained)
    heads = {name for name in names if "lora_" not in name}
    assert heads == {f"base_model.model.{name}" for name in HEADS[family]}
    base = json.loads((stored / adapters.BASE).read_text())
    assert base["model"] == str(tmp_path)
    assert len(base["sha256"]) == 64


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_what_is_written_is_read_back_bit_by_bit(
    family: str, tuning: str, tmp_path: Path, stored: Path
) -> None:
    classifier = written(family, tmp_path, stored, tuning=tuning)
    again = fresh(classifier)
    adapters.read_state(again, stored)
    before, after = adapters.trained_state(classifier), adapters.trained_state(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    np.testing.assert_allclose(logits(again), logits(classifier), atol=1e-6)


def test_a_state_does_not_change_with_its_model(tmp_path: Path) -> None:
    classifier = tiny.classifier("llama3", tmp_path)
    state = adapters.trained_state(classifier)
    kept = {name: tensor.clone() for name, tensor in state.items()}
    for parameter in classifier.model.parameters():
        parameter.data += 1
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_leaves_adapters_as_they_are(family: str, tmp_path: Path) -> None:
    classifier = tiny.classifier(family, tmp_path)
    before = adapters.trained_state(classifier)
    classifier.new_head(seed=7)
    after = adapters.trained_state(classifier)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {f"base_model.model.{n}" for n in HEADS[family] if not n.endswith("bias")}


FAULTS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "missing adapter": (lambda t: t.pop(A), f"1 tensors .*: {A} is missing"),
    "missing head": (lambda t: t.pop(HEAD), f"1 tensors .*: {HEAD} is missing"),
    "renamed": (
        lambda t: t.update({"other": t.pop(A)}),
        f"2 tensors .*: {A} is missing; other is unknown",
    ),
    "unknown": (lambda t: t.update({"other": torch.ones(1)}), "1 tensors .*: other is unknown"),
    "misshapen": (
        lambda t: t.update({A: t[A][:2].clone()}),
        rf"1 tensors .*: {A} has shape \(2, 32\), not \(4, 32\)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_do_not_fit_are_named(fault: str, tmp_path: Path, stored: Path) -> None:
    again = fresh(written("llama3", tmp_path, stored))
    before = logits(again)
    edit, message = FAULTS[fault]
    change(stored, edit)
    with pytest.raises(errors.ArtifactError, match=message) as error:
        adapters.read_state(again, stored)
    assert error.value.where == str(stored / adapters.WEIGHTS)
    assert (logits(again) == before).all(), "nothing is loaded in part"


def test_a_missing_tensor_of_full_tuning_is_named(tmp_path: Path, stored: Path) -> None:
    again = fresh(written("llama3", tmp_path, stored, tuning="full"))
    change(stored, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(errors.ArtifactError, match="model.norm.weight is missing"):
        adapters.read_state(again, stored)


def test_a_tensor_that_peft_drops_is_named(
    tmp_path: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = fresh(written("llama3", tmp_path, stored))
    put = peft.set_peft_model_state_dict

    def drop(model: nn.Module, tensors: Tensors, **options: Any) -> None:
        put(model, {n: t for n, t in tensors.items() if n != A}, **options)

    monkeypatch.setattr(peft, "set_peft_model_state_dict", drop)
    with pytest.raises(errors.ArtifactError, match=f"1 tensors did not reach the model: {A}"):
        adapters.read_state(again, stored)


def test_other_base_weights_are_refused(tmp_path: Path, stored: Path) -> None:
    chosen = written("llama3", tmp_path, stored).settings
    trained_on = json.loads((stored / adapters.BASE).read_text())["sha256"]
    tiny.save_checkpoint("llama3", tmp_path, seed=2)
    again = loading.load_classifier(chosen, device=torch.device("cpu"))
    with pytest.raises(
        errors.ArtifactError, match=f"are not what was trained on.*{trained_on}"
    ) as error:
        adapters.read_state(again, stored)
    assert str(error.value.hint).startswith("put those files back, or say in `model`")


def test_the_same_base_weights_elsewhere_are_taken(tmp_path: Path, stored: Path) -> None:
    classifier = written("llama3", tmp_path / "here", stored)
    there = tiny.classifier("llama3", tmp_path / "there", moved=0.0)
    adapters.read_state(there, stored)
    np.testing.assert_allclose(logits(there), logits(classifier), atol=1e-6)
