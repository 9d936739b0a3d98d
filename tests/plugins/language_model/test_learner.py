from __future__ import annotations

import importlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from safetensors.torch import load_file, save_file

from ensemble import FitContext, errors
from ensemble.battles.swap import swap_battles
from tests.plugins.language_model.quick_learners import FAMILIES, make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.text.tokens import Tokens

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
fp8_training = importlib.import_module("ensemble_plugins.language_model.model.fp8_training")


# What transformers does where it defines DeBERTa.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
TRAIN, NEW = make_battles(18), make_battles(9, seed=1, turns=2)


def _fit(learner: Any, battles: pl.DataFrame = TRAIN, **options: Any) -> Any:
    context: dict[str, Any] = {"seed": 5, "device": "cpu", **options}
    return learner.fit(battles, make_labels(battles), context=FitContext(**context))


@pytest.mark.parametrize("plugin", sorted(FAMILIES))
def test_a_learner_comes_back_from_its_files(
    checkpoint: Callable[[str], Path], tmp_path: Path, plugin: str
) -> None:
    learner = _fit(
        make_learner(plugin, checkpoint(FAMILIES[plugin])), cache_directory=tmp_path / "cache"
    )
    logits = learner.predict_logits(NEW)
    assert logits.shape == (9, 3)
    assert logits.dtype == np.float32
    place = tmp_path / "model"
    place.mkdir()
    learner.save(place)
    assert {path.suffix for path in place.iterdir()} <= {".json", ".safetensors", ".md"}
    again = make_learner(plugin, checkpoint(FAMILIES[plugin])).load(place)
    np.testing.assert_allclose(again.predict_logits(NEW), logits, atol=1e-5)
    facts = json.loads((place / "facts.json").read_text())
    assert facts["dtype"] == "float32"
    assert facts["packed"] is (plugin != "deberta")
    assert facts["merged"] is (plugin != "deberta")
    assert facts["precision"] == "native"
    assert 0 <= facts["drift_from_float32"] < 1e-4
    assert 0 <= facts["drift_in_prediction"] < 1e-4
    assert any((tmp_path / "cache").rglob("*.safetensors"))


def test_what_was_trained_in_fp8_is_loaded_where_there_is_none(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Any:
        return make_learner("llama3-lora", checkpoint("llama3"), train_precision="fp8")

    learner = _fit(make())
    logits = learner.predict_logits(NEW)
    learner.save(tmp_path)

    def none_here(_device: Any) -> Any:
        raise errors.LearnerError("this GPU computes no FP8")

    monkeypatch.setattr(fp8_training, "fp8_dtype", none_here)
    np.testing.assert_allclose(make().load(tmp_path).predict_logits(NEW), logits, atol=1e-5)
    with pytest.raises(errors.LearnerError, match="computes no FP8"):
        _fit(make())


@pytest.mark.parametrize("plugin", sorted(FAMILIES))
def test_a_battle_has_the_same_logits_alone_and_in_any_order(
    checkpoint: Callable[[str], Path], plugin: str
) -> None:
    learner = _fit(make_learner(plugin, checkpoint(FAMILIES[plugin])))
    logits = learner.predict_logits(NEW)
    for row in range(len(NEW)):
        np.testing.assert_allclose(
            learner.predict_logits(NEW[row]), logits[row : row + 1], atol=1e-5
        )
    np.testing.assert_allclose(learner.predict_logits(NEW[::-1]), logits[::-1], atol=1e-5)
    assert np.abs(np.diff(logits, axis=0)).max() > 1e-4


@pytest.mark.parametrize("plugin", sorted(FAMILIES))
def test_averaged_logits_follow_their_sides_and_those_of_one_order_do_not(
    checkpoint: Callable[[str], Path], plugin: str
) -> None:
    exchanged = swap_battles(NEW)
    learner = _fit(make_learner(plugin, checkpoint(FAMILIES[plugin])))
    logits = learner.predict_logits(NEW)
    swapped = learner.predict_logits(exchanged)
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], logits, atol=1e-6)
    learner.swap_tta = False
    one, other = learner.predict_logits(NEW), learner.predict_logits(exchanged)
    assert np.abs(other[:, [1, 0, 2]] - one).max() > 1e-2
    np.testing.assert_allclose((one + other[:, [1, 0, 2]]) / 2, logits, atol=1e-5)


@pytest.mark.slow
def test_merged_adapters_and_those_that_are_not_give_the_same_logits(
    checkpoint: Callable[[str], Path],
) -> None:
    found = []
    for merge in (True, False):
        learner = _fit(make_learner("gemma2-lora", checkpoint("gemma2"), merge=merge))
        assert learner.facts_["merged"] is merge
        found.append(learner.predict_logits(NEW))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_the_tolerance_of_batches_is_that_of_the_dtype(checkpoint: Callable[[str], Path]) -> None:
    learner = _fit(make_learner("llama3-lora", checkpoint("llama3")))
    assert learner.batch_tolerance == 1e-3
    learner.classifier_.dtype = torch.bfloat16
    assert learner.batch_tolerance == 0.1


def test_a_preflight_reads_tokenizer_and_config_but_no_weights(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    place = tmp_path / "model"
    shutil.copytree(checkpoint("llama3"), place)
    for weights in place.glob("*.safetensors"):
        weights.unlink()
    learner = make_learner("llama3-lora", place)
    learner.preflight(NEW, context=FitContext(cache_directory=tmp_path / "cache"))
    assert learner.classifier_ is None
    for tokenizer in place.glob("*token*"):
        tokenizer.unlink()
    with pytest.raises(Exception, match="token"):
        make_learner("llama3-lora", place).preflight(NEW, context=FitContext())


def test_teachers_are_followed(checkpoint: Callable[[str], Path]) -> None:
    source = checkpoint("llama3")
    options = {"teachers": ["one", "two"], "distillation": 1.0, "epochs": 6}
    learner, earlier = make_learner("llama3-lora", source, **options), make_battles(6, seed=7)
    # Together they say that the first class wins, whatever the labels say.
    one, two = (
        np.tile(np.array(row, dtype=np.float32), (18, 1)) for row in ([0, 6, 0], [9, -6, 0])
    )
    with pytest.raises(errors.LearnerError, match="no logits of the teachers two"):
        _fit(learner, teachers={"one": one})
    context = FitContext(seed=5, device="cpu")
    learner.pretrain(earlier, make_labels(earlier), context=context)
    _fit(learner, teachers={"one": one, "two": two})
    learner.swap_tta = False
    assert learner.predict_logits(TRAIN).argmax(axis=1).tolist() == [0] * 18


@pytest.mark.slow
@pytest.mark.parametrize("plugin", sorted(FAMILIES))
def test_pretraining_counts_and_its_head_is_dropped_or_kept(
    checkpoint: Callable[[str], Path], plugin: str
) -> None:
    earlier = make_battles(12, seed=7)
    ends = {}
    for head in ("none", "drop", "keep"):
        options = {} if head == "none" else {"pretrain_head": head, "pretrain_epochs": 2}
        learner = make_learner(plugin, checkpoint(FAMILIES[plugin]), **options)
        if head != "none":
            context = FitContext(seed=5, device="cpu")
            assert learner.pretrain(earlier, make_labels(earlier), context=context) is learner
            head_before = _head(learner.classifier_)
        # At a rate of 0 the fit leaves everything as it finds it.
        learner.learning_rate = learner.head_learning_rate = 1e-12
        _fit(learner)
        ends[head] = learner.predict_logits(NEW)
        if head == "keep":
            torch.testing.assert_close(_head(learner.classifier_), head_before)
        elif head == "drop":
            assert not torch.allclose(_head(learner.classifier_), head_before, atol=1e-3)
    assert np.abs(ends["none"] - ends["drop"]).max() > 1e-3
    assert np.abs(ends["none"] - ends["keep"]).max() > 1e-3
    assert np.abs(ends["drop"] - ends["keep"]).max() > 1e-3


def _head(classifier: Classifier) -> torch.Tensor:
    layer = getattr(classifier.base, "score", None) or classifier.base.classifier
    found: torch.Tensor = getattr(layer, "modules_to_save", {"default": layer})["default"].weight
    return found.detach().clone()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "fit"])
def test_an_offset_is_learned_around_and_not_predicted(
    checkpoint: Callable[[str], Path], stage: str
) -> None:
    """Where the offset says that ties are many, and they are not, the model says the contrary."""
    ties = []
    options = {"epochs": 4, "pretrain_epochs": 4, "head_learning_rate": 0.05}
    for height in (-3.0, 3.0):
        learner = make_learner("llama3-lora", checkpoint("llama3"), **options)
        offset = np.tile([0.0, 0.0, height], (len(TRAIN), 1))
        labels = np.full((len(TRAIN), 3), 1 / 3)
        context = FitContext(seed=5, device="cpu", offset=offset)
        getattr(learner, stage)(TRAIN, labels, context=context)
        ties.append(_ties(learner))
    assert ties[1] < ties[0] - 0.2


def _ties(learner: Any) -> float:
    logits = torch.from_numpy(learner.predict_logits(NEW))
    return float(torch.softmax(logits, dim=1)[:, 2].mean())


def test_only_judged_rows_stop_the_training(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: Any = importlib.import_module("ensemble_plugins.language_model.train.stopping")
    watched: list[int] = []
    compute = stopping.compute_logits

    def spy(classifier: Classifier, tokens: Tokens, budget: int) -> Any:
        watched.append(len(tokens))
        return compute(classifier, tokens, budget)

    monkeypatch.setattr(stopping, "compute_logits", spy)
    learner = make_learner(
        "llama3-lora",
        checkpoint("llama3"),
        early_stopping=True,
        patience=1,
        validation_fraction=0.5,
    )
    _fit(learner, eval_mask=np.arange(len(TRAIN)) < 6)
    assert watched[0] == 3


def test_a_second_fit_starts_from_the_pretrained_weights_again(
    checkpoint: Callable[[str], Path],
) -> None:
    learner = _fit(make_learner("llama3-lora", checkpoint("llama3")))
    first = learner.predict_logits(NEW)
    np.testing.assert_array_equal(_fit(learner).predict_logits(NEW), first)


@pytest.mark.slow
def test_two_processes_fit_what_one_fits(checkpoint: Callable[[str], Path]) -> None:
    # The second stage starts from the weights of the first, and with a new head.
    plugin, earlier = "gemma2-lora", make_battles(12, seed=7)
    learners = [make_learner(plugin, checkpoint(FAMILIES[plugin]), gpus=count) for count in (1, 2)]
    for learner in learners:
        learner.pretrain(earlier, make_labels(earlier), context=FitContext(seed=5, device="cpu"))
        _fit(learner)
    assert learners[1].resources.gpus == 2
    one, two = (learner.predict_logits(NEW) for learner in learners)
    np.testing.assert_allclose(two, one, atol=1e-3)
    assert np.abs(one).max() > 0.05, "else nothing would show"


@pytest.mark.slow
def test_seed_weights_both_orders_and_lengths_count(checkpoint: Callable[[str], Path]) -> None:
    source = checkpoint("llama3")
    base = _fit(make_learner("llama3-lora", source)).predict_logits(NEW)

    def differs(logits: torch.Tensor) -> bool:
        return bool(np.abs(logits - base).max() > 1e-3)

    assert differs(_fit(make_learner("llama3-lora", source), seed=6).predict_logits(NEW))
    for name, value in {
        "swap_augmentation": True,
        "train_length": 75,
        "truncation": "middle",
        "soft_capping": False,
    }.items():
        changes = {"train_length": 75} if name == "truncation" else {}
        start = _fit(make_learner("llama3-lora", source, **changes)).predict_logits(NEW)
        found = _fit(make_learner("llama3-lora", source, **changes, **{name: value}))
        changed = bool(np.abs(found.predict_logits(NEW) - start).max() > 1e-3)
        assert changed is (name != "soft_capping"), name  # Llama-3 has none
    weighted = make_learner("llama3-lora", source).fit(
        TRAIN,
        make_labels(TRAIN),
        sample_weight=np.where(np.arange(18) < 9, 0.1, 1.9),
        context=FitContext(seed=5, device="cpu"),
    )
    assert differs(weighted.predict_logits(NEW))


@pytest.mark.slow
def test_fit_resumes_from_its_checkpoint_directory(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source, earlier = checkpoint("llama3"), make_battles(12, seed=7)
    options = {
        "checkpoint_minutes": 0.0,
        "dropout": 0.2,
        "early_stopping": True,
        "patience": 2,
        "epochs": 2,
    }

    def learn(learner: Any, place: Path | None) -> Any:
        context = FitContext(seed=5, device="cpu", checkpoint_directory=place)
        learner.pretrain(earlier, make_labels(earlier), context=context)
        return learner.fit(TRAIN, make_labels(TRAIN), context=context).predict_logits(NEW)

    whole = learn(make_learner("llama3-lora", source, **options), None)
    for batch in (1, 2, 3):
        learner = make_learner("llama3-lora", source, **options)
        start = learner._load_classifier

        def killed(*arguments: Any) -> Any:
            classifier = start(*arguments)  # noqa: B023 - used in this round alone
            tiny.kill_at(classifier, 4)
            return classifier

        learner._load_classifier = killed
        with pytest.raises(tiny.Killed):
            learn(learner, tmp_path)
        assert (tmp_path / "pretrain").exists(), batch
    resumed = learn(make_learner("llama3-lora", source, **options), tmp_path)
    np.testing.assert_array_equal(resumed, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "pretrain"]


def test_no_more_threads_are_used_than_may_be(checkpoint: Callable[[str], Path]) -> None:
    for threads in (2, 1):
        _fit(make_learner("llama3-lora", checkpoint("llama3")), threads=threads)
        assert torch.get_num_threads() == threads


def test_weights_that_are_not_there_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as caught:
        _fit(make_learner("gemma2-lora", tmp_path / "nowhere"))
    assert caught.value.where == str(tmp_path / "nowhere")
    assert "directory" in str(caught.value.hint)


def test_a_tensor_that_is_missing_on_load_is_an_error(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = checkpoint("llama3")
    _fit(make_learner("llama3-lora", source)).save(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "score" in name))
    save_file(tensors, path)
    with pytest.raises(errors.ArtifactError, match="score.* is missing"):
        make_learner("llama3-lora", source).load(tmp_path)


def test_predicting_before_fitting_is_an_error(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(errors.LearnerError, match="the learner is not fitted"):
        make_learner("deberta", checkpoint("deberta")).predict_logits(NEW)
