"""Any checkpoint: tiny random models of each family, from fit to predictions of what was stored."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
import transformers

from ensemble import FitContext, errors
from tests.mostly_slow import mostly_slow
from tests.plugins.language_model.quick_learners import make_learner

PACKAGE = "ensemble_plugins.language_model"
adapters = importlib.import_module(f"{PACKAGE}.model.adapters")
devices = importlib.import_module(f"{PACKAGE}.model.devices")
inference = importlib.import_module(f"{PACKAGE}.model.inference")
loading = importlib.import_module(f"{PACKAGE}.model.loading")
parity = importlib.import_module(f"{PACKAGE}.model.parity")
positions = importlib.import_module(f"{PACKAGE}.model.positions")
settings = importlib.import_module(f"{PACKAGE}.settings")
tiny_models: Any = importlib.import_module("tests.plugins.language_model.tiny_models")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
torch.set_num_threads(1)
CPU = torch.device("cpu")
LENGTHS = [5, 40, 1, 33, 17, 64]
DECODERS, ENCODERS, save = families.DECODERS, families.ENCODERS, families.save
GROUPED = families.GROUPED

NEAR = ("mistral", "phi3")
"""Windows in all of three layers reach no further back than to the template's question."""
FUSED = {"phi3": 4, "phi4-mini": 4, "glm": 6, "phi": 6}
"""Linear layers with adapters in a layer of the model, where q, k, v and gate, up are one."""


def load(family: str, directory: Path, **options: Any) -> Any:
    """Load one with adapters and a head that are large enough to show."""
    chosen = settings.ModelSettings(str(save(family, directory)), rank=4, alpha=8.0, **options)
    made = loading.load_classifier(chosen, device=CPU, seed=3)
    torch.manual_seed(5)
    for name, parameter in made.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.1)
    for parameter in made.head_parameters().values():
        if parameter.ndim > 1:
            parameter.data.mul_(10)
    return made


@pytest.mark.parametrize("family", DECODERS)
def test_every_decoder_is_packed_and_gives_the_logits_of_transformers(
    family: str, tmp_path: Path
) -> None:
    made, tokens = load(family, tmp_path), tiny_models.random_tokens(LENGTHS)
    assert made.packed, made.why_padded
    assert parity.check_parity(made, tokens, where="in a test").packed < 1e-5
    reference = parity.reference_logits(made, tokens)
    assert reference.std(axis=0).min() > 0.02, "else nothing would show"
    adapted = sum("lora_A" in name for name, _ in made.model.named_parameters())
    assert adapted == 3 * FUSED.get(family, 7)
    # A window that is not heeded would show, as would one that is heeded where there is none.
    windows = {window for window in made._windows if window is not None}
    expected = DECODERS[family][1].get("sliding_window")
    assert windows == ({expected} if expected else set())


@pytest.mark.parametrize("family", mostly_slow([*DECODERS, *ENCODERS], "gemma3", "deberta"))
def test_bfloat16_is_no_further_from_float32_than_that_of_transformers(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: frozen weights in bfloat16, adapters and head in float32."""
    monkeypatch.setattr(devices, "compute_dtype", lambda device: torch.bfloat16)
    made, tokens = load(family, tmp_path), tiny_models.random_tokens(LENGTHS)
    assert made.dtype is torch.bfloat16
    assert next(made.backbone.parameters()).dtype is torch.bfloat16
    assert made.packed is (family in DECODERS), made.why_padded
    parity.check_parity(made, tokens, where="in bfloat16")
    made.model.train()
    logits = made.logits(made.batch(tokens, np.arange(len(LENGTHS))))
    assert logits.dtype is torch.float32
    logits.sum().backward()
    trained = [p for p in made.model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    made.model.eval()
    reference = parity.reference_logits(made, tokens)
    made.prepare(settings.PredictionSettings(), merge=True)
    assert parity.drift(made, tokens, reference) < 0.2


def test_a_kind_that_nobody_knows_is_held_against_transformers_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "compute_dtype", lambda device: torch.bfloat16)
    decoder = importlib.import_module(f"{PACKAGE}.model.decoder")
    monkeypatch.setattr(decoder, "KNOWN", ())
    made = load("gemma3", tmp_path)
    assert made.packed, made.why_padded
    parity.check_parity(made, tiny_models.random_tokens(LENGTHS), where="in bfloat16")


def test_why_rows_are_not_packed_is_said(tmp_path: Path) -> None:
    save("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    made = loading.load_classifier(settings.ModelSettings(str(tmp_path), rank=4), device=CPU)
    assert not made.packed
    assert made.why_padded == "its attention is trained with dropout"


def test_a_pack_that_fails_is_not_said_to_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ImportError("no kernels\nat all")

    attention = importlib.import_module(f"{PACKAGE}.model.attention")
    monkeypatch.setattr(attention, "_by_rows", fail)
    made = loading.load_classifier(
        settings.ModelSettings(str(save("olmo2", tmp_path)), rank=4), device=CPU
    )
    assert made.why_padded == "a pack of it is not computed (ImportError: no kernels)"


def test_a_gpu_that_is_named_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cpu", "cuda", "cuda:1"):
        devices.make_current(torch.device(name))
    assert chosen == [torch.device("cuda:1")]


@pytest.mark.parametrize(
    ("kind", "rope", "limit"),
    [
        ("Phi3Config", {"rope_type": "default", "rope_theta": 1e4}, None),
        (
            "Phi3Config",
            {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
                "original_max_position_embeddings": 32,
            },
            32,
        ),
        ("LlamaConfig", {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 64),
    ],
)
def test_rows_are_no_longer_than_rotations_that_stay(
    kind: str, rope: dict[str, Any], limit: Any
) -> None:
    sizes = GROUPED | {"vocab_size": 300, "max_position_embeddings": 64}
    config = getattr(transformers, kind)(
        **sizes, rope_parameters=rope, original_max_position_embeddings=32
    )
    assert positions.longest_row(config) == limit


WORDS = ["hello", "world", "good", "bad", "long", "short", "yes", "no", "one", "two", "three"]


def battles(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)

    def text() -> list[str]:
        return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) + " <|im_end|></s>"]

    rows = [(f"b{i}", text(), text(), text()) for i in range(count)]
    return pl.DataFrame(rows, ["id", "prompt", "response_a", "response_b"], orient="row")


TRAIN, NEW = battles(12, 0), battles(5, 1)
LABELS = np.eye(3)[np.arange(12) % 3]


@pytest.mark.slow
@pytest.mark.parametrize("family", [*DECODERS, *ENCODERS])
def test_any_checkpoint_is_fitted_stored_and_loaded(family: str, tmp_path: Path) -> None:
    source, stored = save(family, tmp_path / "model"), tmp_path / "stored"
    stored.mkdir()
    plugin = "causal-lora" if family in DECODERS else "encoder"
    options = {"train_length": 280, "predict_length": 290, "token_budget": 600}
    learner = make_learner(plugin, source, **options)
    learner.fit(TRAIN, LABELS, context=FitContext(seed=5, device="cpu"))
    logits = learner.predict_logits(NEW)
    if family not in NEAR:
        assert np.ptp(logits, axis=0).max() > 1e-4
    learner.save(stored)
    again = make_learner(plugin, source, **options).load(stored)
    np.testing.assert_allclose(again.predict_logits(NEW), logits, atol=1e-5)
    facts = json.loads((stored / "facts.json").read_text())
    assert facts["packed"] is (family in DECODERS)
    assert facts["drift_in_prediction"] < 1e-4
    assert facts["template"]["start"].endswith(
        "answer the same prompts." if family in DECODERS else "{cls}"
    )


def test_the_template_in_force_is_part_of_the_key_by_content(tmp_path: Path) -> None:
    source = save("qwen3", tmp_path / "model")

    def key(**changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = make_learner("causal-lora", source, **changes).dependencies()
        return found

    auto = key()
    assert auto["template"]["start"].startswith("<|im_start|>user\n")
    assert key(template="plain")["template"] != auto["template"]
    table = {name: text for name, text in auto["template"].items() if name != "special"}
    assert key(template=table) == auto, "written out, it is the same template"
    assert key(template={"end": "?"})["template"] == auto["template"] | {"end": "?"}
    chat = source / "chat_template.jinja"
    chat.write_text(chat.read_text().replace("assistant", "judge"))
    assert key()["template"]["end"].endswith("<|im_start|>judge\n")


def test_a_wrong_template_is_refused_before_any_work() -> None:
    with pytest.raises(errors.ConfigError, match='template has no key "before": did you mean'):
        make_learner("causal-lora", "somewhere", template={"before": "x"})
    with pytest.raises(errors.ConfigError, match='template "gemma" is unknown'):
        make_learner("causal-lora", "somewhere", template="gemma")


def test_a_stored_model_keeps_the_template_that_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, stored = save("llama", tmp_path / "model"), tmp_path / "stored"
    stored.mkdir()
    options = {"train_length": 280, "predict_length": 290, "token_budget": 600, "swap_tta": False}
    learner = make_learner("causal-lora", source, **options)
    learner.fit(TRAIN, LABELS, context=FitContext(seed=5, device="cpu"))
    learner.save(stored)
    templates = importlib.import_module(f"{PACKAGE}.model.templates")
    monkeypatch.setattr(templates, "find_template", lambda *_: pytest.fail("it is stored"))
    again = make_learner("causal-lora", source, **options).load(stored)
    np.testing.assert_allclose(again.predict_logits(NEW), learner.predict_logits(NEW), atol=1e-5)
