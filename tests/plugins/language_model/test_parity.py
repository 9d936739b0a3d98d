from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ensemble_plugins.language_model.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
PACKAGE = "ensemble_plugins.language_model"
adapters = importlib.import_module(f"{PACKAGE}.model.adapters")
decoder = importlib.import_module(f"{PACKAGE}.model.decoder")
implementation = importlib.import_module(f"{PACKAGE}.model.implementation")
inference = importlib.import_module(f"{PACKAGE}.model.inference")
loading = importlib.import_module(f"{PACKAGE}.model.loading")
parity = importlib.import_module(f"{PACKAGE}.model.parity")
settings = importlib.import_module(f"{PACKAGE}.settings")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)

torch.set_num_threads(1)  # threads that share cores with other tests wait for each other

DECODERS = ["gemma2", "llama3", "qwen2"]
FAMILIES = [*DECODERS, "deberta", "bert"]
LENGTHS = [5, 40, 1, 33, 17, 64]
"""Longer and shorter than Gemma-2's window of 24."""


def make(family: str, directory: Path, **options: Any) -> Any:
    """Load a tiny classifier whose head is large enough that logits are of order 1."""
    made = tiny.classifier(family, directory, **options)
    for parameter in made.head_parameters().values():
        if parameter.ndim > 1:
            parameter.data.mul_(10)
    for module in made.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made


def check(classifier: Classifier, **options: Any) -> float:
    found = parity.check_parity(
        classifier, tiny.random_tokens(LENGTHS), where="in a test", **options
    )
    assert found.transformers == 0.0, "float32 is the reference itself"
    return float(found.packed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_engine_computes_what_transformers_does(
    family: str, tuning: str, tmp_path: Path
) -> None:
    classifier = make(family, tmp_path, tuning=tuning)
    assert classifier.packed == (family in DECODERS)
    assert check(classifier) < 1e-5
    reference = parity.reference_logits(classifier, tiny.random_tokens(LENGTHS))
    assert reference.std(axis=0).min() > 0.02, "else nothing would show"


@pytest.mark.parametrize("family", DECODERS)
def test_layers_of_other_kinds_are_left_to_transformers(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "KNOWN", ())
    classifier = make(family, tmp_path)
    assert classifier.packed
    assert not any("forward" in vars(layer) for layer in classifier.backbone.layers)
    assert check(classifier) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [1, 50, 90, 1000])
def test_logits_do_not_depend_on_the_batch(family: str, budget: int, tmp_path: Path) -> None:
    classifier = make(family, tmp_path)
    tokens = tiny.random_tokens(LENGTHS)
    reference = parity.reference_logits(classifier, tokens)
    order = np.array([3, 0, 5, 1, 4, 2])
    found = inference.compute_logits(classifier, tokens.take(order), budget)
    np.testing.assert_allclose(found, reference[order], atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_a_filled_pack_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    classifier = make(family, tmp_path)
    tokens = tiny.random_tokens(LENGTHS)
    with torch.no_grad():
        found = classifier.logits(classifier.batch(tokens, np.arange(6), width=600))
    reference = parity.reference_logits(classifier, tokens)
    np.testing.assert_allclose(found.numpy(), reference, atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_a_row_that_holds_the_padding_token_is_read_at_its_end(family: str, tmp_path: Path) -> None:
    classifier = make(family, tmp_path)
    rows = [np.array(ids, dtype=np.int32) for ids in ([9, 0, 0, 12], [20, 0, 30, 40], [0, 11])]
    tokens = type(tiny.random_tokens([1])).from_rows(rows)
    parity.check_parity(classifier, tokens, where="in a test", tolerance=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_models_give_the_same_logits(family: str, tmp_path: Path) -> None:
    (tmp_path / "stored").mkdir()
    classifier, tokens = make(family, tmp_path), tiny.random_tokens(LENGTHS)
    reference = parity.reference_logits(classifier, tokens)
    adapters.write_state(classifier, adapters.trained_state(classifier), tmp_path / "stored")
    fresh = loading.load_classifier(classifier.settings, device=classifier.device, seed=99)
    assert parity.drift(fresh, tokens, reference) > 1e-2
    adapters.read_state(fresh, tmp_path / "stored")
    assert check(fresh) < 1e-5
    assert parity.drift(fresh, tokens, reference) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_models_give_the_same_logits(family: str, tmp_path: Path) -> None:
    classifier, tokens = make(family, tmp_path), tiny.random_tokens(LENGTHS)
    reference = parity.reference_logits(classifier, tokens)
    classifier.prepare(settings.PredictionSettings(), merge=True)
    assert check(classifier) < 1e-5
    assert parity.drift(classifier, tokens, reference) < 1e-5


def gradients(classifier: Classifier, logits: Tensor) -> dict[str, Tensor]:
    """Give the gradient of every trained parameter, for one drawn gradient of the logits."""
    torch.manual_seed(8)
    classifier.model.zero_grad()
    (logits * torch.randn(logits.shape)).sum().backward()
    trained = {n: p for n, p in classifier.model.named_parameters() if p.requires_grad}
    return {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_gradients_are_those_of_transformers(family: str, tuning: str, tmp_path: Path) -> None:
    classifier, tokens = make(family, tmp_path, tuning=tuning), tiny.random_tokens(LENGTHS)
    classifier.model.train()
    packed = classifier.logits(classifier.batch(tokens, np.arange(6), width=300))
    found = gradients(classifier, packed)
    with classifier.as_transformers() as plain:
        rows = [torch.from_numpy(tokens.row(i)).long()[None] for i in range(6)]
        wanted = gradients(classifier, torch.cat([plain(input_ids=ids).logits for ids in rows]))
    assert found.keys() == wanted.keys()
    assert len(found) > 10
    tolerance = 1e-5 if classifier.packed else 1e-4  # encoders round more, in norms with a bias
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        gap = float((found[name] - gradient).norm())
        assert gap <= tolerance * float(gradient.norm()) + 1e-7 * largest, name


@pytest.mark.parametrize("family", ["gemma2", "deberta"])
def test_the_model_is_as_before_after_a_reference(family: str, tmp_path: Path) -> None:
    classifier = make(family, tmp_path)
    before = own_methods(classifier)
    parity.reference_logits(classifier, tiny.random_tokens(LENGTHS))
    assert own_methods(classifier) == before
    assert any(before)
    if family == "gemma2":
        assert implementation.attention_of(classifier.base) == "packed"
    assert not classifier.model.training


def own_methods(classifier: Classifier) -> list[dict[str, Any]]:
    """Give what each module computes otherwise than its class."""
    modules = [vars(module) for module in classifier.model.modules()]
    return [{name: each for name, each in own.items() if callable(each)} for own in modules]


@pytest.mark.parametrize("family", ["gemma2", "llama3"])
def test_half_weights_are_held_against_float32(family: str, tmp_path: Path) -> None:
    classifier, tokens = make(family, tmp_path), tiny.random_tokens(LENGTHS)
    wanted = parity.reference_logits(classifier, tokens)
    for parameter in classifier.model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    before = list(classifier.model.parameters())
    rounded = parity.reference_logits(classifier, tokens)
    assert all(p is q for p, q in zip(before, classifier.model.parameters(), strict=True))
    for parameter in classifier.model.parameters():
        parameter.data = parameter.data.float()
    np.testing.assert_allclose(
        parity.reference_logits(classifier, tokens), rounded, rtol=1e-5, atol=1e-5
    )
    assert 1e-4 < np.abs(rounded - wanted).max() < 0.1


def test_half_inputs_are_computed_in_float32() -> None:
    layer = torch.nn.Linear(8, 8).bfloat16()
    x = torch.randn(3, 8).bfloat16()
    with parity._in_float32(layer):
        found = layer(x)
    wanted = x.float() @ layer.weight.float().T + layer.bias.float()
    torch.testing.assert_close(found, wanted)
    assert layer(x).dtype is torch.bfloat16


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_soft_capping_can_be_left_out(attention: str, tmp_path: Path) -> None:
    tokens = tiny.random_tokens(LENGTHS)
    capped = make("gemma2", tmp_path, moved=0.0)
    plain = make("gemma2", tmp_path, moved=0.0, soft_capping=False)
    assert check(plain) < 1e-5
    found = inference.compute_logits(plain, tokens, 100)
    assert np.abs(found - inference.compute_logits(capped, tokens, 100)).max() > 1e-2

    reference = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path,
        num_labels=3,
        pad_token_id=0,
        attn_logit_softcapping=None,
        attn_implementation=attention,
    ).eval()
    reference.score.weight.data = plain.base.score.modules_to_save["default"].weight.data
    with torch.no_grad():
        rows = [torch.from_numpy(tokens.row(i)).long()[None] for i in range(len(tokens))]
        wanted = torch.cat([reference(input_ids=ids).logits for ids in rows])
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
