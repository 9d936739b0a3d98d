"""What only a GPU computes: compiled packs, FlashAttention-4, bfloat16, float16 and FP8.

With ``--noconftest`` it needs nothing of the development environment but pytest.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from ensemble_plugins.language_model.model.classifier import Classifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
adapters = importlib.import_module("ensemble_plugins.language_model.model.adapters")
devices = importlib.import_module("ensemble_plugins.language_model.model.devices")
distributed = importlib.import_module("ensemble_plugins.language_model.train.distributed")
flash = importlib.import_module("ensemble_plugins.language_model.model.flash")
inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
merged = importlib.import_module("ensemble_plugins.language_model.model.merged")
parity = importlib.import_module("ensemble_plugins.language_model.model.parity")
precision = importlib.import_module("ensemble_plugins.language_model.model.precision")
recorded = importlib.import_module("ensemble_plugins.language_model.train.recorded")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
tokens_module = importlib.import_module("ensemble_plugins.language_model.text.tokens")
training = importlib.import_module("ensemble_plugins.language_model.train.training")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # The compiler warns of what it might do better, and of its own imports.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

DEVICE = torch.device("cuda")
LENGTHS = [5, 300, 1, 128, 129, 257, 64, 33, 200, 17]
"""Shorter and longer than blocks of 64 and 128, and than Gemma-2's window."""
SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA: dict[str, Any] = {"sliding_window": 48, "attn_logit_softcapping": 3.0}
LAYERS: dict[str, Any] = {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma2-64": ("Gemma2Config", GEMMA | {"head_dim": 64, "query_pre_attn_scalar": 64}),
    "gemma2-256": ("Gemma2Config", GEMMA | {"head_dim": 256, "query_pre_attn_scalar": 256}),
    "llama3-64": ("LlamaConfig", {"head_dim": 64}),
    "llama3-64-apart": ("LlamaConfig", {"head_dim": 64}),
    "llama3-128": ("LlamaConfig", {"head_dim": 128}),
    "gemma3-64": ("Gemma3TextConfig", {"head_dim": 64, "sliding_window": 48, **LAYERS}),
    "qwen2-32": ("Qwen2Config", {}),
    "qwen3-64": ("Qwen3Config", {"head_dim": 64}),
    "mistral-64": ("MistralConfig", {"head_dim": 64, "sliding_window": 48}),
    "phi3-32": ("Phi3Config", {"sliding_window": 48}),
    "phi3-64": ("Phi3Config", {"hidden_size": 256, "sliding_window": 48}),
    # Of queries 7 or 5 heads to one of keys, and one to one.
    "qwen2-64-seven": (
        "Qwen2Config",
        {"hidden_size": 448, "num_attention_heads": 7, "num_key_value_heads": 1},
    ),
    "llama3-128-five": (
        "LlamaConfig",
        {
            "hidden_size": 640,
            "head_dim": 128,
            "num_attention_heads": 5,
            "num_key_value_heads": 1,
        },
    ),
    "llama3-128-one": ("LlamaConfig", {"head_dim": 128, "num_key_value_heads": 4}),
}
CONFIGS |= {f"{name}-flex": CONFIGS[name] for name in ("gemma2-64", "gemma2-256", "llama3-128")}
FLASH = (
    *("gemma2-64", "gemma2-256", "llama3-64", "llama3-128", "gemma3-64", "qwen3-64", "phi3-64"),
    *("qwen2-64-seven", "llama3-128-five", "llama3-128-one"),
)
"""By FlashAttention-4, where it is used; a name that ends in ``-flex`` goes without it."""
DEBERTA: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 32,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def make_classifier(
    name: str, directory: Path, *, compiled: bool | None = None, **options: Any
) -> Any:
    """Load random weights with adapters and a head that are large enough to show.

    A name that ends in ``-apart`` has adapters in products of their own, as large models have them.
    """
    kind, sizes = CONFIGS[name]
    torch.manual_seed(1)
    base = transformers.AutoModel.from_config(getattr(transformers, kind)(**SIZES | sizes))
    # Of wider models smaller weights, or each layer would make more of what is rounded.
    deviation = 0.1 * math.sqrt(SIZES["hidden_size"] / base.config.hidden_size)
    for parameter in base.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0.0, deviation)
    base.save_pretrained(directory)
    torch.compiler.reset()
    chosen = settings.ModelSettings(str(directory), rank=16, alpha=32.0, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged, "LARGEST", 0 if name.endswith("-apart") else merged.LARGEST)
        made = loading.load_classifier(chosen, device=DEVICE, seed=3, compiled=compiled)
    for path, parameter in made.model.named_parameters():
        if "lora_B" in path:
            parameter.data.normal_(0.0, 0.05)
    for parameter in made.head_parameters().values():
        parameter.data.normal_(0.0, 0.1)
    return made


def make_tokens() -> Any:
    generator = np.random.default_rng(0)
    rows = [generator.integers(10, 512, length).astype(np.int32) for length in LENGTHS]
    return tokens_module.Tokens.from_rows(rows)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def classifier(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Classifier]:
    with pytest.MonkeyPatch.context() as patch:
        use_kernels(request.param, patch)
        yield make_classifier(request.param, tmp_path_factory.mktemp(request.param))
    torch.compiler.reset()


def use_kernels(name: str, patch: pytest.MonkeyPatch) -> None:
    """Leave FlashAttention-4 out where a name says so."""
    if name.endswith("-flex"):
        patch.setattr(flash, "why_not", lambda *_: "a test goes without it")


@pytest.mark.parametrize("classifier", [*FLASH, "llama3-128-flex", "qwen2-32"], indirect=True)
def test_the_attention_of_packs_is_named(
    classifier: Classifier, request: pytest.FixtureRequest
) -> None:
    reason = flash.why_not(torch.cuda.get_device_capability(), 128, torch.bfloat16)
    if reason and "a test" not in reason:
        pytest.skip(f"{flash.NAME}: {reason}")
    name = request.node.callspec.params["classifier"]
    assert (classifier.attention == flash.NAME) is (name in FLASH)


@pytest.mark.parametrize("classifier", FLASH, indirect=True)
def test_gradients_are_the_same_again(classifier: Classifier) -> None:
    tokens, rows = make_tokens(), np.arange(len(LENGTHS))
    classifier.model.train()
    batch = classifier.batch(tokens, rows, width=1536)
    if classifier.attention != flash.NAME:
        pytest.skip(classifier.attention)
    first, again = (gradients(classifier, classifier.logits(batch)) for _ in range(2))
    classifier.model.eval()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_compiled_packs_give_the_logits_of_float32(classifier: Classifier) -> None:
    tokens = make_tokens()
    assert classifier.compiled
    assert classifier.packed, classifier.why_padded
    assert classifier.dtype is torch.bfloat16, "needs a GPU that computes bfloat16"
    reference = parity.reference_logits(classifier, tokens)
    assert reference.std(axis=0).min() > 0.3, "else nothing would show"
    parity.check_parity(classifier, tokens, where="on a GPU")  # each alone, and all in one pack
    found = inference.compute_logits(classifier, tokens, 384)  # several packs of one width
    allowed = parity.TOLERANCES[torch.bfloat16] * (1 + np.abs(reference).max())
    assert np.abs(found - reference).max() < allowed


@pytest.mark.parametrize("classifier", ["llama3-64", "gemma2-256"], indirect=True)
def test_a_pack_of_many_short_rows_gives_their_logits(classifier: Classifier) -> None:
    generator = np.random.default_rng(1)
    rows = [generator.integers(10, 512, 3).astype(np.int32) for _ in range(300)]
    tokens = tokens_module.Tokens.from_rows(rows)
    together = inference.compute_logits(classifier, tokens, 1024)
    apart = inference.compute_logits(classifier, tokens.take(np.arange(20)), 1024)
    allowed = parity.TOLERANCES[torch.bfloat16] * (1 + np.abs(together).max())
    assert np.abs(together[:20] - apart).max() < allowed
    assert together.std(axis=0).min() > 0.1, "else nothing would show"


def gradients(classifier: Classifier, logits: Tensor) -> dict[str, Tensor]:
    """Give the gradient of every trained parameter, for one drawn gradient of the logits."""
    torch.manual_seed(8)
    classifier.model.zero_grad()
    (logits * torch.randn(logits.shape).to(DEVICE)).sum().backward()
    trained = {n: p for n, p in classifier.model.named_parameters() if p.requires_grad}
    return {name: p.grad.float().clone() for name, p in trained.items() if p.grad is not None}


def test_gradients_are_those_of_float32(classifier: Classifier) -> None:
    kind = classifier.base.config.model_type
    if kind == "gemma2" and classifier.base.config.head_dim == 64:
        pytest.skip("to save a compilation: the two others have all of its parts")
    tokens, rows = make_tokens(), np.arange(len(LENGTHS))
    classifier.model.train()
    found = gradients(classifier, classifier.logits(classifier.batch(tokens, rows, width=1536)))
    classifier.model.eval()
    with classifier.as_transformers() as plain, parity._in_float32(plain):
        singly = [torch.from_numpy(tokens.row(i)).long()[None].to(DEVICE) for i in rows]
        wanted = gradients(classifier, torch.cat([plain(input_ids=ids).logits for ids in singly]))
    assert found.keys() == wanted.keys()
    # Phi-3 has its queries, keys and values in one layer, and so its gate and up.
    assert len(found) == 3 * (4 if kind == "phi3" else 7) * 2 + 1
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).norm()) < 0.1 * float(gradient.norm()), name


def test_padded_batches_give_the_logits_and_gradients_of_float32(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    base = transformers.AutoModel.from_config(transformers.DebertaV2Config(**sizes | DEBERTA))
    # Of wider models smaller weights, or each layer would make more of what is rounded.
    deviation = 0.1 * math.sqrt(SIZES["hidden_size"] / base.config.hidden_size)
    for parameter in base.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0.0, deviation)
    base.save_pretrained(tmp_path)
    torch.compiler.reset()
    chosen = settings.ModelSettings(str(tmp_path), tuning="full")
    classifier = loading.load_classifier(chosen, device=DEVICE, seed=3)
    assert classifier.compiled
    assert classifier.multiple == 16
    tokens, rows = make_tokens(), np.arange(len(LENGTHS))
    parity.check_parity(classifier, tokens, where="on a GPU")
    assert len(classifier.plan(tokens.lengths, 600)) > 2
    reference = parity.reference_logits(classifier, tokens)
    allowed = parity.TOLERANCES[torch.bfloat16] * (1 + np.abs(reference).max())
    assert np.abs(inference.compute_logits(classifier, tokens, 600) - reference).max() < allowed
    found = gradients(classifier, classifier.logits(classifier.batch(tokens, rows)))
    with classifier.as_transformers() as plain, parity._in_float32(plain):
        singly = [torch.from_numpy(tokens.row(i)).long()[None].to(DEVICE) for i in rows]
        wanted = gradients(classifier, torch.cat([plain(input_ids=ids).logits for ids in singly]))
    assert found.keys() == wanted.keys()
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        gap = float((found[name] - gradient).norm())
        assert gap < 0.1 * float(gradient.norm()) + 1e-3 * largest, name


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_eight_bits_drift_little(kind: str, tmp_path: Path) -> None:
    if kind == "fp8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU computes no FP8")
    classifier = make_classifier("llama3-64", tmp_path, compiled=kind == "fp8")
    tokens = make_tokens()
    reference = parity.reference_logits(classifier, tokens)
    classifier.prepare(settings.PredictionSettings(precision=kind), merge=True)
    drift = parity.drift(classifier, tokens, reference)
    assert np.isfinite(drift)
    assert 1e-4 < drift < 0.5


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("activations", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("rows", [1, 16, 17, 300])
def test_products_of_any_number_of_rows(dtype: Any, activations: Any, rows: int) -> None:
    if dtype is not torch.int8 and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU computes no FP8")
    torch.manual_seed(0)
    layer = torch.nn.Linear(128, 48).to(DEVICE)
    x = torch.randn(rows, 128, device=DEVICE)
    with torch.no_grad():
        wanted = layer(x)
        found = precision.EightBitLinear(layer.to(activations), dtype)(x.to(activations))
    assert found.dtype is activations
    gap = float((found.float() - wanted).norm() / wanted.norm())
    assert gap < (0.02 if dtype is torch.int8 else 0.06)


def test_float16_stays_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "compute_dtype", lambda device: torch.float16)
    classifier, tokens = make_classifier("gemma2-64", tmp_path, compiled=False), make_tokens()
    assert classifier.dtype is torch.float16
    assert next(classifier.backbone.parameters()).dtype is torch.float16
    parity.check_parity(classifier, tokens, where="in float16")
    classifier.model.train()
    logits = classifier.logits(classifier.batch(tokens, np.arange(len(LENGTHS))))
    assert logits.dtype is torch.float32
    found = gradients(classifier, logits)
    assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.parametrize(
    "name", ["gemma2-64", "gemma2-64-flex", "llama3-64", "llama3-64-apart", "llama3-128"]
)
def test_recorded_passes_train_the_same_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_kernels(name, monkeypatch)

    def trained(worth: float) -> tuple[dict[str, Any], Any]:
        monkeypatch.setattr(recorded, "_WORTH", worth)
        classifier = make_classifier(name, tmp_path)
        rows, chosen = tiny.labeled_rows(60), tiny.settings(epochs=2, token_budget=256)
        made = training.Training(classifier, rows, chosen, seed=0)
        made.run()
        return adapters.trained_state(classifier), made._recording

    plain, none = trained(worth=0.0)
    again, _ = trained(worth=0.0)
    found, recording = trained(worth=np.inf)
    assert none is None and recording is not None
    noise = max(float((again[key] - plain[key]).abs().max()) for key in plain)
    apart = max(float((found[key] - plain[key]).abs().max()) for key in plain)
    assert apart <= 4 * noise + 1e-6, "sums of kernels may come in another order"


@pytest.mark.parametrize("name", ["gemma2-64", "llama3-64"])
def test_training_in_fp8_moves_weights_about_as_training_does(name: str, tmp_path: Path) -> None:
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU computes no FP8")
    rows, chosen = tiny.labeled_rows(60), tiny.settings(epochs=2, token_budget=256)
    ended = {}
    for precision in ("native", "fp8"):
        classifier = make_classifier(name, tmp_path, train_precision=precision)
        start = adapters.trained_state(classifier)
        before = tiny.mean_loss(classifier, rows)
        training.Training(classifier, rows, chosen, seed=0).run()
        assert tiny.mean_loss(classifier, rows) < before
        end = adapters.trained_state(classifier)
        ended[precision] = torch.cat([(end[key] - start[key]).flatten() for key in sorted(end)])
    apart = float((ended["fp8"] - ended["native"]).norm() / ended["native"].norm())
    assert 0.0 < apart < 0.7


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_of_quantized_weights_learn(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    make_classifier("llama3-64", tmp_path, compiled=False)
    chosen = settings.ModelSettings(str(tmp_path), bits=bits, rank=4)
    classifier = loading.load_classifier(chosen, device=DEVICE, seed=3)
    assert all(p.dtype is torch.float32 for p in classifier.model.parameters() if p.requires_grad)
    parity.check_parity(classifier, make_tokens(), where=f"of weights in {bits} bits")
    rows = tiny.labeled_rows(36)
    before = tiny.mean_loss(classifier, rows)
    chosen = tiny.settings(epochs=8, token_budget=384)
    training.Training(classifier, rows, chosen, seed=0).run()
    assert tiny.mean_loss(classifier, rows) < before - 0.2


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_take_the_steps_of_one(tmp_path: Path) -> None:
    chosen = make_classifier("llama3-64", tmp_path, compiled=False).settings
    made = loading.load_classifier(chosen, device=DEVICE, seed=3)
    start = adapters.trained_state(made)
    # Several packs a step, so that both have a part.
    job = distributed.Job(
        chosen,
        tiny.labeled_rows(40, lengths=(60, 120)),
        tiny.settings(
            batch_size=10,
            token_budget=384,
            early_stopping=True,
            patience=4,
            evaluations=2,
            validation_fraction=0.2,
        ),
        seed=1,
        snapshots=None,
        cpu=False,
        pad_id=0,
        threads=1,
    )
    alone = training.Training(made, job.rows, job.training, seed=job.seed)
    assert max(map(len, alone.steps)) > 1
    alone.run()
    wanted = adapters.trained_state(made)
    found = distributed.train_together(job, start, 2, lambda *_: None)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        moved = float((tensor - start[name]).norm())
        assert float((found[name] - tensor).norm()) < 0.3 * moved, name
