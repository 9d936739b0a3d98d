"""The mean of trained models: exact in every weight, and stored as any other model."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from safetensors.torch import load_file, save_file

from ensemble import FitContext, errors
from tests.mostly_slow import mostly_slow
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
TRAIN, NEW = make_battles(12), make_battles(7, seed=1, turns=2)
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemma2": ("gemma2-lora", "gemma2", {}),
    "with embeddings": ("causal-lora", "llama3", {"modules": ["q_proj", "embed_tokens"]}),
    "full": ("causal-lora", "qwen2", {"tuning": "full", "learning_rate": 1e-3}),
    "encoder": ("encoder", "deberta", {"dropout": 0.1, "tuning": "lora"}),
}


def _fitted(kind: str, checkpoint: Callable[[str], Path], place: Path, models: int = 3) -> Any:
    """Fit a learner under several seeds and on other rows; give a maker and their directories."""
    plugin, family, options = KINDS[kind]
    directories = []
    for seed in range(models):
        rows = TRAIN[seed : seed + 9]
        learner = make_learner(plugin, checkpoint(family), **options)
        learner.fit(rows, make_labels(rows), context=FitContext(seed=seed, device="cpu"))
        directories.append(place / f"model-{seed}")
        directories[-1].mkdir()
        learner.save(directories[-1])
    return lambda **more: make_learner(plugin, checkpoint(family), **options | more), directories


def _weights(learner: Any) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach().double()
        for name, tensor in learner.classifier_.base.state_dict().items()
    }


@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), "gemma2"))
def test_every_weight_is_the_mean_of_those_of_the_models(
    checkpoint: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    make, directories = _fitted(kind, checkpoint, tmp_path)
    soup = make().average_models(directories)
    each = [_weights(make().load(directory)) for directory in directories]
    found = _weights(soup)
    moved = [n for n in found if not torch.equal(each[0][n], each[1][n])]
    assert len(moved) > 3
    assert any("score" in n or "classifier" in n or "pooler" in n for n in moved)
    for name, tensor in found.items():
        mean = torch.stack([one[name] for one in each]).mean(dim=0)
        torch.testing.assert_close(tensor, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), "gemma2"))
def test_a_soup_comes_back_from_its_files(
    checkpoint: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    make, directories = _fitted(kind, checkpoint, tmp_path, models=2)
    soup = make().average_models(directories)
    place = tmp_path / "soup"
    place.mkdir()
    soup.save(place)
    again = make().load(place)
    logits = soup.predict_logits(NEW)
    np.testing.assert_allclose(again.predict_logits(NEW), logits, atol=1e-5)
    facts = json.loads((place / "facts.json").read_text())
    assert (facts["averaged"], facts["dtype"]) == (2, "float32")
    # The mean of one model is that model, and of a soup too.
    np.testing.assert_allclose(
        make().average_models([place]).predict_logits(NEW), logits, atol=1e-5
    )
    one = make().load(directories[0]).predict_logits(NEW)
    same = make().average_models([directories[0]] * 3).predict_logits(NEW)
    np.testing.assert_allclose(same, one, atol=1e-5)


@pytest.mark.slow
def test_adapters_that_are_not_merged_are_those_of_all_models(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    make, directories = _fitted("gemma2", checkpoint, tmp_path)
    merged = make().average_models(directories).predict_logits(NEW)
    for one in directories:
        facts = json.loads((one / "facts.json").read_text())
        (one / "facts.json").write_text(json.dumps(facts | {"merged": False}))
    apart = make(merge=False).average_models(directories)
    np.testing.assert_allclose(apart.predict_logits(NEW), merged, atol=1e-4)
    place = tmp_path / "soup"
    place.mkdir()
    apart.save(place)
    state = load_file(place / "adapter_model.safetensors")
    assert {t.shape[0] for n, t in state.items() if "lora_A" in n} == {3 * 4}
    # The mean of products is not the product of means.
    each = [load_file(one / "adapter_model.safetensors") for one in directories]
    name = next(n for n in state if "q_proj.lora_A" in n)
    other = name.replace("lora_A", "lora_B")
    means = [torch.stack([one[n] for one in each]).mean(dim=0) for n in (other, name)]
    wrong = means[0] @ means[1]
    exact = torch.stack([one[other] @ one[name] for one in each]).mean(dim=0)
    torch.testing.assert_close(state[other] @ state[name], exact, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(wrong, exact, rtol=1e-2)


def test_models_that_do_not_belong_together_are_refused(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    make, (first, second) = _fitted("gemma2", checkpoint, tmp_path, models=2)
    base = json.loads((second / "base.json").read_text())
    (second / "base.json").write_text(json.dumps(base | {"sha256": "0" * 64}))
    with pytest.raises(errors.ArtifactError, match="stand on other base weights"):
        make().average_models([first, second])
    (second / "base.json").write_text(json.dumps(base))
    facts = json.loads((second / "facts.json").read_text())
    other = facts | {"template": facts["template"] | {"end": "?"}}
    (second / "facts.json").write_text(json.dumps(other))
    with pytest.raises(errors.LearnerError, match="models of another template"):
        make().average_models([first, second])
    other = facts | {"privileged": ["model_a"]}
    (second / "facts.json").write_text(json.dumps(other))
    with pytest.raises(errors.LearnerError, match="models of another privileged"):
        make().average_models([first, second])
    shutil.copy(first / "facts.json", second / "facts.json")
    adapters = json.loads((second / "adapter_config.json").read_text())
    twice = adapters | {"lora_alpha": 2 * adapters["lora_alpha"]}
    (second / "adapter_config.json").write_text(json.dumps(twice))
    with pytest.raises(errors.LearnerError, match=r"count 4\.0 times .* that count 2\.0 times"):
        make().average_models([first, second])
    shutil.copy(first / "adapter_config.json", second / "adapter_config.json")
    weights = second / "adapter_model.safetensors"
    state = load_file(weights)
    head = next(name for name in state if "score" in name)
    save_file(state | {head: torch.zeros(2, 32)}, weights)
    with pytest.raises(errors.ArtifactError, match=r"score.* has shape \(2, 32\), not \(3, "):
        make().average_models([first, second])
    save_file({n: t for n, t in state.items() if "layers.1." not in n}, weights)
    with pytest.raises(errors.ArtifactError, match="other tensors"):
        make().average_models([first, second])


@pytest.mark.slow
def test_folds_may_begin_alike(checkpoint: Callable[[str], Path]) -> None:
    def begun(seed: int, **options: Any) -> dict[str, torch.Tensor]:
        learner = make_learner("gemma2-lora", checkpoint("gemma2"), **options)
        learner._start(FitContext(seed=seed, device="cpu"))
        state = learner.classifier_.model.state_dict()
        return {n: t for n, t in state.items() if "lora_A" in n or "score.modules" in n}

    apart, alike = ([begun(seed, **o) for seed in (1, 2)] for o in ({}, {"init_seed": 7}))
    assert len(alike[0]) > 3
    assert all(torch.equal(alike[0][name], alike[1][name]) for name in alike[0])
    assert not any(torch.equal(apart[0][name], apart[1][name]) for name in apart[0])
