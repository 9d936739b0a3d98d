"""Exported classifiers: what plain transformers computes of them is what the run has."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ensemble import FitContext, errors
from ensemble_plugins.language_model.export import files, write
from ensemble_plugins.language_model.text.truncation import RULES
from tests.mostly_slow import mostly_slow
from tests.plugins.language_model.quick_learners import make_learner
from tests.plugins.language_model.worded_battles import make_battles, make_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

tiny: Any = importlib.import_module("tests.plugins.language_model.tiny_families")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
TRAIN = make_battles(6)
NEW = pl.concat(
    [
        make_battles(5, seed=1, turns=2),
        pl.DataFrame(
            {
                "id": ["long", "odd"],
                "prompt": [["one two " * 30, "three"], ["<eos> [SEP] </s> <|eot_id|> <pad>"]],
                "response_a": [["yes " * 90, None], ["good <bos><end_of_turn>"]],
                "response_b": [["no " * 70], ["bad"]],
            }
        ),
    ]
)
ABOUT = {"learner": "small", "fit": "fold 0", "ties": True}


def _fitted(checkpoint: Path, plugin: str = "causal-lora", **options: Any) -> Any:
    learner = make_learner(plugin, checkpoint, **options)
    return learner.fit(TRAIN, make_labels(TRAIN), context=FitContext(seed=2, device="cpu"))


def _exported(learner: Any, place: Path, **about: Any) -> tuple[Any, dict[str, Any]]:
    logits = learner.predict_logits(NEW)
    place.mkdir()
    return logits, learner.export(place, NEW, logits, about=ABOUT | about)


def _rows() -> list[tuple[Any, Any, Any]]:
    parts = [NEW[name].to_list() for name in ("prompt", "response_a", "response_b")]
    return list(zip(*parts, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "family", "truncation"),
    [("gemma2-lora", "gemma2", "left"), ("deberta", "deberta", "middle")],
)
def test_plain_transformers_gives_the_logits_of_the_run(
    checkpoint: Callable[[str], Path], tmp_path: Path, plugin: str, family: str, truncation: str
) -> None:
    learner = _fitted(
        checkpoint(family), plugin, truncation=truncation, swap_tta=family != "gemma2"
    )
    logits, found = _exported(learner, tmp_path / "model")
    assert found["rows"] == len(NEW)
    assert found["max_difference"] <= found["allowed"] < 1e-3
    # In another process, which cannot import the toolkit.
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(tmp_path / "model")],
        input=json.dumps(_rows()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), logits, atol=1e-4)


_ALONE = """
import json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ensemble", "ensemble_plugins", "polars"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv[1])
from battle_input import BattleClassifier
rows = [tuple(row) for row in json.load(sys.stdin)]
print(json.dumps(BattleClassifier(sys.argv[1]).logits(rows)))
"""


@pytest.mark.parametrize("truncation", sorted(RULES))
def test_the_exported_files_cut_long_battles_as_the_run_did(
    checkpoint: Callable[[str], Path], tmp_path: Path, truncation: str
) -> None:
    learner = make_learner("llama3-lora", checkpoint("llama3"), truncation=truncation)
    text = learner._tokenizer()
    files.write_input_files(
        tmp_path,
        text,
        learner._template(),
        truncation_rule=truncation,
        max_length=learner.predict_length,
        swap_tta=True,
        alone=False,
        served="",
        about=ABOUT,
    )
    AutoTokenizer.from_pretrained(learner.model).save_pretrained(tmp_path)
    built = files.load_package(tmp_path).BattleInput(tmp_path)
    for swapped in (False, True):
        tokens = learner._tokens(NEW, learner.predict_length, swapped=swapped)
        found = [built.ids(row, swapped=swapped) for row in _rows()]
        assert found == [tokens.row(row).tolist() for row in range(len(NEW))]
    whole = learner._tokens(NEW, 10_000)
    assert max(whole.lengths) > learner.predict_length, "else nothing is cut"


def test_a_directory_says_all_that_other_programs_ask(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    place = tmp_path / "model"
    _exported(_fitted(checkpoint("llama3"), "llama3-lora"), place, ties=False)
    config = json.loads((place / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["id2label"] == {"0": "model_a", "1": "model_b", "2": "tie"}
    assert config["label2id"] == {"model_a": 0, "model_b": 1, "tie": 2}
    assert config["problem_type"] == "single_label_classification"
    assert config["dtype"] == "float32"
    assert "auto_map" not in config
    assert not list(place.rglob("*.bin")) + list(place.rglob("*.pt"))
    assert (place / "model.safetensors").exists()
    assert 'convert="classify"' in (place / "README.md").read_text()
    assert "has no ties" in (place / "README.md").read_text()
    facts = json.loads((place / "ensemble.json").read_text())
    assert facts["learner"] == "small"
    assert facts["base"] == checkpoint("llama3").name
    assert facts["template_ids"]["start"]
    model, info = AutoModelForSequenceClassification.from_pretrained(
        place, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(place)
    assert tokenizer.pad_token_id == model.config.pad_token_id
    classifier = _classifier(place)
    shares = np.array(classifier.probabilities(_rows()))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares[:, 2] == 0).all()
    text = ("a", "b", "c")
    assert classifier.input.ids(text) == classifier.input.ids((["a"], ["b"], ["c"]))


def _classifier(place: Path) -> Any:
    return files.load_package(place).BattleClassifier(place)


@pytest.mark.parametrize(
    "family", mostly_slow([*tiny.DECODERS, *tiny.ENCODERS], "llama", "deberta")
)
def test_every_family_is_exported(tmp_path: Path, family: str) -> None:
    checkpoint = tiny.save(family, tmp_path / "base")
    learner = _fitted(checkpoint, "encoder" if family in tiny.ENCODERS else "causal-lora")
    _logits, found = _exported(learner, tmp_path / "model")
    assert found["max_difference"] <= found["allowed"] < 5e-3


def test_no_row_ends_with_the_token_that_fills_batches(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base = checkpoint("llama3")
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = tokenizer.pad_token or tokenizer.eos_token
    template = {"base": "llama3", "end": f"\n\nWhich?{end}"}
    learner = _fitted(base, template=template)
    logits, found = _exported(learner, tmp_path / "model")
    assert found["max_difference"] < 1e-4
    model = _classifier(tmp_path / "model")
    assert model.model.config.pad_token_id != tokenizer.convert_tokens_to_ids(end)
    # Alone and in a batch.
    alone = [model.logits([row], 1)[0] for row in _rows()]
    np.testing.assert_allclose(alone, logits, atol=1e-4)


def test_weights_in_bfloat16_are_held_against_what_rounding_explains(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    learner = _fitted(checkpoint("gemma2"), "gemma2-lora")
    learner.facts_ = learner.facts_ | {"dtype": "bfloat16"}
    _, found = _exported(learner, tmp_path / "model")
    assert 1e-4 < found["max_difference"] <= found["allowed"] < 0.5
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["dtype"] == "bfloat16"
    model = _classifier(tmp_path / "model").model
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.slow
def test_other_logits_or_tokens_are_an_error(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = _fitted(checkpoint("gemma2"), "gemma2-lora")
    logits = learner.predict_logits(NEW)
    for number, changed in enumerate((logits[::-1].copy(), logits + np.float32(0.01))):
        place = tmp_path / f"other-{number}"
        place.mkdir()
        with pytest.raises(errors.LearnerError, match=r"other logits: they differ by up to"):
            learner.export(place, NEW, changed, about=ABOUT)
    # What transformers does with a bound on attention scores where nobody asks for it.
    monkeypatch.setattr(write, "_ask_for_eager", lambda _path: None)
    (tmp_path / "unbounded").mkdir()
    with pytest.raises(errors.LearnerError, match="other logits"):
        learner.export(tmp_path / "unbounded", NEW, logits, about=ABOUT)


@pytest.mark.parametrize("change", [lambda one: one[:, [1, 0, 2]], lambda one: np.roll(one, -1, 0)])
def test_exchanged_classes_or_rows_are_an_error_however_much_rounding_explains(
    checkpoint: Callable[[str], Path], tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    learner = _fitted(checkpoint("llama3"), "llama3-lora", swap_tta=False)
    logits = learner.predict_logits(NEW)
    learner.facts_ = learner.facts_ | {"drift_in_prediction": 9.0}
    with pytest.raises(errors.LearnerError, match=r"on average, and from those of other classes"):
        learner.export(tmp_path, NEW, change(logits).copy(), about=ABOUT)


def test_rows_whose_logits_are_alike_are_warned_of(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    learner = _fitted(checkpoint("llama3"), "llama3-lora", swap_tta=False)
    for name, tensor in learner.state_.items():
        if name.endswith("score.weight"):
            tensor.zero_()
    with pytest.warns(UserWarning, match="another order of classes or rows might not show"):
        learner.export(tmp_path, NEW, np.zeros((len(NEW), 3), np.float32), about=ABOUT)


def test_quantized_weights_are_refused(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    learner = _fitted(checkpoint("gemma2"), "gemma2-lora")
    learner.bits = 4
    with pytest.raises(errors.LearnerError, match=r"4 bits cannot be exported(.|\n)*bits = 16"):
        learner.export(tmp_path, NEW, learner.predict_logits(NEW), about=ABOUT)


@pytest.mark.slow
def test_eight_bits_of_prediction_are_left_out(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = _fitted(checkpoint("gemma2"), "gemma2-lora")
    exact = plain.predict_logits(NEW)
    learner = _fitted(checkpoint("gemma2"), "gemma2-lora", precision="int8")
    logits, found = _exported(learner, tmp_path / "model")
    gap = float(np.abs(exact - logits).max())
    assert gap > 1e-4
    assert found["from_run"] == pytest.approx(gap, rel=0.01)
    np.testing.assert_allclose(_classifier(tmp_path / "model").logits(_rows()), exact, atol=1e-4)


def test_a_soup_is_exported_as_one_model(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    base = checkpoint("llama3")
    places = []
    for seed in (1, 2):
        learner = make_learner("llama3-lora", base)
        learner.fit(TRAIN, make_labels(TRAIN), context=FitContext(seed=seed, device="cpu"))
        places.append(tmp_path / f"fold-{seed}")
        places[-1].mkdir()
        learner.save(places[-1])
    soup = make_learner("llama3-lora", base).average_models(places)
    logits, found = _exported(soup, tmp_path / "model")
    assert found["max_difference"] < 1e-4
    np.testing.assert_allclose(_classifier(tmp_path / "model").logits(_rows()), logits, atol=1e-4)
