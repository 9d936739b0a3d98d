from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import errors

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
safetensors = importlib.import_module("safetensors.torch")
adapters = importlib.import_module("ensemble_plugins.language_model.model.adapters")
checks = importlib.import_module("ensemble_plugins.language_model.model.checks")
heads = importlib.import_module("ensemble_plugins.language_model.model.heads")
inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
zoo: Any = importlib.import_module("tests.plugins.language_model.tiny_zoo")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("default"),  # what transformers warns of its own kinds
]
torch.set_num_threads(1)
CPU = torch.device("cpu")
MANY = [kind for kind in zoo.ALL if kind not in zoo.FEW]


def take(kind: str, directory: Path) -> Any:
    """Load a kind with adapters; all of its head is trained, stored and comes back."""
    source, stored = directory / "model", directory / "stored"
    stored.mkdir()
    config = zoo.save_checkpoint(kind, source)
    rows, contrast = zoo.rows(config), zoo.contrast(config)
    chosen = settings.ModelSettings(str(source), rank=4, alpha=8.0)
    made = loading.load_classifier(chosen, device=CPU, seed=3, contrast=contrast)
    backbone = {id(p) for p in heads.find_backbone(made.base).parameters()}
    beside = [n for n, p in made.model.named_parameters() if id(p) not in backbone]
    new = {name for name in beside if ".original_module." not in name}
    assert new, "there is a head"
    trained = {name for name, p in made.model.named_parameters() if p.requires_grad}
    assert new <= trained
    assert made.head_parameters().keys() >= new
    made.new_head(seed=7)
    adapters.write_state(made, adapters.trained_state(made), stored)
    names = set(safetensors.load_file(stored / adapters.WEIGHTS))
    assert {name.replace("modules_to_save.default.", "") for name in new} <= names
    logits = inference.compute_logits(made, rows, 200)
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).max() > 1e-4, "rows differ"
    return checks.check_model(
        chosen,
        rows,
        settings.PredictionSettings(200),
        merge=True,
        device=CPU,
        pad_id=0,
        contrast=contrast,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", zoo.FEW)
def test_all_of_a_head_is_trained_and_stored(kind: str, tmp_path: Path) -> None:
    found = take(kind, tmp_path)
    assert found["drift_after_load"] < 1e-4
    assert found["drift_in_training"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", MANY)
def test_every_classifier_of_transformers_is_taken_or_refused_by_name(
    kind: str, tmp_path: Path
) -> None:
    if kind in zoo.NOT_TINY:
        pytest.skip("this file has no tiny config that transformers itself computes")
    if kind in zoo.REFUSED:
        with pytest.raises((errors.LearnerError, ImportError, ValueError), match=zoo.REFUSED[kind]):
            take(kind, tmp_path)
    else:
        assert take(kind, tmp_path)["drift_after_load"] < 1e-4


def test_no_more_are_refused_than_are_known() -> None:
    refused = {*zoo.REFUSED, *zoo.NOT_TINY}
    assert refused <= {*zoo.ALL}
    assert refused.isdisjoint(zoo.FEW)
    print(f"{len(zoo.ALL) - len(refused)} of {len(zoo.ALL)} classifiers are taken")
    assert len(refused) <= 10


HEADS = {
    "bert": {"classifier"},
    "deberta-v2": {"pooler", "classifier"},
    "distilbert": {"pre_classifier", "classifier"},
    "modernbert": {"head", "classifier"},
    "bart": {"classification_head"},
    "xlnet": {"sequence_summary", "logits_proj"},
    "llama": {"score"},
}


def make(kind: str) -> Any:
    with torch.device("meta"):
        config = zoo.tiny_config(kind)
        return transformers.AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_what_stands_beside_the_backbone(kind: str) -> None:
    made = make(kind)
    head = heads.find_head(made)
    assert set(head) == HEADS[kind]
    adapted = heads.adapted_names(made, head, ("all-linear",))
    assert adapted
    assert not any(heads.is_head(name, head) for name in adapted)
    assert all(name.startswith(f"{made.base_model_prefix}.") for name in adapted)


def test_a_name_within_another_is_not_of_the_head() -> None:
    head = ("dense", "bert.pooler")
    assert heads.is_head("dense.weight", head)
    assert heads.is_head("base_model.model.dense.modules_to_save.default.weight", head)
    assert heads.is_head("bert.pooler", head)
    for name in ("bert.layer.dense.weight", "dense_2.weight", "bert.pooler_norm.weight"):
        assert not heads.is_head(name, head), name


def test_a_pooler_that_the_checkpoint_lacks_is_of_the_head(tmp_path: Path) -> None:
    """As in BERTs that were trained on masked words alone."""
    zoo.save_checkpoint("bert", tmp_path, lacking="pooler")
    chosen = settings.ModelSettings(str(tmp_path), rank=4)
    made = loading.load_classifier(chosen, device=CPU, seed=1)
    assert made.head == ("classifier", "bert.pooler")
    assert "base_model.model.bert.pooler.modules_to_save.default.dense.weight" in (
        made.head_parameters()
    )


def test_half_a_pooler_is_a_fault_of_the_checkpoint(tmp_path: Path) -> None:
    zoo.save_checkpoint("bert", tmp_path, lacking="pooler.dense.bias")
    with pytest.raises(
        errors.LearnerError, match=r"lack 1 tensors of \w+: bert\.pooler\.dense\.bias"
    ):
        loading.load_classifier(settings.ModelSettings(str(tmp_path)), device=CPU)


def test_norms_of_a_new_head_keep_their_scale(tmp_path: Path) -> None:
    zoo.save_checkpoint("modernbert", tmp_path)
    made = loading.load_classifier(settings.ModelSettings(str(tmp_path), rank=4), device=CPU)
    made.new_head(seed=5)
    norms = {n: p for n, p in made.head_parameters().items() if "norm" in n and p.ndim == 1}
    assert norms
    assert all((p == 1).all() for n, p in norms.items() if n.endswith("weight"))


def test_modules_are_named_by_their_ends_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    made = make("distilbert")
    head = heads.find_head(made)
    found = heads.adapted_names(made, head, ("q_lin", "classifier"))
    assert {name.rpartition(".")[2] for name in found} == {"q_lin"}
    with pytest.raises(errors.LearnerError, match="has no 'q_proj' layer below its head") as error:
        heads.adapted_names(made, head, ("q_proj",))
    assert str(error.value.hint).startswith("set `modules` to some of k_lin, lin1, lin2, out_lin")
