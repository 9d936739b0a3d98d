from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from ensemble_plugins.language_model.model.classifier import Classifier

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
checks = importlib.import_module("ensemble_plugins.language_model.model.checks")
model = importlib.import_module("ensemble_plugins.language_model.model.classifier")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)
LENGTHS = [5, 40, 1, 33, 17, 64]


def check(family: str, directory: Path, **options: Any) -> dict[str, Any]:
    source = tiny.save_checkpoint(family, directory)
    chosen = settings.ModelSettings(str(source), rank=4, dropout=0.3, **options)
    found: dict[str, Any] = checks.check_model(
        chosen,
        tiny.random_tokens(LENGTHS),
        settings.PredictionSettings(token_budget=200),
        merge=chosen.tuning == "lora",
        device=torch.device("cpu"),
        pad_id=0,
    )
    return found


@pytest.mark.parametrize("family", ["gemma2", "llama3", "deberta"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_sound_model_is_measured_in_every_way(family: str, tuning: str, tmp_path: Path) -> None:
    found = check(family, tmp_path, tuning=tuning)
    assert found.pop("dtype") == "float32"
    assert found.pop("packed") is (family != "deberta")
    assert bool(found.pop("why_padded", "")) is (family == "deberta")
    assert found.pop("attention", "padded") == ("padded" if family == "deberta" else "PyTorch")
    assert found.keys() == {
        "drift_of_transformers",
        "drift_from_float32",
        "drift_in_training",
        "drift_after_load",
        "drift_in_prediction",
    }
    assert all(0 <= value < 1e-5 for value in found.values())


def break_training(classifier: Classifier, logits: Tensor) -> Any:
    return logits * 1.01 if classifier.model.training else logits


def break_what_is_loaded(classifier: Classifier, logits: Tensor) -> Any:
    loaded = vars(classifier).get("was_loaded", False)
    return logits + 0.01 if loaded else logits


@pytest.mark.parametrize(
    ("break_it", "where"),
    [(break_training, "as training computes"), (break_what_is_loaded, "after save and load")],
)
def test_a_fault_is_told_with_its_place(
    break_it: Callable[..., Any], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, read = model.Classifier.logits, checks.read_state

    def mark(classifier: Any, directory: Path) -> None:
        read(classifier, directory)
        classifier.was_loaded = True

    monkeypatch.setattr(
        model.Classifier, "logits", lambda self, batch: break_it(self, plain(self, batch))
    )
    monkeypatch.setattr(checks, "read_state", mark)
    with pytest.raises(errors.LearnerError, match=f"they drift by 0.0(.|\n)*{where}"):
        check("llama3", tmp_path)


def test_a_lost_adapter_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = checks.trained_state

    def lose(classifier: Classifier) -> Any:
        state = plain(classifier)
        lost = next(name for name in state if "lora_B" in name)
        return state | {lost: torch.zeros_like(state[lost])}

    monkeypatch.setattr(checks, "trained_state", lose)
    with pytest.raises(errors.LearnerError, match="after save and load"):
        check("gemma2", tmp_path)
