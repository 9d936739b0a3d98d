from __future__ import annotations

import importlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
huggingface_hub = importlib.import_module("huggingface_hub")
safetensors = importlib.import_module("safetensors.torch")
settings = importlib.import_module("ensemble_plugins.language_model.settings")
weights = importlib.import_module("ensemble_plugins.language_model.model.weights")
base_weights = importlib.import_module("ensemble_plugins.language_model.model.base_weights")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # transformers' DeBERTa
)

FILE = "model.safetensors"
UP = "layers.1.mlp.up_proj.weight"
LOADERS = [weights.load_tokenizer, weights.load_config, base_weights.identity]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory: Path = tiny.save_checkpoint("llama3", tmp_path / "llama")
    return directory


def of(model: Path | str, **options: Any) -> Any:
    return settings.ModelSettings(str(model), **options)


def load(directory: Path) -> Any:
    model, *_ = weights.load_model(of(directory), weights.load_config(of(directory)))
    return model


def change_tensors(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = safetensors.load_file(directory / FILE)
    change(tensors)
    safetensors.save_file(tensors, directory / FILE, metadata={"format": "pt"})


def change_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "no where"])
def test_a_directory_that_is_not_there_is_named(
    loader: Callable[[Any], Any], name: str, tmp_path: Path
) -> None:
    place = str(tmp_path / "nowhere") if name == "nowhere" else name
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as error:
        loader(of(place))
    assert error.value.where == place
    assert "fix the name" in str(error.value.hint)
    assert "the path of a directory" in str(error.value.hint)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_hub_id_offline_says_what_to_do(loader: Callable[[Any], Any]) -> None:
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as error:
        loader(of("google/no-such-model", revision="abc"))
    assert error.value.where == "google/no-such-model, revision abc"
    assert str(error.value.hint).startswith(
        "it is not in the cache and nothing may be fetched: fetch it first, or give a directory"
    )


def test_weights_of_a_hub_id_that_are_not_in_the_cache_say_what_to_do(checkpoint: Path) -> None:
    config = weights.load_config(of(checkpoint))
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as error:
        weights.load_model(of("google/no-such-model"), config)
    assert "fetch it first" in str(error.value.hint)


def test_a_gated_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("You are trying to access a gated repo.\nMake sure to have access.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        errors.LearnerError, match="OSError: You are trying to access a gated repo.\n  wh"
    ):
        weights.load_config(of("google/gemma-2-9b-it"))
    with pytest.raises(
        errors.LearnerError, match="accept its licence on its hub page, then `hf auth log"
    ):
        weights.load_config(of("google/gemma-2-9b-it"))


def test_pickled_weights_are_refused(checkpoint: Path) -> None:
    torch.save(safetensors.load_file(checkpoint / FILE), checkpoint / "pytorch_model.bin")
    (checkpoint / FILE).unlink()
    with pytest.raises(errors.LearnerError, match="no file named model.safetensors") as error:
        load(checkpoint)
    assert error.value.hint == (
        "convert the weights to safetensors: pickled weights are never loaded"
    )


@pytest.mark.parametrize("family", ["gemma2", "llama3", "deberta", "bert"])
def test_a_missing_tensor_is_named(family: str, tmp_path: Path) -> None:
    directory = tiny.save_checkpoint(family, tmp_path)
    name = sorted(safetensors.load_file(directory / FILE))[-2]
    change_tensors(directory, lambda tensors: tensors.pop(name))
    with pytest.raises(
        errors.LearnerError, match=rf"the weights lack 1 tensors of \w+: \w+\.{name}\n"
    ):
        load(directory)


def test_a_checkpoint_of_another_architecture_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = tiny.save_checkpoint("bert", tmp_path / "bert")
    (checkpoint / FILE).write_bytes((other / FILE).read_bytes())
    match = r"the weights lack \d\d tensors of LlamaForSequenceClassification: model\."
    with pytest.raises(errors.LearnerError, match=match) as error:
        load(checkpoint)
    assert error.value.hint == "give a checkpoint of this architecture, complete and in safetensors"


def test_a_misshapen_tensor_is_named(checkpoint: Path) -> None:
    change_tensors(checkpoint, lambda tensors: tensors.update({UP: tensors[UP][:8].clone()}))
    with pytest.raises(errors.LearnerError, match=UP):
        load(checkpoint)


@pytest.mark.parametrize("damage", [lambda raw: b"rubbish", lambda raw: raw[:-100]])
def test_damaged_weights_are_refused(damage: Callable[[bytes], bytes], checkpoint: Path) -> None:
    (checkpoint / FILE).write_bytes(damage((checkpoint / FILE).read_bytes()))
    with pytest.raises(errors.LearnerError, match="the model cannot be loaded: SafetensorError"):
        load(checkpoint)


def test_models_with_code_of_their_own_are_refused_and_not_run(checkpoint: Path) -> None:
    ran = checkpoint / "ran"
    (checkpoint / "own.py").write_text(f"open({str(ran)!r}, 'w')")
    change_json(
        checkpoint / "config.json", model_type="own", auto_map={"AutoConfig": "own.OwnConfig"}
    )
    change_json(
        checkpoint / "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["own.Own", None]},
    )
    for loader in (weights.load_config, weights.load_tokenizer):
        with pytest.raises(errors.LearnerError, match="contains custom code") as error:
            loader(of(checkpoint))
        assert "models with code of their own are not run" in str(error.value.hint)
    assert not ran.exists()


@pytest.mark.parametrize("family", ["gemma2", "llama3", "qwen2", "deberta", "bert"])
def test_a_head_may_be_missing(family: str, tmp_path: Path) -> None:
    directory = tiny.save_checkpoint(family, tmp_path)
    assert not any("score" in n or "classif" in n for n in safetensors.load_file(directory / FILE))
    model = load(directory)
    assert model.config.num_labels == 3
    assert not model.config.use_cache


def test_a_head_for_other_classes_is_replaced(checkpoint: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=1, pad_token_id=0
    )
    model.save_pretrained(checkpoint)
    assert load(checkpoint).score.weight.shape == (3, 32)


def test_tokenizers_come_back(checkpoint: Path) -> None:
    tokenizer = weights.load_tokenizer(of(checkpoint))
    wanted = tiny.tokenizers.llama3_tokenizer()
    assert tokenizer("hello world").input_ids == wanted("hello world").input_ids


def test_soft_capping_is_taken_out_of_the_config(tmp_path: Path) -> None:
    directory = tiny.save_checkpoint("gemma2", tmp_path)
    assert weights.load_config(of(directory)).attn_logit_softcapping == 3.0
    without = weights.load_config(of(directory, soft_capping=False))
    assert without.attn_logit_softcapping is None


def test_a_new_head_is_not_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny.save_checkpoint("llama3", tmp_path)
    capfd.readouterr()
    chosen = settings.ModelSettings(str(source))
    weights.load_model(chosen, weights.load_config(chosen))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_is_a_model_of_sentencepiece_alone_is_loaded(tmp_path: Path) -> None:
    """As the published DeBERTa-v3 comes: no tokenizer.json, which needs the extra's libraries."""
    sentencepiece = importlib.import_module("sentencepiece")
    model = io.BytesIO()
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"sentence {i} of rivers and knives" for i in range(200)]),
        model_writer=model,
        vocab_size=50,
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
        **{f"{name}_id": place for place, name in enumerate(pieces)},
        **{f"{name}_piece": piece for name, piece in pieces.items()},
    )
    (tmp_path / "spm.model").write_bytes(model.getvalue())
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    tokenizer = weights.load_tokenizer(of(tmp_path))
    assert tokenizer.is_fast
    ids = tokenizer("rivers and knives").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "rivers and knives"
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["[CLS]", "[SEP]"]
