"""Configs that transformers takes without a word, and what comes of them here."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import FitContext, errors
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

PACKAGE = "ensemble_plugins.language_model"
settings = importlib.import_module(f"{PACKAGE}.settings")
weights = importlib.import_module(f"{PACKAGE}.model.weights")
families: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

TRAIN = make_battles(6)
CONTEXT = FitContext(seed=2, device="cpu")


def save(family: str, directory: Path, **changes: Any) -> Path:
    families.save(family, directory)
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return directory


def learner(directory: Path, **options: Any) -> Any:
    return make_learner("causal-lora", directory, **options)


def fit(directory: Path, **options: Any) -> Any:
    return learner(directory, **options).fit(TRAIN, make_labels(TRAIN), context=CONTEXT)


@pytest.mark.parametrize(
    ("family", "changes", "hint"),
    [
        ("bert", {"is_decoder": True}, "is_decoder = true"),
        ("xlmr", {"is_decoder": True}, "is_decoder = true"),
        ("mistral", {"sliding_window": 1}, "sliding_window"),
        ("mistral", {"sliding_window": 5}, "sliding_window"),
    ],
)
def test_logits_that_no_text_changes_are_refused(
    family: str, changes: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    made = learner(save(family, tmp_path, **changes))
    refused = rf"same logits whatever their texts are(.|\n)*{hint}"
    with pytest.raises(errors.LearnerError, match=refused):
        made.fit(TRAIN, make_labels(TRAIN), context=CONTEXT)
    with pytest.raises(errors.LearnerError, match=refused):
        made.check(TRAIN, context=CONTEXT)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("modernbert", {"is_decoder": True}),  # which has no such mode
        ("mistral", {"sliding_window": 40}),
        ("bert", {"chunk_size_feed_forward": 7}),  # which divides no row's length
        ("bert", {"pad_token_id": None}),
        ("llama", {"pad_token_id": -1, "eos_token_id": None}),
    ],
)
def test_other_odd_values_change_nothing(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    logits = fit(save(family, tmp_path, **changes)).predict_logits(TRAIN)
    assert np.ptp(logits, axis=0).max() > 1e-5


@pytest.mark.parametrize(
    ("family", "changes"),
    [("gemma3", {"use_bidirectional_attention": True}), ("llama", {"is_causal": False})],
)
def test_decoders_that_attend_both_ways_are_not_packed(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    made = fit(save(family, tmp_path, **changes))
    assert made.facts_["why_padded"] == "its tokens attend to those after them"
    assert made.facts_["drift_from_float32"] < 1e-5


@pytest.mark.parametrize("token", [None, -1])
def test_positions_that_begin_after_no_token_are_refused(token: int | None, tmp_path: Path) -> None:
    made = learner(save("xlmr", tmp_path, pad_token_id=token))
    with pytest.raises(errors.LearnerError, match=r"from pad_token_id on(.|\n)*\(1 for RoBERTa"):
        made.preflight(TRAIN, context=CONTEXT)


def test_batches_are_filled_with_the_token_that_positions_begin_after(tmp_path: Path) -> None:
    made = learner(save("xlmr", tmp_path, pad_token_id=7))
    made._start(CONTEXT)
    assert made._pad_id() != 7
    assert made.classifier_.pad_id == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pad_token_id": 10_000}, "Padding_idx must be within num_embeddings"),
        ({"rope_parameters": {"rope_type": "odd", "rope_theta": 1.0}}, "odd"),
    ],
)
def test_a_config_that_makes_no_model_is_told_with_its_place(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    made = learner(save("llama", tmp_path, **changes))
    with pytest.raises(errors.LearnerError, match=f"no sequence classifier .*{said}") as told:
        made.preflight(TRAIN, context=CONTEXT)
    assert told.value.where == str(tmp_path)
    assert "mend its config.json" in str(told.value)


def test_an_architecture_without_a_classifier_is_told_in_one_line(tmp_path: Path) -> None:
    families.save("llama", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "granite"}))
    with pytest.raises(
        errors.LearnerError, match="has no sequence classifier of this arch"
    ) as told:
        learner(tmp_path, template="plain").preflight(TRAIN, context=CONTEXT)
    assert "LlamaConfig" not in str(told.value), "no list of all that there are"


@pytest.mark.parametrize(
    ("changes", "said", "hint"),
    [
        ({"pad_token_id": "x"}, "'pad_token_id': TypeError", "mend its config.json"),
        ({"num_attention_heads": 3}, "is not a multiple of", "mend its config.json"),
        ({"model_type": "odd"}, "does not recognize", "install a newer transformers"),
    ],
)
def test_what_a_config_is_refused_for_is_told_whole(
    changes: dict[str, Any], said: str, hint: str, tmp_path: Path
) -> None:
    chosen = settings.ModelSettings(str(save("llama", tmp_path, **changes)))
    with pytest.raises(errors.LearnerError, match=rf"{said}(.|\n)*{hint}"):
        weights.load_config(chosen)


def test_a_row_without_the_end_that_a_model_reads_is_refused(tmp_path: Path) -> None:
    families.save("xlmr", tmp_path)
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    ffn = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 16)
    config = transformers.BartConfig(d_model=16, vocab_size=900, **sizes, **heads, **ffn)
    config.pad_token_id, config.eos_token_id = 1, 40
    transformers.BartModel(config).save_pretrained(tmp_path)
    with pytest.raises(errors.LearnerError, match=r"the template writes none: eos_token_id .* 40"):
        learner(tmp_path).preflight(TRAIN, context=CONTEXT)
    path = tmp_path / "config.json"
    end = transformers.AutoTokenizer.from_pretrained(tmp_path).sep_token_id
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": end}))
    learner(tmp_path).preflight(TRAIN, context=CONTEXT)


def _save_t5gemma(directory: Path, encoder: dict[str, Any], **decoder: Any) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 800}
    families.save("gemma2", directory)
    module = transformers.T5GemmaModuleConfig
    config = transformers.T5GemmaConfig(
        encoder=module(**sizes | encoder), decoder=module(**sizes | decoder)
    )
    transformers.AutoModel.from_config(config).save_pretrained(directory)


def test_an_encoder_with_a_vocabulary_of_its_own_bounds_the_tokens(tmp_path: Path) -> None:
    _save_t5gemma(tmp_path / "whole", {})
    assert np.isfinite(fit(tmp_path / "whole").predict_logits(TRAIN)).all()
    _save_t5gemma(tmp_path / "small", {"vocab_size": 300})
    with pytest.raises(errors.LearnerError, match="the model knows 300 tokens alone"):
        learner(tmp_path / "small").preflight(TRAIN, context=CONTEXT)


@pytest.mark.parametrize(
    ("token", "said"), [(None, "ValueError: .*bos_token_id"), (9000, "IndexError: index out of")]
)
def test_a_model_that_computes_no_row_is_told_in_a_sentence(
    token: int | None, said: str, tmp_path: Path
) -> None:
    _save_t5gemma(tmp_path, {}, bos_token_id=token)
    match = rf"T5GemmaFor\w+ cannot compute a row of tokens: {said}(.|\n)*mend its config\.json"
    with pytest.raises(errors.LearnerError, match=match) as told:
        fit(tmp_path)
    assert told.value.where == str(tmp_path)


def test_a_pad_token_that_no_embeddings_were_made_for_fills_nothing(tmp_path: Path) -> None:
    families.save("bert", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    known = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<more{number}>" for number in range(known - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "<nothing>"})
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer.pad_token_id == known
    made = fit(tmp_path)
    assert made.classifier_.pad_id < known
    logits = made.predict_logits(TRAIN)
    (tmp_path / "exported").mkdir()
    found = made.export(tmp_path / "exported", TRAIN, logits, about={"ties": True})
    assert found["max_difference"] <= found["allowed"]


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["packed", "padded"])
def test_rows_may_end_with_what_the_tokenizer_pads_with(dropout: float, tmp_path: Path) -> None:
    """Decoders read the last token that is not padding: with that pad token, the one before it."""
    save("llama", tmp_path, attention_dropout=dropout)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"  # noqa: S105 - no password
    tokenizer.save_pretrained(tmp_path)
    made = fit(tmp_path, template={"base": "plain", "end": "Which?{eos}"})
    assert made.facts_["packed"] is (not dropout)
    assert made._tokens(TRAIN, 150).row(0)[-1] == tokenizer.pad_token_id
    assert made.classifier_.pad_id != tokenizer.pad_token_id
    logits = made.predict_logits(TRAIN)
    (tmp_path / "exported").mkdir()
    found = made.export(tmp_path / "exported", TRAIN, logits, about={"ties": True})
    assert found["max_difference"] <= found["allowed"] < 1e-3
