from __future__ import annotations

import importlib
import shutil
from typing import TYPE_CHECKING, Any, cast

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")


from ensemble import errors
from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build, plain_parameters
from tests.plugins.language_model.quick_learners import FAMILIES, make_learner

if TYPE_CHECKING:
    from pathlib import Path

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
_SMALLEST, _SMALL = 135_000_000, 270_000_000
_MIDDLE, _LARGE = 500_000_000, 9_000_000_000


# What transformers does where it defines DeBERTa.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)


@pytest.mark.parametrize("changed", ["model.safetensors", "config.json", "tokenizer.json"])
def test_dependencies_follow_the_content_of_a_checkpoint(tmp_path: Path, changed: str) -> None:
    source = tiny.tiny_models.save_checkpoint("llama3", tmp_path / "model")
    learner = make_learner("llama3-lora", source)
    before = learner.dependencies()
    assert before == make_learner("llama3-lora", source, rank=8).dependencies()
    (source / "README.md").write_text("nothing that counts")
    source = source.rename(tmp_path / "moved")
    assert make_learner("llama3-lora", source).dependencies() == before
    other = tiny.tiny_models.save_checkpoint("gemma2", tmp_path / "other", seed=2)
    (source / changed).write_bytes((other / changed).read_bytes())
    assert make_learner("llama3-lora", source).dependencies() != before
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as error:
        learner.dependencies()
    assert "say so in `model` of the config" in str(error.value.hint)


def test_a_key_knows_weights_by_content_alone(tmp_path: Path) -> None:
    from ensemble.oof.spec import LearnerSpec

    def key(model: str, **changes: Any) -> dict[str, Any]:
        return LearnerSpec(
            "llama", "llama3-lora", {"model": model, **changes}, tmp_path
        ).key_parts()

    source = tiny.tiny_models.save_checkpoint("llama3", tmp_path / "model")
    first = key("model")
    assert first["dependencies"]["model"].keys() == {"weights", "tokenizer"}
    assert "model" not in first["files"]
    shutil.copytree(source, tmp_path / "copy")
    assert key("copy") == key(str(tmp_path / "copy")) == first
    assert key("copy", rank=3) != first
    (source / "spm.model").write_bytes(b"another tokenizer")
    assert key("model") != first


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be 1 or more, got 0"),
        ("rank", 0, "rank must be 1 or more, got 0"),
        ("token_budget", -5, 'token_budget must be 1 or more, or "auto", got -5'),
        ("patience", 0, "patience must be 1 or more, got 0"),
        ("patience", 3, "patience has no effect without early_stopping = true"),
        ("max_grad_norm", -0.5, "max_grad_norm must be 0 or more, got -0.5"),
        ("learning_rate", 0.0, "learning_rate must be above 0, got 0.0"),
        ("head_learning_rate", -1e-4, "head_learning_rate must be above 0, got -0.0001"),
        ("temperature", 0.0, "temperature must be above 0, got 0.0"),
        ("warmup_ratio", 1.5, r"warmup_ratio must be in \[0, 1\], got 1.5"),
        ("dropout", 1.0, r"dropout must be in \[0, 1\), got 1.0"),
        ("validation_fraction", 0.6, r"validation_fraction must be in \(0, 0.5\], got 0.6"),
        ("distillation", 2.0, r"distillation must be in \[0, 1\], got 2.0"),
        ("distillation", 0.5, r"teachers and distillation need one another: .* got \[\] and 0.5"),
        ("teachers", ("tfidf",), "teachers and distillation need one another"),
        ("cosine", 0.5, "teachers and distillation need one another"),
        ("cosine", -0.5, "cosine must be 0 or more, got -0.5"),
        ("distillation", "slef", "distillation must be a share in .* or one of 'self', '1st'"),
        ("distillation", "self", "teachers and distillation need one another"),
        ("teacher_mean", "median", "teacher_mean must be one of 'logits', 'probabilities'"),
        ("teacher_weights", (1.0,), "teacher_weights must be one for each of 0 teachers, got 1"),
        ("tuning", "lroa", "tuning must be one of 'lora', 'full', got 'lroa'"),
        ("bits", 5, "bits must be one of 4, 8, 16, got 5"),
        ("precision", "fp4", "precision must be one of 'native', 'fp8', 'int8', got 'fp4'"),
        ("pretrain_head", "new", "pretrain_head must be one of 'drop', 'keep', got 'new'"),
        ("truncation", "right", "truncation must be one of 'left', .*, got 'right'"),
    ],
)
def test_a_wrong_parameter_is_refused(name: str, value: Any, message: str) -> None:
    kind = get_manager().base_learners.get("gemma2-lora")
    with pytest.raises(ValueError, match=message):
        kind(**{name: value})


@pytest.mark.parametrize("plugin", sorted(FAMILIES))
def test_a_recipe_gives_what_is_not_given(plugin: str) -> None:
    kind: Any = get_manager().base_learners.get(plugin)
    learner = kind(recipe="1st", epochs=1, rank=kind.rank)
    assert (learner.epochs, learner.rank) == (1, kind.rank), "defaults that are given stand"
    assert (learner.alpha, learner.learning_rate, learner.batch_size) == (128.0, 5e-5, 64)
    assert (learner.train_length, learner.predict_length) == (1024, 2000)
    assert learner.tuning == "lora"
    stored = plain_parameters(learner)
    assert stored["recipe"] == "1st"
    assert stored["learning_rate"] == 5e-5, "the key knows what the recipe came to"
    assert build(kind, {"recipe": "3rd"}, where=plugin).bits == 4


def test_every_recipe_names_parameters_and_their_values() -> None:
    recipes = importlib.import_module("ensemble_plugins.language_model.recipes").RECIPES
    kind: Any = get_manager().base_learners.get("llama3-lora")
    for name, recipe in recipes.items():
        learner = kind(recipe=name)
        assert plain_parameters(learner) == plain_parameters(kind(**recipe)) | {"recipe": name}


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="recipe must be one of '1st', .*, got '2nd'"):
        cast("Any", get_manager().base_learners.get("gemma2-lora"))(recipe="2nd")
    with pytest.raises(errors.ConfigError, match=r'parameter "recipe"'):
        make_learner("gemma2-lora", "somewhere", recipe="2nd")


def test_a_config_is_checked_by_type_before_any_work() -> None:
    with pytest.raises(errors.ConfigError, match="input should be 4, 8 or 16, got 5"):
        make_learner("llama3-lora", "somewhere", bits=5)
    with pytest.raises(errors.ConfigError, match='unknown parameter "learn_rate".*"learning_rate"'):
        make_learner("deberta", "somewhere", learn_rate=1e-4)
    with pytest.raises(errors.ConfigError, match="weights of 4 bits cannot be trained"):
        make_learner("deberta", "somewhere", bits=4)


def test_parameters_are_stored_as_given() -> None:
    learner = make_learner("gemma2-lora", "somewhere", modules=["q_proj", "v_proj"], alpha=16)
    stored = plain_parameters(learner)
    assert stored["modules"] == ["q_proj", "v_proj"]
    assert stored["template"] == "gemma2"
    assert learner.model_settings().modules == ("q_proj", "v_proj")


def test_rates_of_the_head_follow_those_of_their_stage() -> None:
    kind: Any = get_manager().base_learners.get("gemma2-lora")
    learner = kind(learning_rate=1e-4, pretrain_learning_rate=4e-4, rank=16, alpha=32.0, epochs=3)
    assert learner.training_settings(_LARGE).head_learning_rate == pytest.approx(5e-5)
    assert learner.pretraining_settings(_LARGE).learning_rate == 4e-4
    assert learner.pretraining_settings(_LARGE).head_learning_rate == pytest.approx(2e-4)
    assert learner.training_settings(_LARGE).epochs == 3
    assert learner.pretraining_settings(_LARGE).epochs == 1
    assert kind(head_learning_rate=1e-3).training_settings(_LARGE).head_learning_rate == 1e-3
    kind = get_manager().base_learners.get("deberta")
    whole = kind(learning_rate=2e-5)
    assert whole.training_settings(_LARGE).head_learning_rate == 2e-5


def test_adapters_of_a_small_model_learn_faster_unless_a_rate_is_given() -> None:
    kind: Any = get_manager().base_learners.get("causal-lora")
    learner = kind(model="x")
    assert learner.training_settings(_SMALLEST).learning_rate == 8e-4
    assert learner.training_settings(_SMALLEST).head_learning_rate == pytest.approx(4e-4)
    assert learner.training_settings(_SMALL).learning_rate == 4e-4
    assert learner.pretraining_settings(_SMALL).learning_rate == 4e-4
    assert learner.training_settings(_MIDDLE).learning_rate == 2e-4
    assert learner.training_settings(_LARGE).learning_rate == 1e-4
    assert kind(model="x", learning_rate=1e-4).training_settings(_SMALL).learning_rate == 1e-4
    assert kind(model="x", tuning="full").training_settings(_SMALL).learning_rate == 1e-4
    assert kind(model="x", recipe="1st").training_settings(_SMALL).learning_rate == 5e-5


def test_a_preset_of_distillation_is_share_temperature_and_cosine(tmp_path: Path) -> None:
    def settings(**options: Any) -> Any:
        learner = make_learner("llama3-lora", tmp_path, teachers=["t"], **options)
        found = learner.training_settings(_LARGE)
        assert learner.pretraining_settings(_LARGE).distillation == 0.0
        assert learner.pretraining_settings(_LARGE).cosine == 0.0
        return found.distillation, found.temperature, found.cosine

    assert settings(distillation="self") == (0.9, 5.0, 0.0)
    assert settings(distillation="1st") == (0.5, 1.0, 0.5)
    assert settings(distillation="self", temperature=2.0) == (0.9, 2.0, 0.0)
    assert settings(distillation="self", cosine=0.25, recipe="16th") == (0.9, 5.0, 0.25)
    assert settings(distillation=0.3) == (0.3, 1.0, 0.0)
    assert settings(cosine=0.3) == (0.0, 1.0, 0.3)
    # Stored as given: a key says which preset it was.
    learner = make_learner("llama3-lora", tmp_path, teachers=["t"], distillation="self")
    assert plain_parameters(learner)["distillation"] == "self"
