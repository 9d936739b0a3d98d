from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import FitContext, errors, make_battles
from ensemble.plugin.manager import get_manager

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

padded = importlib.import_module("ensemble_plugins.language_model.model.padded")
positions = importlib.import_module("ensemble_plugins.language_model.model.positions")
models: Any = importlib.import_module("tests.plugins.language_model.tiny_models")
zoo: Any = importlib.import_module("tests.plugins.language_model.tiny_zoo")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
LIMITS = {
    "bert": 128,
    "gpt2": 128,
    "bart": 128,
    "opt": 128,
    "xlm": 128,
    "canine": 128,
    "ctrl": 128,
    "gptj": 128,
    "mpt": 128,
    "reformer": 128,
    "distilbert": 128,
    "deberta-v2": 128,
    # Positions begin after that of padding, which is token 0 here.
    "roberta": 127,
    "xlm-roberta": 127,
    "longformer": 127,
    "ibert": 127,
    "mpnet": 126,  # which has 1 for padding, whatever its config says
    # Turned by position, or told distances alone: no table.
    **dict.fromkeys(("llama", "gemma2", "modernbert", "xlnet", "t5", "bloom", "funnel")),
    # The places of images and of boxes on a page are none of tokens.
    "gemma3": None,
    "layoutlm": 128,
    "luke": 127,
}


def make(kind: str) -> Any:
    config = zoo.tiny_config(kind)
    config.num_labels = 3
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def computes(model: nn.Module, length: int) -> bool:
    ids = padded.probe_ids(model, length, 0)[None]
    try:
        with torch.no_grad():
            return bool(padded.call(model, ids).isfinite().all())
    except (IndexError, RuntimeError, ValueError):
        return False


@pytest.mark.parametrize("kind", LIMITS)
def test_the_longest_row_is_the_longest_that_is_computed(kind: str) -> None:
    model = make(kind)
    limit = positions.longest_row(zoo.tiny_config(kind))
    assert limit == positions.find_limit(model) == LIMITS[kind]
    assert computes(model, limit or 400)
    assert limit is None or not computes(model, limit + 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in zoo.ALL if kind not in LIMITS])
def test_no_classifier_has_a_limit_that_is_not_known(kind: str) -> None:
    if kind in (*zoo.NOT_TINY, "axk2", "layoutlmv2", "perceiver"):
        pytest.skip("cannot be made or computed here")
    model = make(kind)
    config = model.config.get_text_config()
    config.use_cache = False  # as the engine loads it
    limit = positions.find_limit(model)
    assert computes(model, limit or 400)
    # TAPAS gives the last position to whatever is beyond.
    assert limit is None or kind == "tapas" or not computes(model, limit + 1)


def test_as_published_checkpoints_have_it() -> None:
    for name, options, limit in (
        ("BertConfig", {}, 512),
        ("RobertaConfig", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("DebertaV2Config", {"position_biased_input": False, "relative_attention": True}, None),
        ("GPT2Config", {}, 1024),
        ("NystromformerConfig", {}, 510),
    ):
        config = getattr(transformers, name)(num_hidden_layers=1, **options)
        assert positions.longest_row(config) == limit, name


BATTLES = make_battles(target_rows=12, external_rows=4, test_rows=4, seed=1)


def learner(directory: Path, most: int, **options: Any) -> Any:
    """Make a learner of BERT with so many positions."""
    directory.mkdir(exist_ok=True)
    config = models.configs("bert", 300)
    config.max_position_embeddings = most
    transformers.BertModel(config).save_pretrained(directory)
    models.tokenizers.deberta_tokenizer().save_pretrained(directory)
    kind: Any = get_manager().base_learners.get("deberta")
    return kind(model=directory, **{"tuning": "lora", "rank": 4, "token_budget": 2000} | options)


def fit(made: Any) -> Any:
    battles = BATTLES.target.select("id", "prompt", "response_a", "response_b")
    labels = np.tile([0.5, 0.3, 0.2], (len(battles), 1))
    return made.fit(battles, labels, context=FitContext(device="cpu"))


def test_rows_are_cut_to_the_positions_of_the_model_with_a_warning(tmp_path: Path) -> None:
    made = learner(tmp_path, 80)
    told = (
        r"train_length = 1024 and predict_length = 1536: .* has positions for 80 tokens, so that "
        r"rows are cut to 80 \(hint: set train_length and predict_length to at most 80"
    )
    with pytest.warns(UserWarning, match=told):
        fit(made)
    assert made.facts_["longest_row"] == 80
    tokens = made._tokens(BATTLES.target, made.predict_length)
    assert 78 <= tokens.lengths.max() <= 80
    assert np.isfinite(made.predict_logits(BATTLES.target)).all()


def test_lengths_that_the_model_takes_are_not_warned_of(tmp_path: Path) -> None:
    made = learner(tmp_path, 80, train_length=80, predict_length=80)
    assert fit(made).facts_["longest_row"] == 80


def test_a_check_warns_before_any_training(tmp_path: Path) -> None:
    made = learner(tmp_path, 80, predict_length=80)
    with pytest.warns(UserWarning, match="train_length = 1024: .* has positions for 80 tokens"):
        made.check(BATTLES.target, context=FitContext(device="cpu"))


def test_too_few_positions_for_the_template_are_refused(tmp_path: Path) -> None:
    made = learner(tmp_path, 13, train_length=80, predict_length=13)
    with (
        pytest.warns(UserWarning, match="has positions for 13 tokens"),
        pytest.raises(errors.LearnerError, match="a length of 13 tokens does not hold") as error,
    ):
        fit(made)
    assert error.value.hint == "take a model with more positions: this one has 13"
