"""What a checkpoint has and its model does not read, and what its config asks of who runs it."""

from __future__ import annotations

import importlib
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tensors = dict[str, Any]

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
safetensors: Any = importlib.import_module("safetensors.torch")

PACKAGE = "ensemble_plugins.language_model"
settings = importlib.import_module(f"{PACKAGE}.settings")
weights = importlib.import_module(f"{PACKAGE}.model.weights")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")


def load(directory: Path) -> Any:
    chosen = settings.ModelSettings(str(directory))
    return weights.load_model(chosen, weights.load_config(chosen), dtype=torch.float32)[0]


def change_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(directory: Path, change: Callable[[Tensors], Tensors]) -> None:
    path = directory / "model.safetensors"
    state = safetensors.load_file(path)
    safetensors.save_file(state | change(state), path, metadata={"format": "pt"})


def beside(state: Tensors, part: str, leaf: str, value: Callable[[Any], Any]) -> Tensors:
    """Give tensors that stand beside the weights whose names have a part."""
    found = {n: t for n, t in state.items() if n.endswith(f"{part}.weight")}
    return {n.removesuffix("weight") + leaf: value(t) for n, t in found.items()}


@pytest.mark.parametrize(
    ("family", "part", "leaf"),
    [
        ("llama", "q_proj", "bias"),
        ("llama", "down_proj", "weight_scale_inv"),
        ("qwen3", "k_proj", "bias"),
        ("modernbert", "Wqkv", "bias"),
        ("bert", "query", "weight_scale"),
    ],
)
def test_a_part_of_a_layer_that_is_not_read_is_refused(
    family: str, part: str, leaf: str, tmp_path: Path
) -> None:
    """Without it the layer computes something else, and parity sees nothing of that."""
    families.save(family, tmp_path)
    load(tmp_path)
    change_weights(
        tmp_path, lambda state: beside(state, part, leaf, lambda t: torch.full((len(t),), 2.0))
    )
    with pytest.raises(errors.LearnerError, match=rf"computes without them: .*{part}\.{leaf}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("family", "part", "leaf", "value"),
    [
        ("llama", "o_proj", "bias", 0.0),
        ("llama", "q_proj", "weight_scale", 1.0),
        ("llama", "k_proj", "k_scale", 0.4),
        ("bert", "word_embeddings", "_weight", 0.4),
    ],
)
def test_a_part_that_computes_nothing_is_left_out_without_a_word(
    family: str, part: str, leaf: str, value: float, tmp_path: Path
) -> None:
    families.save(family, tmp_path)
    change_weights(
        tmp_path, lambda state: beside(state, part, leaf, lambda t: torch.full((len(t),), value))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)


def test_layers_that_predict_more_tokens_are_left_out_without_a_word(tmp_path: Path) -> None:
    families.save("qwen2", tmp_path)
    change_weights(
        tmp_path,
        lambda _: {f"model.layers.9.{name}.weight": torch.ones(3) for name in ("enorm", "eh_proj")},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)


def test_layers_that_the_config_does_not_tell_of_are_said(tmp_path: Path) -> None:
    families.save("qwen2", tmp_path)
    change_config(tmp_path, num_hidden_layers=2, layer_types=["full_attention"] * 2)
    with pytest.warns(UserWarning, match=r"left out: model\.layers\.2 \(hint: set num_hidden"):
        assert len(load(tmp_path).model.layers) == 2


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_heads_of_other_tasks_are_left_out_without_a_word(family: str, tmp_path: Path) -> None:
    families.save(family, tmp_path)
    names = ["lm_head.weight", "score.bias", "classifier.weight", "cls.predictions.bias"]
    change_weights(tmp_path, lambda _: {name: torch.ones(5, 32) for name in names})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)


@pytest.mark.parametrize("family", ["llama", "bert", "modernbert"])
@pytest.mark.parametrize(
    "asked",
    [
        {"return_dict": False},
        {"output_hidden_states": True, "output_attentions": True},
        {"attn_implementation": "flash_attention_2"},
        {"dtype": "float8_e4m3fn"},
    ],
)
def test_what_a_config_asks_of_who_runs_it_changes_no_logits(
    family: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    families.save(family, tmp_path)
    ids = torch.arange(10, 20)[None]
    torch.manual_seed(0)
    plain = load(tmp_path)(input_ids=ids)
    change_config(tmp_path, **asked)
    torch.manual_seed(0)
    found = load(tmp_path)(input_ids=ids)
    assert found.keys() == plain.keys()
    assert torch.equal(found.logits, plain.logits)
