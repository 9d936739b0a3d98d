"""What the README of an exported model says of vLLM, run against a stand-in for it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig

from ensemble import FitContext
from ensemble_plugins.language_model.export import served
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
TRAIN, NEW = make_battles(6), make_battles(5, seed=1)


class StandIn:
    """Takes what vLLM's ``LLM`` takes here, and gives logits where no activation is wanted."""

    made: dict[str, Any]

    def __init__(self, model: str, **options: Any) -> None:
        StandIn.made = options
        self.model = AutoModelForSequenceClassification.from_pretrained(model)

    def classify(self, prompts: list[dict[str, list[int]]], *, pooling_params: Any) -> list[Any]:
        assert pooling_params.use_activation is False
        return [self._one(prompt["prompt_token_ids"]) for prompt in prompts]

    def _one(self, ids: list[int]) -> Any:
        with torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([ids])).logits[0].tolist()
        return SimpleNamespace(outputs=SimpleNamespace(probs=logits))


def _export(model: Path, place: Path, *, ties: bool, plugin: str, swap_tta: bool) -> Any:
    learner = make_learner(plugin, model, swap_tta=swap_tta)
    learner.fit(TRAIN, make_labels(TRAIN), context=FitContext(seed=2, device="cpu"))
    logits = learner.predict_logits(NEW)
    place.mkdir()
    learner.export(place, NEW, logits, about={"learner": "small", "fit": "fold 0", "ties": ties})
    return np.asarray(logits, dtype=np.float64)


def _recipe(place: Path) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if "vllm" in block]
    return str(found).replace("MODEL", str(place))


@pytest.mark.parametrize("swap_tta", [True, False])
@pytest.mark.parametrize("ties", [True, False])
def test_the_recipe_gives_the_probabilities_of_the_run(
    checkpoint: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ties: bool,
    swap_tta: bool,
) -> None:
    place = tmp_path / "model"
    logits = _export(
        checkpoint("llama3"), place, ties=ties, plugin="llama3-lora", swap_tta=swap_tta
    )
    battle = next(tuple(part) for part in NEW.select("prompt", "response_a", "response_b").rows())
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setattr(sys.modules["vllm"], "LLM", StandIn, raising=False)
    monkeypatch.setattr(sys.modules["vllm"], "PoolingParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    recipe = _recipe(place)
    example = '("What is 2 + 2?", "4", "Five.")'
    assert example in recipe
    code = recipe.replace(example, repr(battle)).replace("print(", "found = (")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code, names)  # noqa: S102 - what a user runs
    if not ties:
        logits[:, 2] = -np.inf
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(names["found"], [shares], atol=1e-5)
    assert StandIn.made == {
        "runner": "pooling",
        "convert": "classify",
        "dtype": "float32",  # vLLM computes in half precision what lies in float32, unless told
        "max_model_len": json.loads((place / "ensemble.json").read_text())["max_length"],
    }


def _describe(name: str, *, dtype: str = "float32", length: int = 512, **config: Any) -> str:
    found: Any = PreTrainedConfig(**config)
    return served.describe(f"{name}ForSequenceClassification", found, dtype, length)


def test_vllm_is_told_the_name_by_which_it_finds_a_classifier() -> None:
    text = _describe("Gemma3Text", dtype="bfloat16")
    assert 'hf_overrides={"architectures": ["Gemma3ForSequenceClassification"]}' in text
    assert 'dtype="bfloat16"' in text
    assert "max_model_len=512" in text
    assert "hf_overrides" not in _describe("Gemma2")


def test_a_decoder_that_looks_ahead_is_computed_so_or_not_at_all(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    text = _describe("Gemma3Text", use_bidirectional_attention=True)
    assert '["Gemma3ForSequenceClassification"], "is_causal": False}' in text
    for name in ("Gemma2", "Olmo2", "Something"):
        text = _describe(name, is_causal=False)
        assert "tokens attend to those after them" in text
        assert "do not use it" in text
        assert "```" not in text
    base = shutil.copytree(checkpoint("llama3"), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    _export(base, tmp_path / "model", ties=True, plugin="llama3-lora", swap_tta=False)
    assert 'hf_overrides={"is_causal": False}' in _recipe(tmp_path / "model")


def test_what_vllm_refuses_has_no_recipe() -> None:
    text = _describe("DebertaV2")
    assert f"vLLM {served.VERSION} does not load DebertaV2ForSequenceClassification" in text
    assert "```" not in text


def test_what_was_not_tried_says_so() -> None:
    text = _describe("Something")
    assert "not tried with SomethingForSequenceClassification" in text
    assert "convert=" in text
    assert "not tried" not in _describe("Llama")


def test_no_architecture_is_both_equal_and_refused() -> None:
    assert not served.EQUAL & served.REFUSED
    assert set(served.RENAMED) | served._BOTH_WAYS <= served.EQUAL
